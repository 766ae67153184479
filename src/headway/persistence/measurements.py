"""Sums per minute: appended by each flush, merged when the minute is over; totals since ever."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.errors import Conflict
from headway.persistence.engine import Transaction
from headway.persistence.statements import add_up
from headway.persistence.tables import key_totals, measurements, route_key, totals
from headway.tracking.histogram import FIRST, LATENCY, TimingOf, histogram
from headway.tracking.measurement import CostOf, KeyCount, Measurement
from headway.tracking.sketch import Sketch

_GROUP: Final = (
    measurements.c.route,
    measurements.c.minute,
    measurements.c.version,
    measurements.c.arm,
)
_UNROUTED: Final = "unrouted"
_COST: Final = "cost"
_NOWHERE: Final = ("", "", "")
"""Model, environment and version of requests that came to none; no name is empty."""
_SUMS: Final = ("outcomes", "latency", "bad", "first", "tokens", "served_by")


class SqlMeasurements:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def append(self, found: Sequence[Measurement]) -> None:
        """Append what one flush brings."""
        if found:
            self._transaction.run(sa.insert(measurements), [_row(one) for one in found])

    def count(
        self,
        found: Sequence[Measurement],
        unrouted: Mapping[str, int],
        costs: Mapping[CostOf, int],
        key_counts: Mapping[KeyCount, int],
    ) -> None:
        """Add what one flush brings to the totals, rows that all gateways write to."""
        sums: Counter[tuple[str, ...]] = Counter()
        for (model, environment, version, name), n in costs.items():
            sums[model, environment, version, _COST, name] += n
        for name, n in unrouted.items():
            sums[*_NOWHERE, _UNROUTED, name] += n
        for one in found:
            told: list[tuple[str, Mapping[str, int]]] = [("token", one.tokens)]
            if one.of_callers:
                told += [
                    ("outcome", one.outcomes),
                    (LATENCY, histogram(one.latency)),
                    (FIRST, histogram(one.first)),
                ]
            for kind, parts in told:
                for name, n in parts.items():
                    sums[one.model, one.environment, one.version, kind, str(name)] += n
        rows = [
            dict(zip(("model", "environment", "version", "kind", "name"), key, strict=True), n=n)
            for key, n in sorted(sums.items())
        ]
        if rows:
            self._transaction.run(add_up(self._transaction.dialect, totals), rows)
        of_keys = [
            {"key_id": key_id, "kind": kind, "name": name, "n": n}
            for (key_id, kind, name), n in sorted(key_counts.items())
        ]
        if of_keys:
            self._transaction.run(add_up(self._transaction.dialect, key_totals), of_keys)

    def read(
        self,
        *,
        model: str,
        environment: str,
        since: int,
        until: int,
        version: str | None = None,
    ) -> Sequence[Measurement]:
        query = (
            sa.select(measurements)
            .where(
                measurements.c.route == route_key(model, environment),
                measurements.c.minute >= since,
                measurements.c.minute < until,
            )
            .order_by(*_GROUP, measurements.c.id)
        )
        if version is not None:
            query = query.where(measurements.c.version == version)
        groups: dict[tuple[Any, ...], list[sa.Row[Any]]] = {}
        for row in self._transaction.rows(query):
            groups.setdefault((row.minute, row.version, row.arm), []).append(row)
        return [_measurement(rows) for rows in groups.values()]

    def totals(self) -> Sequence[tuple[str, str, str, Mapping[str, int], Mapping[str, int]]]:
        found: dict[tuple[str, str, str], dict[str, dict[str, int]]] = {}
        query = (
            sa.select(totals)
            .where(totals.c.kind.in_(("outcome", "token")))
            .order_by(*totals.primary_key.columns)
        )
        for row in self._transaction.rows(query):
            key = (row.model, row.environment, row.version)
            sums = found.setdefault(key, {"outcome": {}, "token": {}})
            sums[row.kind][row.name] = row.n
        return [(*key, sums["outcome"], sums["token"]) for key, sums in found.items()]

    def timings(self) -> Mapping[TimingOf, Mapping[str, int]]:
        found: dict[TimingOf, dict[str, int]] = {}
        query = sa.select(totals).where(totals.c.kind.in_((LATENCY, FIRST)))
        for row in self._transaction.rows(query):
            of = (row.model, row.environment, row.version, row.kind)
            found.setdefault(of, {})[row.name] = row.n
        return found

    def costs(self) -> Mapping[CostOf, int]:
        query = sa.select(totals).where(totals.c.kind == _COST)
        return {
            (row.model, row.environment, row.version, row.name): row.n
            for row in self._transaction.rows(query)
        }

    def key_counts(self) -> Mapping[KeyCount, int]:
        query = sa.select(key_totals).order_by(*key_totals.primary_key.columns)
        return {(row.key_id, row.kind, row.name): row.n for row in self._transaction.rows(query)}

    def unrouted(self) -> Mapping[str, int]:
        query = sa.select(totals.c.name, totals.c.n).where(totals.c.kind == _UNROUTED)
        return {row.name: row.n for row in self._transaction.rows(query)}

    def merge(self, *, before: int, limit: int) -> int:
        waiting = (measurements.c.merged == 0, measurements.c.minute < before)
        query = sa.select(*_GROUP).where(*waiting).distinct().order_by(*_GROUP).limit(limit)
        groups = self._transaction.rows(query)
        for group in groups:
            self._merge(group)
        return len(groups)

    def prune(self, *, before: int, limit: int) -> int:
        of_any_kind = measurements.c.merged.in_((0, 1))  # or its index would be read as a whole
        older = measurements.c.minute < before
        old = sa.select(measurements.c.id).where(of_any_kind, older).limit(limit)
        return self._transaction.run(sa.delete(measurements).where(measurements.c.id.in_(old)))

    def _merge(self, group: sa.Row[Any]) -> None:
        mine = [column == value for column, value in zip(_GROUP, group, strict=True)]
        rows = self._transaction.rows(
            sa.select(measurements).where(*mine).order_by(measurements.c.id)
        )
        ids = [row.id for row in rows]
        gone = self._transaction.run(sa.delete(measurements).where(measurements.c.id.in_(ids)))
        if gone != len(ids):
            raise Conflict("somebody else merges the same minutes; look again")
        merged = dict(rows[0]._mapping) | _sum(rows) | {"merged": True}  # noqa: SLF001 - SQLAlchemy's public name for it
        self._transaction.run(sa.insert(measurements).values(merged))


def _row(one: Measurement) -> dict[str, Any]:
    return {
        "route": route_key(one.model, one.environment),
        "model": one.model,
        "environment": one.environment,
        "version": one.version,
        "arm": one.arm,
        "minute": one.minute,
        "outcomes": {str(name): n for name, n in one.outcomes.items()},
        "latency": one.latency.document(),
        "bad": one.bad.document(),
        "first": one.first.document(),
        "tokens": one.tokens,
        "served_by": one.served_by,
        "merged": False,
    }


def _measurement(rows: Sequence[sa.Row[Any]]) -> Measurement:
    first = rows[0]
    sums = _sum(rows)
    return Measurement(
        model=first.model,
        environment=first.environment,
        version=first.version,
        arm=first.arm,
        minute=first.minute,
        outcomes=sums["outcomes"],
        latency=Sketch.read(sums["latency"]),
        bad=Sketch.read(sums["bad"]),
        first=Sketch.read(sums["first"]),
        tokens=sums["tokens"],
        served_by=sums["served_by"],
    )


def _sum(rows: Iterable[sa.Row[Any]]) -> dict[str, dict[str, int]]:
    """Add up the sums of several rows; sketches add up by bucket."""
    found: dict[str, Counter[str]] = {name: Counter() for name in _SUMS}
    for row in rows:
        for name, sums in found.items():
            sums.update(row._mapping[name])  # noqa: SLF001 - SQLAlchemy's public name for it
    return {name: dict(sums) for name, sums in found.items()}
