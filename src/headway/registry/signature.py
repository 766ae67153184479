"""What a version takes and gives: JSON Schemas of input, output and parameters.

A tensor of a local model is a property with two keywords of our own beside JSON Schema's:
`{"type": "array", "datatype": "FP32", "shape": [-1, 64]}`, -1 being a dimension of any size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headway.kernel.canonical import Json


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

    def document(self) -> dict[str, Json]:
        return {"input": self.input, "output": self.output, "parameters": self.parameters}
