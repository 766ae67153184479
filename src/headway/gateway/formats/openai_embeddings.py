"""OpenAI's embeddings as callers speak them: `POST /v1/embeddings`."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import orjson

from headway.gateway.body import (
    header_object,
    header_text,
    malformed,
    read_object,
    text_of,
)
from headway.gateway.exchange import (
    Ask,
    Complaint,
    Fields,
    Problem,
    Settings,
    Watch,
    Whole,
    Write,
    split_pin,
)
from headway.gateway.members import model_of
from headway.gateway.numbers import check_numbers
from headway.gateway.openai_errors import complaint, fault
from headway.gateway.splice import splice_model
from headway.gateway.tally import counted, ended_by
from headway.kernel.canonical import Json
from headway.routing.assignment import UnitHints

NAME: Final = "openai_embeddings"


class OpenAIEmbeddings:
    """The format; it holds no state."""

    name = NAME
    ends_by_framing = False

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        check_numbers(body)  # an input may be lists of tokens
        document = read_object(body)
        asked = model_of(document, model)
        if type(document.get("input")) not in {str, list}:
            raise malformed(
                "`input` must be a text or a list", param="input", code="invalid_value"
            )
        name, ref = split_pin(asked)
        hints = UnitHints(
            header_text(headers, b"headway-conversation"),
            user=text_of(document, "user"),
            user_header=header_text(headers, b"headway-user"),
            tenant_header=header_text(headers, b"headway-tenant"),
        )
        return Ask(body, document, name, ref, hints)

    def attributes(self, ask: Ask, headers: Fields) -> Mapping[str, Json]:  # noqa: ARG002 - a port
        return header_object(headers, b"headway-attributes")

    def writer(self, settings: Settings) -> Write:
        return partial(_spliced if settings.only_model else _merged, settings)

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:  # noqa: ARG002 - a port
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Whole("the provider's answer is not JSON")
        if type(document) is not dict:
            return Whole("the provider's answer is not a JSON object")
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


def _spliced(settings: Settings, ask: Ask, headers: Fields) -> bytes:
    return splice_model(ask, settings.model) or _merged(settings, ask, headers)


def _merged(settings: Settings, ask: Ask, headers: Fields) -> bytes:  # noqa: ARG001 - a `Write`
    given: dict[str, Any] = ask.document or read_object(ask.body)
    return orjson.dumps(
        {**settings.parameters, **given, **settings.locked, "model": settings.model}
    )


def _texts(given: Json) -> int:
    """Return how many texts were given: one list of numbers is one text in tokens."""
    several = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    return len(given) if several and isinstance(given, list) else 1
