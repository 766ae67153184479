"""The callers' side: HTTP/1.1 on an inherited listening socket, callbacks only."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from headway.wire.framing import FieldLines, Headers

Fields: TypeAlias = FieldLines | Iterable[tuple[bytes, bytes]]
"""Prewritten lines (`framing.write_fields`, once, for speed) or pairs, written and checked here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one process takes from callers; sizes in bytes, times in seconds."""

    target: int = 8 * 1024
    head: int = 32 * 1024
    fields: int = 100
    head_seconds: float = 10.0
    body_rate: int = 1024
    body_window: float = 10.0
    idle_seconds: float = 75.0
    requests: int = 10_000
    waiting: int = 8
    connections: int = 10_000
    write_buffer: int = 1024 * 1024
    stalled_seconds: float = 30.0
    linger_seconds: float = 2.0
    sweep_seconds: float = 0.25


class BodySink(Protocol):
    """Takes a request's body as it comes; `end` is called only when it is complete."""

    def data(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class Application(Protocol):
    """Answers calls."""

    def on_head(self, call: "Call") -> None:
        """Take a call whose head is complete and checked.

        Before it returns it must choose one of `call.collect`, `call.stream`, `call.respond`,
        `call.start` or `call.wait` (decide later; nothing more is read meanwhile).
        """


class ErrorBody(Protocol):
    """Shapes the body of an answer that the engine gives by itself."""

    def __call__(self, status: int, detail: str, call: "Call | None") -> tuple[bytes, bytes]:
        """Return (content type, body); `call` is None when no head was understood."""


class Call:
    """One request and its answer.

    Exactly one of these ends a call: `on_done` (the whole answer was handed to the kernel),
    `on_gone` (the caller left, stalled, or the engine refused the rest of the request itself: then
    `refused` is the status that it answered), or the application's own `abort`. Callbacks are
    plain attributes; set what is needed in `on_head`.
    """

    method: str
    target: bytes
    path: str
    """Decoded and checked."""
    query: bytes
    headers: Headers
    """As received; names with `_` are left out already."""
    peer: str
    """Address of the caller without port; empty on a unix socket."""
    http_10: bool
    """The caller speaks HTTP/1.0: no chunks; `forward_raw` of chunked bytes is not for it."""
    content_length: int | None
    chunked: bool
    received_at: float
    """Monotonic seconds at which the head was complete."""
    last_byte_at: float
    """Monotonic seconds at which the request was complete; 0.0 before."""
    refused: int | None
    answered: bool
    """Something of the answer was written."""
    context: Any
    """The application's own."""
    on_gone: "Callable[[Call], None] | None"
    on_done: "Callable[[Call], None] | None"
    on_unwritable: "Callable[[Call], None] | None"
    """The caller reads too slowly: write no more until `on_writable`."""
    on_writable: "Callable[[Call], None] | None"

    def collect(self, limit: int, on_body: "Callable[[Call, bytes], None]") -> None:
        """Have the whole body brought; 413 above `limit` (unread if Content-Length says so)."""

    def stream(
        self, sink: BodySink, *, limit: int | None = None, idle_seconds: float | None = None
    ) -> None:
        """Have the body brought as it comes.

        With `idle_seconds` only a pause as long ends it, instead of the rate rule.
        """

    def wait(self) -> None:
        """Read nothing until one of the other choices is made."""

    def pause_reading(self) -> None:
        """Stop the stream of body bytes; a few that are read already may still come."""

    def resume_reading(self) -> None: ...

    def respond(self, status: int, fields: Fields, body: bytes = b"") -> None:
        """Answer in one write; Content-Length is added here."""

    def start(self, status: int, fields: Fields, length: int | None = None) -> None:
        """Begin an answer: of `length` bytes, else chunked (ended by close for HTTP/1.0)."""

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None:
        """Cut the connection: what was sent can never look complete. No callback follows."""

    def forward_raw(self, data: bytes) -> None:
        """Write bytes of an answer that is framed already: head, chunks and all."""

    def end_raw(self, *, keep_alive: bool) -> None:
        """Say that the raw answer is complete, and whether the connection may be used again."""


class Server:
    """The connections of one process on one listening socket."""

    @property
    def now(self) -> float:
        """Monotonic seconds at the last sweep: cheap, up to `sweep_seconds` old."""
        raise NotImplementedError

    def on_sweep(self, callback: Callable[[float], None]) -> None:
        """Have `callback(now)` called each tick."""

    def sweep(self) -> None:
        """Look at all deadlines once; the server does so by itself every `sweep_seconds`."""

    async def drain(self, seconds: float) -> None:
        """Stop accepting, close what is idle, let the rest finish, then cut what remains."""

    async def close(self) -> None:
        """Drain with no patience."""


async def serve(
    sock: socket.socket,
    application: Application,
    limits: ServerLimits | None = None,
    *,
    error_body: ErrorBody | None = None,
    clock: Callable[[], float] | None = None,
) -> Server:
    """Serve on a given listening socket, TCP or unix; the server owns it from here on."""
    asyncio.get_running_loop()
    raise NotImplementedError
