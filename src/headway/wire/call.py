"""One request of a caller and its answer, as an application sees them.

on_head -> collect | stream | respond | start ... write ... finish -> on_done | on_gone
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeAlias

from headway.wire.framing import (
    CHUNKED,
    CLOSE,
    CONTINUE,
    LAST_CHUNK,
    STATUS_LINES,
    FieldLines,
    Headers,
    RequestFraming,
    has_no_body,
    split_target,
    write_fields,
)

Fields: TypeAlias = FieldLines | Iterable[tuple[bytes, bytes]]
"""Lines written before (`framing.write_fields`, for speed), or pairs, checked and written here."""

_KEEP: Final = FieldLines(b"connection: keep-alive\r\n")
_NOTHING: Final = FieldLines(b"")
_COPIED: Final = 64 * 1024
"""A body below this is joined to its head: one copy costs less than a second write."""

# What becomes of a call's body.
UNDECIDED: Final = 0
COLLECT: Final = 1
STREAM: Final = 2
DELIVERED: Final = 3

# How the body of an answer ends.
BY_NOTHING: Final = 0
BY_LENGTH: Final = 1
BY_CHUNK: Final = 2
BY_CLOSE: Final = 3


class BodySink(Protocol):
    """Takes a request's body as it comes; `end` is called only when it is complete."""

    def data(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class Transport(Protocol):
    """What writes to the caller."""

    def write(self, data: bytes) -> None: ...


class Times(Protocol):
    """What a call asks of the process that it came to."""

    @property
    def date(self) -> bytes:
        """Return the Date line of answers."""

    @property
    def draining(self) -> bool:
        """Return whether connections end with the answer that is being written."""


class Line(Protocol):
    """The connection of a call."""

    @property
    def transport(self) -> Transport: ...
    @property
    def server(self) -> Times: ...
    @property
    def peer(self) -> str: ...
    @property
    def read_at(self) -> float: ...

    def arm_body(self, call: "Call") -> None:
        """Start a window in which enough of the body must come."""

    def choice_made(self, call: "Call") -> None:
        """Take note that the application wants the body."""

    def update_reading(self) -> None:
        """Read on only if somebody takes it."""

    def refuse_call(self, call: "Call", status: int, detail: str) -> None:
        """End the call in work with an error of the engine's own, or cut a begun answer."""

    def finish_call(self, call: "Call", *, keep: bool) -> None:
        """End a call whose answer is written, and go on to the next."""

    def cut(self, call: "Call") -> None:
        """End a call by closing within its answer."""


class Call:
    """One request and its answer.

    Exactly one of these ends a call: `on_done` (the whole answer was handed to the kernel),
    `on_gone` (the caller left or stalled, or the engine refused the rest of the request itself:
    then `refused` is the status of that), or the application's own `abort`. Callbacks are plain
    attributes that take the call; set what is needed in `on_head`. After its end a call ignores
    what is written to it, and has let go of all callbacks.
    """

    __slots__ = (
        "_complete", "_ends", "_expects_continue", "_idle_seconds", "_left", "_limit", "_mode",
        "_on_body", "_parts", "_paused", "_persist", "_protocol", "_sink", "_size", "answered",
        "chunked", "content_length", "context", "headers", "http_10", "last_byte_at", "method",
        "on_done", "on_gone", "on_unwritable", "on_writable", "path", "query", "received_at",
        "refused", "status", "target",
    )  # fmt: skip

    def __init__(
        self,
        protocol: Line,
        method: str,
        target: bytes,
        headers: Headers,
        framing: RequestFraming,
        *,
        http_10: bool,
        persist: bool,
    ) -> None:
        self._protocol: Line | None = protocol
        self.method = method
        self.target = target
        self.path, self.query = split_target(target)
        """Decoded and checked path, raw query."""
        self.headers = headers
        """As received, without names that hold `_`."""
        self.http_10 = http_10
        """The caller speaks HTTP/1.0: it takes no chunks."""
        self.received_at = protocol.read_at
        """Monotonic seconds at which the head was complete."""
        self.last_byte_at = 0.0
        """Monotonic seconds at which the request was complete; 0.0 before."""
        self.refused: int | None = None
        """The status with which the engine itself ended the call."""
        self.answered = False
        """Something of the answer was written."""
        self.status = 0
        """Of the answer, if the application wrote one."""
        self.context: Any = None
        """The application's own."""
        self.on_gone: Callable[[Call], None] | None = None
        self.on_done: Callable[[Call], None] | None = None
        self.on_unwritable: Callable[[Call], None] | None = None
        """The caller reads too slowly: write no more until `on_writable`."""
        self.on_writable: Callable[[Call], None] | None = None
        self.content_length, self.chunked, self._expects_continue = framing
        """What the request says of its body; no length: there is none, or it comes in chunks."""
        self._persist = persist
        self._parts: list[bytes] = []
        self._complete = self._paused = False
        self._size = self._left = 0
        self._mode = UNDECIDED
        self._limit = -1
        self._idle_seconds: float | None = None
        self._on_body: Callable[[Call, bytes], None] | None = None
        self._sink: BodySink | None = None
        self._ends = BY_NOTHING

    @property
    def peer(self) -> str:
        """Address of the caller without port; empty on a unix socket and after the end."""
        return self._protocol.peer if self._protocol is not None else ""

    @property
    def has_body(self) -> bool:
        """A body comes or came with the request, be it an empty one."""
        return self.chunked or self.content_length is not None

    # The request's body.

    def collect(self, limit: int, on_body: "Callable[[Call, bytes], None]") -> None:
        """Have the whole body brought, once; empty if there is none.

        Above `limit` bytes it is refused with 413, unread if Content-Length says so.
        """
        protocol = self._protocol
        if protocol is None:
            return
        self._on_body = on_body
        self._take(protocol, COLLECT, limit)

    def stream(
        self, sink: BodySink, *, limit: int | None = None, idle_seconds: float | None = None
    ) -> None:
        """Have the body brought as it comes.

        With `idle_seconds` the rule of so many bytes per second does not hold: only a pause of
        that length ends the call.
        """
        protocol = self._protocol
        if protocol is None:
            return
        self._sink = sink
        self._idle_seconds = idle_seconds
        self._take(protocol, STREAM, sys.maxsize if limit is None else limit)

    def _take(self, protocol: Line, mode: int, limit: int) -> None:
        if self.content_length is not None and self.content_length > limit:
            protocol.refuse_call(self, 413, f"the body is larger than {limit:,} bytes")
            return
        self._mode = mode
        self._limit = limit
        if not self._complete:
            if self._expects_continue and not self._size:
                protocol.transport.write(CONTINUE)
            protocol.arm_body(self)
        protocol.choice_made(self)

    def pause_reading(self) -> None:
        """Stop the stream of body bytes; what is read already may still come."""
        if self._protocol is not None and not self._paused:
            self._paused = True
            self._protocol.update_reading()

    def resume_reading(self) -> None:
        """Let body bytes flow again."""
        if self._protocol is not None and self._paused:
            self._paused = False
            self._protocol.arm_body(self)
            self._protocol.update_reading()

    # The answer.

    def respond(self, status: int, fields: Fields = _NOTHING, body: bytes = b"") -> None:
        """Answer in one write; Date, Content-Length and Connection are added here."""
        protocol = self._protocol
        if protocol is None:
            return
        if self.answered:
            raise RuntimeError("this call has its answer already")
        keep = self._persist and self._complete and not protocol.server.draining
        head = self._head(protocol, status, fields, keep=keep)
        if has_no_body("GET", status):
            protocol.transport.write(head + b"\r\n")
        elif self.method == "HEAD":
            protocol.transport.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
        elif len(body) < _COPIED:
            protocol.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        else:
            protocol.transport.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
            protocol.transport.write(body)
        protocol.finish_call(self, keep=keep)

    def start(self, status: int, fields: Fields = _NOTHING, length: int | None = None) -> None:
        """Begin an answer of `length` bytes; else it is chunked (for HTTP/1.0: ended by close)."""
        protocol = self._protocol
        if protocol is None:
            return
        if self.answered:
            raise RuntimeError("this call has its answer already")
        if has_no_body(self.method, status):
            self._ends = BY_NOTHING
            framing = b"" if length is None else b"content-length: %d\r\n" % length
        elif length is not None:
            self._ends = BY_LENGTH
            self._left = length
            framing = b"content-length: %d\r\n" % length
        elif self.http_10:
            self._ends = BY_CLOSE
            self._persist = False
            framing = b""
        else:
            self._ends = BY_CHUNK
            framing = CHUNKED
        # Said once, here: whoever answers before the request is complete gives up the connection.
        self._persist = self._persist and self._complete and not protocol.server.draining
        head = self._head(protocol, status, fields, keep=self._persist)
        protocol.transport.write(b"%b%b\r\n" % (head, framing))

    def _head(self, protocol: Line, status: int, fields: Fields, *, keep: bool) -> bytes:
        lines = fields if isinstance(fields, bytes) else write_fields(fields)
        self.answered = True
        self.status = status
        connection = (_KEEP if self.http_10 else _NOTHING) if keep else CLOSE
        return b"%b%b%b%b" % (STATUS_LINES[status], protocol.server.date, lines, connection)

    def write(self, data: bytes) -> None:
        """Send more of the answer's body."""
        protocol = self._protocol
        if protocol is None or not data:
            return
        ends = self._ends
        if ends == BY_CHUNK:
            protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif ends == BY_LENGTH:
            self._left -= len(data)
            if self._left < 0:
                self.abort()
                raise RuntimeError("the answer is longer than it was said to be")
            protocol.transport.write(data)
        elif ends == BY_CLOSE:
            protocol.transport.write(data)

    def finish(self) -> None:
        """Complete the answer; one that is shorter than it was said to be is cut instead."""
        protocol = self._protocol
        if protocol is None:
            return
        if not self.answered:
            raise RuntimeError("this call has no answer yet")
        if self._ends == BY_LENGTH and self._left:
            self.abort()
            raise RuntimeError("the answer is shorter than it was said to be")
        if self._ends == BY_CHUNK:
            protocol.transport.write(LAST_CHUNK)
        protocol.finish_call(self, keep=self._persist and self._complete)

    def abort(self) -> None:
        """Cut the connection after what was written: it can never look complete.

        No callback follows.
        """
        if self._protocol is not None:
            self._protocol.cut(self)

    def _release(self) -> None:
        """Let go of what points back here, so that nothing waits for the cycle collector."""
        self._protocol = None
        self.on_gone = self.on_done = self.on_unwritable = self.on_writable = None
        self._on_body = self._sink = None
