"""Reading what callers send: one JSON object, not too deep, not too many values; headers."""

from typing import Any, Final

import orjson

from headway.gateway.exchange import NotAnswered, Problem
from headway.kernel.canonical import Json
from headway.tracking.measurement import Outcome
from headway.wire.framing import Headers

DEEPEST: Final = 64
MOST_VALUES: Final = 100_000


def malformed(detail: str, *, param: str | None = None, code: str = "invalid_json") -> NotAnswered:
    """Return what is raised for a request that cannot be read: 400."""
    return NotAnswered(Problem(400, detail, Outcome.CALLER, code, param))


def read_object(body: bytes, *, deepest: int = DEEPEST, most: int = MOST_VALUES) -> dict[str, Any]:
    """Return the object that a body holds, or raise `NotAnswered` (400).

    The parser refuses NaN, 1e999, lone surrogates and a byte order mark, and stops at depth 1,024.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {_where(error)}") from None
    if type(document) is not dict:
        raise malformed("the body must be a JSON object")
    _check_size(document, body, deepest, most)
    return document


def _where(error: orjson.JSONDecodeError) -> str:
    return f"{error.msg[:128]} (line {error.lineno}, column {error.colno})"


def _check_size(document: dict[str, Any], body: bytes, deepest: int, most: int) -> None:
    """Bound depth and number of values.

    Brackets and commas bound both from above, and counting bytes is much faster than a walk; only
    a body with a great many of them (or with them in its texts) is walked.
    """
    opened = body.count(b"{") + body.count(b"[")
    if opened <= deepest and opened + body.count(b",") < most:
        return
    nodes = 0
    stack: list[tuple[Any, int]] = [(document, 1)]
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if nodes > most:
            raise malformed(f"the body holds more than {most:,} values")
        kind = type(node)
        if kind is dict or kind is list:
            if depth > deepest:
                raise malformed(f"the body is nested more than {deepest} deep")
            stack.extend((item, depth + 1) for item in (node.values() if kind is dict else node))


def text_of(document: dict[str, Any], key: str) -> str | None:
    """Return a member that is a non-empty text, or None."""
    value = document.get(key)
    return value if type(value) is str and value else None


def header_text(headers: Headers, name: bytes) -> str | None:
    """Return a header's value as text; None if it is missing or empty."""
    value = headers.get(name)
    return value.decode("latin-1") if value else None


def header_object(headers: Headers, name: bytes) -> dict[str, Json]:
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
