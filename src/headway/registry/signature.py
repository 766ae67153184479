"""What a version takes and gives: JSON Schemas of input, output and parameters.

A tensor of a local model is a property with two keywords of our own beside JSON Schema's:
`{"type": "array", "datatype": "FP32", "shape": [-1, 64]}`, -1 being a dimension of any size.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self, TypeGuard

from headway.kernel.canonical import Json

DATATYPES: Final = (
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
)
"""Of the Open Inference Protocol."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named input or output in the words of the Open Inference Protocol (`FP32`, -1 = any)."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What a runner found in an artifact."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Three JSON Schemas (2020-12); an empty one says nothing and allows everything."""

    input: Mapping[str, Json] = field(default_factory=dict)
    output: Mapping[str, Json] = field(default_factory=dict)
    parameters: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of_tensors(cls, description: Description) -> Self:
        """Return the signature of a model that takes and gives these tensors, all of them."""
        return cls(_schema_of(description.inputs), _schema_of(description.outputs))

    @classmethod
    def of_document(cls, document: Mapping[str, Json]) -> Self:
        """Read what `document()` wrote; nothing is checked."""

        def part(name: str) -> Mapping[str, Json]:
            found = document.get(name)
            return found if isinstance(found, Mapping) else {}

        return cls(part("input"), part("output"), part("parameters"))

    def document(self) -> dict[str, Json]:
        return {"input": self.input, "output": self.output, "parameters": self.parameters}


def stated_tensors(
    schema: Mapping[str, Json],
) -> Iterator[tuple[str, Json, Sequence[int] | None]]:
    """Yield (name, datatype, shape) of the properties that say one of them; None: not said."""
    properties = schema.get("properties")
    for name, member in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(member, Mapping) and member.keys() & {"datatype", "shape"}:
            shape = member.get("shape")
            yield name, member.get("datatype"), shape if is_shape(shape) else None


def is_shape(value: Json) -> TypeGuard[Sequence[int]]:
    """Say whether it is a list of dimensions: whole numbers from 0 on, or -1 for any size."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(d, int) and not isinstance(d, bool) and d >= -1 for d in value)
    )


def _schema_of(tensors: Iterable[Tensor]) -> dict[str, Json]:
    named = {t.name: t for t in tensors}
    return {
        "type": "object",
        "properties": {
            name: {"type": "array", "datatype": t.datatype, "shape": list(t.shape)}
            for name, t in named.items()
        },
        "required": sorted(named),
    }
