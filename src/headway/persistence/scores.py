"""What somebody said later of answers: one row per request id and name."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import sqlalchemy as sa

from headway.persistence.engine import Transaction
from headway.persistence.statements import insert_new
from headway.persistence.tables import route_key, scores
from headway.tracking.measurement import Score, ScoreMean

_ENOUGH: Final = 10_000


class SqlScores:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, found: Sequence[Score]) -> Sequence[bool]:
        if not found:
            return []
        # In one order for all writers, so that two of them cannot block each other.
        rows = sorted(
            (asdict(one) | {"route": route_key(one.model, one.environment)} for one in found),
            key=lambda row: (row["request_id"], row["name"]),
        )
        key = (scores.c.request_id, scores.c.name)
        insert = insert_new(self._transaction.dialect, scores).returning(*key)
        new = {tuple(row) for row in self._transaction.rows(insert, rows)}
        first: list[bool] = []
        for one in found:
            first.append((one.request_id, one.name) in new)
            new.discard((one.request_id, one.name))
        return first

    def delays(self, *, model: str, environment: str, name: str, since: int) -> Sequence[int]:
        query = (
            sa.select(scores.c.age)
            .where(*_of(model, environment, since), scores.c.name == name)
            .order_by(scores.c.at.desc(), scores.c.request_id.desc())
            .limit(_ENOUGH)
        )
        return [row.age for row in self._transaction.rows(query)]

    def means(self, *, model: str, environment: str, since: int) -> Sequence[ScoreMean]:
        key = (scores.c.version, scores.c.name)
        n = sa.func.count().label("n")
        query = (
            sa.select(*key, n, sa.func.avg(scores.c.value).label("mean"))
            .where(*_of(model, environment, since))
            .group_by(*key)
            .order_by(*key)
        )
        return [
            ScoreMean(version=row.version, name=row.name, n=row.n, mean=float(row.mean))
            for row in self._transaction.rows(query)
        ]

    def prune(self, *, before: int, limit: int) -> int:
        key = (scores.c.request_id, scores.c.name)
        old = sa.select(*key).where(scores.c.at < before).limit(limit)
        return self._transaction.run(sa.delete(scores).where(sa.tuple_(*key).in_(old)))


def _of(model: str, environment: str, since: int) -> tuple[sa.ColumnElement[bool], ...]:
    return scores.c.route == route_key(model, environment), scores.c.at >= since
