"""What came, and what it is answered with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


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
    """A stream whose last event is missing: `[DONE]`, `message_stop`, `response.completed`."""


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
        length = self.headers.get("inference-header-content-length", "")
        try:
            found = json.loads(self.body[: int(length)] if length else self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def asked(self) -> str:
        """Return the text of the last message, or the (last) input of a response or embedding."""
        document = self.json
        given = document.get("messages") or document.get("input") or ""
        last = given[-1] if isinstance(given, list) else given
        return str(last.get("content", "") if isinstance(last, dict) else last)

    @property
    def system(self) -> str:
        """Return the text of the first message if it is a system message."""
        document = self.json
        for name in ("system", "instructions"):
            if isinstance(document.get(name), str):
                return str(document[name])
        first = next(iter(objects(document.get("messages"))), {})
        return str(first.get("content", "")) if first.get("role") == "system" else ""


def objects(given: object) -> list[dict[str, Any]]:
    """Return a list of objects as it came; an empty one for anything else."""
    is_so = isinstance(given, list) and all(isinstance(each, dict) for each in given)
    return given if is_so else []  # type: ignore[return-value]  # mypy does not read `all`


def wrong_body(request: Received) -> str:
    """Return why a body is none that any of these APIs reads; an empty text if it is one."""
    empty = not request.body or request.body.strip() == b"{}"
    return "" if empty or request.json else "the body is no JSON object"


def wrong_messages(request: Received) -> str:
    """Return what is wrong with the messages of a chat."""
    given = request.json.get("messages")
    if given and not objects(given):
        return "messages: a list of objects is expected"
    return wrong_body(request)


class ToolCall(NamedTuple):
    """A function that the model calls."""

    name: str
    arguments: str = "{}"
    """JSON text; it may be broken."""
    id: str = "call_scripted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one request is answered with. Times in seconds."""

    text: str = "Hello there, how may I help you today?"
    thinking: str = ""
    """Reasoning that is shown before the text."""
    refusal: str = ""
    """The model's own no; give it instead of a text."""
    tools: tuple[ToolCall, ...] = ()
    stop: str = ""
    """Why the answer ends, in the words of the API that is asked; else what the rest means."""
    status: int = 200
    error: str = ""
    """With a status of 400 or more, or an error event: its message."""
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of what would be written."""
    content_type: str = ""
    coding: str = ""
    """`gzip`: the body is packed so, whether that was asked for or not."""
    end: Ending = Ending.WHOLE
    after: int = 2
    """How many content events a stream has before a bad ending, or before `insert`."""
    insert: bytes = b""
    """Bytes within a stream that goes on after them: comments, events that are broken or new."""
    edit: Callable[[list[bytes]], list[bytes]] | None = None
    """Takes the events of a stream and returns those that are sent instead."""
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
    input_tokens: int | None = None
    """All that was asked, cached ones included; None: the words of the request are counted."""
    output_tokens: int | None = None
    """None: the words of the text are counted."""
    cached_tokens: int = 0
    """Of the input, read from a cache."""
    cache_write_tokens: int = 0
    """Of the input, written to a cache."""
    reasoning_tokens: int = 0
    """Of the output, thought and not said."""
    outputs: tuple[Mapping[str, Any], ...] | None = None
    """Tensors of Open Inference; None: the inputs come back."""
    models: tuple[str, ...] = ("scripted",)
    """What `GET /models` lists."""
    crlf: bool = False
    """Blank lines between events are CR LF CR LF."""
    keep_alive: bool = True

    @property
    def words(self) -> list[str]:
        """Return the pieces in which a stream brings the text."""
        return _pieces(self.text)

    @property
    def thoughts(self) -> list[str]:
        """Return the pieces in which a stream brings the reasoning."""
        return _pieces(self.thinking)

    @property
    def message(self) -> str:
        """Return what an error says."""
        return self.error or "the engine fell over"


def _pieces(text: str) -> list[str]:
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)] if text else []


Script = Callable[[Received], Reply]


def pleasant(_: Received) -> Reply:
    """Answer every request well."""
    return Reply()


class Tokens(NamedTuple):
    """A provider's own numbers, which nobody else could guess."""

    input: int
    output: int


def tokens_of(request: Mapping[str, Any], reply: Reply) -> Tokens:
    """Return what an answer costs; words are counted where the reply does not say."""
    asked = reply.input_tokens
    if asked is None:
        said = [request.get("system"), request.get("instructions"), request.get("input")]
        said += [message.get("content", "") for message in objects(request.get("messages"))]
        asked = sum(len(str(text).split()) for text in said if text)
    answered = reply.output_tokens
    return Tokens(asked, len(reply.words) if answered is None else answered)


class Said(NamedTuple):
    """One event of a stream."""

    data: bytes
    is_content: bool = False
    """It brings content; `Reply.after` counts these."""


def sse(document: Mapping[str, Any], name: str = "") -> bytes:
    """Write one event."""
    data = json.dumps(document, separators=(",", ":")).encode()
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data) if name else b"data: %b\n\n" % data
