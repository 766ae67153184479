"""Conditions of rules, written as MongoDB writes queries: `{"plan": {"$in": ["pro"]}}`.

A condition is an object. Its keys are attributes (`plan`, `user.country`), `$and`, `$or` (lists of
conditions) and `$not` (a condition); all of them must hold. The value of an attribute is what it
must equal, or an object of operators: $eq $ne $in $nin $gt $gte $lt $lte $exists $not.

An attribute that is a list matches when one of its elements does. An absent one equals null.
Numbers compare with numbers and texts with texts; everything else does not compare and is false.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import ge, gt, le, lt
from typing import Any, Final, TypeAlias

from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid
from headway.kernel.names import unknown_word

Attributes: TypeAlias = Mapping[str, Json]
Condition: TypeAlias = Callable[[Attributes], bool]

MOST_NODES: Final = 100
DEEPEST: Final = 8

_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": gt,
    "$gte": ge,
    "$lt": lt,
    "$lte": le,
}
_OPERATORS: Final = ("$eq", "$ne", "$in", "$nin", *_ORDER, "$exists", "$not")
_LOGIC: Final = ("$and", "$or", "$not")


def compile_condition(when: Json, *, pointer: str = "/when") -> Condition | None:
    """Return a function that says whether attributes meet the condition; None: everybody does.

    Raises `Invalid`, with a JSON Pointer below `pointer`, for what is no condition.
    """
    parser = _Parser()
    found = parser.condition(when, pointer, 1)
    return None if isinstance(when, Mapping) and not when else found


class _Parser:
    """Counts what it has read: a condition runs at each request."""

    def __init__(self) -> None:
        self.nodes = 0

    def enter(self, pointer: str, depth: int) -> None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise Invalid.at(pointer, f"a condition may have {MOST_NODES} parts, this has more")
        if depth > DEEPEST:
            raise Invalid.at(pointer, f"a condition may be {DEEPEST} levels deep, this is deeper")

    def condition(self, value: Json, pointer: str, depth: int) -> Condition:
        self.enter(pointer, depth)
        if not isinstance(value, Mapping):
            raise Invalid.at(pointer, 'a condition is an object, as in {"plan": {"$in": ["pro"]}}')
        parts = [
            self.member(key, wanted, f"{pointer}/{_escaped(key)}", depth)
            for key, wanted in value.items()
        ]
        return _all(parts)

    def member(self, key: str, wanted: Json, pointer: str, depth: int) -> Condition:
        if key in ("$and", "$or"):
            return self.several(key, wanted, pointer, depth)
        if key == "$not":
            inner = self.condition(wanted, pointer, depth + 1)
            return lambda attributes: not inner(attributes)
        if key.startswith("$"):
            raise Invalid.at(pointer, _unknown(key, _LOGIC))
        read = _reader(key)
        test = self.test(wanted, pointer, depth + 1)
        return lambda attributes: test(read(attributes))

    def several(self, key: str, wanted: Json, pointer: str, depth: int) -> Condition:
        if not isinstance(wanted, Sequence) or isinstance(wanted, str) or not wanted:
            raise Invalid.at(pointer, f"{key} takes a list of one or more conditions")
        parts = [
            self.condition(part, f"{pointer}/{i}", depth + 1) for i, part in enumerate(wanted)
        ]
        if key == "$and":
            return _all(parts)
        return lambda attributes: any(part(attributes) for part in parts)

    def test(self, wanted: Json, pointer: str, depth: int) -> "_Test":
        """Return what the value of one attribute must pass."""
        self.enter(pointer, depth)
        if not isinstance(wanted, Mapping) or not any(key.startswith("$") for key in wanted):
            self.literal(wanted, pointer, depth)
            return _equals(wanted)
        tests = [
            self.operator(key, value, f"{pointer}/{_escaped(key)}", depth)
            for key, value in wanted.items()
        ]
        if len(tests) == 1:
            return tests[0]
        return lambda value: all(test(value) for test in tests)

    def operator(self, key: str, wanted: Json, pointer: str, depth: int) -> "_Test":
        if key not in _OPERATORS:
            raise Invalid.at(pointer, _unknown(key, _OPERATORS))
        if key == "$not":
            if not isinstance(wanted, Mapping) or not wanted:
                raise Invalid.at(pointer, '$not takes operators, as in {"$not": {"$gt": 5}}')
            inner = self.test(wanted, pointer, depth + 1)
            return lambda value: not inner(value)
        self.literal(wanted, pointer, depth)
        if key == "$exists":
            if not isinstance(wanted, bool):
                raise Invalid.at(pointer, "$exists takes true or false")
            return lambda value: (value is not _ABSENT) is wanted
        if key in ("$in", "$nin"):
            if not isinstance(wanted, Sequence) or isinstance(wanted, str):
                raise Invalid.at(pointer, f"{key} takes a list of values")
            return _one_of(wanted, negated=key == "$nin")
        if key in ("$eq", "$ne"):
            equals = _equals(wanted)
            return equals if key == "$eq" else lambda value: not equals(value)
        if isinstance(wanted, bool) or not isinstance(wanted, int | float | str):
            raise Invalid.at(pointer, f"{key} takes a number or a text")
        return _compares(_ORDER[key], wanted)

    def literal(self, value: Json, pointer: str, depth: int) -> None:
        """Count what a value holds, so that no list of a million texts stands in a route."""
        inside: Sequence[Json] = ()
        if isinstance(value, Mapping):
            inside = tuple(value.values())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            inside = value
        for part in inside:
            self.enter(pointer, depth + 1)
            self.literal(part, pointer, depth + 1)


class _Absent:
    """The value of an attribute that is not there."""


_ABSENT: Final = _Absent()
_Value: TypeAlias = "Json | _Absent"
_Test: TypeAlias = Callable[["_Value"], bool]


def _all(parts: Sequence[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    return lambda attributes: all(part(attributes) for part in parts)


def _reader(path: str) -> Callable[[Attributes], "_Value"]:
    """Return what finds an attribute: by its whole name, else step by step at the dots."""
    steps = path.split(".")
    if len(steps) == 1:
        return lambda attributes: attributes.get(path, _ABSENT)

    def read(attributes: Attributes) -> _Value:
        if path in attributes:
            return attributes[path]
        found: _Value = attributes
        for step in steps:
            if not isinstance(found, Mapping) or step not in found:
                return _ABSENT
            found = found[step]
        return found

    return read


def _equals(wanted: Json) -> _Test:
    def test(value: _Value) -> bool:
        if isinstance(value, _Absent):
            return wanted is None
        return _same(value, wanted) or any(_same(one, wanted) for one in _elements(value))

    return test


def _one_of(wanted: Sequence[Json], *, negated: bool) -> _Test:
    tests = [_equals(one) for one in wanted]
    return lambda value: any(test(value) for test in tests) is not negated


def _compares(order: Callable[[Any, Any], bool], wanted: float | str) -> _Test:
    kind = str if isinstance(wanted, str) else (int, float)

    def fits(value: _Value) -> bool:
        if isinstance(value, bool) or not isinstance(value, kind):
            return False
        return order(value, wanted)

    def test(value: _Value) -> bool:
        return fits(value) or any(fits(one) for one in _elements(value))

    return test


def _elements(value: _Value) -> Sequence[Json]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _same(left: Json, right: Json) -> bool:
    """Compare as JSON does: true is not 1, and 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if _is_list(left) and _is_list(right):
        ours, theirs = _elements(left), _elements(right)
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    return left == right


def _is_list(value: Json) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unknown(key: str, known: Sequence[str]) -> str:
    if key == "$regex":
        return "there is no $regex: list the values with $in"
    return unknown_word(key, known, what="operator")
