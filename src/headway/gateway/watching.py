"""A stream of events, looked at as it passes: what the watches of all dialects share.

A dialect says how far a stream has come (`Course`), and what passes on of one event
(`EventWatch.event`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from headway.gateway.sse import TOO_LONG, Broken, Splitter, blocks


class Course(Protocol):
    """How far a stream has come."""

    @property
    def done(self) -> bool:
        """Whether the dialect's own last event was seen."""

    @property
    def tokens(self) -> Mapping[str, int]: ...
    @property
    def served_by(self) -> str: ...


class EventWatch(ABC):
    """Passes whole events on (`exchange.Watch`), up to the last one or the first that is wrong."""

    __slots__ = ("_course", "_splitter", "done", "error", "started")

    def __init__(self, course: Course) -> None:
        self._course = course
        self._splitter = Splitter()
        self.done = self.started = False
        self.error: str | None = None

    @property
    def tokens(self) -> Mapping[str, int]:
        return self._course.tokens

    @property
    def served_by(self) -> str:
        return self._course.served_by

    @abstractmethod
    def event(self, block: bytes) -> bytes:
        """Take note of one event, and return what passes on of it.

        `block` ends with its blank line. Raises `Broken`.
        """

    def feed(self, data: bytes) -> bytes:
        if self.done or self.error is not None:
            return b""
        ready = self._splitter.feed(data)
        passed = self._look(ready) if ready else b""
        if self._splitter.too_long and self.error is None:
            self.error = TOO_LONG
        return passed

    def end(self, *, by_close: bool) -> bytes | None:
        if self.error is not None:
            return None
        if self.done:
            return b""
        # A last event without its blank line: the end of the body stands for it.
        last = self._look(self._splitter.rest())
        if self.done:
            return last
        if self.error is None and not by_close and (missing := self.missing()) is not None:
            return last + missing
        return None

    def missing(self) -> bytes | None:
        """Return the last event of a stream that is whole without it; None: it is cut."""
        return None

    def _look(self, ready: bytes) -> bytes:
        passed: list[bytes] = []
        course = self._course
        try:
            for block in blocks(ready):
                passed.append(self.event(block))
                if course.done:
                    self.done = True
                    break
                if self.error is not None:
                    break
        except Broken as broken:
            self.error = str(broken)
        return b"".join(passed)
