"""The Open Inference Protocol v2 as callers speak it: `POST /v2/models/{model}/infer`.

The model stands in the path, so the bytes of the body pass untouched. They are read for the unit
(`parameters.sequence_id`) and to refuse what is no JSON; a large body that names no sequence is
left to the runner, which reads it anyway. How deep and how full one is, is found out without
reading it: numbers are what tensors are made of, as many as a body holds, and a walk over millions
of them would make everybody wait.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from headway.gateway.body import (
    DEEPEST,
    MOST_VALUES,
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
from headway.kernel.canonical import Json
from headway.routing.assignment import UnitHints

NAME: Final = "open_inference"
_READ_BELOW: Final = 256 * 1024
BINARY: Final = b"inference-header-content-length"
"""How many bytes of JSON stand before raw tensors (the binary extension)."""
MOST_LISTS: Final = 1_000_000
"""A tensor may be nested, a list per row; each takes 30 times the memory of its brackets."""
_LEVEL: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class OpenInference:
    """The format; it holds no state."""

    name = NAME

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        text = _json_part(body, headers)
        check_size(text)
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
        # Answers are large and ours to trust but for one thing: an error with a good status.
        if body[:64].lstrip().startswith(b'{"error"'):
            return Whole("the model answered with an error")
        if not body:
            return Whole("the model's answer is empty")
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


def check_size(text: bytes) -> None:
    """Raise `NotAnswered` (400) for JSON that is too deep or holds too much besides numbers."""
    quotes = text.count(b'"')
    # Where a text begins there is never an escaped quote, so this never counts one too few.
    if quotes > 2 * MOST_VALUES and quotes - text.count(b'\\"') > 2 * MOST_VALUES:
        raise malformed(f"the body holds more than {MOST_VALUES:,} texts")
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return
    bare = _without_texts(text) if quotes else text
    if bare.count(b"{") > MOST_VALUES:
        raise malformed(f"the body holds more than {MOST_VALUES:,} objects")
    if bare.count(b"[") > MOST_LISTS:
        raise malformed(
            f"the body holds more than {MOST_LISTS:,} lists; `data` may also be one flat list"
        )
    if _is_deeper(bare.translate(_LEVEL, _NO_BRACKETS), DEEPEST):
        raise malformed(
            f"the body is nested more than {DEEPEST} deep, or its brackets do not match"
        )


def _without_texts(text: bytes) -> bytes:
    """Return JSON without what stands in quotes; of malformed JSON whatever comes out."""
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2])


def _is_deeper(brackets: bytes, most: int) -> bool:
    """Tell whether brackets are nested deeper, by taking away the innermost pairs, by level.

    Under an innermost pair lie no more pairs than there are levels. Where too few pairs are
    innermost the rest must be too deep, and no further level has to be taken away to know it.
    """
    for levels in range(most, 0, -1):
        if not brackets:
            return False
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        if (before - len(brackets)) * levels < before:
            return True
    return False


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
