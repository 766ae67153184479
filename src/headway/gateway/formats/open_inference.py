"""The Open Inference Protocol v2 as callers speak it: `POST /v2/models/{model}/infer`.

The model stands in the path, so the bytes of the body pass untouched. They are read for the unit
(`parameters.sequence_id`) and to refuse what is no JSON; a large body that names no sequence is
left to the runner, which reads it anyway.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from headway.gateway.body import (
    header_object,
    header_text,
    malformed,
    read_object,
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
from headway.gateway.numbers import check_numbers
from headway.kernel.canonical import Json
from headway.routing.assignment import UnitHints

NAME: Final = "open_inference"
_READ_BELOW: Final = 256 * 1024
EXTENSIONS: Final = ("binary_tensor_data",)
"""Of the protocol, those that are spoken here."""
BINARY: Final = b"inference-header-content-length"
"""How many bytes of JSON stand before raw tensors (the binary extension)."""


class OpenInference:
    """The format; it holds no state."""

    name = NAME
    ends_by_framing = True

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        text = _json_part(body, headers)
        check_numbers(text)
        document: dict[str, Any] | None = None
        if len(text) < _READ_BELOW or b'"sequence_id"' in text:
            document = read_object(text)
        elif text[:1] not in b"{ \t\r\n":
            raise malformed("the body must be a JSON object")
        name, ref = split_pin(model or "")
        parameters = document.get("parameters") if document else None
        hints = UnitHints(
            header_text(headers, b"headway-conversation"),
            sequence_id=_sequence(parameters),
            user_header=header_text(headers, b"headway-user"),
            tenant_header=header_text(headers, b"headway-tenant"),
        )
        return Ask(body, document, name, ref, hints)

    def attributes(self, ask: Ask, headers: Fields) -> Mapping[str, Json]:
        parameters = (ask.document or {}).get("parameters")
        found = dict(parameters) if isinstance(parameters, Mapping) else {}
        return found | header_object(headers, b"headway-attributes")

    def writer(self, settings: Settings) -> Write:  # noqa: ARG002 - a port
        return _untouched

    def whole(self, ask: Ask, body: bytes) -> Whole:  # noqa: ARG002 - a port
        # Answers are large: what is looked at is what other things than an answer begin with.
        beginning = body[:64].lstrip()
        if not beginning:
            return Whole("the model's answer is empty")
        if beginning.startswith(b'{"error"'):
            return Whole("the model answered with an error")
        if not beginning.startswith(b"{"):
            return Whole("the model's answer is not a JSON object")
        return Whole(None)

    def watch(self, ask: Ask) -> Watch | None:  # noqa: ARG002 - a port
        return None

    def fault(self, problem: Problem) -> bytes:
        return orjson.dumps({"error": problem.detail})

    def fault_event(self, problem: Problem) -> bytes:
        return self.fault(problem)

    def complaint(self, body: bytes) -> Complaint:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Complaint()
        error = document.get("error") if type(document) is dict else None
        return Complaint(error, body=body) if isinstance(error, str) else Complaint()


def _untouched(ask: Ask, headers: Fields) -> bytes:  # noqa: ARG001 - a `Write`
    return ask.body


def _json_part(body: bytes, headers: Fields) -> bytes:
    length = headers.get(BINARY)
    if length is None:
        return body
    if not length.isdigit() or len(length) > 12 or int(length) > len(body):
        raise malformed("Inference-Header-Content-Length is no length within the body")
    return body[: int(length)]


def _sequence(parameters: Json) -> str | None:
    """Return the sequence as text; 0 and the empty text mean none, as clients send them."""
    if not isinstance(parameters, Mapping):
        return None
    value = parameters.get("sequence_id")
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool) and value:
        return str(value)
    return None
