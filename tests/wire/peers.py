"""The other sides of the engine: callers and upstreams that send exactly what a test says."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from headway.wire.call import Call
from headway.wire.connection import ServerLimits
from headway.wire.framing import Headers
from headway.wire.sending import Failure
from headway.wire.server import Server, serve

T = TypeVar("T")
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Run(Protocol):
    def __call__(self, main: Coroutine[Any, Any, T], /) -> T: ...


class Clock:
    """Monotonic seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class App:
    """An application made of one function, which remembers what it was asked."""

    def __init__(self, on_head: Callable[[Call], None]) -> None:
        self._on_head = on_head
        self.calls: list[Call] = []
        self.done: list[Call] = []
        self.gone: list[Call] = []

    def on_head(self, call: Call) -> None:
        self.calls.append(call)
        call.on_done = self.done.append
        call.on_gone = self.gone.append
        self._on_head(call)


def echo(call: Call) -> None:
    """Answer with what was asked."""

    def answer(call: Call, body: bytes) -> None:
        call.respond(200, [(b"x-path", call.path.encode())], body)

    call.collect(1_000_000, answer)


class Caller:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def trickle(self, data: bytes) -> None:
        """Send byte by byte, each in a segment of its own as far as the kernel goes along."""
        for i in range(len(data)):
            if self.writer.is_closing() or self.reader.at_eof():
                return
            self.writer.write(data[i : i + 1])
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), fields

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, fields = await self.head()
        if "content-length" in fields:
            body = await self.reader.readexactly(int(fields["content-length"]))
        elif fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int((await self.reader.readline()).strip(), 16):
                body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readline() == b"\r\n"
        else:
            body = await self.reader.read()
        return status, fields, body

    async def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as closing."""
        got = b""
        try:
            while part := await self.reader.read(65_536):
                got += part
        except ConnectionError:
            pass
        return got

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@dataclass
class Served:
    server: Server
    address: tuple[str, int] | str
    callers: list[Caller] = field(default_factory=list)

    async def caller(self) -> Caller:
        if isinstance(self.address, str):
            caller = Caller(*await asyncio.open_unix_connection(self.address))
        else:
            caller = Caller(*await asyncio.open_connection(*self.address))
        self.callers.append(caller)
        return caller


@asynccontextmanager
async def serving(
    app: App,
    limits: ServerLimits | None = None,
    *,
    clock: Callable[[], float] | None = None,
    path: Path | None = None,
) -> AsyncIterator[Served]:
    address: tuple[str, int] | str
    if path is not None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.listen()
        address = str(path)
    else:
        sock = socket.create_server(("127.0.0.1", 0))
        address = sock.getsockname()[:2]
    server = await serve(sock, app, limits, clock=clock)
    served = Served(server, address)
    try:
        yield served
    finally:
        for caller in served.callers:
            await caller.close()
        await server.close()


async def turns(count: int = 500) -> None:
    """Let the loop turn so often that what comes by itself has come; no time is waited for."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.001)


@dataclass
class Upstream:
    """A server that plays one script per connection, the last one again and again."""

    port: int
    connections: int = 0
    closed: int = 0


@asynccontextmanager
async def upstream(*scripts: Script) -> AsyncIterator[Upstream]:
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []
    state = Upstream(0)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        writers.append(writer)
        script = scripts[min(state.connections, len(scripts) - 1)]
        state.connections += 1
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Cancelled only by the test's end: the streams of 3.11 would log it as an error.
            pass
        finally:
            state.closed += 1
            writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request with Content-Length or without body; return head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    body = b""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            body = await reader.readexactly(int(line.split(b":")[1]))
    return head, body


def answering(*answers: bytes) -> Script:
    """Answer one request after the other with these bytes, then close."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

    return script


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    while await reader.read(65_536):
        pass


class Heard:
    """A receiver that remembers what it was told, in order."""

    def __init__(self) -> None:
        self.status = 0
        self.headers = Headers()
        self.body = b""
        self.by_close: bool | None = None
        self.failure: Failure | None = None
        self.over = asyncio.Event()
        self.on_answer: Callable[[], None] | None = None

    def on_head(self, status: int, headers: Headers) -> None:
        assert not self.status
        assert not self.over.is_set()
        self.status, self.headers = status, headers
        if self.on_answer is not None:
            self.on_answer()

    def on_data(self, data: bytes) -> None:
        assert self.status
        assert not self.over.is_set()
        self.body += data

    def on_complete(self, *, by_close: bool) -> None:
        assert not self.over.is_set()
        self.by_close = by_close
        self.over.set()

    def on_failure(self, failure: Failure) -> None:
        assert not self.over.is_set()
        self.failure = failure
        self.over.set()
