"""Reading JSON documents field by field, with errors that say where and what fits."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from headway.kernel.canonical import Json
from headway.kernel.errors import Fault, Invalid
from headway.kernel.names import check_text, unknown_word
from headway.kernel.quantity import parse_duration

_SAFE: Final = 2**53


def under(pointer: str, key: str | int) -> str:
    """Return the JSON Pointer (RFC 6901) of a member."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def kind_of(value: Json) -> str:
    """Name the kind of a JSON value, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case _:
            return "an array"


def as_object(value: Json, *, pointer: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise Invalid.at(pointer, f"must be an object, not {kind_of(value)}")
    return value


def as_array(value: Json, *, pointer: str, longest: int) -> Sequence[Json]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Invalid.at(pointer, f"must be an array, not {kind_of(value)}")
    if len(value) > longest:
        raise Invalid.at(pointer, f"has {len(value):,} items; at most {longest:,} are taken")
    return value


def as_text(value: Json, *, pointer: str, longest: int = 4096, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise Invalid.at(pointer, f"must be a string, not {kind_of(value)}")
    if not value and not empty:
        raise Invalid.at(pointer, "must not be empty")
    return check_text(value, pointer=pointer, longest=longest)


def as_duration(value: Json, *, pointer: str, longest: int) -> int:
    """Return milliseconds of a duration above zero."""
    if not isinstance(value, str):
        raise Invalid.at(pointer, f'must be a duration such as "30s", not {kind_of(value)}')
    milliseconds = parse_duration(value, pointer=pointer)
    if not 0 < milliseconds <= longest:
        raise Invalid.at(pointer, f"{value} is out of range: above 0, at most {longest // 1000}s")
    return milliseconds


def only(
    document: Mapping[str, Json],
    known: Collection[str],
    *,
    required: Collection[str] = (),
    what: str,
    pointer: str,
) -> None:
    """Raise `Invalid` for every field that is not known and every required one that is missing."""
    faults = [
        Fault(under(pointer, key), unknown_word(key, known, what=f"field of {what}"))
        for key in document
        if key not in known
    ]
    faults += [
        Fault(under(pointer, key), f"is missing: {what} needs it")
        for key in required
        if key not in document
    ]
    if faults:
        raise Invalid(faults)


def check_json(value: Json, *, pointer: str, deepest: int = 32, most: int = 10_000) -> None:
    """Raise `Invalid` for what is too deep, has too many nodes, or cannot be written canonically.

    Walks without recursion, so that depth can hurt nobody.
    """
    stack: list[tuple[Json, str, int]] = [(value, pointer, 0)]
    nodes = 0
    while stack:
        node, at, depth = stack.pop()
        nodes += 1
        if depth > deepest:
            raise Invalid.at(pointer, f"is nested more than {deepest} deep")
        if nodes > most:
            raise Invalid.at(pointer, f"holds more than {most:,} values")
        match node:
            case None | bool():
                pass
            case str():
                check_text(node, pointer=at, longest=1_000_000)
            case int():
                if abs(node) >= _SAFE:
                    raise Invalid.at(at, "is beyond 2^53: no two programs agree on such integers")
            case float():
                if not math.isfinite(node):
                    raise Invalid.at(at, "is not a finite number")
            case Mapping():
                for key, member in node.items():
                    check_text(key, pointer=at)
                    stack.append((member, under(at, key), depth + 1))
            case _:
                stack.extend((item, under(at, i), depth + 1) for i, item in enumerate(node))
