"""What is followed live: server-sent events, for as many viewers as the threads can bear."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from flask import Response

from headway.kernel.errors import Unavailable

MOST_VIEWERS: Final = 8
"""Each holds a thread of control."""
LONGEST_S: Final = 900
"""A viewer comes back by itself, with the number of the last event that it saw."""
_EVERY_S: Final = 0.5
_QUIET_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Said:
    """One event: its number, its kind, and its text (JSON without line breaks)."""

    number: int
    kind: str
    data: str

    def text(self) -> str:
        return f"id: {self.number}\nevent: {self.kind}\ndata: {self.data}\n\n"


class Finished(Exception):
    """Nothing more will come."""


@dataclass(frozen=True, slots=True)
class Viewers:
    """Those who follow something at this moment."""

    most: int = MOST_VIEWERS
    _stop: threading.Event = field(default_factory=threading.Event)
    _count: list[int] = field(default_factory=lambda: [0])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, look: Callable[[], Iterable[Said]]) -> Response:
        """Answer with all that `look` finds, again and again, until it raises `Finished`.

        `look` runs after the request: it must not ask for anything of it. `Unavailable` if there
        are too many viewers already.
        """
        with self._lock:
            if self._count[0] >= self.most:
                raise Unavailable(
                    f"{self.most} viewers follow something already; try again", retry_after=5
                )
            self._count[0] += 1
        response = Response(self._events(look), content_type="text/event-stream; charset=utf-8")
        response.call_on_close(_once(self._leave))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"
        return response

    def close(self) -> None:
        """Let everybody go: the process stops."""
        self._stop.set()

    def _leave(self) -> None:
        with self._lock:
            self._count[0] -= 1

    def _events(self, look: Callable[[], Iterable[Said]]) -> Iterator[bytes]:
        began = spoke = time.monotonic()
        yield b"retry: 2000\n\n"
        with suppress(Finished):
            while not self._stop.is_set() and time.monotonic() - began < LONGEST_S:
                for said in look():
                    yield said.text().encode()
                    spoke = time.monotonic()
                if time.monotonic() - spoke > _QUIET_S:
                    # Tells a viewer who left: writing to them fails.
                    yield b": still here\n\n"
                    spoke = time.monotonic()
                self._stop.wait(_EVERY_S)
            return
        yield b"event: end\ndata: {}\n\n"


def _once(act: Callable[[], None]) -> Callable[[], None]:
    done = threading.Event()

    def acted() -> None:
        if not done.is_set():
            done.set()
            act()

    return acted
