"""What changes for callers between two versions, and which part of the number should grow.

A version may take more and give less: whatever the old one took, the new one must take; whatever
the new one gives, the old one could have given. So a schema that allows less breaks callers where
it speaks of input or parameters, and one that allows more where it speaks of output. Tools are
output: whoever calls must be able to carry them out.

Compared are types, required and other properties, items, enumerations, bounds, and the tensors'
datatype and shape. A property that nobody had named is new, although anything that was called so
was allowed before: else no schema that leaves the rest open could ever grow. Of any other keyword
that differs we cannot tell, and say so; what we cannot tell counts as breaking.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from headway.kernel.canonical import Json, canonical
from headway.registry.document import under
from headway.registry.model import Version
from headway.registry.prompt import Variable
from headway.registry.signature import Signature
from headway.registry.target import HostedTarget, Target, tool_name
from headway.registry.version import Bump, SemVer


class Severity(StrEnum):
    """What a difference means for those who call."""

    BREAKING = "breaking"
    UNKNOWN = "cannot tell"
    FEATURE = "feature"
    FIX = "fix"


class Direction(StrEnum):
    """How the new version differs from the old one in one place."""

    LESS = "allows less"
    MORE = "allows more"
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: `where` is a JSON Pointer into `{signature, prompt, tools, target}`."""

    where: str
    direction: Direction
    severity: Severity
    detail: str


@dataclass(frozen=True, slots=True)
class Compatibility:
    """Every difference, the worst first."""

    differences: tuple[Difference, ...]

    @property
    def compatible(self) -> bool:
        """Say whether callers of the old version can surely call the new one."""
        return not {d.severity for d in self.differences} & {Severity.BREAKING, Severity.UNKNOWN}

    @property
    def certain(self) -> bool:
        return all(d.severity is not Severity.UNKNOWN for d in self.differences)

    @property
    def bump(self) -> Bump:
        if not self.compatible:
            return "major"
        if any(d.severity is Severity.FEATURE for d in self.differences):
            return "minor"
        return "patch"

    def advice(self, old: SemVer) -> Bump:
        """Return what should grow in `old`; below 1.0.0 a minor version may break."""
        return "minor" if old.major == 0 and self.bump == "major" else self.bump


@dataclass(frozen=True, slots=True)
class Contract:
    """What callers see of a version."""

    target: Target
    signature: Signature

    @classmethod
    def of(cls, version: Version) -> "Contract":
        return cls(version.target, version.signature)


def compare(old: Contract, new: Contract) -> Compatibility:
    """Return every difference that callers of `old` may meet when they call `new`."""
    found = [*_signatures(old.signature, new.signature), *_targets(old.target, new.target)]
    rank = list(Severity)
    return Compatibility(tuple(sorted(found, key=lambda d: (rank.index(d.severity), d.where))))


# Signatures


@dataclass(frozen=True, slots=True)
class _Change:
    """One difference of two schemas, before it is known who is hurt by it."""

    where: str
    direction: Direction
    detail: str
    known: bool = True


def _signatures(old: Signature, new: Signature) -> Iterator[Difference]:
    for name, one, other in (
        ("input", old.input, new.input),
        ("parameters", old.parameters, new.parameters),
        ("output", old.output, new.output),
    ):
        at = f"/signature/{name}"
        if not one and other:  # nothing was promised before
            yield Difference(at, Direction.ADDED, Severity.FEATURE, f"the {name} is stated now")
        elif one and not other:
            broken = Severity.BREAKING if name == "output" else Severity.FEATURE
            yield Difference(at, Direction.REMOVED, broken, f"the {name} is not stated any more")
        else:
            for change in _schemas(one, other, at):
                yield _judged(change, gives=name == "output")


def _judged(change: _Change, *, gives: bool) -> Difference:
    if not change.known:
        severity = Severity.UNKNOWN
    elif change.direction in {Direction.CHANGED, Direction.REMOVED}:
        severity = Severity.BREAKING
    elif change.direction is Direction.ADDED:
        severity = Severity.FEATURE
    else:
        breaks = Direction.MORE if gives else Direction.LESS
        severity = Severity.BREAKING if change.direction is breaks else Severity.FEATURE
    return Difference(change.where, change.direction, severity, change.detail)


