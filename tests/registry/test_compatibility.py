"""What changes for callers between two versions, and which bump that asks for."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from headway.kernel.canonical import Json
from headway.registry.compatibility import Compatibility, Contract, Direction, Severity, compare
from headway.registry.prompt import Prompt, Variable
from headway.registry.signature import Signature
from headway.registry.target import HostedTarget, LocalTarget
from headway.registry.version import SemVer

LOCAL = LocalTarget("onnx", "sha256:" + "0" * 64)
UPSTREAM = HostedTarget("openai", "https://x.org", "m")


def change(part: str, old: dict[str, Json], new: dict[str, Json]) -> Compatibility:
    return compare(
        Contract(LOCAL, Signature(**{part: old})), Contract(LOCAL, Signature(**{part: new}))
    )


def properties(**members: Json) -> dict[str, Json]:
    return {"type": "object", "properties": members}


TEXT: dict[str, Json] = {"type": "string"}
TEXT_OR_NULL: dict[str, Json] = {"type": ["string", "null"]}
CLOSED: dict[str, Json] = {"additionalProperties": False}
TEXTS: dict[str, Json] = {"additionalProperties": TEXT}

# old schema, new schema, bump if it is the input, bump if it is the output
SCHEMAS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"type": "integer"}, {"type": "number"}, "minor", "major"),
    ({"type": "number"}, {"type": "integer"}, "major", "minor"),
    ({"type": "string"}, {"type": ["string", "null"]}, "minor", "major"),
    ({"type": "string"}, {"type": "object"}, "major", "major"),
    ({"type": "string"}, {"type": "string", "title": "Text"}, "patch", "patch"),
    ({"enum": ["a", "b"]}, {"enum": ["b", "a"]}, "patch", "patch"),
    ({"enum": ["a"]}, {"enum": ["a", "b"]}, "minor", "major"),
    ({"enum": ["a", "b"]}, {"const": "a"}, "major", "minor"),
    ({"enum": ["a"]}, {"type": "string"}, "minor", "major"),
    ({"type": "string"}, {"enum": ["a"]}, "major", "minor"),
    ({"const": 1}, {"const": True}, "major", "major"),
    ({"const": 1, "enum": [2]}, {"const": 1}, "minor", "major"),
    ({"const": 1}, {"const": 1.0}, "patch", "patch"),
    ({"type": "number", "minimum": 0}, {"type": "number", "minimum": 1}, "major", "minor"),
    ({"type": "number", "minimum": 0}, {"type": "number"}, "minor", "major"),
    (
        {"type": "number", "minimum": 0},
        {"type": "number", "exclusiveMinimum": 0},
        "major",
        "minor",
    ),
    (
        {"type": "integer", "minimum": 1},
        {"type": "integer", "exclusiveMinimum": 0},
        "patch",
        "patch",
    ),
    ({"type": "number", "maximum": 9}, {"type": "number", "maximum": 10}, "minor", "major"),
    (
        {"type": "number", "maximum": 9},
        {"type": "number", "exclusiveMaximum": 9},
        "major",
        "minor",
    ),
    ({"type": "string", "maxLength": 9}, {"type": "string", "maxLength": 8}, "major", "minor"),
    ({"type": "string", "minLength": 0}, {"type": "string"}, "patch", "patch"),
    ({"type": "array", "minItems": 1}, {"type": "array"}, "minor", "major"),
    ({"type": "array", "items": TEXT}, {"type": "array"}, "minor", "major"),
    ({"type": "array"}, {"type": "array", "uniqueItems": True}, "major", "minor"),
    (properties(a=TEXT), properties(a=TEXT, b=TEXT), "minor", "minor"),
    (properties(a=TEXT, b=TEXT), properties(a=TEXT), "major", "major"),
    (properties(a=TEXT) | CLOSED, properties(a=TEXT, b=TEXT) | CLOSED, "minor", "major"),
    (properties(a=TEXT) | TEXTS, properties(a=TEXT, b=TEXT) | TEXTS, "minor", "minor"),
    (properties(a=TEXT) | TEXTS, properties(a=TEXT, b={"type": "null"}) | TEXTS, "major", "major"),
    (properties(a=TEXT) | TEXTS, properties(a=TEXT, b=TEXT_OR_NULL) | TEXTS, "minor", "major"),
    (properties(a=TEXT), properties(a=TEXT) | CLOSED, "major", "minor"),
    (properties(a=TEXT), properties(a=TEXT) | {"required": ["a"]}, "major", "minor"),
    (properties(a=TEXT) | {"required": ["a"]}, properties(a=TEXT), "minor", "major"),
    (properties(a={"enum": [1]}), properties(a={"enum": [1, 2]}), "minor", "major"),
    (properties(a=False), properties(a=True), "minor", "major"),
    ({"type": "array", "shape": [-1, 64]}, {"type": "array", "shape": [-1, 65]}, "major", "major"),
    ({"type": "array", "shape": [8, 64]}, {"type": "array", "shape": [-1, 64]}, "minor", "major"),
    ({"type": "array", "shape": [-1, 64]}, {"type": "array", "shape": [8, 64]}, "major", "minor"),
    ({"type": "array", "shape": [-1]}, {"type": "array", "shape": [-1, 1]}, "major", "major"),
    (
        {"type": "array", "datatype": "FP32"},
        {"type": "array", "datatype": "FP64"},
        "major",
        "major",
    ),
    ({}, {"type": "string"}, "minor", "minor"),
    ({"type": "string"}, {}, "minor", "major"),
]


@pytest.mark.parametrize(("old", "new", "as_input", "as_output"), SCHEMAS)
def test_input_may_allow_more_and_output_less(
    old: dict[str, Json], new: dict[str, Json], as_input: str, as_output: str
) -> None:
    assert change("input", old, new).bump == as_input
    assert change("parameters", old, new).bump == as_input
    assert change("output", old, new).bump == as_output


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"anyOf": [{"type": "string"}]}, {"anyOf": [{"type": "integer"}]}),
        ({"type": "string"}, {"type": "string", "pattern": "^a"}),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}},
            {"$ref": "#/$defs/a", "$defs": {"a": {"const": 2}}},
        ),
        (properties(a={"format": "date"}), properties(a={"format": "time"})),
    ],
)
def test_what_we_cannot_tell_is_said_and_counts_as_breaking(
    old: dict[str, Json], new: dict[str, Json]
) -> None:
    found = change("input", old, new)

    assert not found.certain
    assert not found.compatible
    assert found.bump == "major"
    assert [d.severity for d in found.differences] == [Severity.UNKNOWN]


def test_an_unknown_keyword_that_stays_the_same_says_nothing() -> None:
    shared: dict[str, Json] = {"anyOf": [{"type": "string"}], "format": "date"}

    assert change("input", shared, shared | {"title": "x"}).differences == ()


def test_a_difference_says_where_it_is_and_what_it_is() -> None:
    found = change("input", properties(a=TEXT), properties(a=TEXT) | {"required": ["a"]})

    (difference,) = found.differences
    assert difference.where == "/signature/input/required"
    assert difference.direction is Direction.LESS
    assert difference.detail == "'a' is required now"


# Targets


def upstream(**changes: Any) -> Contract:  # noqa: ANN401 -- fields of several types
    fields: Mapping[str, Any] = {"base_url": "https://x.org", "model": "m", **changes}
    return Contract(HostedTarget("openai", **fields), Signature())


def prompted(**variables: str | None) -> Contract:
    declared = {name: Variable(default) for name, default in variables.items()}
    return upstream(prompt=Prompt("text", declared))


def tool(name: str, **parameters: Json) -> dict[str, Json]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TARGETS: list[tuple[Contract, Contract, str]] = [
    (upstream(), upstream(), "patch"),
    (upstream(), upstream(model="other"), "patch"),
    (upstream(), upstream(parameters={"n": 1}), "patch"),
    (prompted(), upstream(prompt=Prompt("another text")), "patch"),
    (prompted(), prompted(a=None), "major"),
    (prompted(), prompted(a="x"), "minor"),
    (prompted(a="x"), prompted(), "major"),
    (prompted(a="x"), prompted(a=None), "major"),
    (prompted(a=None), prompted(a="x"), "minor"),
    (prompted(a="x"), prompted(a="y"), "patch"),
    (upstream(), upstream(tools=(tool("f"),)), "major"),
    (upstream(tools=(tool("f"),)), upstream(), "minor"),
    (
        upstream(tools=(tool("f", properties={"a": {"enum": [1]}}),)),
        upstream(tools=(tool("f", properties={"a": {"enum": [1, 2]}}),)),
        "major",
    ),
    (
        upstream(tools=(tool("f", properties={"a": {"enum": [1, 2]}}),)),
        upstream(tools=(tool("f", properties={"a": {"enum": [1]}}),)),
        "minor",
    ),
    (upstream(), Contract(LOCAL, Signature()), "major"),
]


@pytest.mark.parametrize(("old", "new", "bump"), TARGETS)
def test_callers_notice_variables_and_tools(old: Contract, new: Contract, bump: str) -> None:
    assert compare(old, new).bump == bump


def test_the_worst_difference_comes_first() -> None:
    found = compare(prompted(a="x", b="x"), prompted(a="y", b="x", c=None, d="x"))

    assert [d.severity for d in found.differences] == [
        Severity.BREAKING,
        Severity.FEATURE,
        Severity.FIX,
        Severity.FIX,
    ]


@pytest.mark.parametrize(("number", "advice"), [("0.3.1", "minor"), ("1.3.1", "major")])
def test_below_one_a_minor_version_may_break(number: str, advice: str) -> None:
    assert compare(prompted(a=None), prompted()).advice(SemVer.parse(number)) == advice


scalars = st.sampled_from(["a", "b", 1, 2, None, True])
schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "object", ["string", "null"]]),
        "enum": st.lists(scalars, min_size=1, max_size=3),
        "minimum": st.integers(0, 3),
        "maxLength": st.integers(0, 3),
        "required": st.lists(st.sampled_from(["p", "q"]), unique=True),
        "properties": st.dictionaries(
            st.sampled_from(["p", "q"]), st.sampled_from([{"type": "string"}, {"enum": [1]}, {}])
        ),
        "additionalProperties": st.booleans(),
    },
)


@given(schemas)
def test_a_schema_is_compatible_with_itself(schema: dict[str, Json]) -> None:
    assert change("input", schema, dict(reversed(schema.items()))).differences == ()


@given(schemas, schemas)
def test_what_is_called_compatible_takes_every_old_input(
    old: dict[str, Json], new: dict[str, Json]
) -> None:
    if not old or not new or not change("input", old, new).compatible:
        return
    before, after = Draft202012Validator(old), Draft202012Validator(new)
    declared = old.get("properties", {})
    assert isinstance(declared, Mapping)
    members: list[dict[str, Json]] = [{}, {"p": "a"}, {"p": 1}, {"q": "b"}, {"p": "a", "q": "b"}]
    for value in ["", "a", "bb", "cccc", 0, 1, 2.5, 4, None, True, []]:
        if before.is_valid(value):
            assert after.is_valid(value), value
    for fields in members:  # a property that was not declared before may get a meaning
        if before.is_valid(fields) and fields.keys() <= declared.keys():
            assert after.is_valid(fields), fields
