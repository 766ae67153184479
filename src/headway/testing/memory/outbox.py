"""The history and the messages."""

from collections.abc import Sequence
from dataclasses import replace

from headway.kernel.canonical import Json
from headway.kernel.errors import Conflict
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.testing.memory.deployments import MemoryDeployments, MemoryRollbacks
from headway.testing.memory.tables import Queued, Repository, as_stored, same_name


class MemoryOutbox(Repository):
    def line_up(self) -> None:
        self._t.line.put("events", (self._t.line.get("events") or 0) + 1)

    def add(self, event: Event, *messages: Message) -> None:
        seq = self._t.store.number("events")
        self._t.events.put(seq, replace(event, seq=seq, detail=as_stored(event.detail)))
        for message in messages:
            if self._t.messages.get(message.key) is None:
                kept = replace(message, payload=as_stored(message.payload))
                self._t.messages.put(message.key, Queued(kept, self._t.clock()))

    def history(
        self,
        *,
        subject: str | None = None,
        deployment: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[Event]:
        found = [
            event
            for seq, event in sorted(self._t.events.items())
            if seq > after
            and subject in {None, event.subject}
            and deployment in {None, event.deployment}
        ]
        return found[:limit]

    def latest(
        self, *, model: str | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        found = [
            event
            for seq, event in sorted(self._t.events.items(), reverse=True)
            if (before is None or seq < before) and same_name(model, event.model)
        ]
        return found[:limit]

    def messages_of(self, deployment: str) -> Sequence[Message]:
        known = (queued.message for queued in self._t.messages.all())
        return [message for message in known if message.deployment == deployment]

    def claim_messages(
        self, *, owner: str, lease: int, limit: int, kind: str | None = None
    ) -> Sequence[Message]:
        now = self._t.clock()
        due = [
            queued
            for queued in sorted(self._t.messages.all(), key=lambda queued: queued.due_at)
            if kind in {None, queued.message.kind}
            and queued.message.answered_at is None
            and not queued.message.dead
            and queued.due_at <= now
            and not now < queued.lease_until <= now + 2 * lease
        ]
        claimed: list[Message] = []
        for queued in due[:limit]:
            message = queued.message
            message = replace(message, lease_owner=owner, attempts=message.attempts + 1)
            held = replace(queued, message=message, lease_until=now + lease)
            self._t.messages.put(message.key, held)
            claimed.append(message)
        return claimed

    def keep_messages(self, keys: Sequence[str], *, owner: str, lease: int) -> None:
        until = self._t.clock() + lease
        for key in keys:
            if (queued := self._held(key, owner)) is not None:
                self._t.messages.put(key, replace(queued, lease_until=until))

    def answer(self, key: str, answer: Json, *, owner: str) -> None:
        queued = self._held(key, owner)
        if queued is None:
            raise Conflict(f"the lease of the message {key} was lost")
        now = self._t.clock()
        message = replace(
            queued.message, answer=as_stored(answer), answered_at=now, lease_owner=""
        )
        self._t.messages.put(key, replace(queued, message=message, lease_until=0))
        self._wake(message)

    def try_again(
        self, key: str, *, owner: str, after: int, why: str, give_up: bool = False
    ) -> None:
        if (queued := self._held(key, owner)) is None:
            return
        message = replace(queued.message, lease_owner="", dead=give_up)
        self._t.messages.put(key, Queued(message, self._t.clock() + after, 0, why))
        if give_up:
            self._wake(message)

    def _held(self, key: str, owner: str) -> Queued | None:
        queued = self._t.messages.get(key)
        return queued if queued and owner and queued.message.lease_owner == owner else None

    def _wake(self, message: Message) -> None:
        owner = message.deployment
        if owner is not None and not MemoryDeployments(self._t).wake(owner):
            MemoryRollbacks(self._t).wake(owner)
