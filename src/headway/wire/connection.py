# ruff: noqa: SLF001 -- a call and its connection are one engine in two classes
"""One connection of a caller: HTTP/1.1 by callbacks only.

A connection parses what it reads at once and queues the calls that it finds; then, outside the
parser, it hands one call after the other to the application:

    bytes -> parser -> [call, call, ...] -> on_head -> collect | stream | respond -> answer
                        at most 1 + 8       one in work                              next

No task, timer or closure per request: the server's sweep looks at each connection's deadline.
"""

import asyncio
import contextlib
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, cast

import httptools

from headway.wire.call import BY_CLOSE, COLLECT, DELIVERED, UNDECIDED, Call
from headway.wire.framing import (
    CLOSE,
    LOWER,
    STATUS_LINES,
    FieldLines,
    Headers,
    Refusal,
    RequestFraming,
    check_request,
)
from headway.wire.known import KnownHead

_Said: TypeAlias = tuple[str, bytes, bool]
"""Of a head that is known: method, target, whether it is HTTP/1.0."""

_NEVER: Final = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one process takes from callers; sizes in bytes, times in seconds."""

    target: int = 8 * 1024
    head: int = 32 * 1024
    fields: int = 100
    head_seconds: float = 10.0
    body_rate: int = 1024
    """Per second, averaged over `body_window`."""
    body_window: float = 10.0
    idle_seconds: float = 75.0
    parting_seconds: float = 1.0
    """How long an idle connection stays open when the process is told to end: a request that is on
    its way is answered yet, with the word that it was the last."""
    requests: int = 10_000
    """On one connection."""
    waiting: int = 8
    """Pipelined behind the one in work."""
    connections: int = 10_000
    write_buffer: int = 1024 * 1024
    stalled_seconds: float = 30.0
    linger_seconds: float = 2.0
    """How long an answer that ends a connection may be fetched while the rest is thrown away."""
    sweep_seconds: float = 0.25


class Application(Protocol):
    """Answers calls."""

    def on_head(self, call: "Call") -> None:
        """Take a call whose head is complete and checked.

        It chooses one of `call.collect`, `call.stream`, `call.respond`, `call.start`, now or
        later: until it does, nothing more than one read is taken in. No callback for the body
        comes before this has returned.
        """


ErrorBody: TypeAlias = Callable[[int, str, "Call | None"], tuple[FieldLines, bytes]]
"""Shapes an answer that the engine gives by itself.

