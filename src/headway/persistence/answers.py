"""Answers that were given to creates with an Idempotency-Key; see `headway.outbox.answer`."""

from dataclasses import asdict

import sqlalchemy as sa

from headway.kernel.errors import Conflict
from headway.outbox.answer import KEPT, Answer, Scope
from headway.persistence.engine import Transaction
from headway.persistence.statements import replace_older
from headway.persistence.tables import idempotency

_KEY = tuple(idempotency.primary_key.columns)


class SqlAnswers:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def find(self, scope: Scope) -> Answer | None:
        query = sa.select(idempotency).where(
            *(column == getattr(scope, column.name) for column in _KEY)
        )
        row = self._transaction.row(query)
        if row is None:
            return None
        return Answer(
            scope=scope,
            digest=row.digest,
            status=row.status,
            headers=row.headers,
            body=bytes(row.body),
            created_at=row.created_at,
        )

    def put(self, answer: Answer) -> None:
        row = asdict(answer.scope) | {
            "digest": answer.digest,
            "status": answer.status,
            "headers": answer.headers,
            "body": answer.body,
            "created_at": answer.created_at,
        }
        dialect = self._transaction.dialect
        put = replace_older(dialect, idempotency, than=answer.created_at - KEPT)
        if self._transaction.run(put, row) != 1:
            raise Conflict("the same request was answered meanwhile; ask again")

    def prune(self, *, before: int, limit: int) -> int:
        table = idempotency.c
        old = sa.select(*_KEY).where(table.created_at < before).limit(limit)
        return self._transaction.run(sa.delete(idempotency).where(sa.tuple_(*_KEY).in_(old)), None)
