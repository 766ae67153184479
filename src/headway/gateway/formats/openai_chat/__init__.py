"""OpenAI's chat completions as callers speak them: `POST /v1/chat/completions`."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.body import check_size, read_object, text_of
from headway.gateway.chat import Answer, Chat
from headway.gateway.exact import document_of
from headway.gateway.exchange import Ask, Complaint, Fields, Problem, Settings, Whole, split_pin
from headway.gateway.formats.openai_chat.asked import chat_of
from headway.gateway.formats.openai_chat.merge import merge, splice
from headway.gateway.formats.openai_chat.stream import ChatStream
from headway.gateway.formats.openai_chat.told import ChatTelling, answer_body
from headway.gateway.formats.openai_chat.usage import fault_of, served_by, tokens_of
from headway.gateway.members import flag, model_of, wrong
from headway.gateway.object_format import ObjectFormat, hints_of, metadata_of
from headway.gateway.openai_errors import complaint, fault
from headway.gateway.sse import write_event
from headway.gateway.variables import values_of
from headway.routing.assignment import NO_HINTS, UnitHints

NAME: Final = "openai_chat"
_WHO: Final = frozenset({"metadata", "prompt_cache_key", "safety_identifier", "user"})


class OpenAIChat(ObjectFormat):
    """The format."""

    name = NAME

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        document = read_object(body)
        check_size(document)
        name, ref = split_pin(model_of(document, model))
        if type(document.get("messages")) is not list:
            raise wrong("messages", "a list")
        hints = hints_of(headers, NO_HINTS if _WHO.isdisjoint(document) else _said(document))
        if not flag(document, "stream"):
            return Ask(body, document, name, ref, hints)
        options = document.get("stream_options")
        if options is not None and type(options) is not dict:
            raise wrong("stream_options", "an object")
        wants_usage = bool(options and options.get("include_usage") is True)
        return Ask(body, document, name, ref, hints, stream=True, wants_usage=wants_usage)

    def spliced(self, settings: Settings, ask: Ask, headers: Fields) -> bytes:
        return splice(ask, settings.model) or self.merged(settings, ask, headers)

    def merge(
        self, given: Mapping[str, Any], settings: Settings, headers: Fields
    ) -> dict[str, Any]:
        return merge(given, settings, values_of(metadata_of(given), settings, headers))

    def judged(self, ask: Ask, document: dict[str, Any]) -> Whole:  # noqa: ARG002 - for those that ask
        return Whole(fault_of(document), tokens_of(document.get("usage")), served_by(document))

    def watch(self, ask: Ask) -> ChatStream:
        return ChatStream(wants_usage=ask.wants_usage)

    def fault(self, problem: Problem) -> bytes:
        return fault(problem)

    def fault_event(self, problem: Problem) -> bytes:
        return write_event(b"", fault(problem))

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)

    def chat(self, ask: Ask) -> Chat:
        return chat_of(document_of(ask))

    def answer(self, ask: Ask, answer: Answer) -> bytes:  # noqa: ARG002 - a port
        return answer_body(answer)

    def telling(self, ask: Ask) -> ChatTelling:
        return ChatTelling(wants_usage=ask.wants_usage)


def _said(document: dict[str, Any]) -> UnitHints:
    metadata = document.get("metadata")
    return UnitHints(
        conversation_id=text_of(metadata, "conversation_id") if type(metadata) is dict else None,
        prompt_cache_key=text_of(document, "prompt_cache_key"),
        safety_identifier=text_of(document, "safety_identifier"),
        user=text_of(document, "user"),
    )
