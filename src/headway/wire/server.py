"""The callers' side of one process: an inherited listening socket, and all connections on it.

One sweep every 250 ms looks at each connection's deadline.
"""

import asyncio
import contextlib
import json
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from typing import Any, Final

from headway.wire.call import Call
from headway.wire.connection import Application, ErrorBody, ServerLimits, ServerProtocol
from headway.wire.framing import FieldLines, phrase

_BACKLOG: Final = 2048
_PROBLEM: Final = FieldLines(b"content-type: application/problem+json\r\n")
_TURNS: Final = 3
"""Of the loop, until it has told of every connection that the kernel has handed over."""


def problem(status: int, detail: str, _call: Call | None) -> tuple[FieldLines, bytes]:
    """Shape an error as application/problem+json (RFC 9457)."""
    body = {"type": "about:blank", "title": phrase(status), "status": status, "detail": detail}
    return _PROBLEM, json.dumps(body).encode()


class Server:
    """The connections of one process on one listening socket."""

    def __init__(
        self,
        application: Application,
        limits: ServerLimits,
        *,
        error_body: ErrorBody,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.application = application
        self.limits = limits
        self.error_body = error_body
        self.clock = clock
        self.loop = loop
        self.connections: set[ServerProtocol] = set()
        self.draining = False
        self.now = clock()
        """Monotonic seconds at the last sweep: free to read, up to `sweep_seconds` old."""
        self.date = b""
        """The Date line of answers."""
        self._second = -1
        self._sweepers: list[Callable[[float], None]] = []
        self._empty = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._write_date()
        self._tick: asyncio.TimerHandle | None = loop.call_later(limits.sweep_seconds, self._next)

    def listen(self, listener: asyncio.Server) -> None:
        """Take over what accepts connections."""
        self._listener = listener

    def on_sweep(self, callback: Callable[[float], None]) -> None:
        """Have `callback(now)` called each tick."""
        self._sweepers.append(callback)

    def _next(self) -> None:
        self._tick = self.loop.call_later(self.limits.sweep_seconds, self._next)
        self.sweep()

    def sweep(self) -> None:
        """Look at all deadlines once; the server does so by itself every `sweep_seconds`."""
        now = self.now = self.clock()
        self._write_date()
        late = [c for c in self.connections if c.deadline <= now or c.stall_at <= now]
        for connection in late:
            connection.expire(now)
        for callback in self._sweepers:
            try:
                callback(now)
            except Exception as error:  # noqa: BLE001 -- the next deadline must still be seen
                self.loop.call_exception_handler({"message": "a sweep failed", "exception": error})

    def _write_date(self) -> None:
        second = int(self.now)
        if second != self._second:
            self._second = second
            self.date = f"date: {formatdate(usegmt=True)}\r\n".encode("ascii")

    def admit(self, connection: ServerProtocol) -> bool:
        """Take note of a connection; False: there are too many."""
        full = len(self.connections) >= self.limits.connections
        self.connections.add(connection)
        return not full

    def forget(self, connection: ServerProtocol) -> None:
        """Drop a connection that is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let what runs or is on its way finish, then cut what remains.

        A connection that the kernel has handed over is served, though nothing has come of it yet:
        its caller knows no other.
        """
        self.draining = True
        if self._listener is not None:
            await self._turn()  # who is in the kernel's queue is taken yet
            self._listener.close()
            await self._turn()
        for connection in tuple(self.connections):
            connection.drain()
        if self.connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        for connection in tuple(self.connections):
            connection.transport.abort()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        # One turn, so that cut connections are told.
        await asyncio.sleep(0)

    @staticmethod
    async def _turn() -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Drain with no patience."""
        await self.drain(0)


def room_for(connections: int) -> int:
    """Return how many connections the descriptors allow, after asking for enough of them.

    Each caller may need one towards an upstream too, and some are needed for everything else.
    """
    needed = 2 * connections + 128
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, (soft - 128) // 2))


async def serve(
    sock: socket.socket,
    application: Application,
    limits: ServerLimits | None = None,
    *,
    error_body: ErrorBody = problem,
    clock: Callable[[], float] | None = None,
) -> Server:
    """Serve on a given listening socket, TCP or unix; the server owns it from here on.

    Fewer connections than `limits` says are taken where there are too few descriptors.
    """
    loop = asyncio.get_running_loop()
    limits = limits or ServerLimits()
    server = Server(
        application,
        replace(limits, connections=room_for(limits.connections)),
        error_body=error_body,
        clock=clock or loop.time,
        loop=loop,
    )
    sock.setblocking(False)  # noqa: FBT003 -- the socket module's own shape
    if sock.family == socket.AF_UNIX:
        options: dict[str, Any] = {}
        if sys.version_info >= (3, 13):
            # Other processes may listen on the same inherited socket: never unlink it.
            options["cleanup_socket"] = False
        listener = await loop.create_unix_server(
            lambda: ServerProtocol(server), sock=sock, backlog=_BACKLOG, **options
        )
    else:
        listener = await loop.create_server(
            lambda: ServerProtocol(server), sock=sock, backlog=_BACKLOG
        )
    server.listen(listener)
    return server
