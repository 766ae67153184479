"""Reading what callers send: one JSON object, not too deep, not too many values; headers."""

from typing import Any, Final

import orjson

from headway.gateway.exchange import Fields, NotAnswered, Problem
from headway.kernel.canonical import Json
from headway.tracking.measurement import Outcome

DEEPEST: Final = 64
MOST_VALUES: Final = 100_000
PACKED: Final = Problem(
    415, "a packed body (Content-Encoding) is not taken", Outcome.CALLER, "unsupported_encoding"
)


def malformed(detail: str, *, param: str | None = None, code: str = "invalid_json") -> NotAnswered:
    """Return what is raised for a request that cannot be read: 400."""
    return NotAnswered(Problem(400, detail, Outcome.CALLER, code, param))


def read_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body holds, or raise `NotAnswered` (400).

    The parser refuses NaN, 1e999, lone surrogates and a byte order mark, and stops at depth 1,024.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {_where(error)}") from None
    if type(document) is not dict:
        raise malformed("the body must be a JSON object")
    return document


def _where(error: orjson.JSONDecodeError) -> str:
    return f"{error.msg[:128]} (line {error.lineno}, column {error.colno})"


def check_size(
    document: dict[str, Any], *, deepest: int = DEEPEST, most: int = MOST_VALUES
) -> None:
    """Raise `NotAnswered` (400) for what is too deep or holds too many values.

    Walks level by level and without recursion, so that depth can hurt nobody.
    """
    level: list[Any] = [document]
    depth = values = 0
    while level:
        depth += 1
        if depth > deepest:
            raise malformed(f"the body is nested more than {deepest} deep")
        below: list[Any] = []
        for node in level:
            values += len(node)
            if values > most:
                raise malformed(f"the body holds more than {most:,} values")
            for value in node.values() if type(node) is dict else node:
                kind = type(value)
                if kind is dict or kind is list:
                    below.append(value)
        level = below


def text_of(document: dict[str, Any], key: str) -> str | None:
    """Return a member that is a non-empty text, or None."""
    value = document.get(key)
    return value if type(value) is str and value else None


def header_text(headers: Fields, name: bytes) -> str | None:
    """Return a header's value as text; None if it is missing or empty."""
    value = headers.get(name)
    return value.decode("latin-1") if value else None


def header_object(headers: Fields, name: bytes) -> dict[str, Json]:
    """Return a header that holds a JSON object, or raise `NotAnswered` (400)."""
    value = headers.get(name)
    if not value:
        return {}
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = None
    if type(found) is not dict:
        raise malformed(
            f"the header {name.decode()} must hold a JSON object", code="invalid_value"
        )
    return found
