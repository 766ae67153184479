"""Bodies and queries against their declared models, with errors that say what fits."""

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headway.kernel.canonical import Json
from headway.kernel.errors import Fault, Invalid
from headway.kernel.names import unknown_word
from headway.registry.document import kind_of, under
from headway.web.schemas import Body, Query

B = TypeVar("B", bound=Body)

_MUST_BE = {
    "string_type": "a string",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "list_type": "an array",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def read_body(document: Mapping[str, Json], takes: type[B]) -> B:
    """Return the body that a document holds, or raise `Invalid` with every fault in it."""
    try:
        return takes.model_validate(document)
    except ValidationError as error:
        raise Invalid([_fault(detail, takes) for detail in _details(error)]) from None


def read_query(
    values: Mapping[str, Sequence[str]], takes: type[Query] | None, *, further: Sequence[str] = ()
) -> Query | None:
    """Return the parameters of a query; each may stand once, and only those that there are.

    `further` are names that somebody else reads: only told to who writes one wrong.
    """
    model = takes or Query
    names = [f.alias or name for name, f in model.model_fields.items()]
    told = [*names, *further]
    faults = [
        Fault(f"?{name[:64]}", unknown_word(name[:64], told, what="parameter"))
        if told
        else Fault(f"?{name[:64]}", "is unknown: nothing is asked by the query here")
        for name in values
        if name not in names
    ]
    faults += [
        Fault(f"?{name}", "stands twice") for name in names if len(values.get(name, ())) > 1
    ]
    if faults:
        raise Invalid(faults)
    try:
        found = model.model_validate({name: value[0] for name, value in values.items()})
    except ValidationError as error:
        raise Invalid(
            [Fault(f"?{d['loc'][0]}", _said(d, model)) for d in _details(error)]
        ) from None
    return found if takes is not None else None


def _details(error: ValidationError) -> Sequence[ErrorDetails]:
    return error.errors(include_url=False, include_context=True)


def _fault(detail: ErrorDetails, model: type[BaseModel]) -> Fault:
    pointer = ""
    for part in detail["loc"]:
        pointer = under(pointer, part)
    return Fault(pointer, _said(detail, model))


def _said(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, met = detail["type"], detail.get("input")
    place = [part for part in detail["loc"] if isinstance(part, str)]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return unknown_word(place[-1], _fields_at(model, place[:-1]), what="field")
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}, not {kind_of(met)}"
    if kind == "literal_error":
        words = [word.strip("'") for word in _expected(detail)]
        if isinstance(met, str):
            return unknown_word(met[:64], words, what="word")
        return f"must be one of {', '.join(words)}"
    if isinstance(met, str) and not met and kind.endswith("too_short"):
        return "must not be empty"
    said = detail["msg"].removeprefix("Input ")
    return said[:1].lower() + said[1:]


def _expected(detail: ErrorDetails) -> list[str]:
    text = str(detail.get("ctx", {}).get("expected", ""))
    return text.replace(" or ", ", ").split(", ")


def _fields_at(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Return the fields that are known at a place inside a body."""
    for part in place:
        found = model.model_fields.get(part)
        inner = next(_models(found.annotation), None) if found else None
        if inner is None:
            break
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {Union, types.UnionType, Annotated, list, dict, tuple}:
        for part in get_args(annotation):
            yield from _models(part)
