# ruff: noqa: SLF001 -- a request and the connection that carries it are one engine in two classes
"""One connection to an upstream: HTTP/1.1 by callbacks only, one request at a time."""

import asyncio
import random
import select
from dataclasses import dataclass
from typing import Final, Protocol, cast

from headway.wire.answer import AnswerReader
from headway.wire.framing import Refusal
from headway.wire.origin import Origin
from headway.wire.sending import NEVER, TICK, FailureKind, Sending

_COPIED: Final = 64 * 1024
"""A body below this is joined to its head: one copy costs less than a second write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How many connections there are, and how long an unused one is kept."""

    connections: int = 4096
    """Per origin, in use and idle."""
    idle: int = 256
    """Per origin, kept for the next request."""
    idle_seconds: float = 20.0
    """Shorter than upstreams keep theirs, or we would write into closing ones."""
    age_seconds: float = 60.0
    """How long a connection is used again: a name may mean another address by then."""
    head: int = 64 * 1024
    write_buffer: int = 1024 * 1024


class Bucket:
    """The connections to one origin."""

    __slots__ = ("idle", "open", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle: list[UpstreamConnection] = []
        self.open = 0  # in use, idle, and being opened


class Keeper(Protocol):
    """The pool that a connection belongs to."""

    @property
    def limits(self) -> PoolLimits: ...
    @property
    def now(self) -> float:
        """Monotonic seconds at the last sweep."""

    @property
    def closed(self) -> bool: ...

    def admit(self, connection: "UpstreamConnection") -> None:
        """Take note of a connection that is open."""

    def forget(self, connection: "UpstreamConnection") -> None:
        """Drop a connection that is closed."""

    def connect(self, sending: Sending) -> None:
        """Open a fresh connection for a request."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to an upstream, which carries one request at a time."""

    __slots__ = (
        "_answer",
        "_begun",
        "_bucket",
        "_poll",
        "_pool",
        "_reading",
        "_retires_at",
        "_reused",
        "_sending",
        "closed",
        "counted",
        "deadline",
        "transport",
        "unwritable",
    )

    transport: asyncio.Transport

    def __init__(self, pool: Keeper, bucket: Bucket) -> None:
        self._pool = pool
        self._bucket = bucket
        self._sending: Sending | None = None
        self._answer = AnswerReader(pool.limits.head)
        self._begun = False  # the head of the answer was handed over
        self._poll: select.poll | None = None
        self._reused = False
        # Not all at once that were opened at once. A unix socket stays where it is.
        age = pool.limits.age_seconds * random.uniform(0.8, 1)  # noqa: S311 - no secret
        self._retires_at = NEVER if bucket.origin.scheme == "unix" else pool.now + age
        self._reading = True
        self.unwritable = False
        self.closed = False
        self.counted = False  # among the bucket's open ones, apart from the sending that opened it
        self.deadline = NEVER

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by class, only by what they do.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self._pool.limits.write_buffer)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)
        self._pool.admit(self)

    def data_received(self, data: bytes) -> None:
        sending = self._sending
        if sending is None:
            # Nobody asked for these bytes: they must never become somebody's answer.
            self.drop()
            return
        try:
            self._answer.feed(data)
        except Refusal as refusal:
            self._break(refusal.detail)
            return
        self._hand_over(sending)

    def eof_received(self) -> None:
        """Let the loop close; `connection_lost` tells what it means."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        self._count_out()
        self._poll = None
        answer = self._answer
        answer.release()
        sending, self._sending = self._sending, None
        if sending is None:
            return
        sending._connection = None
        if answer.by_close and self._begun and exc is None:
            receiver, sending._receiver = sending._receiver, None
            if receiver is not None:
                receiver.on_complete(by_close=True)
        elif answer.heard:
            sending._fail(FailureKind.CUT, "the answer was cut", answered=self._begun)
        elif self._reused and not sending._fresh and sending._buffer is not None:
            # It was closed as we wrote: no fault of anybody, and nothing was answered.
            self._pool.connect(sending)
        else:
            sending._fail(FailureKind.CLOSED_BEFORE_ANSWER, "closed before any answer")

    def pause_writing(self) -> None:
        self.unwritable = True
        sending = self._sending
        if sending is not None:
            self.arm()
            if sending.on_unwritable is not None:
                sending.on_unwritable()

    def resume_writing(self) -> None:
        self.unwritable = False
        sending = self._sending
        if sending is not None:
            self.arm()
            if sending.on_writable is not None:
                sending.on_writable()

    def _hand_over(self, sending: Sending) -> None:
        """Tell the receiver what one read has brought."""
        receiver, answer = sending._receiver, self._answer
        if receiver is None or answer.framing is None:
            return
        if not self._begun:
            self._begun = True
            receiver.on_head(answer.status, answer.fields)
            if sending._receiver is None:
                return
        if answer.parts:
            parts, answer.parts = answer.parts, []
            receiver.on_data(parts[0] if len(parts) == 1 else b"".join(parts))
            if sending._receiver is None:
                return
        if answer.complete:
            self._sending = sending._receiver = sending._connection = None
            self.give_back(reusable=answer.keep and sending._ended)
            receiver.on_complete(by_close=False)
        elif not sending._paused:
            self.deadline = min(self._pool.now + sending.deadlines.idle + TICK, sending._total_at)

    def give_back(self, *, reusable: bool) -> None:
        """Keep it for the next request, or close it."""
        limits = self._pool.limits
        if (
            reusable
            and not self.closed
            and not self.unwritable
            and self._pool.now < self._retires_at
            and len(self._bucket.idle) < limits.idle
            and not self._pool.closed
            and not self.transport.is_closing()
        ):
            self._reused = True
            self.deadline = self._pool.now + limits.idle_seconds
            if not self._reading:
                self._reading = True
                self.transport.resume_reading()
            self._bucket.idle.append(self)
        else:
            self.drop()

    def _break(self, detail: str) -> None:
        sending, self._sending = self._sending, None
        self.drop()
        if sending is not None:
            sending._fail(FailureKind.PROTOCOL, detail, answered=self._begun)

    # The pool's side

    def usable(self) -> bool:
        """Whether nothing waits to be read: stray bytes, or that it was closed."""
        if self.closed or self.transport.is_closing():
            return False
        return self._poll is None or not self._poll.poll(0)

    def carry(self, sending: Sending) -> None:
        """Write a request and wait for its answer."""
        self._sending = sending
        self._answer.begin(sending._head)
        self._begun = False
        sending._connection = self
        sending.reused = self._reused
        body = sending._buffer
        if body and len(body) == 1 and len(body[0]) < _COPIED:
            self.transport.write(sending._head + body[0])
        else:
            self.transport.write(sending._head)
            for part in body or ():
                self.transport.write(part)
        if sending._paused:
            self.update_reading()
        else:
            self.arm()

    def arm(self) -> None:
        """Set the deadline for what is waited for now."""
        sending = self._sending
        if sending is None:
            return
        waits = sending.deadlines
        if sending._paused:
            wait = NEVER
        elif self._begun or (self.unwritable and not sending._ended):
            wait = waits.idle
        elif sending._ended:
            wait = waits.first_byte
        else:
            # The caller is the one who takes his time.
            wait = NEVER
        self.deadline = min(self._pool.now + wait + TICK, sending._total_at)

    def update_reading(self) -> None:
        """Read only while the receiver takes it."""
        sending = self._sending
        wanted = sending is None or not sending._paused
        if wanted != self._reading and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()
        self.arm()

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed."""
        sending, self._sending = self._sending, None
        begun, unwritable = self._begun, self.unwritable
        self.drop()
        if sending is None:
            return
        if sending._total_at <= now:
            sending._fail(FailureKind.TIMEOUT_TOTAL, "no complete answer in time", answered=begun)
        elif begun or (unwritable and not sending._ended):
            sending._fail(FailureKind.TIMEOUT_IDLE, "the upstream fell silent", answered=begun)
        else:
            sending._fail(FailureKind.TIMEOUT_FIRST, "no answer in time")

    def close(self) -> None:
        """Close at once, and tell who waits that the pool was closed."""
        sending, begun = self._sending, self._begun
        self.drop()
        if sending is not None:
            sending._fail(FailureKind.CLOSED, "the pool is closed", answered=begun)

    def drop(self) -> None:
        """Close at once, and count it out at once: closing itself takes a turn of the loop."""
        self._sending = None
        self.deadline = NEVER
        if not self.closed:
            self._count_out()
            self.transport.abort()

    def _count_out(self) -> None:
        self.closed = True
        if self.counted:
            self.counted = False
            self._bucket.open -= 1
            if self in self._bucket.idle:
                self._bucket.idle.remove(self)
