"""A provider of chat completions over real HTTP that answers, fails and misbehaves by script.

    with ScriptedProvider() as provider:
        provider.script = lambda request: Reply(text="Hello", end=Ending.CUT)
        client = OpenAI(base_url=provider.url, api_key="any")

It speaks the wire of OpenAI's API as far as a gateway can see it: answers in one piece, streams,
usage when it is asked for, errors in the usual shape, and everything that a bad day brings: bodies
that are cut, that end politely too early, that stall, that hold an error with a good status.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

_READ_LIMIT: Final = 64 << 20
_REASONS: Final = {200: "OK", 400: "Bad Request", 429: "Too Many Requests"}


class Ending(StrEnum):
    """How an answer ends."""

    WHOLE = "whole"
    CUT = "cut"
    """The connection breaks within the body."""
    POLITE = "polite"
    """The body ends as HTTP wants it, before the format says that it is complete."""
    STALL = "stall"
    """Nothing more comes, and the connection stays open."""
    ERROR_EVENT = "error_event"
    """An error stands in the body of an answer that began well."""
    NO_DONE = "no_done"
    """A stream with its finish reason, whose `[DONE]` is missing."""


class Framing(StrEnum):
    """How the end of a body is told."""

    CHUNKED = "chunked"
    LENGTH = "length"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """Return the body as an object; an empty one if it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def asked(self) -> str:
        """Return the text of the last message."""
        messages = self.json.get("messages") or [{}]
        return str(messages[-1].get("content", ""))

    @property
    def system(self) -> str:
        """Return the text of the first message if it is a system message."""
        messages = self.json.get("messages") or [{}]
        first = messages[0]
        return str(first.get("content", "")) if first.get("role") == "system" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one request is answered with. Times in seconds."""

    text: str = "Hello there, how may I help you today?"
    status: int = 200
    error: str = ""
    """With a status of 400 or more: the message of the error."""
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of what would be written."""
    content_type: str = ""
    end: Ending = Ending.WHOLE
    after: int = 2
    """How many content events a stream has before a bad ending."""
    framing: Framing = Framing.CHUNKED
    """Of a stream; answers in one piece have a length unless this is `CLOSE`."""
    delay_s: float = 0.0
    """Before the head of the answer."""
    gap_s: float = 0.0
    """Between the events of a stream."""
    slice: int = 0
    """Write so many bytes at a time; 0: all at once."""
    drop: bool = False
    """Close the connection without an answer."""
    fingerprint: str = "fp_scripted"
    cached_tokens: int = 0
    crlf: bool = False
    """Blank lines between events are CR LF CR LF."""
    keep_alive: bool = True

    @property
    def words(self) -> list[str]:
        """Return the pieces in which a stream brings the text."""
        first, *rest = self.text.split(" ")
        return [first, *(f" {word}" for word in rest)]


Script = Callable[[Received], Reply]


def pleasant(_: Received) -> Reply:
    """Answer every request well."""
    return Reply()


class ScriptedProvider:
    """A server on loopback with a thread of its own; use it in a `with`."""

    def __init__(self, script: Script = pleasant, *, path: str = "") -> None:
        """`path`: listen on a unix socket there instead, as a runner does."""
        self.script: Script = script
        self.requests: list[Received] = []
        """What came, in order."""
        self.connections = 0
        """How many were opened."""
        self.port = 0
        self._path = path
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="scripted-provider", daemon=True)
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the base URL that a client or a version is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        if self._path:
            server = self._loop.run_until_complete(
                asyncio.start_unix_server(self._connected, self._path, limit=_READ_LIMIT)
            )
        else:
            server = self._loop.run_until_complete(
                asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_READ_LIMIT)
            )
            self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if not await _answer(writer, request, self.script(request)):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            with suppress(Exception):
                writer.close()
            if task is not None:
                self._tasks.discard(task)


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
    length = int(headers.get("content-length", "0"))
    body = await reader.readexactly(length) if length else b""
    return Received(method, path, headers, body)


