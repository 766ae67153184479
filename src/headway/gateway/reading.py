"""A stream of events, understood as it comes: what the readings of all providers share.

How far it has come is the same as where it passes (`watching.Course`); what one event tells is
the provider's own (`EventReading.event`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from headway.gateway.chat import Event
from headway.gateway.sse import TOO_LONG, Broken, Splitter, blocks, event_of
from headway.gateway.watching import Course


class EventReading(ABC):
    """Reads a provider's stream (`exchange.Reading`), up to the last event or the first wrong."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._splitter = Splitter()
        self.error: str | None = None

    @property
    def done(self) -> bool:
        return self._course.done

    @property
    def tokens(self) -> Mapping[str, int]:
        return self._course.tokens

    @property
    def served_by(self) -> str:
        return self._course.served_by

    @abstractmethod
    def event(self, name: bytes, data: bytes) -> Iterable[Event]:
        """Return what one event tells; `data` is not empty. Raises `Broken`."""

    def feed(self, data: bytes) -> list[Event]:
        events = self._read(self._splitter.feed(data))
        if self._splitter.too_long and self.error is None:
            self.error = TOO_LONG
        return events

    def end(self, *, by_close: bool) -> list[Event]:
        # A last event without its blank line: the end of the body stands for it.
        events = self._read(self._splitter.rest())
        if not self.done and self.error is None and not by_close:
            events.extend(self.missing())
        return events

    def missing(self) -> Iterable[Event]:
        """Return the last events of a stream that is whole without them; none: it is cut."""
        return ()

    def _read(self, ready: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            for block in blocks(ready):
                if self.done or self.error is not None:
                    break
                name, data = event_of(block)
                if data:
                    events.extend(self.event(name, data))
        except Broken as broken:
            self.error = str(broken)
        return events
