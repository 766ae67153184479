"""The server: HTTP/1.1 by hand, since it must be able to do all that a good one never does."""

import asyncio
import gzip
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from headway.testing.provider.reply import Ending, Framing, Received, Reply, Script, pleasant
from headway.testing.provider.shapes import UNKNOWN, Shape, shape_of

_READ_LIMIT: Final = 64 << 20
_REASONS: Final = {200: "OK", 400: "Bad Request", 429: "Too Many Requests"}
_FOREVER: Final = 3600
_GOES_ON: Final = frozenset({Ending.WHOLE, Ending.NO_DONE})
"""Endings of a stream that brings all its content."""


class ScriptedProvider:
    """A server on loopback with a thread of its own; use it in a `with`."""

    def __init__(self, script: Script = pleasant, *, port: int = 0, path: str = "") -> None:
        """`port`: 0 for any that is free. `path`: a unix socket there instead, as of a runner."""
        self.script: Script = script
        self.requests: list[Received] = []
        """What came, in order."""
        self.connections = 0
        """How many were opened."""
        self.port = port
        self._path = path
        self._failed: OSError | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopped: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="scripted-provider", daemon=True)
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the base URL that OpenAI's client or a version is given."""
        return f"{self.root}/v1"

    @property
    def root(self) -> str:
        """Return the URL without a path: what Anthropic's client and `inference_v2` are given."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        if self._failed is not None:
            self._thread.join(10)
            raise self._failed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:  # the port is taken: whoever entered is to know
            self._failed = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server: asyncio.Server
        if self._path:
            server = await asyncio.start_unix_server(self._accept, self._path, limit=_READ_LIMIT)
        else:
            server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, limit=_READ_LIMIT
            )
            self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: those that asyncio makes of a coroutine log that they were cancelled.
        task = self._loop.create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if not await _answer(writer, request, self.script(request)):
                    break
        except asyncio.CancelledError:
            writer.transport.abort()  # what waits to be written would keep it open
            raise
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            with suppress(Exception):
                writer.close()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head.split("\r\n")[:-2]
    method, path, _ = line.split(" ", 2)
    headers = {
        name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
    }
    if headers.get("transfer-encoding") == "chunked":
        return Received(method, path, headers, await _chunks(reader))
    length = int(headers.get("content-length", "0"))
    body = await reader.readexactly(length) if length else b""
    return Received(method, path, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        found += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return found


async def _answer(writer: asyncio.StreamWriter, request: Received, reply: Reply) -> bool:
    """Answer one request; say whether the connection may be used again."""
    if reply.delay_s:
        await asyncio.sleep(reply.delay_s)
    if reply.drop:
        writer.transport.abort()
        return False
    shape = shape_of(request.path)
    if shape is None and reply.body is None and reply.status == 200:
        reply = Reply(status=404, error=f"there is no {request.path}", headers=reply.headers)
    elif shape is not None and reply.body is None and reply.status == 200:
        wrong = shape.wrong(request)
        if wrong:
            reply = Reply(status=400, error=wrong, headers=reply.headers)
    if reply.status == 200 and reply.body is None and request.json.get("stream"):
        events = stream_events(request, reply)
        if events is not None:
            return await _stream(writer, events, reply)
    return await _whole(writer, _body(shape or UNKNOWN, request, reply), reply)


def _body(shape: Shape, request: Received, reply: Reply) -> bytes:
    if reply.body is not None:
        return reply.body
    if reply.status >= 400 or reply.end is Ending.ERROR_EVENT:
        found = shape.error(reply)
    else:
        found = shape.whole(request, reply)
    return json.dumps(found, separators=(",", ":")).encode()


async def _whole(writer: asyncio.StreamWriter, body: bytes, reply: Reply) -> bool:
    close = reply.framing is Framing.CLOSE or not reply.keep_alive
    fields = {"content-type": reply.content_type or "application/json", **reply.headers}
    body = _packed(body, reply, fields)
    if reply.framing is not Framing.CLOSE:
        fields["content-length"] = str(len(body))
    if close:
        fields["connection"] = "close"
    head = _head(reply.status, fields)
    if reply.end is Ending.CUT:
        await _send(writer, head + body[: len(body) // 2], reply)
        writer.transport.abort()
        return False
    if reply.end is Ending.POLITE:  # only by closing can a body without framing be too short
        await _send(writer, head + body[: len(body) // 2], reply)
        return False
    if reply.end is Ending.STALL:
        await _send(writer, head + body[: len(body) // 2], reply)
        await asyncio.sleep(_FOREVER)
    await _send(writer, head + body, reply)
    return not close


async def _stream(writer: asyncio.StreamWriter, events: list[bytes], reply: Reply) -> bool:
    fields = {
        "content-type": reply.content_type or "text/event-stream; charset=utf-8",
        **reply.headers,
    }
    close = reply.framing is Framing.CLOSE or not reply.keep_alive
    if reply.coding:
        events = [_packed(b"".join(events), reply, fields)]
    if reply.framing is Framing.CHUNKED:
        fields["transfer-encoding"] = "chunked"
    elif reply.framing is Framing.LENGTH:
        short = 0 if reply.end is Ending.WHOLE else 1_000
        fields["content-length"] = str(sum(map(len, events)) + short)
    if close:
        fields["connection"] = "close"
    chunked = reply.framing is Framing.CHUNKED
    await _send(writer, _head(200, fields), reply)
    if reply.gap_s:
        for event in events:
            await _send(writer, _chunk(event) if chunked else event, reply)
            await asyncio.sleep(reply.gap_s)
    else:
        await _send(writer, b"".join(map(_chunk, events) if chunked else events), reply)
    if reply.end is Ending.STALL:
        await asyncio.sleep(_FOREVER)
    if reply.end is Ending.CUT:
        writer.transport.abort()
        return False
    if chunked:
        await _send(writer, b"0\r\n\r\n", reply)
    return not close and not (reply.framing is Framing.LENGTH and reply.end is not Ending.WHOLE)


def stream_events(request: Received, reply: Reply) -> list[bytes] | None:
    """Return the events of a stream, ending as the reply says; None: that API has none."""
    shape = shape_of(request.path) or UNKNOWN
    said = shape.stream(request, reply)
    if said is None:
        return None
    events = [event.data for event in said]
    seen = 0
    reached = len(events)
    for place, event in enumerate(said):
        if seen == reply.after:
            reached = place
            break
        seen += event.is_content
    if reply.end is Ending.NO_DONE:
        events = events[:-1]
    elif reply.end not in _GOES_ON:
        # Without any content, what stands before it is said all the same.
        first = next((i for i, event in enumerate(said) if event.is_content), len(said))
        events = events[: reached if reply.after else first]
    if reply.end is Ending.ERROR_EVENT:
        events.append(shape.error_event(reply))
    if reply.insert:
        events.insert(reached, reply.insert)
    if reply.edit is not None:
        events = reply.edit(events)
    return [event.replace(b"\n", b"\r\n") for event in events] if reply.crlf else events


def _packed(body: bytes, reply: Reply, fields: dict[str, str]) -> bytes:
    if not reply.coding:
        return body
    fields["content-encoding"] = reply.coding
    return gzip.compress(body) if reply.coding == "gzip" else body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Scripted')}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _send(writer: asyncio.StreamWriter, data: bytes, reply: Reply) -> None:
    if not reply.slice:
        writer.write(data)
        await writer.drain()
        return
    for start in range(0, len(data), reply.slice):
        writer.write(data[start : start + reply.slice])
        await writer.drain()
        await asyncio.sleep(0)