async def _answer(writer: asyncio.StreamWriter, request: Received, reply: Reply) -> bool:
    """Answer one request; say whether the connection may be used again."""
    if reply.delay_s:
        await asyncio.sleep(reply.delay_s)
    if reply.drop:
        writer.transport.abort()
        return False
    if reply.status >= 400 or reply.body is not None or not request.json.get("stream"):
        return await _whole(writer, request, reply)
    return await _stream(writer, request, reply)


async def _whole(writer: asyncio.StreamWriter, request: Received, reply: Reply) -> bool:
    body = reply.body if reply.body is not None else _body(request, reply)
    close = reply.framing is Framing.CLOSE or not reply.keep_alive
    fields = {"content-type": reply.content_type or "application/json", **reply.headers}
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
        await asyncio.sleep(3600)
    await _send(writer, head + body, reply)
    return not close


async def _stream(writer: asyncio.StreamWriter, request: Received, reply: Reply) -> bool:
    events = stream_events(request.json, reply)
    if reply.crlf:
        events = [event.replace(b"\n", b"\r\n") for event in events]
    fields = {
        "content-type": reply.content_type or "text/event-stream; charset=utf-8",
        **reply.headers,
    }
    close = reply.framing is Framing.CLOSE or not reply.keep_alive
    if reply.framing is Framing.CHUNKED:
        fields["transfer-encoding"] = "chunked"
    elif reply.framing is Framing.LENGTH:
        fields["content-length"] = str(
            sum(map(len, stream_events(request.json, _whole_of(reply))))
        )
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
        await asyncio.sleep(3600)
    if reply.end is Ending.CUT:
        writer.transport.abort()
        return False
    if chunked:
        await _send(writer, b"0\r\n\r\n", reply)
    return not close and not (reply.framing is Framing.LENGTH and reply.end is not Ending.WHOLE)


def _whole_of(reply: Reply) -> Reply:
    return replace(reply, end=Ending.WHOLE)


def stream_events(request: Mapping[str, Any], reply: Reply) -> list[bytes]:
    """Return the events of a stream, ending as the reply says."""
    wants_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    chunks: list[dict[str, Any]] = [
        _chunk_of(request, reply, {"role": "assistant", "content": ""})
    ]
    chunks += [_chunk_of(request, reply, {"content": word}) for word in reply.words]
    if reply.end not in {Ending.WHOLE, Ending.NO_DONE}:
        chunks = chunks[: reply.after + 1]
        if reply.end is Ending.ERROR_EVENT:
            chunks.append({"error": {"message": "the engine fell over", "type": "server_error"}})
        return [_event(chunk) for chunk in chunks]
    chunks.append(_chunk_of(request, reply, {}, finish="stop"))
    if wants_usage:
        for chunk in chunks:
            chunk["usage"] = None
        last = _chunk_of(request, reply, {})
        chunks.append({**last, "choices": [], "usage": _usage(request, reply)})
    events = [_event(chunk) for chunk in chunks]
    if reply.end is not Ending.NO_DONE:
        events.append(b"data: [DONE]\n\n")
    return events


def _chunk_of(
    request: Mapping[str, Any], reply: Reply, delta: dict[str, Any], finish: str | None = None
) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": request.get("model", ""),
        "system_fingerprint": reply.fingerprint,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def _body(request: Received, reply: Reply) -> bytes:
    if reply.status >= 400 or reply.end is Ending.ERROR_EVENT:
        message = reply.error or "the engine fell over"
        return json.dumps(
            {"error": {"message": message, "type": "scripted", "param": None, "code": reply.code}}
        ).encode()
    return json.dumps(
        {
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": request.json.get("model", ""),
            "system_fingerprint": reply.fingerprint,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": reply.text},
                    "finish_reason": "stop",
                }
            ],
            "usage": _usage(request.json, reply),
        },
        separators=(",", ":"),
    ).encode()


def _usage(request: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    """Count words: a provider's own numbers, which nobody else could guess."""
    messages = request.get("messages") or []
    asked = sum(len(str(message.get("content", "")).split()) for message in messages)
    answered = len(reply.words)
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }


def _event(document: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(document, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


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
