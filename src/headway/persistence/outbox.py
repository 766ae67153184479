"""The history, and the messages that wait to be carried out."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.canonical import Json
from headway.kernel.errors import Conflict
from headway.kernel.names import folded
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.persistence.deployments import wake_owner
from headway.persistence.engine import Transaction, values_of
from headway.persistence.statements import free, insert_new
from headway.persistence.tables import events, messages, now

_ONE_AFTER_ANOTHER: Final = 0x4865616477617902
_EVENT_FIELDS: Final = tuple(field.name for field in fields(Event))
_MESSAGE_FIELDS: Final = tuple(field.name for field in fields(Message))


class SqlOutbox:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._unwritten: list[Event] = []

    def add(self, event: Event, *messages: Message) -> None:
        if not self._unwritten:
            self._transaction.before_commit(self._write)
        self._unwritten.append(event)
        for message in messages:
            self._leave(message)

    def history(
        self,
        *,
        subject: str | None = None,
        deployment: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[Event]:
        query = sa.select(events).where(events.c.seq > after).order_by(events.c.seq).limit(limit)
        if subject is not None:
            query = query.where(events.c.subject == subject)
        if deployment is not None:
            query = query.where(events.c.deployment == deployment)
        return self._events(query)

    def latest(
        self, *, model: str | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        query = sa.select(events).order_by(events.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(events.c.seq < before)
        if model is not None:
            query = query.where(sa.func.lower(events.c.model) == folded(model))
        return self._events(query)

    def messages_of(self, deployment: str) -> Sequence[Message]:
        query = sa.select(messages).where(messages.c.deployment == deployment)
        return [_message(row) for row in self._transaction.rows(query.order_by(messages.c.id))]

    def claim_messages(
        self, *, owner: str, lease: int, limit: int, kind: str | None = None
    ) -> Sequence[Message]:
        table = messages.c
        wanted = () if kind is None else (table.kind == kind,)
        open_to_all = (
            sa.select(table.id)
            .where(
                table.answered_at.is_(None),
                table.dead == 0,
                table.due_at <= now(),
                free(table.lease_until, lease),
                *wanted,
            )
            .order_by(table.due_at, table.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claim = (
            sa.update(messages)
            .where(table.id.in_(open_to_all))
            .values(lease_owner=owner, lease_until=now() + lease, attempts=table.attempts + 1)
            .returning(messages)
        )
        claimed = sorted(self._transaction.rows(claim), key=lambda row: (row.due_at, row.id))
        return [_message(row) for row in claimed]

    def keep_messages(self, keys: Sequence[str], *, owner: str, lease: int) -> None:
        held = (messages.c.key.in_(keys), messages.c.lease_owner == owner)
        self._transaction.run(sa.update(messages).where(*held).values(lease_until=now() + lease))

    def answer(self, key: str, answer: Json, *, owner: str) -> None:
        values = {"answer": answer, "answered_at": now()}
        if not self._give_back(key, owner, values, tell=True):
            raise Conflict(f"the lease of the message {key} was lost")

    def try_again(
        self, key: str, *, owner: str, after: int, why: str, give_up: bool = False
    ) -> None:
        values = {"due_at": now() + after, "failure": why, "dead": give_up}
        self._give_back(key, owner, values, tell=give_up)

    def _leave(self, message: Message) -> None:
        row = {name: getattr(message, name) for name in _MESSAGE_FIELDS}
        row |= {"due_at": self._transaction.now(), "lease_until": 0, "failure": ""}
        self._transaction.run(insert_new(self._transaction.dialect, messages), row)

    def _give_back(self, key: str, owner: str, values: dict[str, Any], *, tell: bool) -> bool:
        """Write to a message if its lease is still one's own; say whether it was."""
        table = messages.c
        held = (table.key == key, table.lease_owner == owner, table.lease_owner != "")
        given_back = (
            sa.update(messages)
            .where(*held)
            .values(values | {"lease_owner": "", "lease_until": 0})
            .returning(table.deployment)
        )
        row = self._transaction.row(given_back)
        if row is not None and row.deployment is not None and tell:
            wake_owner(self._transaction, row.deployment)
        return row is not None

    def line_up(self) -> None:
        if self._transaction.dialect == "postgresql":
            self._transaction.run(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AFTER_ANOTHER)))
        else:
            self._transaction.now()  # with its first statement it is SQLite's only writer

    def _write(self) -> None:
        """Write the events, as the last thing of a transaction.

        PostgreSQL gives numbers out before it commits. Who follows the history by number would
        miss an event that is committed after one with a higher number, so there writers of events
        stand in a line from here to their COMMIT.
        """
        unwritten, self._unwritten = self._unwritten, []
        if not unwritten:
            return
        self.line_up()
        rows = [{name: getattr(event, name) for name in _EVENT_FIELDS[:-1]} for event in unwritten]
        for row in rows:  # one by one: their order is the order of their numbers
            self._transaction.run(sa.insert(events), row)

    def _events(self, query: sa.Select[Any]) -> Sequence[Event]:
        self._write()
        return [Event(**values_of(row, _EVENT_FIELDS)) for row in self._transaction.rows(query)]


def _message(row: sa.Row[Any]) -> Message:
    return Message(**values_of(row, _MESSAGE_FIELDS))
