"""`smoke`: one request is answered. It is made from the signature; `metadata.example` wins.

The message asks for `{"check": "smoke", "request": <body>}`: for a local model the body of an Open
Inference request, for a chat model that of a chat completion. It is answered by
`{"ok", "detail"}`. A probe after a rollback asks the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headway.deployments.checks import Answer
from headway.kernel.canonical import Json
from headway.registry.model import Version
from headway.registry.target import HostedTarget, InferenceTarget, LocalTarget

_DEEPEST: Final = 8
_ZEROS: Final[Mapping[str, Json]] = {"BOOL": False, "BYTES": ""}


@dataclass(frozen=True, slots=True)
class Smoke:
    def ask(self, version: Version) -> Mapping[str, Json] | None:
        return {"request": request_of(version)}

    def read(self, answer: Json) -> Answer:
        return Answer.read(answer)


smoke: Final = Smoke()


def request_of(version: Version) -> Mapping[str, Json]:
    """Return the body of one harmless request that the version should be able to answer."""
    example = version.metadata.get("example")
    if isinstance(example, Mapping):
        return example
    match version.target:
        case LocalTarget() | InferenceTarget():
            return {"inputs": _tensors(version.signature.input)}
        case HostedTarget():
            return _chat(version.target, version.signature.input)


def _tensors(schema: Mapping[str, Json]) -> list[Json]:
    """Return one tensor of zeros per input; a dimension of any size has the size 1."""
    properties = schema.get("properties")
    tensors: list[Json] = []
    for name, tensor in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(tensor, Mapping) or "datatype" not in tensor:
            continue
        shape = tensor.get("shape")
        sizes = [
            size if isinstance(size, int) and size >= 0 else 1
            for size in (shape if isinstance(shape, list | tuple) else [1])
        ]
        count = 1
        for size in sizes:
            count *= size
        zero = _ZEROS.get(str(tensor["datatype"]), 0)
        tensors.append(
            {
                "name": name,
                "datatype": str(tensor["datatype"]),
                "shape": sizes,
                "data": [zero] * count,
            }
        )
    return tensors


def _chat(target: HostedTarget, schema: Mapping[str, Json]) -> Mapping[str, Json]:
    made = example_of(schema)
    body: dict[str, Json] = dict(made) if isinstance(made, Mapping) else {}
    if not body.get("messages"):
        body["messages"] = [{"role": "user", "content": "Say ok."}]
    needed = {
        name: "smoke"
        for name, variable in (target.prompt.variables if target.prompt else {}).items()
        if variable.default is None
    }
    if needed and "metadata" not in body:
        body["metadata"] = needed
    return body


def example_of(schema: Json, depth: int = 0) -> Json:
    """Return a small value that a JSON Schema allows, as far as its simple words tell."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    for word in ("const", "default"):
        if word in schema:
            fixed: Json = schema[word]
            return fixed
    for word in ("examples", "enum"):
        values = schema.get(word)
        if isinstance(values, list | tuple) and values:
            listed: Json = values[0]
            return listed
    kind = schema.get("type")
    if isinstance(kind, list | tuple) and kind:
        kind = kind[0]
    match kind:
        case "object":
            return _object(schema, depth)
        case "array":
            least = schema.get("minItems")
            count = least if isinstance(least, int) else 0
            return [example_of(schema.get("items"), depth + 1) for _ in range(min(count, 1000))]
        case "string":
            least = schema.get("minLength")
            return "ok".ljust(min(least, 1000), ".") if isinstance(least, int) else "ok"
        case "integer" | "number":
            least = schema.get("minimum")
            return least if isinstance(least, int | float) else 0
        case "boolean":
            return False
        case None if "properties" in schema:
            return _object(schema, depth)
        case _:
            return None


def _object(schema: Mapping[str, Json], depth: int) -> dict[str, Json]:
    properties = schema.get("properties")
    required = schema.get("required")
    names = required if isinstance(required, list | tuple) else ()
    known = properties if isinstance(properties, Mapping) else {}
    return {str(name): example_of(known.get(str(name)), depth + 1) for name in names}
