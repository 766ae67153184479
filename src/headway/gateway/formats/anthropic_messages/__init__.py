"""Anthropic's messages as callers speak them: `POST /v1/messages` and `…/count_tokens`.

Splice: only the model's name changes. Merge: the version adds a system text, parameters or tools.
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
from headway.gateway.formats.anthropic_messages.asked import chat_of
from headway.gateway.formats.anthropic_messages.merge import merge, merge_for_counting
from headway.gateway.formats.anthropic_messages.stream import MessageStream
from headway.gateway.formats.anthropic_messages.told import MessageTelling, answer_body
from headway.gateway.formats.anthropic_messages.usage import (
    error_words,
    fault_of,
    served_by,
    tokens_of,
)
from headway.gateway.members import flag, model_of
from headway.gateway.splice import splice_model
from headway.gateway.variables import values_of
from headway.kernel.canonical import Json
from headway.routing.assignment import UnitHints

NAME: Final = "anthropic_messages"
COUNTING: Final = "anthropic_count_tokens"
_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicMessages:
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
        metadata = document.get("metadata")
        name, ref = split_pin(asked)
        hints = UnitHints(
            header_text(headers, b"headway-conversation"),
            user_id=text_of(metadata, "user_id") if type(metadata) is dict else None,
            user_header=header_text(headers, b"headway-user"),
            tenant_header=header_text(headers, b"headway-tenant"),
        )
        return Ask(body, document, name, ref, hints, stream=bool(stream))

    def attributes(self, ask: Ask, headers: Fields) -> Mapping[str, Json]:
        return _metadata(ask) | header_object(headers, b"headway-attributes")

    def writer(self, settings: Settings) -> Write:
        return partial(_spliced if settings.only_model else _merged, settings)

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:  # noqa: ARG002 - a port
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Whole("the provider's answer is not JSON")
        if type(document) is not dict:
            return Whole("the provider's answer is not a JSON object")
        return Whole(fault_of(document), tokens_of(document.get("usage")), served_by(document))

    def watch(self, ask: Ask) -> MessageStream:  # noqa: ARG002 - a port
        return MessageStream()

    def fault(self, problem: Problem) -> bytes:
        error = {"type": _KINDS.get(problem.status, "api_error"), "message": problem.detail}
        return orjson.dumps({"type": "error", "error": error})

    def fault_event(self, problem: Problem) -> bytes:
        return b"event: error\ndata: %b\n\n" % self.fault(problem)

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)

    def chat(self, ask: Ask) -> Chat:
        return chat_of(ask.document or read_object(ask.body))

    def answer(self, ask: Ask, answer: Answer) -> bytes:  # noqa: ARG002 - a port
        return answer_body(answer)

    def telling(self, ask: Ask) -> MessageTelling:  # noqa: ARG002 - a port
        return MessageTelling()


class AnthropicCounting(AnthropicMessages):
    """How many tokens a request would have; only the provider itself can say."""

    name = COUNTING

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        ask = super().read(body, headers, model)
        ask.stream = False
        return ask

    def writer(self, settings: Settings) -> Write:
        if settings.template is None and not settings.tools:
            return partial(_spliced, settings)
        return partial(_merged_for_counting, settings)

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:  # noqa: ARG002 - a port
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Whole("the provider's answer is not JSON")
        if type(document) is not dict or type(document.get("input_tokens")) is not int:
            return Whole("the provider's answer has no `input_tokens`")
        return Whole(None)


def complaint(body: bytes) -> Complaint:
    """Read the body of an error as Anthropic's API writes it."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Complaint()
    error = document.get("error") if type(document) is dict else None
    if type(error) is not dict:
        return Complaint()
    kind = error.get("type")
    return Complaint(error_words(error), kind if isinstance(kind, str) else None, body=body)


def _metadata(ask: Ask) -> dict[str, Json]:
    metadata = (ask.document or {}).get("metadata")
    return dict(metadata) if isinstance(metadata, Mapping) else {}


def _spliced(settings: Settings, ask: Ask, headers: Fields) -> bytes:
    return splice_model(ask, settings.model) or _merged(settings, ask, headers)


def _merged(settings: Settings, ask: Ask, headers: Fields) -> bytes:
    given: dict[str, Any] = ask.document or read_object(ask.body)
    values = values_of(_metadata(ask), settings, headers)
    return _written(merge(given, settings, values))


def _merged_for_counting(settings: Settings, ask: Ask, headers: Fields) -> bytes:
    given: dict[str, Any] = ask.document or read_object(ask.body)
    values = values_of(_metadata(ask), settings, headers)
    return _written(merge_for_counting(given, settings, values))


def _written(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise malformed("the body is nested too deeply") from None
