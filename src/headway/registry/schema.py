"""Checking that a signature and the tools of a target hold JSON Schemas that may be stored."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from jsonschema import Draft202012Validator, SchemaError

from headway.kernel.canonical import Json, canonical
from headway.kernel.errors import Invalid
from headway.registry.document import as_object, check_json, only, under
from headway.registry.signature import DATATYPES, Signature, is_shape
from headway.registry.target import HostedTarget, Target

LARGEST: Final = 256 * 1024
"""Bytes of one schema, in canonical JSON."""
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NO_NAMES: Final = ("properties", "patternProperties", "$defs", "dependentSchemas")
"""Keywords whose members are named by the author: `$ref` there is a property, not a keyword."""
_VALUES: Final = ("const", "enum", "default", "examples")
"""Keywords that hold values: what stands in them is no schema."""


def signature_from_document(document: Json, *, pointer: str = "") -> Signature:
    """Read a signature as somebody sent it, or raise `Invalid`."""
    fields = as_object(document, pointer=pointer)
    only(fields, ("input", "output", "parameters"), what="a signature", pointer=pointer)
    for name, schema in fields.items():
        check_schema(schema, pointer=under(pointer, name))
    return Signature.of_document(fields)


def check_tools(target: Target, *, pointer: str) -> None:
    """Raise `Invalid` unless the parameters of every function are a schema that may be stored."""
    if not isinstance(target, HostedTarget):
        return
    for i, tool in enumerate(target.tools):
        function = tool.get("function")
        if isinstance(function, Mapping) and "parameters" in function:
            at = under(under(under(pointer, i), "function"), "parameters")
            check_schema(function["parameters"], pointer=at)


def check_schema(schema: Json, *, pointer: str) -> None:
    """Raise `Invalid` unless it is a JSON Schema (2020-12) that stands for itself.

    At most 256 KiB, 32 deep, 10,000 values; no reference to anything outside itself.
    """
    fields = as_object(schema, pointer=pointer)
    check_json(fields, pointer=pointer)
    if (size := len(canonical(fields).encode())) > LARGEST:
        raise Invalid.at(pointer, f"has {size:,} bytes; at most {LARGEST:,} are taken")
    for member, at in _schemas(fields, pointer):
        _check_words(member, at)
    try:
        Draft202012Validator.check_schema(fields)
    except SchemaError as error:
        at = pointer
        for step in error.absolute_path:
            at = under(at, step)
        raise Invalid.at(at, f"is no JSON Schema: {error.message[:300]}") from error


def _schemas(schema: Mapping[str, Json], pointer: str) -> Iterator[tuple[Mapping[str, Json], str]]:
    """Yield every object that may be a schema, the outermost first."""
    yield schema, pointer
    for key, value in schema.items():
        if key in _VALUES:
            continue
        at = under(pointer, key)
        if isinstance(value, Mapping):
            if key in _NO_NAMES:
                for name, member in value.items():
                    if isinstance(member, Mapping):
                        yield from _schemas(member, under(at, name))
            else:
                yield from _schemas(value, at)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for i, member in enumerate(value):
                if isinstance(member, Mapping):
                    yield from _schemas(member, under(at, i))


def _check_words(schema: Mapping[str, Json], pointer: str) -> None:
    for key in ("$ref", "$dynamicRef"):
        if not str(schema.get(key, "#")).startswith("#"):
            raise Invalid.at(
                under(pointer, key),
                "points outside the schema: put what it names into $defs and write #/$defs/…",
            )
    for key in ("$id", "$vocabulary"):
        if key in schema:
            raise Invalid.at(
                under(pointer, key), f"{key} is not taken: a schema stands for itself"
            )
    if schema.get("$schema", _DIALECT) not in {_DIALECT, f"{_DIALECT}#"}:
        raise Invalid.at(under(pointer, "$schema"), f"only {_DIALECT} is taken")
    if "datatype" in schema and schema["datatype"] not in DATATYPES:
        raise Invalid.at(under(pointer, "datatype"), f"is none of {', '.join(DATATYPES)}")
    if "shape" in schema and not is_shape(schema["shape"]):
        raise Invalid.at(
            under(pointer, "shape"), "must list the dimensions, as in [-1, 64]; -1 is any size"
        )
    for pattern, at in _patterns(schema, pointer):
        try:
            re.compile(pattern)
        except re.error as error:
            raise Invalid.at(at, f"is no regular expression: {error}") from error


def _patterns(schema: Mapping[str, Json], pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(pattern := schema.get("pattern"), str):
        yield pattern, under(pointer, "pattern")
    if isinstance(named := schema.get("patternProperties"), Mapping):
        at = under(pointer, "patternProperties")
        yield from ((name, under(at, name)) for name in named)
