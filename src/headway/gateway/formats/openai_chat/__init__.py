"""OpenAI's chat completions as callers speak them: `POST /v1/chat/completions`.

Two ways to the upstream. Splice: only the model's name changes (and a stream asks for usage), so
the bytes are cut and joined and nothing is written anew. Merge: the version adds a system text,
parameters or tools, so the parsed request is changed and written once.
"""

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
from headway.gateway.formats.openai_chat.stream import (
    ChatStream,
    fault_of,
    served_by,
    tokens_of,
)
from headway.gateway.formats.openai_chat.told import ChatTelling, answer_body
from headway.gateway.members import flag, model_of
from headway.gateway.openai_errors import complaint, fault
from headway.gateway.splice import splice_model
from headway.gateway.variables import values_of
from headway.kernel.canonical import Json
from headway.registry.target import tool_name
from headway.routing.assignment import NO_HINTS, UnitHints

NAME: Final = "openai_chat"
_USAGE: Final = b'"stream_options":{"include_usage":true}'
_HINT_KEYS: Final = frozenset({"metadata", "prompt_cache_key", "safety_identifier", "user"})
_HINT_FIELDS: Final = frozenset({b"headway-conversation", b"headway-user", b"headway-tenant"})


class OpenAIChat:
    """The format; it holds no state."""

    name = NAME
    ends_by_framing = False

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

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:  # noqa: ARG002 - a port
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Whole("the provider's answer is not JSON")
        if type(document) is not dict:
            return Whole("the provider's answer is not a JSON object")
        tokens, served = tokens_of(document.get("usage")), served_by(document)
        return Whole(fault_of(document), tokens, served)

    def watch(self, ask: Ask) -> ChatStream:
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
    document = merge(given, settings, values)
    try:
        return orjson.dumps(document)
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
    if isinstance(first, dict) and first.get("role") in ("system", "developer"):
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
