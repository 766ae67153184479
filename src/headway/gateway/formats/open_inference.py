"""The Open Inference Protocol v2 as callers speak it: `POST /v2/models/{model}/infer`.

The model stands in the path, so the bytes of the body pass untouched. They are read for the unit
(`parameters.sequence_id`) and to refuse what is no JSON; a large body that names no sequence is
left to the runner, which reads it anyway.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from headway.gateway import exact
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
from headway.gateway.tensors import fault_of
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

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:  # noqa: ARG002 - a port
        try:
            length = _json_length(body, headers)
        except ValueError:
            return Whole("the model's answer is shorter than it says")
        raw = None if length is None else len(body) - length
        if (fault := fault_of(body[:length], raw)) is not None:
            return Whole(fault)
        return Whole(None, fields=None if length is None else _binary(length))

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


class Renamed:
    """Reads answers of a server that knows a model by another name (`exchange.Answers`).

    What its answers call the model is replaced by what callers call it; their tensors, their `id`
    and what else they hold pass as they came.
    """

    def __init__(self, *, model: str, version: str, theirs: str) -> None:
        self._name, self._version = orjson.dumps(model), orjson.dumps(version)
        self._ours = {"model_name": model, "model_version": version}
        self._quoted = re.compile(rf"""(['"`]){re.escape(theirs)}\1""")
        self._shown = rf"\g<1>{model}\g<1>"

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:
        found = _FORMAT.whole(ask, body, headers)
        if found.error is not None:
            return found
        length = _json_length(body, headers)
        text = body if length is None else body[:length]
        said = self._spliced(text) or self._written(text)
        if said is None:
            return Whole("the model's answer is not a JSON object")
        renamed, served_by = said
        if length is None:
            return Whole(None, served_by=served_by, body=renamed)
        return Whole(
            None,
            served_by=served_by,
            body=renamed + body[length:],
            fields=_binary(len(renamed)),
        )

    def complaint(self, body: bytes) -> Complaint:
        """Read a refusal; `model_not_found` is told of what is no refusal of the protocol's.

        Nothing but the version's own words leads there, so whoever does not know the path does
        not know the model.
        """
        message = _message(body)
        if message is None:
            return Complaint(code=_UNKNOWN)
        unknown = _UNKNOWN if _IS_UNKNOWN.search(message) else None
        return Complaint(self._quoted.sub(self._shown, message), unknown)

    def _spliced(self, text: bytes) -> tuple[bytes, str] | None:
        """Return the same bytes with other names; None if they must be written anew."""
        if text.count(b'"model_name"') != 1 or text.count(b'"model_version"') > 1:
            return None
        name = _NAME.search(text)
        if name is None or b"\\u00" in text:
            return None
        version = _VERSION.search(text)
        served_by = name[2].decode("utf-8", "replace")
        ours = b"%b%b" % (name[1], self._name)
        if version is None:
            if b'"model_version"' in text:
                return None
            ours = b'%b,"model_version":%b' % (ours, self._version)
        else:
            if version[2] != b"null":
                said = version[2].strip(b'"').decode("utf-8", "replace")
                served_by = f"{served_by} {said}"
            theirs = b"%b%b" % (version[1], self._version)
            text = text.replace(version[0], theirs, 1)
        return text.replace(name[0], ours, 1), served_by

    def _written(self, text: bytes) -> tuple[bytes, str] | None:
        try:
            document = exact.loads(text)
        except orjson.JSONDecodeError:
            return None
        if type(document) is not dict:
            return None
        named = (document.get("model_name"), document.get("model_version"))
        served_by = " ".join(str(each) for each in named if isinstance(each, str | int))
        return orjson.dumps(document | self._ours), served_by


_FORMAT: Final = OpenInference()
_UNKNOWN: Final = "model_not_found"
_IS_UNKNOWN: Final = re.compile(
    r"unknown model|model\b.*\b(not found|does ?n[o']t exist|not exist)", re.IGNORECASE
)
_NAME: Final = re.compile(rb'("model_name"\s*:\s*)"([^"\\]*)"')
_VERSION: Final = re.compile(rb'("model_version"\s*:\s*)("[^"\\]*"|null|[0-9]+)')
_LONGEST_MESSAGE: Final = 1_000


def _message(body: bytes) -> str | None:
    """Return the first line of what a refusal says, None if it is none.

    The protocol has `error`; KServe and MLServer tell of malformed requests in `detail`. Further
    lines may be a traceback.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(document) is not dict:
        return None
    said = document.get("error", document.get("detail"))
    if type(said) is list and said and type(said[0]) is dict:
        said = said[0].get("msg")
    if type(said) is not str:
        return None
    first = said.strip().partition("\n")[0]
    return "" if first.startswith("Traceback") else first[:_LONGEST_MESSAGE]


def _untouched(ask: Ask, headers: Fields) -> bytes:  # noqa: ARG001 - a `Write`
    return ask.body


def _json_part(body: bytes, headers: Fields) -> bytes:
    try:
        return body[: _json_length(body, headers)]
    except ValueError as error:
        raise malformed(str(error)) from None


def _json_length(body: bytes, headers: Fields) -> int | None:
    """Return how many bytes are JSON, None if all are. Raises `ValueError` for what cannot be."""
    length = headers.get(BINARY)
    if length is None:
        return None
    if not length.isdigit() or len(length) > 12 or int(length) > len(body):
        raise ValueError("Inference-Header-Content-Length is no length within the body")
    return int(length)


def _binary(length: int) -> bytes:
    return b"content-type: application/octet-stream\r\n%b: %d\r\n" % (BINARY, length)


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