_SAYS_NOTHING: Final = frozenset(
    [
        "$anchor",
        "$comment",
        "$schema",
        "default",
        "deprecated",
        "description",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    ]
)
_COMPARED: Final = frozenset(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "datatype",
        "shape",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "uniqueItems",
    ]
)
_ALL_TYPES: Final = frozenset(
    ["null", "boolean", "object", "array", "string", "integer", "fraction"]
)
_COUNTS: Final = (
    ("string", "minLength", "maxLength", "characters"),
    ("array", "minItems", "maxItems", "items"),
    ("object", "minProperties", "maxProperties", "properties"),
)


def _schemas(old: Json, new: Json, at: str) -> Iterator[_Change]:
    """Yield where `new` allows other values than `old`."""
    one, other = _as_schema(old), _as_schema(new)
    if one is None or other is None:
        if one is not other:
            more = one is None
            direction = Direction.MORE if more else Direction.LESS
            yield _Change(at, direction, "is taken now" if more else "is not taken any more")
        return
    if _same(one, other):
        return
    for key in sorted((one.keys() | other.keys()) - _COMPARED - _SAYS_NOTHING):
        if key not in one or key not in other or not _same(one[key], other[key]):
            yield _Change(
                under(at, key), Direction.CHANGED, f"{key} differs: we cannot tell", known=False
            )
    before, after = _types(one), _types(other)
    yield from _sets(before, after, under(at, "type"), "type")
    yield from _enums(one, other, at)
    both = before & after
    if both & {"integer", "fraction"}:
        yield from _lower(_low(one), _low(other), under(at, "minimum"), "the least value")
        yield from _upper(_high(one), _high(other), under(at, "maximum"), "the greatest value")
    for kind, low, high, what in _COUNTS:
        if kind in both:
            yield from _lower(
                _number(one, low, 0), _number(other, low, 0), under(at, low), f"the least {what}"
            )
            yield from _upper(
                _number(one, high, _NO_END),
                _number(other, high, _NO_END),
                under(at, high),
                f"the most {what}",
            )
    if "array" in both:
        yield from _arrays(one, other, at)
    if "object" in both:
        yield from _objects(one, other, at)


def _same(old: Json, new: Json) -> bool:
    """Say whether two values are one in JSON, where 1 is 1.0 and not true."""
    return canonical(old) == canonical(new)


def _as_schema(schema: Json) -> Mapping[str, Json] | None:
    """Return a schema as an object; None for `false`, which allows nothing."""
    if isinstance(schema, Mapping):
        return schema
    return None if schema is False else {}


def _types(schema: Mapping[str, Json]) -> frozenset[str]:
    stated = schema.get("type")
    if stated is None:
        values = _values(schema)
        return _ALL_TYPES if values is None else frozenset(map(_type_of, values))
    names = [stated] if isinstance(stated, str) else stated
    found = {str(name) for name in names} if isinstance(names, Sequence) else set(_ALL_TYPES)
    if "number" in found:  # an integer is a number, too
        found = (found - {"number"}) | {"integer", "fraction"}
    return frozenset(found)


