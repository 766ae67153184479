# ruff: noqa: SLF001 -- sending, connection and pool are one engine in three classes
"""The providers' side: pooled HTTP/1.1 connections that hand answers over as they come.

    send ──> kept connection? ──yes──> write ──> head ──> data ... ──> complete ──> kept again
                │ no                     │ closed before any byte, and reused: once more, fresh
                └──> resolve, connect ───┘

An answer counts as complete only when its framing says so. Nothing here makes timers: `sweep`
looks at all deadlines.
"""

import asyncio
import math
import random
import select
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

import httptools

from headway.wire.framing import LOWER, AnswerFraming, Headers, Refusal, check_answer
from headway.wire.known import KnownHead

_NEVER: Final = math.inf
_REPLAY: Final = 64 * 1024
_INTERIMS: Final = 16
_BODILESS: Final = frozenset({204, 304})
_TICK: Final = 0.25
_HEAD_START: Final = 0.25
"""Seconds that an address has before the next one is tried beside it."""
_COPIED: Final = 64 * 1024
"""A body below this is joined to its head: one copy costs less than a second write."""


class Origin(NamedTuple):
    """Where requests go: a host (scheme `http`, `https`) or the path of a socket (`unix`).

    Connections are kept per origin. `tls` names the TLS context for the connector.
    """

    scheme: str
    host: str
    port: int = 0
    tls: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Where to connect, decided and checked by the connector."""

    addresses: tuple[tuple[str, int], ...] = ()
    """(IP address, port), tried in order."""
    path: str = ""
    """Of a unix socket, instead of addresses."""
    server_hostname: str = ""
    """The name that the certificate must bear; with `context` only."""
    context: ssl.SSLContext | None = None


Connector: TypeAlias = Callable[[Origin], Awaitable[Route]]
"""Resolves and checks an origin.

Raises `PermissionError` for what must not be called, `OSError` for what cannot be resolved.
"""


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


class Receiver(Protocol):
    """Takes one answer.

    `on_head`, any number of `on_data`, `on_complete`; or `on_failure`, which may come at any
    point and is then the last. Nothing is called before `send` or `open` has returned, and
    nothing after `Sending.cancel`.
    """

    def on_head(self, status: int, headers: Headers, head: bytes) -> None:
        """Take a final answer's head; `head` is its bytes with the blank line in raw mode."""

    def on_data(self, data: bytes) -> None:
        """Take bytes of the body: decoded, or in raw mode as the upstream framed them."""

    def on_complete(self, *, by_close: bool) -> None:
        """Learn that the framing says that the body is complete.

        `by_close`: it ended by closing, so only the format itself can tell whether it is whole.
        """

    def on_failure(self, failure: Failure) -> None:
        """Learn that there will be no complete answer."""


class Sending:
    """One request on its way, and its answer."""

    __slots__ = (
        "_bucket", "_buffer", "_buffered", "_connection", "_deadline", "_ended", "_fresh",
        "_head", "_paused", "_pool", "_raw", "_receiver", "_task", "_total_at", "deadlines",
        "on_unwritable", "on_writable", "reused",
    )  # fmt: skip

    def __init__(
        self,
        pool: "Pool",
        bucket: "_Bucket",
        head: bytes,
        buffer: list[bytes],
        receiver: Receiver,
        deadlines: Deadlines,
        raw: bool,  # noqa: FBT001 -- made in two places below, on the hot path
    ) -> None:
        self.deadlines = deadlines
        self.reused = False
        """It went, or goes, over a kept connection."""
        self.on_unwritable: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        """Called when `writable` becomes true again, also once the connection is open."""
        self._pool = pool
        self._bucket = bucket
        self._head = head
        # What is written of the body while it may have to be written again.
        self._buffer: list[bytes] | None = buffer
        self._buffered = 0
        self._receiver: Receiver | None = receiver  # None: over, nothing more is told
        self._raw = raw
        self._ended = True
        self._fresh = self._paused = False
        self._connection: _Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._deadline = _NEVER
        # `now` may be one tick old: never end a wait early.
        self._total_at = pool.now + deadlines.total + _TICK

    def cancel(self) -> None:
        """Forget it: the connection is closed and the receiver hears nothing more."""
        if self._receiver is None:
            return
        self._receiver = None
        self._pool._give_up(self)
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


