"""OpenAI's chat completions as callers speak them: `POST /v1/chat/completions`.

Two ways to the upstream. Splice: only the model's name changes (and a stream asks for usage), so
the bytes are cut and joined and nothing is written anew. Merge: the version adds a system text,
parameters or tools, so the parsed request is changed and written once.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import orjson

from headway.gateway.body import (
    check_size,
    header_object,
    header_text,
    malformed,
    read_object,
    text_of,
)
from headway.gateway.chat import Answer, Chat
from headway.gateway.exchange import (
    NO_TOKENS,
    Ask,
    Complaint,
    Fields,
    Problem,
    Settings,
    Whole,
    Write,
    split_pin,
)
from headway.gateway.formats.openai_chat.asked import chat_of
from headway.gateway.formats.openai_chat.told import ChatTelling, answer_body
from headway.gateway.members import flag, model_of
from headway.gateway.openai_errors import complaint, error_words, fault
from headway.gateway.splice import splice_model
from headway.gateway.variables import values_of
from headway.kernel.canonical import Json
from headway.registry.target import tool_name
from headway.routing.assignment import NO_HINTS, UnitHints

NAME: Final = "openai_chat"
_USAGE: Final = b'"stream_options":{"include_usage":true}'
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_LONGEST_EVENT: Final = 8 << 20
_MOST_TOKENS: Final = 1 << 40
_HINT_KEYS: Final = frozenset({"metadata", "prompt_cache_key", "safety_identifier", "user"})
_HINT_FIELDS: Final = frozenset({b"headway-conversation", b"headway-user", b"headway-tenant"})


class OpenAIChat:
    """The format; it holds no state."""

    name = NAME

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        document = read_object(body)
        check_size(document)
        asked = model_of(document, model)
        if type(document.get("messages")) is not list:
            raise malformed("`messages` must be a list", param="messages", code="invalid_value")
        stream = flag(document, "stream")
        wants_usage = False
        if stream:
            options = document.get("stream_options")
            if options is not None and type(options) is not dict:
                raise malformed(
                    "`stream_options` must be an object",
                    param="stream_options",
                    code="invalid_value",
                )
            wants_usage = bool(options and options.get("include_usage") is True)
        name, ref = split_pin(asked)
        hints = NO_HINTS
        if not (_HINT_KEYS.isdisjoint(document) and _HINT_FIELDS.isdisjoint(headers)):
            hints = _hints(document, headers)
        if not stream:
            return Ask(body, document, name, ref, hints)
        return Ask(body, document, name, ref, hints, stream=True, wants_usage=wants_usage)

    def attributes(self, ask: Ask, headers: Fields) -> Mapping[str, Json]:
        metadata = (ask.document or {}).get("metadata")
        found = dict(metadata) if isinstance(metadata, Mapping) else {}
        return found | header_object(headers, b"headway-attributes")

    def writer(self, settings: Settings) -> Write:
        if settings.only_model:
            return partial(_spliced, settings)
        return partial(_merged, settings)

    def whole(self, ask: Ask, body: bytes) -> Whole:  # noqa: ARG002 - a port
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Whole("the provider's answer is not JSON")
        if type(document) is not dict:
            return Whole("the provider's answer is not a JSON object")
        if error := document.get("error"):
            return Whole(f"the provider answered with an error: {error_words(error)}")
        if not isinstance(document.get("choices"), list):
            return Whole("the provider's answer has no `choices`")
        return Whole(None, tokens_of(document.get("usage")), served_by(document))

    def watch(self, ask: Ask) -> "ChatStream":
        return ChatStream(wants_usage=ask.wants_usage)

    def fault(self, problem: Problem) -> bytes:
        return fault(problem)

    def fault_event(self, problem: Problem) -> bytes:
        return b"data: %b\n\n" % self.fault(problem)

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)

    def chat(self, ask: Ask) -> Chat:
        return chat_of(ask.document or read_object(ask.body))

    def answer(self, ask: Ask, answer: Answer) -> bytes:  # noqa: ARG002 - a port
        return answer_body(answer)

    def telling(self, ask: Ask) -> ChatTelling:
        return ChatTelling(wants_usage=ask.wants_usage)


def _spliced(settings: Settings, ask: Ask, headers: Fields) -> bytes:
    return splice(ask, settings.model) or _merged(settings, ask, headers)


def _merged(settings: Settings, ask: Ask, headers: Fields) -> bytes:
    given: dict[str, Any] = ask.document or read_object(ask.body)
    metadata = given.get("metadata")
    values = values_of(metadata if isinstance(metadata, Mapping) else {}, settings, headers)
    try:
        return orjson.dumps(merge(given, settings, values))
    except orjson.JSONEncodeError:
        raise malformed("the body is nested too deeply") from None


def merge(
    given: Mapping[str, Any], settings: Settings, values: Mapping[str, str]
) -> dict[str, Any]:
    """Return a request with what a version adds to it; a stream asks for usage."""
    document: dict[str, Any] = {**settings.parameters, **given, **settings.locked}
    document["model"] = settings.model
    if settings.template is not None:
        document["messages"] = _with_system(given.get("messages"), settings.template.fill(values))
    if settings.tools:
        document["tools"] = _with_tools(given.get("tools"), settings.tools)
    if given.get("stream") is True:
        options = given.get("stream_options")
        document["stream_options"] = {
            **(options if isinstance(options, dict) else {}),
            "include_usage": True,
        }
    return document


def _hints(document: dict[str, Any], headers: Fields) -> UnitHints:
    """Return what a request says of who it belongs to; most say nothing."""
    metadata = document.get("metadata")
    return UnitHints(
        header_text(headers, b"headway-conversation"),
        text_of(metadata, "conversation_id") if type(metadata) is dict else None,
        text_of(document, "prompt_cache_key"),
        text_of(document, "safety_identifier"),
        text_of(document, "user"),
        None,
        None,
        None,
        header_text(headers, b"headway-user"),
        header_text(headers, b"headway-tenant"),
    )


class ChatStream:
    """Looks at a stream of chunks as it passes; whole events only ever leave it.

    Most chunks are looked at by searching for a few words and never parsed: until the first
    content, and where one of the words stands, they are.
    """

    __slots__ = (
        "_finished",
        "_tail",
        "_wants_usage",
        "done",
        "error",
        "served_by",
        "started",
        "tokens",
    )

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._tail = b""
        self._finished = False
        self.started = False
        self.done = False
        self.error: str | None = None
        self.tokens: Mapping[str, int] = NO_TOKENS
        self.served_by = ""

    def feed(self, data: bytes) -> bytes:
        if self.done or self.error is not None:
            return b""
        if self._tail:
            data = self._tail + data
        events = data
        if self._tail or not data.endswith(b"\n\n"):  # else, as nearly always, whole events
            end = data.rfind(b"\n\n") + 2
            if b"\r" in data:
                end = max(end, data.rfind(b"\n\r\n") + 3, data.rfind(b"\r\r") + 2)
            if end < 3:
                self._keep(data)
                return b""
            self._keep(data[end:])
            events = data[:end]
        if (
            not self.started
            or b'"error"' in events
            or b"[DONE]" in events
            or (b'"usage"' in events and events.count(b'"usage"') != events.count(b'"usage":null'))
        ):
            return self._look(events)
        if not self._finished and _FINISH.search(events) is not None:
            self._finished = True
        return events

    def end(self, *, by_close: bool) -> bytes | None:
        if self.error is not None:
            return None
        if self.done:
            return b""
        last = b""
        if self._tail.strip():
            # A last event without its blank line: the end of the body stands for it.
            tail, self._tail = self._tail, b""
            last = self._look(tail.rstrip(b"\r\n") + b"\n\n")
            if self.done:
                return last
        if self.error is None and self._finished and not by_close:
            return last + b"data: [DONE]\n\n"
        return None

    def _keep(self, tail: bytes) -> None:
        self._tail = tail
        if len(tail) > _LONGEST_EVENT:
            self.error = "an event of the provider's stream is too long"

    def _look(self, events: bytes) -> bytes:
        """Parse events; return those that pass on."""
        passed: list[bytes] = []
        for event in _events(events):
            if self.done or self.error is not None:
                break
            if self._event(event):
                passed.append(event)
        return b"".join(passed)

    def _event(self, event: bytes) -> bool:
        """Take note of one event, and say whether it passes on."""
        data = b"\n".join(
            line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")
        )
        if not data:
            return True
        if data == b"[DONE]":
            self.done = True
            return True
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.error = "the provider's stream holds an event that is not JSON"
            return False
        if type(document) is not dict:
            self.error = "the provider's stream holds an event that is not an object"
            return False
        if error := document.get("error"):
            self.error = f"the provider's stream ended with an error: {error_words(error)}"
            return False
        return self._chunk(document)

    def _chunk(self, document: dict[str, Any]) -> bool:
        if not self.served_by:
            self.served_by = served_by(document)
        usage = document.get("usage")
        if type(usage) is dict:
            self.tokens = tokens_of(usage)
        choices = document.get("choices")
        if type(choices) is not list or not choices:
            # Only the chunk that carries usage has no choices, and only who asked may see it.
            return self._wants_usage or type(usage) is not dict
        for choice in choices:
            if type(choice) is not dict:
                continue
            if choice.get("finish_reason"):
                self._finished = True
            delta = choice.get("delta")
            if type(delta) is dict and any(value for key, value in delta.items() if key != "role"):
                self.started = True
        return True


def splice(ask: Ask, model: str) -> bytes | None:
    """Return the caller's bytes with another model's name, None if they must be written anew.

    A stream whose caller does not ask for usage asks for it too.
    """
    if not ask.stream or ask.wants_usage:
        return splice_model(ask, model)
    if ask.document is None or "stream_options" in ask.document:
        return None
    return splice_model(ask, model, _USAGE)


def _with_system(messages: Json, text: str) -> list[Any]:
    """Put the version's system text before the caller's.

    Where the caller brings one of its own, both become one message: many models take a system
    message once, and only in front.
    """
    messages = messages if isinstance(messages, list) else []
    first = messages[0] if messages else None
    if isinstance(first, dict) and first.get("role") in {"system", "developer"}:
        own = first.get("content")
        if isinstance(own, str):
            return [{**first, "content": f"{text}\n\n{own}"}, *messages[1:]]
        if isinstance(own, list):
            return [{**first, "content": [{"type": "text", "text": text}, *own]}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _with_tools(given: Json, tools: tuple[Mapping[str, Json], ...]) -> list[Any]:
    """Add the version's tools; on the same name the version's wins."""
    if not isinstance(given, list):
        return list(tools)
    ours = {tool_name(tool) for tool in tools}
    theirs = [t for t in given if not (isinstance(t, Mapping) and tool_name(t) in ours)]
    return [*theirs, *tools]


def _events(block: bytes) -> list[bytes]:
    """Split a block at its blank lines; each event keeps the blank line that ends it."""
    if b"\r" in block:
        found = re.findall(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", block, re.DOTALL)
        return [event for event in found if event.strip()]
    return [event + b"\n\n" for event in block.split(b"\n\n") if event]


def tokens_of(usage: Json) -> Mapping[str, int]:
    """Return tokens by class from a `usage` object; classes that it does not tell are left out."""
    if not isinstance(usage, dict):
        return NO_TOKENS
    found: dict[str, int] = {}
    _add(found, "input", usage.get("prompt_tokens"))
    _add(found, "output", usage.get("completion_tokens"))
    details = usage.get("prompt_tokens_details")
    if type(details) is dict:
        _add(found, "cached", details.get("cached_tokens"))
    details = usage.get("completion_tokens_details")
    if type(details) is dict:
        _add(found, "reasoning", details.get("reasoning_tokens"))
    return found


def _add(tokens: dict[str, int], name: str, value: Json) -> None:
    if type(value) is int and 0 < value < _MOST_TOKENS:
        tokens[name] = value


def served_by(document: Mapping[str, Json]) -> str:
    """Return what an answer says it was made by: the model, and a fingerprint if there is one."""
    model, fingerprint = document.get("model"), document.get("system_fingerprint")
    name = model if isinstance(model, str) else ""
    return f"{name} {fingerprint}"[:200] if isinstance(fingerprint, str) and fingerprint else name
