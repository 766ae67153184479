"""Open Inference Protocol v2, REST: requests checked against a model's own description.

What does not fit the description is the caller's doing and is told before the model runs; what
fails after that is the version's fault. Source: github.com/kserve/open-inference-protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, Final

import orjson

from headway.kernel.errors import Refused
from headway.kernel.names import unknown_word
from headway.runner.ports import Tensor, TensorSpec

_INTEGERS: Final = {
    f"{sign}INT{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS: Final = frozenset({"FP16", "FP32", "FP64"})
DATATYPES: Final = frozenset({"BOOL", "BYTES", *_INTEGERS, *_FLOATS})
MOST_VALUES: Final = 4_000_000
"""How many values one request may hold."""


@dataclass(frozen=True, slots=True)
class Inference:
    """A request that was found well-formed."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    id: str | None


def read(body: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Inference:
    """Read a request for a model of that description, or raise `Refused` with what would fit."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Refused("the body must be a JSON object with `inputs`")
    given = document.get("inputs")
    if not isinstance(given, list) or not given:
        raise Refused("`inputs` must be a list with one object per input of the model")
    tensors = tuple(_tensor(item, inputs) for item in given)
    _each_once([tensor.name for tensor in tensors], [spec.name for spec in inputs])
    request_id = document.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= 1024):
        raise Refused("`id` must be a string")
    return Inference(tensors, _wanted(document.get("outputs"), outputs), request_id)


def answer(request_id: str | None, model: str, version: str, outputs: Sequence[Tensor]) -> bytes:
    """Write the answer."""
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if request_id is not None:
        document["id"] = request_id
    document["outputs"] = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "data": tensor.data,
        }
        for tensor in outputs
    ]
    return orjson.dumps(document)


def description(
    model: str, version: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> bytes:
    """Write a model's metadata."""
    return orjson.dumps(
        {
            "name": model,
            "versions": [version],
            "platform": "onnx_onnxv1",
            "inputs": [_spec(spec) for spec in inputs],
            "outputs": [_spec(spec) for spec in outputs],
        }
    )


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _wanted(given: object, specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise Refused("`outputs` must be a list of objects with a `name`")
    known = [spec.name for spec in specs]
    names = []
    for item in given:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or name not in known:
            raise Refused(unknown_word(_shown(name), known, what="output"))
        names.append(name)
    return tuple(names)


def _each_once(given: Sequence[str], wanted: Sequence[str]) -> None:
    if missing := [name for name in wanted if name not in given]:
        raise Refused(f"the input {missing[0]!r} is missing; the model takes {', '.join(wanted)}")
    if len(set(given)) != len(given):
        raise Refused("an input is given twice")


def _tensor(item: object, specs: Sequence[TensorSpec]) -> Tensor:
    if not isinstance(item, dict):
        raise Refused("each of `inputs` must be an object with name, shape, datatype and data")
    name = item.get("name")
    spec = next((spec for spec in specs if spec.name == name), None)
    if spec is None:
        known = [spec.name for spec in specs]
        raise Refused(unknown_word(_shown(name), known, what="input"))
    if item.get("datatype") != spec.datatype:
        raise Refused(
            f"input {name!r}: datatype {_shown(item.get('datatype'))}, "
            f"the model takes {spec.datatype}"
        )
    shape = _shape(item.get("shape"), spec)
    data = item.get("data")
    if not isinstance(data, list):
        raise Refused(f"input {name!r}: `data` must be a list (flat or nested) of numbers")
    flat = _flat(data, shape)
    if len(flat) != prod(shape):
        raise Refused(
            f"input {name!r}: {len(flat):,} values, the shape {list(shape)} wants {prod(shape):,}"
        )
    _check_values(flat, spec)
    return Tensor(spec.name, spec.datatype, shape, flat)


def _shown(given: object) -> str:
    """Return what a caller sent, short enough to go back; of what is no text only its kind."""
    return given[:128] if isinstance(given, str) else f"a {type(given).__name__}"


def _shape(given: object, spec: TensorSpec) -> tuple[int, ...]:
    wanted = ", ".join("n" if size < 0 else str(size) for size in spec.shape)
    if not isinstance(given, list) or not all(
        type(size) is int and 0 <= size <= MOST_VALUES for size in given
    ):
        raise Refused(f"input {spec.name!r}: `shape` must be a list of sizes, like [{wanted}]")
    fits = len(given) == len(spec.shape) and all(
        want in (-1, size) for size, want in zip(given, spec.shape, strict=True)
    )
    if not fits:
        raise Refused(f"input {spec.name!r}: shape {given[:16]}, the model takes [{wanted}]")
    if prod(given) > MOST_VALUES:
        raise Refused(f"input {spec.name!r}: more than {MOST_VALUES:,} values")
    return tuple(given)


def _flat(data: list[Any], shape: Sequence[int]) -> list[Any]:
    """Flatten row by row; nesting may be as deep as the shape, and no deeper."""
    for _ in shape[1:]:
        if not data or not all(isinstance(row, list) for row in data):
            break
        data = list(chain.from_iterable(data))
    return data


def _check_values(flat: Sequence[Any], spec: TensorSpec) -> None:
    kinds = set(map(type, flat))
    if spec.datatype == "BOOL":
        fits = kinds <= {bool}
    elif spec.datatype == "BYTES":
        fits = kinds <= {str}
    elif spec.datatype in _FLOATS:
        fits = kinds <= {int, float}
    else:
        low, high = _INTEGERS[spec.datatype]
        fits = kinds <= {int} and all(low <= value <= high for value in flat)
    if not fits:
        raise Refused(f"input {spec.name!r}: `data` holds a value that is no {spec.datatype}")


def error(detail: str) -> bytes:
    """Write an error as the protocol's clients read it."""
    return orjson.dumps({"error": detail})


def document(body: bytes) -> Mapping[str, Any]:
    """Read a JSON object that may be absent (an empty body)."""
    found = orjson.loads(body) if body.strip() else {}
    return found if isinstance(found, dict) else {}
