"""The history as people read it: what happened last comes first."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from headway.outbox.event import Event

_AT_ONCE: Final = 200
_MOST_LOOKS: Final = 10


class Latest(Protocol):
    def latest(
        self, *, model: str | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        """Return events with a seq below `before`, newest first."""


class Work(Protocol):
    @property
    def outbox(self) -> Latest: ...


Begin = Callable[[], AbstractContextManager[Work]]


@dataclass(frozen=True, slots=True)
class HistoryService:
    begin: Begin

    def latest(self, *, limit: int, wanted: Callable[[Event], bool]) -> Sequence[Event]:
        """Return the newest events that are wanted, of the last two thousand."""
        found: list[Event] = []
        before: int | None = None
        with self.begin() as work:
            for _ in range(_MOST_LOOKS):
                rows = work.outbox.latest(before=before, limit=_AT_ONCE)
                found += [event for event in rows if wanted(event)]
                if len(found) >= limit or len(rows) < _AT_ONCE:
                    break
                before = rows[-1].seq
        return found[:limit]

    def last_number(self) -> int:
        """Return the number of the newest event; 0: nothing happened yet."""
        with self.begin() as work:
            rows = work.outbox.latest(limit=1)
        return rows[0].seq if rows else 0
