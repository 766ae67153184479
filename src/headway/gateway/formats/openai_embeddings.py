"""OpenAI's embeddings as callers speak them: `POST /v1/embeddings`."""

from collections.abc import Mapping
from typing import Any, Final

from headway.gateway.body import header_object, read_object, text_of
from headway.gateway.exchange import (
    Ask,
    Complaint,
    Fields,
    Problem,
    Settings,
    Watch,
    Whole,
    split_pin,
)
from headway.gateway.members import model_of, wrong
from headway.gateway.numbers import check_numbers
from headway.gateway.object_format import ObjectFormat, hints_of
from headway.gateway.openai_errors import complaint, fault
from headway.gateway.tally import counted, ended_by
from headway.kernel.canonical import Json
from headway.routing.assignment import UnitHints

NAME: Final = "openai_embeddings"


class OpenAIEmbeddings(ObjectFormat):
    """The format; a version of it has neither prompt nor tools."""

    name = NAME

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        check_numbers(body)  # an input may be lists of tokens
        document = read_object(body)
        name, ref = split_pin(model_of(document, model))
        if type(document.get("input")) not in {str, list}:
            raise wrong("input", "a text or a list")
        hints = hints_of(headers, UnitHints(user=text_of(document, "user")))
        return Ask(body, document, name, ref, hints)

    def attributes(self, ask: Ask, headers: Fields) -> Mapping[str, Json]:  # noqa: ARG002 - a port
        return header_object(headers, b"headway-attributes")

    def merge(
        self,
        given: Mapping[str, Any],
        settings: Settings,
        headers: Fields,  # noqa: ARG002 - for those that have a prompt
    ) -> dict[str, Any]:
        return {**settings.parameters, **given, **settings.locked, "model": settings.model}

    def judged(self, ask: Ask, document: dict[str, Any]) -> Whole:
        if error := document.get("error"):
            return Whole(ended_by(error))
        found, texts = document.get("data"), _texts((ask.document or {}).get("input"))
        if type(found) is not list:
            return Whole("the provider's answer has no `data`")
        if len(found) != texts:
            return Whole("the provider's answer does not hold one vector for each text")
        usage, model = document.get("usage"), document.get("model")
        asked = usage.get("prompt_tokens") if type(usage) is dict else None
        return Whole(None, counted({"input": asked}), model[:200] if type(model) is str else "")

    def watch(self, ask: Ask) -> Watch | None:  # noqa: ARG002 - a port
        return None

    def fault(self, problem: Problem) -> bytes:
        return fault(problem)

    def fault_event(self, problem: Problem) -> bytes:
        return fault(problem)

    def complaint(self, body: bytes) -> Complaint:
        return complaint(body)


def _texts(given: Json) -> int:
    """Return how many texts were given: one list of numbers is one text in tokens."""
    several = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    return len(given) if several and isinstance(given, list) else 1