class _Bucket:
    """The connections to one origin."""

    __slots__ = ("idle", "open", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle: list[_Connection] = []
        self.open = 0  # in use, idle, and being opened


class _Enough(Exception):
    """Raised within the parser: what follows the answer is not looked at."""


class _Connection(asyncio.Protocol):
    """One connection to an upstream, which carries one request at a time."""

    __slots__ = (
        "_begun",
        "_body",
        "_bucket",
        "_by_close",
        "_complete",
        "_fields",
        "_head_bytes",
        "_headers",
        "_heard",
        "_interims",
        "_keep",
        "_known",
        "_length",
        "_parser",
        "_parts",
        "_poll",
        "_pool",
        "_raw_head",
        "_reading",
        "_retires_at",
        "_reused",
        "_sending",
        "_status",
        "closed",
        "counted",
        "deadline",
        "transport",
        "unwritable",
    )

    transport: asyncio.Transport

    def __init__(self, pool: "Pool", bucket: _Bucket) -> None:
        self._pool = pool
        self._bucket = bucket
        self._sending: Sending | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._known: KnownHead[int] = KnownHead()
        self._poll: select.poll | None = None
        self._reused = False
        # Not all at once that were opened at once. A unix socket stays where it is.
        age = pool.limits.age_seconds * random.uniform(0.8, 1)  # noqa: S311 - no secret
        self._retires_at = _NEVER if bucket.origin.scheme == "unix" else pool.now + age
        self._reading = True
        self.unwritable = False
        self.closed = False
        self.counted = False  # among the bucket's open ones, apart from the sending that opened it
        self.deadline = _NEVER
        # What the head of an answer says; looked at only once there is one.
        self._status = 0
        self._fields = self._headers = Headers()
        self._by_close = False
        self._keep = False
        self._length = -1  # content bytes still to come, where they are announced
        self._parts: list[bytes] = []
        self._reset()

    def _reset(self) -> None:
        """Be ready for the next answer."""
        self._heard = False  # any byte of the answer
        self._begun = False  # its final head was handed over
        self._complete = False
        self._interims = self._head_bytes = 0
        self._raw_head = b""
        self._body: AnswerFraming | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by class, only by what they do.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self._pool.limits.write_buffer)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)
        self._pool._connections.add(self)

    def data_received(self, data: bytes) -> None:
        sending = self._sending
        if sending is None:
            # Nobody asked for these bytes: they must never become somebody's answer.
            self.drop()
            return
        first = not self._heard
        if first and not data.startswith(b"H"):
            self._break("the answer is malformed")  # the parser takes RTSP/ and ICE/ for HTTP/
            return
        self._heard = True
        try:
            if sending._raw:
                data = self._feed_raw(data)
            elif not first:
                self._feed(data)
            elif not self._recall(data):
                self._feed(data)
                self._learn(data)
        except httptools.HttpParserUpgrade:
            self._break("the upstream switched protocols")
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, Refusal):
                self._break(cause.detail)
                return
            if cause is not None and not isinstance(cause, _Enough):
                raise cause from None
            if not self._complete:
                self._break("the answer is malformed")
                return
            # Bytes after the answer: it is whole, the connection is spoilt.
            self._keep = False
            if sending._raw:
                self._break("bytes follow the answer")
                return
        except Refusal as refusal:
            self._break(refusal.detail)
            return
        self._hand_over(sending, data)

    def eof_received(self) -> None:
        """Let the loop close; `connection_lost` tells what it means."""

    def connection_lost(self, exc: Exception | None) -> None:
        pool = self._pool
        pool._connections.discard(self)
        self._count_out()
        self._poll = None
        del self._parser
        sending, self._sending = self._sending, None
        if sending is None:
            return
        sending._connection = None
        if self._by_close and self._begun and exc is None:
            receiver, sending._receiver = sending._receiver, None
            if receiver is not None:
                receiver.on_complete(by_close=True)
        elif (
            not self._heard and self._reused and not sending._fresh and sending._buffer is not None
        ):
            # It was closed as we wrote: no fault of anybody, and nothing was answered.
            pool._connect(sending)
        elif self._heard:
            sending._fail(FailureKind.CUT, "the answer was cut", answered=self._begun)
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

    # What the parser calls. Nothing here runs the receiver.

    def on_message_begin(self) -> None:
        if self._complete:
            raise _Enough
        if self._headers:  # of an interim answer, or trailers
            self._headers = Headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((LOWER[name], value.strip()))

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        if 100 <= status < 200:
            self._interims += 1
            if status == 101 or self._interims > _INTERIMS:
                raise Refusal(502, f"the upstream answered with status {status}")
            return
        framing = check_answer(status, parser.get_http_version(), self._headers)
        self._body = framing
        self._status = status
        # What still comes are trailers: nobody wants them.
        self._fields, self._headers = self._headers, Headers()
        sending = self._sending
        if status in _BODILESS or (sending is not None and sending._head.startswith(b"HEAD ")):
            self._finish(keep=parser.should_keep_alive())
            # The parser would wait for the body that the fields speak of.
            self._parser = httptools.HttpResponseParser(self)
        else:
            self._by_close = framing.length is None and not framing.chunked

    def on_body(self, data: bytes) -> None:
        if self._complete:
            raise _Enough
        self._parts.append(data)

    def on_message_complete(self) -> None:
        if self._body is not None and not self._complete and not self._by_close:
            self._finish(keep=self._parser.should_keep_alive())

    def _finish(self, *, keep: bool) -> None:
        self._complete = True
        self._keep = keep

    # Reading

    def _recall(self, data: bytes) -> bool:
        """Take a whole answer whose head is known; False: it is for the parser."""
        if (found := self._known.read(data)) is None:
            return False
        self._fields, body, self._status = found
        self._body = AnswerFraming(len(body), chunked=False)
        if body:
            self._parts.append(body)
        self._by_close = False
        self._finish(keep=True)
        return True

    def _learn(self, data: bytes) -> None:
        """Remember the head of an answer that came in this one read, if it may come again."""
        length = self._body.length if self._body is not None else None
        if self._complete and self._keep and length is not None and self._status not in _BODILESS:
            self._known.learn(data, length, self._fields, self._status)

    def _feed(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._body is None:
            self._head_bytes += len(data)
            if self._head_bytes > self._pool.limits.head:
                raise Refusal(502, "the head of the answer is too large")

    def _feed_raw(self, data: bytes) -> bytes:
        """Parse to find the end only, and return the bytes of the body as they came."""
        if self._body is not None:
            self._parser.feed_data(data)
            self._check_raw_end(len(data))
            return data
        # Interim answers are fed and dropped one by one, so that `_raw_head` is the final head.
        pending = self._raw_head + data
        fed = len(self._raw_head)
        while (end := pending.find(b"\r\n\r\n", max(0, fed - 3))) >= 0:
            self._parser.feed_data(pending[fed : end + 4])
            if self._body is not None:
                self._raw_head, rest = pending[: end + 4], pending[end + 4 :]
                self._length = -1 if self._body.length is None else self._body.length
                if rest:
                    self._parser.feed_data(rest)
                self._check_raw_end(len(rest))
                return rest
            pending, fed = pending[end + 4 :], 0
        self._parser.feed_data(pending[fed:])
        self._raw_head = pending
        if len(pending) > self._pool.limits.head:
            raise Refusal(502, "the head of the answer is too large")
        return b""

    def _check_raw_end(self, size: int) -> None:
        """Refuse bytes behind an announced length that the parser forgives (CR LF)."""
        if self._length >= 0:
            if size > self._length and not self._complete_without_body():
                raise Refusal(502, "bytes follow the answer")
            self._length -= size

    def _complete_without_body(self) -> bool:
        return self._complete and not self._parts

    def _hand_over(self, sending: Sending, data: bytes) -> None:
        """Tell the receiver what one read has brought."""
        receiver = sending._receiver
        if receiver is None or self._body is None:
            return
        if not self._begun:
            self._begun = True
            receiver.on_head(self._status, self._fields, self._raw_head)
            if sending._receiver is None:
                return
        if sending._raw:
            self._parts.clear()
            if data:
                receiver.on_data(data)
        elif self._parts:
            parts, self._parts = self._parts, []
            receiver.on_data(parts[0] if len(parts) == 1 else b"".join(parts))
        if sending._receiver is None:
            return
        if self._complete:
            self._sending = sending._receiver = sending._connection = None
            self._give_back(reusable=self._keep and sending._ended)
            receiver.on_complete(by_close=False)
        elif not sending._paused:
            self.deadline = min(self._pool.now + sending.deadlines.idle + _TICK, sending._total_at)

    def _give_back(self, *, reusable: bool) -> None:
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
            self._reset()
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
            wait = _NEVER
        elif self._begun or (self.unwritable and not sending._ended):
            wait = waits.idle
        elif sending._ended:
            wait = waits.first_byte
        else:
            # The caller is the one who takes his time.
            wait = _NEVER
        self.deadline = min(self._pool.now + wait + _TICK, sending._total_at)

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

    def drop(self) -> None:
        """Close at once, and count it out at once: closing itself takes a turn of the loop."""
        self._sending = None
        self.deadline = _NEVER
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


class PlainConnector:
    """Resolves with the system's resolver and checks nothing; TLS with the system's roots."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None

    async def __call__(self, origin: Origin) -> Route:
        """Return every address of the origin."""
        if origin.scheme == "unix":
            return Route(path=origin.host)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        addresses = tuple((str(entry[4][0]), int(entry[4][1])) for entry in found)
        if origin.scheme != "https":
            return Route(addresses)
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return Route(addresses, server_hostname=origin.host, context=self._context)


class Pool:
    """Connections to any number of origins; last used first out."""

    def __init__(
        self,
        limits: PoolLimits | None = None,
        connect: Connector | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Make a pool within a running loop; `clock` is that of the server that sweeps it."""
        self._loop = asyncio.get_running_loop()
        self.limits = limits or PoolLimits()
        self.now = (clock or self._loop.time)()
        """Monotonic seconds at the last sweep."""
        self.closed = False
        self._resolve: Connector = connect or PlainConnector()
        self._buckets: dict[Origin, _Bucket] = {}
        self._last = _Bucket(Origin("", ""))
        self._connections: set[_Connection] = set()
        self._connecting: set[Sending] = set()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def send(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        receiver: Receiver,
        deadlines: Deadlines,
        *,
        raw: bool = False,
    ) -> Sending:
        """Send a whole request; `head` ends with its blank line and says Content-Length itself."""
        buffer = [body] if body else []
        sending = Sending(self, self._bucket(origin), head, buffer, receiver, deadlines, raw)
        self._dispatch(sending)
        return sending

    def open(
        self,
        origin: Origin,
        head: bytes,
        receiver: Receiver,
        deadlines: Deadlines,
        *,
        raw: bool = False,
    ) -> Sending:
        """Send a head now and the body by `Sending.write` and `end`.

        Write only while `writable` is true; if it is not, `on_writable` tells when.
        """
        sending = Sending(self, self._bucket(origin), head, [], receiver, deadlines, raw)
        sending._ended = False
        self._dispatch(sending)
        return sending

    def _bucket(self, origin: Origin) -> _Bucket:
        if origin is self._last.origin:
            return self._last
        bucket = self._buckets.get(origin)
        if bucket is None:
            bucket = self._buckets[origin] = _Bucket(origin)
        self._last = bucket
        return bucket

    def _dispatch(self, sending: Sending) -> None:
        idle = sending._bucket.idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                connection.carry(sending)
                return
            connection.drop()
        self._connect(sending)

    def _connect(self, sending: Sending) -> None:
        """Open a connection for a sending; only this part needs a task."""
        bucket = sending._bucket
        sending._fresh = True
        if self.closed:
            self._loop.call_soon(sending._fail, FailureKind.CLOSED, "the pool is closed")
        elif bucket.open >= self.limits.connections:
            self._loop.call_soon(
                sending._fail, FailureKind.BUSY, f"{bucket.open} connections are open"
            )
        else:
            bucket.open += 1
            sending._deadline = min(
                self.now + sending.deadlines.connect + _TICK, sending._total_at
            )
            self._connecting.add(sending)
            sending._task = self._loop.create_task(self._establish(sending))

    async def _establish(self, sending: Sending) -> None:
        bucket = sending._bucket
        connection: _Connection | None = None
        kind, detail = FailureKind.CONNECT, "no address"
        try:
            try:
                route = await self._resolve(bucket.origin)
            except PermissionError as error:
                kind, detail = FailureKind.FORBIDDEN, str(error)
            except OSError as error:
                detail = f"cannot be resolved: {error}"
            else:
                connection, kind, detail = await self._try_all(route, bucket)
        except Exception as error:  # noqa: BLE001 -- a connector's fault must reach the receiver
            detail = f"{type(error).__name__}: {error}"
        sending._task = None
        if connection is not None and not connection.closed and sending in self._connecting:
            # From here on the connection counts itself.
            self._connecting.discard(sending)
            connection.counted = True
        else:
            self._give_up(sending)
        if connection is None:
            sending._fail(kind, detail)
        elif connection.closed:
            sending._fail(FailureKind.CLOSED_BEFORE_ANSWER, "closed before the request")
        elif sending._receiver is None or self.closed:
            connection._give_back(reusable=connection.counted)
        else:
            connection.carry(sending)
            if not sending._ended and sending.on_writable is not None and sending.writable:
                sending.on_writable()

    def _give_up(self, sending: Sending) -> None:
        """Stop connecting for a sending; a task cancelled before it began runs no clean-up."""
        if sending in self._connecting:
            self._connecting.discard(sending)
            sending._bucket.open -= 1
        if sending._task is not None:
            sending._task.cancel()
            sending._task = None

    async def _try_all(
        self, route: Route, bucket: _Bucket
    ) -> tuple[_Connection | None, FailureKind, str]:
        loop = self._loop
        kind = FailureKind.CONNECT
        options: dict[str, Any] = {}
        if route.context is not None:
            options = {"ssl": route.context, "server_hostname": route.server_hostname}
        if route.path:
            try:
                _, connection = await loop.create_unix_connection(
                    lambda: _Connection(self, bucket), route.path, **options
                )
            except OSError as error:
                return None, kind, f"{route.path}: {error.strerror or error}"
            return connection, kind, ""
        if len(route.addresses) == 1:
            return await self._try(bucket, route.addresses[0], options)
        return await self._race(bucket, route.addresses, options)

    async def _race(
        self, bucket: _Bucket, addresses: Sequence[tuple[str, int]], options: dict[str, Any]
    ) -> tuple[_Connection | None, FailureKind, str]:
        """Try one address after the other, the next before a slow one has failed (RFC 8305)."""
        rest = deque(addresses)
        running: set[asyncio.Task[tuple[_Connection | None, FailureKind, str]]] = set()
        found: tuple[_Connection | None, FailureKind, str] = (
            None,
            FailureKind.CONNECT,
            "no address",
        )
        try:
            while found[0] is None and (rest or running):
                if rest:
                    attempt = self._try(bucket, rest.popleft(), options)
                    running.add(self._loop.create_task(attempt))
                done, running = await asyncio.wait(
                    running,
                    timeout=_HEAD_START if rest else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    if found[0] is None:
                        found = task.result()
                    elif (late := task.result()[0]) is not None:
                        late.drop()
        finally:
            for task in running:
                task.cancel()
        return found

    async def _try(
        self, bucket: _Bucket, address: tuple[str, int], options: dict[str, Any]
    ) -> tuple[_Connection | None, FailureKind, str]:
        host, port = address
        try:
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self, bucket), host, port, **options
            )
        except ssl.SSLError as error:
            return None, FailureKind.TLS, f"{host}: {error.reason or error}"
        except OSError as error:
            return None, FailureKind.CONNECT, f"{host}: {error.strerror or error}"
        return connection, FailureKind.CONNECT, ""

    def sweep(self, now: float) -> None:
        """Look at all deadlines; give it to `Server.on_sweep`, or call it often."""
        self.now = now
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.expire(now)
        for sending in [s for s in self._connecting if s._deadline <= now]:
            self._give_up(sending)
            sending._fail(FailureKind.TIMEOUT_CONNECT, "no connection in time")

    async def close(self) -> None:
        """Close all connections; what runs fails."""
        self.closed = True
        tasks = [sending._task for sending in self._connecting if sending._task is not None]
        for sending in tuple(self._connecting):
            self._give_up(sending)
            sending._fail(FailureKind.CLOSED, "the pool is closed")
        for connection in tuple(self._connections):
            sending_now, begun = connection._sending, connection._begun
            connection.drop()
            if sending_now is not None:
                sending_now._fail(FailureKind.CLOSED, "the pool is closed", answered=begun)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
