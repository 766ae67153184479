"""OpenAI's responses as callers speak them: `POST /v1/responses`.

A request may name `prompt: {id, version, variables}` instead of a model: the id is a model of this
registry, or one of its alternative ids, and the variables go into the version's own prompt.
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
from headway.gateway.formats.openai_responses.asked import chat_of
from headway.gateway.formats.openai_responses.merge import merge, variables_of
from headway.gateway.formats.openai_responses.stream import (
    ResponseStream,
    failure_of,
    served_by,
    tokens_of,
)
from headway.gateway.formats.openai_responses.told import ResponseTelling, answer_body
from headway.gateway.members import flag
from headway.gateway.openai_errors import complaint, fault
from headway.gateway.splice import splice_model
from headway.gateway.variables import values_of
from headway.kernel.canonical import Json
from headway.routing.assignment import UnitHints

NAME: Final = "openai_responses"
_DONE: Final = ("completed", "incomplete")
_LATER: Final = ("queued", "in_progress")
"""Of who asked for an answer in the background."""


class OpenAIResponses:
    """The format; it holds no state."""

    name = NAME
    ends_by_framing = False

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        document = read_object(body)
        check_size(document)
        name, ref = _which(document, model)
        if document.get("input") is not None and type(document["input"]) not in {str, list}:
            raise malformed(
                "`input` must be a text or a list", param="input", code="invalid_value"
            )
        stream = flag(document, "stream")
        metadata = document.get("metadata")
        hints = UnitHints(
            header_text(headers, b"headway-conversation"),
            conversation_id=text_of(metadata, "conversation_id")
            if type(metadata) is dict
            else None,
            prompt_cache_key=text_of(document, "prompt_cache_key"),
            safety_identifier=text_of(document, "safety_identifier"),
            user=text_of(document, "user"),
            conversation=_conversation(document.get("conversation")),
            user_header=header_text(headers, b"headway-user"),
            tenant_header=header_text(headers, b"headway-tenant"),
        )
        return Ask(body, document, name, ref, hints, stream=bool(stream))

    def attributes(self, ask: Ask, headers: Fields) -> Mapping[str, Json]:
        metadata = (ask.document or {}).get("metadata")
        found = dict(metadata) if isinstance(metadata, Mapping) else {}
        return found | header_object(headers, b"headway-attributes")

    def writer(self, settings: Settings) -> Write:
        return partial(_spliced if settings.only_model else _merged, settings)

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:  # noqa: ARG002 - a port
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Whole("the provider's answer is not JSON")
        if type(document) is not dict:
            return Whole("the provider's answer is not a JSON object")
        tokens, served = tokens_of(document.get("usage")), served_by(document)
        if (said := failure_of(document)) is not None:
            return Whole(said, tokens, served)
        later = ask.document is not None and ask.document.get("background") is True
        complete = (*_DONE, *_LATER) if later else _DONE
        if type(document.get("output")) is not list or document.get("status") not in complete:
            return Whole("the provider's answer is no complete response", tokens, served)
        return Whole(None, tokens, served)

    def watch(self, ask: Ask) -> ResponseStream:  # noqa: ARG002 - a port
        return ResponseStream()

    def fault(self, problem: Problem) -> bytes:
        return fault(problem)

    def fault_event(self, problem: Problem) -> bytes:
        inner = {
            "message": problem.detail,
            "type": "server_error",
            "param": problem.param,
            "code": problem.code,
        }
        # `error` is what clients raise on; the other members are those of the API's own event.
        event = {
            "type": "error",
            "code": problem.code,
            "message": problem.detail,
            "param": problem.param,
            "sequence_number": 0,
            "error": inner,
        }
        return b"event: error\ndata: %b\n\n" % orjson.dumps(event)

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)

    def chat(self, ask: Ask) -> Chat:
        return chat_of(ask.document or read_object(ask.body))

    def answer(self, ask: Ask, answer: Answer) -> bytes:
        return answer_body(ask.document or {}, answer)

    def telling(self, ask: Ask) -> ResponseTelling:
        return ResponseTelling(ask.document or {})


def _which(document: Mapping[str, Any], path: str | None) -> tuple[str, str | None]:
    """Return the model that is asked, and what it is pinned to."""
    prompt = document.get("prompt")
    if prompt is not None:
        name = prompt.get("id") if isinstance(prompt, Mapping) else None
        if not isinstance(prompt, Mapping) or not isinstance(name, str) or not name:
            raise malformed("`prompt` must have an `id`", param="prompt", code="invalid_value")
        version = prompt.get("version")
        if version is not None and not isinstance(version, str):
            raise malformed(
                "`prompt.version` must be a text", param="prompt.version", code="invalid_value"
            )
        model, ref = split_pin(name)
        return model, version or ref
    asked = path or document.get("model")
    if not isinstance(asked, str) or not asked:
        raise malformed(
            "`model` must name a model, or `prompt` a stored prompt",
            param="model",
            code="invalid_value",
        )
    return split_pin(asked)


def _conversation(value: Json) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def _spliced(settings: Settings, ask: Ask, headers: Fields) -> bytes:
    if ask.document is None or "prompt" not in ask.document:
        spliced = splice_model(ask, settings.model)
        if spliced is not None:
            return spliced
    return _merged(settings, ask, headers)


def _merged(settings: Settings, ask: Ask, headers: Fields) -> bytes:
    given: dict[str, Any] = ask.document or read_object(ask.body)
    values = values_of(variables_of(given), settings, headers)
    document = merge(given, settings, values)
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise malformed("the body is nested too deeply") from None
