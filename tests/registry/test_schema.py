"""Signatures hold JSON Schemas that stand for themselves."""

import pytest

from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid
from headway.registry.schema import signature_from_document
from headway.registry.signature import Description, Signature, Tensor

INPUT: dict[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"$ref": {"type": "string"}, "kind": {"$ref": "#/$defs/kind"}},
    "$defs": {"kind": {"enum": ["a", "b"]}},
    "default": {"$ref": "https://not.a.reference/"},
    "required": ["kind"],
}


def test_a_signature_is_read() -> None:
    signature = signature_from_document({"input": INPUT})

    assert signature == Signature(input=INPUT)
    assert Signature.of_document(signature.document()) == signature


@pytest.mark.parametrize(
    ("schema", "pointer", "hint"),
    [
        ({"type": "strin"}, "/type", "is no JSON Schema"),
        ({"properties": {"a": {"minimum": "1"}}}, "/properties/a/minimum", "is no JSON Schema"),
        ({"required": "a"}, "/required", "is no JSON Schema"),
        ({"$ref": "https://example.org/x.json"}, "/$ref", "points outside"),
        ({"allOf": [{"$ref": "other.json#/x"}]}, "/allOf/0/$ref", "points outside"),
        (
            {"properties": {"a": {"$dynamicRef": "file:///etc/passwd"}}},
            "/properties/a/$dynamicRef",
            "points outside",
        ),
        ({"$id": "https://example.org/"}, "/$id", "is not taken"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "2020-12"),
        ({"pattern": "("}, "/pattern", "no regular expression"),
        ({"patternProperties": {"[": {}}}, "/patternProperties/[", "no regular expression"),
        ({"datatype": "FLOAT"}, "/datatype", "is none of"),
        ({"shape": [1.5]}, "/shape", "-1 is any size"),
        ([], "", "must be an object"),
        (True, "", "must be an object"),
    ],
)
def test_a_schema_that_may_not_be_stored_is_refused_where_it_is_wrong(
    schema: Json, pointer: str, hint: str
) -> None:
    with pytest.raises(Invalid, match=hint) as refused:
        signature_from_document({"input": schema}, pointer="/signature")

    assert refused.value.faults[0].pointer == f"/signature/input{pointer}"


def test_depth_and_size_are_bounded() -> None:
    deep: Json = {}
    for _ in range(100_000):
        deep = {"items": deep}
    wide: Json = {"properties": {f"p{n}": {} for n in range(20_000)}}
    long: Json = {"description": "x" * 300_000}

    with pytest.raises(Invalid, match="nested more than 32 deep"):
        signature_from_document({"input": deep})
    with pytest.raises(Invalid, match="more than 10,000 values"):
        signature_from_document({"input": wide})
    with pytest.raises(Invalid, match="at most 262,144"):
        signature_from_document({"input": long})


def test_tensors_become_a_signature_that_names_them() -> None:
    inputs = (Tensor("pixels", "FP32", (-1, 64)), Tensor("mask", "BOOL", (-1,)))
    outputs = (Tensor("label", "INT64", (-1,)),)

    signature = Signature.of_tensors(Description(inputs, outputs))

    assert signature_from_document(signature.document()) == signature
    assert signature.input == {
        "type": "object",
        "properties": {
            "pixels": {"type": "array", "datatype": "FP32", "shape": [-1, 64]},
            "mask": {"type": "array", "datatype": "BOOL", "shape": [-1]},
        },
        "required": ["mask", "pixels"],
    }
    assert signature.output["required"] == ["label"]