Takes status, detail and the call (None when no head was understood); returns lines for the head,
the content type among them, and the body.
"""


class Host(Protocol):
    """The process that a connection was made to."""

    @property
    def application(self) -> Application: ...
    @property
    def limits(self) -> ServerLimits: ...
    @property
    def error_body(self) -> ErrorBody: ...
    @property
    def clock(self) -> Callable[[], float]: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def now(self) -> float:
        """Monotonic seconds at the last sweep: free to read, up to `sweep_seconds` old."""

    @property
    def date(self) -> bytes:
        """The Date line of answers."""

    @property
    def draining(self) -> bool:
        """Connections end with the answer that is being written."""

    def admit(self, connection: "ServerProtocol") -> bool:
        """Take note of a connection; False: there are too many."""

    def forget(self, connection: "ServerProtocol") -> None:
        """Drop a connection that is closed."""


class _Enough(Exception):
    """Raised within the parser: nothing behind this point is read."""


class ServerProtocol(asyncio.Protocol):
    """One connection of a caller."""

    __slots__ = (
        "_begun",
        "_closing",
        "_count",
        "_deaf",
        "_expired",
        "_failure",
        "_framing_bytes",
        "_head_bytes",
        "_headers",
        "_in_body",
        "_known",
        "_line",
        "_mark",
        "_parser",
        "_pumping",
        "_queue",
        "_read",
        "_read_size",
        "_reading",
        "_receiving",
        "_stall_mark",
        "_target",
        "_unwritable",
        "current",
        "deadline",
        "peer",
        "read_at",
        "server",
        "stall_at",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: Host) -> None:
        self.server = server
        self.peer = ""
        self.read_at = 0.0
        self.deadline = _NEVER
        self.stall_at = _NEVER
        self.current: Call | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Call] = deque()
        self._receiving: Call | None = None
        self._headers = Headers()
        self._target = b""
        self._failure: Refusal | None = None
        self._count = 0
        self._head_bytes = 0  # of the head that is being read, as far as they are known
        self._framing_bytes = 0  # of a chunked body: all that is not content
        self._read_size = 0
        self._read = b""  # what is being parsed
        self._line = b""  # of a head that came in several reads: up to its first field
        self._known: KnownHead[_Said] = KnownHead()
        self._mark = 0  # bytes of the body at the start of the present window
        self._stall_mark = 0
        self._begun = False  # within a head
        self._in_body = False
        self._pumping = False
        self._reading = True
        self._unwritable = False
        self._deaf = False  # what still comes is not parsed
        self._closing = False  # the last answer of this connection is written

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by class, only by what they do.
        self.transport = cast(asyncio.Transport, transport)
        server = self.server
        self.transport.set_write_buffer_limits(high=server.limits.write_buffer)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = str(peer[0]).removeprefix("::ffff:")
            # asyncio sets this only on sockets that name their protocol; inherited ones do not.
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        admitted = server.admit(self)
        self._arm_idle()
        if not admitted:
            self._write_refusal(503, "too many connections", None)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        server = self.server
        self.read_at = server.clock()
        try:
            if self._in_body or self._begun:
                self._parse(data)
            elif not self._recall(data):
                count = self._count
                self._parse(data)
                if self._count == count + 1:
                    self._learn(data)
        except httptools.HttpParserError as error:
            self._deaf = True
            self._stop(error, data)
        except Refusal as refusal:
            self._deaf = True
            self._fail(refusal)
        if self._begun and not (self._line and self._headers):
            self._line += data[-server.limits.head :]
        current = self.current
        if current is None:
            if self._queue or self._failure:
                self._pump()
            elif self._begun and self.deadline > (
                limit := server.now + server.limits.head_seconds + server.limits.sweep_seconds
            ):
                self.deadline = limit
        elif UNDECIDED < current._mode < DELIVERED:
            self._advance_safely(current)
        if self._queue or self._deaf:
            self.update_reading()

    def eof_received(self) -> None:
        """Let the loop close: a caller that sends no more has left."""

    def connection_lost(self, _exc: Exception | None) -> None:
        self.server.forget(self)
        self._deaf = self._closing = True
        self.deadline = self.stall_at = _NEVER
        self._queue.clear()
        # The parser holds our methods: without this the pair would wait for the collector.
        del self._parser
        if (call := self.current) is not None:
            self.current = None
            self._tell_gone(call)

    def pause_writing(self) -> None:
        self._unwritable = True
        self.stall_at = self.server.clock() + self.server.limits.stalled_seconds
        self._stall_mark = self.transport.get_write_buffer_size()
        if (call := self.current) is not None and call.on_unwritable is not None:
            call.on_unwritable(call)

    def resume_writing(self) -> None:
        self._unwritable = False
        self.stall_at = _NEVER
        if (call := self.current) is not None and call.on_writable is not None:
            call.on_writable(call)

    # What the parser calls. Nothing here runs the application.

    def on_message_begin(self) -> None:
        server = self.server
        taken = len(self._queue) + (self.current is not None)
        if taken > server.limits.waiting or self._count >= server.limits.requests:
            raise _Enough
        self._begun = True
        if self._headers:  # the trailers of the message before
            self._headers = Headers()
        self._target = b""

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self.server.limits.target:
            raise Refusal(414, f"the target is longer than {self.server.limits.target:,} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((LOWER[name], value.strip()))

    def on_headers_complete(self) -> None:
        limits = self.server.limits
        headers = self._headers
        # What still comes are trailers: never authentication, never framing, never seen.
        self._headers = Headers()
        if len(headers) > limits.fields:
            raise Refusal(431, f"the head has more than {limits.fields} fields")
        if self._read_size > limits.head:
            size = len(self._target) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > limits.head:
                raise Refusal(431, f"the head is larger than {limits.head:,} bytes")
        if b"_" in b"".join(headers.by_name()):
            # WSGI cannot tell it from one with `-`: it could be taken for that.
            headers = Headers(field for field in headers if b"_" not in field[0])
        parser = self._parser
        method = parser.get_method()
        version = parser.get_http_version()
        if self._speaks_rtsp(method):
            raise Refusal(505, "HTTP/1.1 and HTTP/1.0 are spoken here")
        framing = check_request(method, version, headers)
        if parser.should_upgrade():
            raise Refusal(400, "no other protocol is spoken here")
        self._count += 1
        call = Call(
            self,
            method.decode("ascii"),
            self._target,
            headers,
            framing,
            http_10=version == "1.0",
            persist=parser.should_keep_alive() and self._count < limits.requests,
        )
        self._begun = False
        self._in_body = True
        self._framing_bytes = 0
        self._receiving = call
        self._queue.append(call)

    def on_body(self, data: bytes) -> None:
        if (call := self._receiving) is not None:
            call._parts.append(data)
            call._size += len(data)

    def on_message_complete(self) -> None:
        if (call := self._receiving) is not None:
            call._complete = True
            call.last_byte_at = self.read_at
        self._receiving = None
        self._in_body = False
        self._head_bytes = -1

    # Reading

    def _speaks_rtsp(self, method: bytes) -> bool:
        """Tell whether the line just read ends in RTSP/…: the parser takes that for HTTP."""
        target, line = self._target, self._line
        if not line:
            # The usual case: a head that came in one read, and nothing before it.
            if self._read.startswith(b" HTTP/", len(method) + 1 + len(target)):
                return False
            return target + b" RTSP/" in self._read
        self._line = b""
        return target + b" RTSP/" in line + self._read

    def _recall(self, data: bytes) -> bool:
        """Take a request whose head is known; False: it is for the parser."""
        limits = self.server.limits
        if self._queue or self.current is not None or self._count >= limits.requests:
            return False
        if (found := self._known.read(data)) is None:
            return False
        headers, body, (method, target, http_10) = found
        if len(data) - len(body) > limits.head:
            return False
        self._count += 1
        call = Call(
            self,
            method,
            target,
            headers,
            RequestFraming(len(body), chunked=False, expects_continue=False),
            http_10=http_10,
            persist=self._count < limits.requests,
        )
        if body:
            call._parts.append(body)
            call._size = len(body)
        call._complete = True
        call.last_byte_at = self.read_at
        self._queue.append(call)
        return True

    def _learn(self, data: bytes) -> None:
        """Remember the head of the request that this read has brought, if it may come again."""
        call = self._newest()
        if call is None or not (call._complete and call._persist) or call._expects_continue:
            return
        if (length := call.content_length) is not None:
            said = call.method, call.target, call.http_10
            self._known.learn(data, length, call.headers, said)

    def _parse(self, data: bytes) -> None:
        self._read = data
        size = self._read_size = len(data)
        if not self._in_body and self._head_bytes + size > self.server.limits.head:
            self._feed_long_head(data)
        else:
            self._feed(data)
        self._read = b""

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse one read and count the bytes that are not content."""
        call = self._receiving
        before = call._size if call is not None else 0
        self._parser.feed_data(data)
        if not self._in_body:
            # After a message that ended in this read, what is left of it is at most one read.
            self._head_bytes = self._head_bytes + len(data) if self._head_bytes >= 0 else 0
        elif call is not None and call is self._receiving and call.chunked:
            self._framing_bytes += len(data) - (call._size - before)
            if self._framing_bytes > 65_536 + 8 * call._size:
                raise Refusal(400, "the body is mostly framing")

    def _feed_long_head(self, data: bytes) -> None:
        """Feed what is still allowed of a head, and the rest only if that completed it.

        Cut where heads and bodies end, so that a long body stays in one piece.
        """
        limit = self.server.limits.head
        view = memoryview(data)
        at, size = 0, len(data)
        while at < size:
            if self._in_body:
                call = self._receiving
                end = size
                if call is not None and (length := call.content_length) is not None:
                    end = at + length - call._size
            else:
                room = limit - self._head_bytes
                if room <= 0:
                    raise Refusal(431, f"the head is larger than {limit:,} bytes")
                end = data.find(b"\r\n\r\n", at, at + room) + 4
                if end < 4:
                    end = at + room
            self._feed(view[at:end])
            at = end

    def _stop(self, error: httptools.HttpParserError, data: bytes) -> None:
        """Say what a parser error means to the caller."""
        cause = error.__context__
        if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
            if isinstance(cause, _Enough):
                self._end_after_queue()
            elif isinstance(cause, Refusal):
                self._fail(cause)
            else:
                raise cause
        elif isinstance(error, httptools.HttpParserInvalidMethodError):
            known = self._head_bytes > 0 or data[:1].isalpha()
            self._fail(
                Refusal(501, "this method is not known here")
                if known
                else Refusal(400, "this is not HTTP")
            )
        elif "ICE/" in str(error) or (
            "version" in str(error).lower() and "after" not in str(error)
        ):
            self._fail(Refusal(505, "HTTP/1.1 and HTTP/1.0 are spoken here"))
        else:
            self._fail(Refusal(400, "the request is malformed"))

    def _newest(self) -> Call | None:
        return self._queue[-1] if self._queue else self.current

    def _end_after_queue(self) -> None:
        if (newest := self._newest()) is not None:
            newest._persist = False
        elif not self._closing:
            self._linger()

    def _fail(self, refusal: Refusal) -> None:
        """Refuse what is being read; requests before it are answered first."""
        broken, self._receiving = self._receiving, None
        if broken is not None and broken is self.current:
            self.refuse_call(broken, refusal.status, refusal.detail)
            return
        if broken is not None:
            self._queue.pop()
        self._failure = refusal

    def update_reading(self) -> None:
        """Read on only if somebody takes it."""
        if self.transport.is_closing():
            return
        call = self.current
        wanted = self._closing or not (self._queue or self._deaf or self._blocked(call))
        if wanted and not self._reading:
            self._reading = True
            self.transport.resume_reading()
        elif not wanted and self._reading:
            self._reading = False
            self.transport.pause_reading()

    @staticmethod
    def _blocked(call: Call | None) -> bool:
        if call is None or call._complete:
            return False
        return call._paused or call._mode == UNDECIDED

    # Calls, one after the other

    def _pump(self) -> None:
        """Hand waiting calls to the application until one stays in work."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self.current is None and not self._closing:
                if not self._queue:
                    if (failure := self._failure) is not None:
                        self._write_refusal(failure.status, failure.detail, None)
                    break
                call = self.current = self._queue.popleft()
                self.deadline = _NEVER
                try:
                    self.server.application.on_head(call)
                    if call is self.current:
                        self._advance(call)
                except Exception as error:  # noqa: BLE001 -- one bad call must not end the server
                    self._crash(call, error)
        finally:
            self._pumping = False
        if not self._closing:
            if (present := self.current) is None:
                self._arm_idle()
            if (
                self._queue
                or self._deaf
                or not self._reading
                or (present is not None and not present._complete)
            ):
                self.update_reading()

    def choice_made(self, call: Call) -> None:
        """Take note that the application wants the body."""
        if not self._pumping:
            self.server.loop.call_soon(self._advance_safely, call)
            self.update_reading()

    def _advance_safely(self, call: Call) -> None:
        if call is not self.current:
            return
        try:
            self._advance(call)
        except Exception as error:  # noqa: BLE001 -- one bad call must not end the server
            self._crash(call, error)

    def _advance(self, call: Call) -> None:
        """Bring the application what has come of the body."""
        mode = call._mode
        if not UNDECIDED < mode < DELIVERED:
            return
        if call._size > call._limit:
            self.refuse_call(call, 413, f"the body is larger than {call._limit:,} bytes")
            return
        complete = call._complete
        if mode == COLLECT:
            if complete:
                parts, call._parts = call._parts, []
                call._mode = DELIVERED
                self.deadline = _NEVER
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                assert call._on_body is not None  # noqa: S101 -- set by `collect`
                call._on_body(call, body)
            return
        sink = call._sink
        assert sink is not None  # noqa: S101 -- set by `stream`
        parts, call._parts = call._parts, []
        for part in parts:
            sink.data(part)
            if call is not self.current:
                return
        if complete:
            call._mode = DELIVERED
            self.deadline = _NEVER
            sink.end()

    def finish_call(self, call: Call, *, keep: bool) -> None:
        """End a call whose answer is written, and go on to the next."""
        call._protocol = None
        self.current = None
        if not keep:
            self._close(unread=not call._complete or self._deaf)
        try:
            if call.on_done is not None:
                call.on_done(call)
        finally:
            call._release()
            if keep and not self._pumping:
                if self._queue or self._failure:
                    # From the loop, so that a caller's pipeline cannot grow our stack.
                    self.server.loop.call_soon(self._pump)
                else:
                    self._arm_idle()

    def refuse_call(self, call: Call, status: int, detail: str) -> None:
        """End the call in work with an error of the engine's own, or cut a begun answer."""
        call.refused = status
        self.current = None
        if call.answered:
            self._cut(call)
        else:
            self._write_refusal(status, detail, call)
        self._tell_gone(call)

    def _tell_gone(self, call: Call) -> None:
        call._protocol = None
        if call.on_gone is not None:
            try:
                call.on_gone(call)
            except Exception as error:  # noqa: BLE001 - a fault of ours ends one connection, not all
                self._report(error)
        call._release()

    def _crash(self, call: Call, error: Exception) -> None:
        self._report(error)
        if call is self.current:
            self.refuse_call(call, 500, "the request could not be answered")

    def _report(self, error: Exception) -> None:
        self.server.loop.call_exception_handler(
            {"message": "a call failed", "exception": error, "protocol": self}
        )

    # Ends

    def _write_refusal(self, status: int, detail: str, call: Call | None) -> None:
        lines, body = self.server.error_body(status, detail, call)
        if status == 503:
            lines = FieldLines(lines + b"retry-after: 1\r\n")
        head = b"%b%b%b%bcontent-length: %d\r\n\r\n" % (
            STATUS_LINES[status],
            self.server.date,
            lines,
            CLOSE,
            len(body),
        )
        self.transport.write(head if call is not None and call.method == "HEAD" else head + body)
        self._linger()

    def _close(self, *, unread: bool) -> None:
        if unread:
            self._linger()
        else:
            self._shut()

    def _shut(self) -> None:
        """Close once all is written; who does not fetch it is cut."""
        self._end_reading()
        self.deadline = self.server.clock() + self.server.limits.stalled_seconds
        self.transport.close()

    def _linger(self) -> None:
        """Let the caller fetch the last answer; closing with bytes unread would destroy it."""
        self._end_reading()
        self.deadline = self.server.clock() + self.server.limits.linger_seconds
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError):
                self.transport.write_eof()
        self.update_reading()

    def _end_reading(self) -> None:
        self._deaf = self._closing = True
        self._failure = None
        self._queue.clear()
        self._receiving = None

    def cut(self, call: Call) -> None:
        """End a call by closing within its answer."""
        call._release()
        self.current = None
        self._cut(call)

    def _cut(self, call: Call) -> None:
        if call._ends == BY_CLOSE:
            # A plain close would be the mark of completeness; a reset is none.
            self._end_reading()
            sock = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self._shut()

    # Deadlines

    def _arm_idle(self) -> None:
        limits = self.server.limits
        if self._begun:
            wait = limits.head_seconds
        else:
            wait = limits.parting_seconds if self.server.draining else limits.idle_seconds
        # `now` may be one tick old: never end a wait early.
        self.deadline = self.server.now + wait + limits.sweep_seconds

    def arm_body(self, call: Call) -> None:
        """Start a window in which enough of the body must come."""
        if not call._complete:
            window = call._idle_seconds or self.server.limits.body_window
            self._mark = call._size
            self.deadline = self.server.now + window + self.server.limits.sweep_seconds

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed."""
        limits = self.server.limits
        if self.stall_at <= now:
            left = self.transport.get_write_buffer_size()
            if left >= self._stall_mark:
                self.transport.abort()
                return
            self._stall_mark = left
            self.stall_at = now + limits.stalled_seconds
        if self.deadline > now:
            return
        call = self.current
        if self._closing:
            if self.transport.get_write_buffer_size() and not self.transport.is_closing():
                self.deadline = now + limits.stalled_seconds
                self.transport.close()
            else:
                self.transport.abort()
        elif call is not None:
            self._expire_body(call)
        elif self._begun:
            self._deaf = True
            self._write_refusal(408, "the head did not come in time", None)
        else:
            self._shut()

    def _expire_body(self, call: Call) -> None:
        limits = self.server.limits
        came = call._size - self._mark
        if call._idle_seconds is not None:
            enough = came > 0
        else:
            enough = came >= limits.body_rate * limits.body_window
        if call._complete:
            self.deadline = _NEVER
        elif enough or not self._reading:
            self.arm_body(call)
        else:
            self._receiving = None
            self.refuse_call(call, 408, "the body did not come in time")

    def drain(self) -> None:
        """Close soon if nothing is in work; what is closes after its answer."""
        if not self._closing and self.current is None and not self._queue and not self._begun:
            self._arm_idle()
