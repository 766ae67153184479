"""JSON that is to be written anew, with every number as it was sent.

The quick parser makes floats of whole numbers beyond 64 bits, and of longer fractions than a float
holds. Where one of its floats may be such a number, the text is read once more, and numbers that
are no 64 bits are kept as they are written.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson

from headway.gateway.body import read_object
from headway.gateway.exchange import Ask

_SHORT: Final = 18
"""So many digits are a whole number within 64 bits."""
_BEYOND: Final = float(1 << 63)
_PLAIN: Final = 16
"""So many letters of a float are all that was written; longer ones may have been longer yet."""


def document_of(ask: Ask) -> dict[str, Any]:
    """Return the object that a request is, for writing it anew."""
    document = ask.document or read_object(ask.body)
    found: dict[str, Any] = _anew(ask.body, document) if may_have_lost(document) else document
    return found


def loads(text: bytes | str) -> Any:  # noqa: ANN401 - JSON
    """Read JSON for writing it anew. Raises `orjson.JSONDecodeError`."""
    value = orjson.loads(text)
    return _anew(text, value) if may_have_lost(value) else value


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the number that a value is, or nearly is, if it is kept as it was written."""
    return orjson.loads(orjson.dumps(value)) if type(value) is orjson.Fragment else value


def may_have_lost(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Say whether what the quick parser read holds a float that may have been more.

    Level by level and without recursion, so that depth can hurt nobody.
    """
    level: list[Any] = [[value]]  # what stands alone may be no object
    while level:
        below: list[Any] = []
        for node in level:
            for each in node.values() if type(node) is dict else node:
                kind = type(each)
                if kind is dict or kind is list:
                    below.append(each)
                elif kind is float and _is_odd(each):
                    return True
        level = below
    return False


def _is_odd(number: float) -> bool:
    # A zero may have been a number too small for a float.
    return number == 0 or abs(number) >= _BEYOND or len(repr(number)) > _PLAIN


def _anew(text: bytes | str, quick: Any) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text, parse_int=_whole, parse_float=_fraction)
    except RecursionError:
        return quick


def _whole(text: str) -> Any:  # noqa: ANN401 - a number or its text
    return int(text) if len(text) <= _SHORT else orjson.Fragment(text)


def _fraction(text: str) -> Any:  # noqa: ANN401 - a number or its text
    number = float(text)
    try:
        same = Decimal(text) == Decimal(repr(number))
    except InvalidOperation:  # an exponent that nobody can count with
        same = False
    return number if same else orjson.Fragment(text)