def _type_of(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "fraction"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"


def _values(schema: Mapping[str, Json]) -> Sequence[Json] | None:
    stated = schema.get("enum")
    named = stated if isinstance(stated, Sequence) and not isinstance(stated, str) else None
    if "const" not in schema:
        return named
    only = schema["const"]
    return [only] if named is None or any(_same(only, value) for value in named) else []


def _enums(old: Mapping[str, Json], new: Mapping[str, Json], at: str) -> Iterator[_Change]:
    one, other = _values(old), _values(new)
    where = under(at, "const" if "const" in new or "const" in old else "enum")
    if one is None and other is not None:
        yield _Change(where, Direction.LESS, f"only {len(other)} values are allowed now")
    elif one is not None and other is None:
        yield _Change(where, Direction.MORE, "values are not enumerated any more")
    elif one is not None and other is not None:
        texts = frozenset(map(canonical, one)), frozenset(map(canonical, other))
        yield from _sets(*texts, where, "value")


def _sets(old: frozenset[str], new: frozenset[str], at: str, what: str) -> Iterator[_Change]:
    if gone := sorted(old - new):
        yield _Change(at, Direction.LESS, f"no more {what} {', '.join(gone)[:200]}")
    if come := sorted(new - old):
        yield _Change(at, Direction.MORE, f"new {what} {', '.join(come)[:200]}")


_NO_END: Final = float("inf")
_Bound = tuple[float, int]
"""A bound, and how far beyond it the first allowed value is: an excluded one is one step on."""


def _number(schema: Mapping[str, Json], key: str, default: float) -> _Bound:
    value = schema.get(key)
    return (value if isinstance(value, (int, float)) else default), 0


def _low(schema: Mapping[str, Json]) -> _Bound:
    open_end, _ = _number(schema, "exclusiveMinimum", -_NO_END)
    value, step = max(_number(schema, "minimum", -_NO_END), (open_end, 1))
    if "fraction" in _types(schema) or value == -_NO_END:
        return value, step
    return (math.floor(value) + 1 if step else math.ceil(value)), 0


def _high(schema: Mapping[str, Json]) -> _Bound:
    open_end, _ = _number(schema, "exclusiveMaximum", _NO_END)
    value, step = min(_number(schema, "maximum", _NO_END), (open_end, -1))
    if "fraction" in _types(schema) or value == _NO_END:
        return value, step
    return (math.ceil(value) - 1 if step else math.floor(value)), 0


def _lower(old: _Bound, new: _Bound, at: str, what: str) -> Iterator[_Change]:
    if old != new:
        direction = Direction.LESS if new > old else Direction.MORE
        yield _Change(at, direction, f"{what} was {_shown(old)}, is {_shown(new)}")


def _upper(old: _Bound, new: _Bound, at: str, what: str) -> Iterator[_Change]:
    if old != new:
        direction = Direction.LESS if new < old else Direction.MORE
        yield _Change(at, direction, f"{what} was {_shown(old)}, is {_shown(new)}")


def _shown(bound: _Bound) -> str:
    value, step = bound
    if value in {_NO_END, -_NO_END}:
        return "not bounded"
    return f"{value:g}" + {0: "", 1: " (excluded)", -1: " (excluded)"}[step]


def _arrays(old: Mapping[str, Json], new: Mapping[str, Json], at: str) -> Iterator[_Change]:
    yield from _schemas(old.get("items", True), new.get("items", True), under(at, "items"))
    one, other = bool(old.get("uniqueItems")), bool(new.get("uniqueItems"))
    if one != other:
        direction = Direction.LESS if other else Direction.MORE
        yield _Change(under(at, "uniqueItems"), direction, "whether items may be repeated")
    if (before := old.get("datatype")) != (after := new.get("datatype")):
        detail = f"the datatype was {before or 'not stated'}, is {after or 'not stated'}"
        yield _Change(under(at, "datatype"), Direction.CHANGED, detail)
    yield from _shapes(old.get("shape"), new.get("shape"), under(at, "shape"))


def _shapes(old: Json, new: Json, at: str) -> Iterator[_Change]:
    if old == new:
        return
    detail = f"the shape was {_written(old)}, is {_written(new)}"
    if (
        not isinstance(old, Sequence)
        or not isinstance(new, Sequence)
        or len(old) != len(new)
        or any(a != b and -1 not in (a, b) for a, b in zip(old, new, strict=True))
    ):
        yield _Change(at, Direction.CHANGED, detail)
        return
    pairs = list(zip(old, new, strict=True))
    if any(a == -1 != b for a, b in pairs):
        yield _Change(at, Direction.LESS, detail)
    if any(b == -1 != a for a, b in pairs):
        yield _Change(at, Direction.MORE, detail)


def _written(shape: Json) -> str:
    return "not stated" if shape is None else canonical(shape)


def _objects(old: Mapping[str, Json], new: Mapping[str, Json], at: str) -> Iterator[_Change]:
    one, other = _properties(old), _properties(new)
    rest_before, rest_after = (
        old.get("additionalProperties", True),
        new.get("additionalProperties", True),
    )
    for name in sorted(one.keys() | other.keys()):
        where = under(under(at, "properties"), name)
        if name in one and name in other:
            yield from _schemas(one[name], other[name], where)
        elif name in other and rest_before is False:
            yield _Change(where, Direction.MORE, f"there is a new property {name!r}")
        elif name in other:
            yield _Change(where, Direction.ADDED, f"there is a new property {name!r}")
            if rest_before not in (True, {}):  # it had to be so before, whatever its name
                yield from _schemas(rest_before, other[name], where)
        else:
            yield _Change(where, Direction.REMOVED, f"there is no property {name!r} any more")
    yield from _schemas(rest_before, rest_after, under(at, "additionalProperties"))
    needed, needs = _required(old), _required(new)
    for name in sorted(needs - needed):
        yield _Change(under(at, "required"), Direction.LESS, f"{name!r} is required now")
    for name in sorted(needed - needs):
        yield _Change(under(at, "required"), Direction.MORE, f"{name!r} may be missing now")


def _properties(schema: Mapping[str, Json]) -> Mapping[str, Json]:
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def _required(schema: Mapping[str, Json]) -> frozenset[str]:
    found = schema.get("required")
    return frozenset(map(str, found)) if isinstance(found, Sequence) else frozenset()


# Targets


def _targets(old: Target, new: Target) -> Iterator[Difference]:
    if type(old) is not type(new):
        yield Difference(
            "/target",
            Direction.CHANGED,
            Severity.BREAKING,
            "a model elsewhere and one that runs here are called in different ways",
        )
        return
    if isinstance(old, HostedTarget) and isinstance(new, HostedTarget):
        yield from _variables(
            old.prompt.variables if old.prompt else {}, new.prompt.variables if new.prompt else {}
        )
        yield from _tools(old.tools, new.tools)
    if not _same(old.document(), new.document()):
        yield Difference(
            "/target", Direction.CHANGED, Severity.FIX, "answers may differ: the target changed"
        )


def _variables(old: Mapping[str, Variable], new: Mapping[str, Variable]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        at = under("/prompt/variables", name)
        one, other = old.get(name), new.get(name)
        if one is None and other is not None:
            needed = other.default is None
            severity = Severity.BREAKING if needed else Severity.FEATURE
            detail = f"there is a new variable {name!r}" + (
                ", and it has no default" if needed else ""
            )
            yield Difference(at, Direction.ADDED, severity, detail)
        elif one is not None and other is None:
            detail = f"the variable {name!r} is not read any more"
            yield Difference(at, Direction.REMOVED, Severity.BREAKING, detail)
        elif one is not None and other is not None and one.default != other.default:
            yield _default(name, at, one.default, other.default)


def _default(name: str, at: str, old: str | None, new: str | None) -> Difference:
    if new is None:
        detail = f"the variable {name!r} has no default any more"
        return Difference(at, Direction.LESS, Severity.BREAKING, detail)
    if old is None:
        detail = f"the variable {name!r} may be left out now"
        return Difference(at, Direction.MORE, Severity.FEATURE, detail)
    detail = f"the variable {name!r} has another default"
    return Difference(at, Direction.CHANGED, Severity.FIX, detail)


def _tools(
    old: Sequence[Mapping[str, Json]], new: Sequence[Mapping[str, Json]]
) -> Iterator[Difference]:
    one, other = {tool_name(t): t for t in old}, {tool_name(t): t for t in new}
    for name in sorted(one.keys() | other.keys()):
        at = under("/tools", name)
        if name not in one:
            detail = f"there is a new tool {name!r}: callers must be able to carry it out"
            yield Difference(at, Direction.ADDED, Severity.BREAKING, detail)
        elif name not in other:
            detail = f"there is no tool {name!r} any more"
            yield Difference(at, Direction.REMOVED, Severity.FEATURE, detail)
        elif not _same(one[name], other[name]):
            yield from _tool(one[name], other[name], at)


def _tool(old: Mapping[str, Json], new: Mapping[str, Json], at: str) -> Iterator[Difference]:
    one, other = old.get("function"), new.get("function")
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        detail = "the tool differs: we cannot tell"
        yield Difference(at, Direction.CHANGED, Severity.UNKNOWN, detail)
        return
    before, after = one.get("parameters", {}), other.get("parameters", {})
    for change in _schemas(before, after, under(at, "parameters")):
        yield _judged(change, gives=True)
    if not _same(_without_parameters(one), _without_parameters(other)):
        yield Difference(at, Direction.CHANGED, Severity.FIX, "the tool's text differs")


def _without_parameters(function: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in function.items() if key != "parameters"}
