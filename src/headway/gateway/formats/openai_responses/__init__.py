"""OpenAI's responses as callers speak them: `POST /v1/responses`.

A request may name `prompt: {id, version, variables}` instead of a model: the id is a model of this
registry, or one of its alternative ids, and the variables go into the version's own prompt.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from headway.gateway.body import check_size, malformed, read_object, text_of
from headway.gateway.chat import Answer, Chat
from headway.gateway.exact import document_of
from headway.gateway.exchange import Ask, Complaint, Fields, Problem, Settings, Whole, split_pin
from headway.gateway.formats.openai_responses.asked import chat_of
from headway.gateway.formats.openai_responses.merge import merge, variables_of
from headway.gateway.formats.openai_responses.stream import ResponseStream
from headway.gateway.formats.openai_responses.told import ResponseTelling, answer_body
from headway.gateway.formats.openai_responses.usage import fault_of, served_by, tokens_of
from headway.gateway.members import flag, wrong
from headway.gateway.object_format import ObjectFormat, hints_of
from headway.gateway.openai_errors import complaint, fault
from headway.gateway.sse import write_event
from headway.gateway.variables import values_of
from headway.routing.assignment import NO_HINTS, UnitHints

NAME: Final = "openai_responses"
_DONE: Final = ("completed", "incomplete")
_LATER: Final = ("queued", "in_progress")
"""Of who asked for an answer in the background."""
_WHO: Final = frozenset(
    {"conversation", "metadata", "prompt_cache_key", "safety_identifier", "user"}
)


class OpenAIResponses(ObjectFormat):
    """The format."""

    name = NAME

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        document = read_object(body)
        check_size(document)
        name, ref = _which(document, model)
        if document.get("input") is not None and type(document["input"]) not in {str, list}:
            raise wrong("input", "a text or a list")
        hints = hints_of(headers, NO_HINTS if _WHO.isdisjoint(document) else _said(document))
        return Ask(body, document, name, ref, hints, stream=bool(flag(document, "stream")))

    def spliced(self, settings: Settings, ask: Ask, headers: Fields) -> bytes:
        if "prompt" in (ask.document or ()):  # the provider stores no prompt of that name
            return self.merged(settings, ask, headers)
        return super().spliced(settings, ask, headers)

    def merge(
        self, given: Mapping[str, Any], settings: Settings, headers: Fields
    ) -> dict[str, Any]:
        return merge(given, settings, values_of(variables_of(given), settings, headers))

    def judged(self, ask: Ask, document: dict[str, Any]) -> Whole:
        tokens, served = tokens_of(document.get("usage")), served_by(document)
        if (said := fault_of(document)) is not None:
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
        return write_event(b"error", orjson.dumps(event))

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)

    def chat(self, ask: Ask) -> Chat:
        return chat_of(document_of(ask))

    def answer(self, ask: Ask, answer: Answer) -> bytes:
        return answer_body(document_of(ask), answer)

    def telling(self, ask: Ask) -> ResponseTelling:
        return ResponseTelling(document_of(ask))


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


def _said(document: dict[str, Any]) -> UnitHints:
    metadata, conversation = document.get("metadata"), document.get("conversation")
    if isinstance(conversation, Mapping):
        conversation = conversation.get("id")
    return UnitHints(
        conversation_id=text_of(metadata, "conversation_id") if type(metadata) is dict else None,
        prompt_cache_key=text_of(document, "prompt_cache_key"),
        safety_identifier=text_of(document, "safety_identifier"),
        user=text_of(document, "user"),
        conversation=conversation if isinstance(conversation, str) and conversation else None,
    )
