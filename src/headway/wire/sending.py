"""One request to an upstream and its answer, as an application sees them.

Pool.send | Pool.open ... write ... end -> on_head -> on_data ... -> on_complete | on_failure
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from headway.wire.framing import Headers
from headway.wire.origin import Origin

NEVER: Final = math.inf
TICK: Final = 0.25
"""Seconds between two sweeps: how old a pool's `now` may be."""
_REPLAY: Final = 64 * 1024
"""Of an open request's body so much is kept, in case that a kept connection turns out closed."""


class FailureKind(StrEnum):
    """Why there is no complete answer."""

    FORBIDDEN = "forbidden"  # the connector must not go there
    CONNECT = "connect"
    TLS = "tls"
    BUSY = "busy"  # as many connections as are allowed
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST = "timeout_first"
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    CLOSED_BEFORE_ANSWER = "closed_before_answer"
    CUT = "cut"  # closed within the answer, whose framing promised more
    PROTOCOL = "protocol"  # not HTTP as we take it
    CLOSED = "closed"  # our own pool was closed


@dataclass(frozen=True, slots=True)
class Failure:
    """One of the kinds, and words for a log; never bytes of the answer."""

    kind: FailureKind
    detail: str
    answered: bool = False
    """`on_head` was called before: part of the answer is out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds: to connect, to the head of the answer, between reads of it, for all together."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 600.0


class Receiver(Protocol):
    """Takes one answer.

    `on_head`, any number of `on_data`, `on_complete`; or `on_failure`, which may come at any
    point and is then the last. Nothing is called before `send` or `open` has returned, and
    nothing after `Sending.cancel`.
    """

    def on_head(self, status: int, headers: Headers) -> None:
        """Take a final answer's head."""

    def on_data(self, data: bytes) -> None:
        """Take bytes of the body, without their framing."""

    def on_complete(self, *, by_close: bool) -> None:
        """Learn that the framing says that the body is complete.

        `by_close`: it ended by closing, so only the format itself can tell whether it is whole.
        """

    def on_failure(self, failure: Failure) -> None:
        """Learn that there will be no complete answer."""


class Carrier(Protocol):
    """The connection that a request goes over."""

    @property
    def transport(self) -> asyncio.Transport: ...
    @property
    def unwritable(self) -> bool: ...

    def arm(self) -> None:
        """Set the deadline for what is waited for now."""

    def update_reading(self) -> None:
        """Read only while the receiver takes it."""

    def drop(self) -> None:
        """Close at once."""


class Dispatcher(Protocol):
    """What a request came from, and asks for a connection."""

    @property
    def now(self) -> float:
        """Monotonic seconds at the last sweep."""

    def give_up(self, sending: "Sending") -> None:
        """Stop connecting for a request."""


class Sending:
    """One request on its way, and its answer."""

    __slots__ = (
        "_buffer", "_buffered", "_connection", "_deadline", "_ended", "_fresh", "_head", "_origin",
        "_paused", "_pool", "_receiver", "_task", "_total_at", "deadlines", "on_unwritable",
        "on_writable", "reused",
    )  # fmt: skip

    def __init__(
        self,
        pool: Dispatcher,
        origin: Origin,
        head: bytes,
        buffer: list[bytes],
        receiver: Receiver,
        deadlines: Deadlines,
    ) -> None:
        self.deadlines = deadlines
        self.reused = False
        """It went, or goes, over a kept connection."""
        self.on_unwritable: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        """Called when `writable` becomes true again, also once the connection is open."""
        self._pool = pool
        self._origin = origin
        self._head = head
        # What is written of the body while it may have to be written again.
        self._buffer: list[bytes] | None = buffer
        self._buffered = 0
        self._receiver: Receiver | None = receiver  # None: over, nothing more is told
        self._ended = True
        self._fresh = self._paused = False
        self._connection: Carrier | None = None
        self._task: asyncio.Task[None] | None = None
        self._deadline = NEVER
        # `now` may be one tick old: never end a wait early.
        self._total_at = pool.now + deadlines.total + TICK

    def cancel(self) -> None:
        """Forget it: the connection is closed and the receiver hears nothing more."""
        if self._receiver is None:
            return
        self._receiver = None
        self._pool.give_up(self)
        if (connection := self._connection) is not None:
            self._connection = None
            connection.drop()

    def pause(self) -> None:
        """Read no more of the answer for now; idle time does not count meanwhile."""
        if not self._paused and self._receiver is not None:
            self._paused = True
            if self._connection is not None:
                self._connection.update_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._receiver is not None:
            self._paused = False
            if self._connection is not None:
                self._connection.update_reading()

    @property
    def writable(self) -> bool:
        """Whether `write` may be called without filling memory."""
        connection = self._connection
        return connection is not None and not connection.unwritable

    def write(self, data: bytes) -> None:
        """Send bytes of an open request's body, framed by the caller (`framing.chunk`)."""
        if self._receiver is None or not data:
            return
        if self._ended:
            raise RuntimeError("the body of this request is complete")
        if self._buffer is not None:
            self._buffer.append(data)
            self._buffered += len(data)
        if (connection := self._connection) is not None:
            connection.transport.write(data)
            if self._buffered > _REPLAY:
                self._buffer = None

    def end(self) -> None:
        """Say that the open request's body is complete."""
        if not self._ended and self._receiver is not None:
            self._ended = True
            if self._connection is not None:
                self._connection.arm()

    def _fail(self, kind: FailureKind, detail: str, *, answered: bool = False) -> None:
        receiver, self._receiver = self._receiver, None
        self._connection = None
        if receiver is not None:
            receiver.on_failure(Failure(kind, detail, answered))
