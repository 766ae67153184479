"""Anthropic's messages as callers speak them: `POST /v1/messages` and `…/count_tokens`."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import orjson

from headway.gateway.body import check_size, read_object, text_of
from headway.gateway.chat import Answer, Chat
from headway.gateway.exact import document_of
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
from headway.gateway.members import flag, model_of, wrong
from headway.gateway.object_format import ObjectFormat, hints_of, metadata_of
from headway.gateway.sse import write_event
from headway.gateway.variables import values_of
from headway.routing.assignment import NO_HINTS, UnitHints

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


class AnthropicMessages(ObjectFormat):
    """The format."""

    name = NAME

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        document = read_object(body)
        check_size(document)
        name, ref = split_pin(model_of(document, model))
        if type(document.get("messages")) is not list:
            raise wrong("messages", "a list")
        metadata = document.get("metadata")
        user = text_of(metadata, "user_id") if type(metadata) is dict else None
        hints = hints_of(headers, UnitHints(user_id=user) if user else NO_HINTS)
        return Ask(body, document, name, ref, hints, stream=bool(flag(document, "stream")))

    def merge(
        self, given: Mapping[str, Any], settings: Settings, headers: Fields
    ) -> dict[str, Any]:
        return merge(given, settings, values_of(metadata_of(given), settings, headers))

    def judged(self, ask: Ask, document: dict[str, Any]) -> Whole:  # noqa: ARG002 - for those that ask
        return Whole(fault_of(document), tokens_of(document.get("usage")), served_by(document))

    def watch(self, ask: Ask) -> MessageStream:  # noqa: ARG002 - a port
        return MessageStream()

    def fault(self, problem: Problem) -> bytes:
        error = {"type": _KINDS.get(problem.status, "api_error"), "message": problem.detail}
        return orjson.dumps({"type": "error", "error": error})

    def fault_event(self, problem: Problem) -> bytes:
        return write_event(b"error", self.fault(problem))

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)

    def chat(self, ask: Ask) -> Chat:
        return chat_of(document_of(ask))

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
        adds = settings.template is not None or settings.tools
        return partial(self.merged if adds else self.spliced, settings)

    def merge(
        self, given: Mapping[str, Any], settings: Settings, headers: Fields
    ) -> dict[str, Any]:
        return merge_for_counting(
            given, settings, values_of(metadata_of(given), settings, headers)
        )

    def judged(self, ask: Ask, document: dict[str, Any]) -> Whole:  # noqa: ARG002 - for those that ask
        if type(document.get("input_tokens")) is not int:
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
