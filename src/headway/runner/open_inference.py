"""Open Inference Protocol v2, REST: requests checked against a model's own description.

What does not fit the description is the caller's doing and is told before the model runs; what
fails after that is the version's fault. Tensors stand in the JSON or, by the extension
`binary_tensor_data`, as bytes behind it. Source: github.com/kserve/open-inference-protocol and
docs/protocol/extension_binary_data.md of github.com/triton-inference-server/server.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite, prod
from typing import Any, Final

import orjson

from headway.kernel.errors import Refused
from headway.kernel.names import unknown_word
from headway.runner import packing
from headway.runner.ports import CannotRun, Packed, Tensor, TensorSpec

EXTENSIONS: Final = ("binary_tensor_data",)

_INTEGERS: Final = {
    f"{sign}INT{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS: Final = frozenset({"FP16", "BF16", "FP32", "FP64"})
_INFINITE_FROM: Final = {
    "FP16": 65520.0,
    "BF16": 2.0**128 - 2.0**119 - 2.0**103,
    "FP32": 2.0**128 - 2.0**103,
}
"""The least number that becomes infinite when it is rounded to its type (BF16: to FP32 first).

JSON holds no number that is infinite as FP64.
"""
DATATYPES: Final = frozenset({"BOOL", "BYTES", *_INTEGERS, *_FLOATS})
MOST_VALUES: Final = 4_000_000
"""How many values one input may hold that is written as JSON; each becomes an object here."""
_MOST_PACKED: Final = 1 << 40
"""The same for bytes, which a body bounds."""


@dataclass(frozen=True, slots=True)
class Inference:
    """A request that was found well-formed."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    """Those that are asked for; none: all."""
    packed: frozenset[str]
    """Names of outputs that the caller takes as bytes."""
    id: str | None


def read(
    body: bytes,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    json_length: int | None = None,
) -> Inference:
    """Read a request for a model of that description, or raise `Refused` with what would fit.

    `json_length`: how many bytes of the body are JSON; the rest are tensors. None: all are.
    """
    try:
        document = orjson.loads(body if json_length is None else body[:json_length])
    except orjson.JSONDecodeError as error:
        raise Refused(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Refused("the body must be a JSON object with `inputs`")
    given = document.get("inputs")
    if not isinstance(given, list) or not given:
        raise Refused("`inputs` must be a list with one object per input of the model")
    behind = _Behind(memoryview(body)[len(body) if json_length is None else json_length :])
    tensors = tuple(_tensor(item, inputs, behind) for item in given)
    if behind.left:
        raise Refused(f"{behind.left:,} bytes follow the JSON that belong to no input")
    _each_once([tensor.name for tensor in tensors], [spec.name for spec in inputs])
    request_id = document.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= 1024):
        raise Refused("`id` must be a string")
    usual = _flag(_parameters(document, "the request"), "binary_data_output", usual=False)
    return Inference(tensors, *_wanted(document.get("outputs"), outputs, usual), request_id)


def json_length(text: bytes | None, body: bytes) -> int | None:
    """Return what Inference-Header-Content-Length says, or raise `Refused`."""
    if text is None:
        return None
    if not text.isdigit() or len(text) > 12 or int(text) > len(body):
        raise Refused("Inference-Header-Content-Length is no length within the body")
    return int(text)


def answer(
    inference: Inference, model: str, version: str, outputs: Sequence[Tensor]
) -> tuple[bytes, int | None]:
    """Write the answer, and say how many bytes of it are JSON if not all are.

    Raise `CannotRun` for NaN or an infinity that would have to stand in the JSON, which has no
    word for it: `null` in its place would be a wrong answer that looks like a right one. Bytes
    hold it as it is.
    """
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if inference.id is not None:
        document["id"] = inference.id
    behind: list[bytes] = []
    document["outputs"] = written = []
    for tensor in outputs:
        said: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if tensor.name in inference.packed:
            data = packing.pack(tensor)
            said["parameters"] = {"binary_data_size": len(data)}
            behind.append(data)
        else:
            said["data"] = values = packing.unpack(tensor)
            _check_writable(values, tensor)
        written.append(said)
    text = orjson.dumps(document)
    return (b"".join((text, *behind)), len(text)) if behind else (text, None)


def _check_writable(values: Sequence[Any], tensor: Tensor) -> None:
    if tensor.datatype in _FLOATS and not all(map(isfinite, values)):
        raise CannotRun(
            f"output {tensor.name!r}: the model gave NaN or an infinity, which JSON cannot hold; "
            "it would come as it is if it were asked for as bytes (`binary_data`)"
        )


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


class _Behind:
    """The bytes behind the JSON, taken in the order of the inputs that have theirs there."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, size: int) -> memoryview:
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def _parameters(item: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = item.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refused(f"`parameters` of {what} must be an object")
    return found


def _flag(parameters: Mapping[str, Any], name: str, *, usual: bool) -> bool:
    value = parameters.get(name, usual)
    if not isinstance(value, bool):
        raise Refused(f"`{name}` must be true or false")
    return value


def _wanted(
    given: object,
    specs: Sequence[TensorSpec],
    usual: bool,  # noqa: FBT001 - what a request says of all its outputs
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the names of the outputs that are asked for, and which of them as bytes."""
    known = [spec.name for spec in specs]
    if given is None:
        return (), frozenset(known if usual else ())
    if not isinstance(given, list):
        raise Refused("`outputs` must be a list of objects with a `name`")
    names: dict[str, bool] = {}
    for item in given:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or name not in known:
            raise Refused(unknown_word(_shown(name), known, what="output"))
        if name in names:
            raise Refused(f"the output {name!r} is asked for twice")
        parameters = _parameters(item, f"output {name!r}")
        _refuse_unoffered(parameters, f"output {name!r}")
        names[name] = _flag(parameters, "binary_data", usual=usual)
    return tuple(names), frozenset(name for name, packed in names.items() if packed)


def _refuse_unoffered(parameters: Mapping[str, Any], what: str) -> None:
    """Refuse the extensions whose results would be silently wrong if they were passed over."""
    for name in ("shared_memory_region", "classification"):
        if name in parameters:
            raise Refused(f"{what}: `{name}` is an extension that this server does not have")


def _each_once(given: Sequence[str], wanted: Sequence[str]) -> None:
    if missing := [name for name in wanted if name not in given]:
        raise Refused(f"the input {missing[0]!r} is missing; the model takes {', '.join(wanted)}")
    if len(set(given)) != len(given):
        raise Refused("an input is given twice")


def _tensor(item: object, specs: Sequence[TensorSpec], behind: _Behind) -> Tensor:
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
    parameters = _parameters(item, f"input {name!r}")
    _refuse_unoffered(parameters, f"input {name!r}")
    size = parameters.get("binary_data_size")
    if size is None:
        return Tensor(spec.name, spec.datatype, shape, _listed(item.get("data"), shape, spec))
    if "data" in item:
        raise Refused(f"input {name!r} has both `data` and `binary_data_size`")
    if type(size) is not int or not 0 <= size <= behind.left:
        raise Refused(
            f"input {name!r}: `binary_data_size` is {_shown(size)}, "
            f"and {behind.left:,} bytes are left behind the JSON"
        )
    return Tensor(spec.name, spec.datatype, shape, _packed(behind.take(size), shape, spec))


def _listed(data: object, shape: Sequence[int], spec: TensorSpec) -> Sequence[object]:
    """Return the values of an input that stands in the JSON."""
    if not isinstance(data, list):
        raise Refused(
            f"input {spec.name!r}: `data` must be a list (flat or nested) of numbers, "
            "or `parameters` must hold its `binary_data_size`"
        )
    if prod(shape) > MOST_VALUES:
        raise Refused(f"input {spec.name!r}: more than {MOST_VALUES:,} values; send them as bytes")
    flat = _flat(data, shape)
    if len(flat) != prod(shape):
        raise Refused(
            f"input {spec.name!r}: {len(flat):,} values, "
            f"the shape {list(shape)} wants {prod(shape):,}"
        )
    _check_values(flat, spec)
    return flat


def _packed(data: memoryview, shape: Sequence[int], spec: TensorSpec) -> Packed | Sequence[str]:
    """Return the values of an input that stands behind the JSON."""
    count = prod(shape)
    if spec.datatype == "BYTES":
        return _texts(data, count, spec)
    wanted = count * packing.SIZES[spec.datatype]
    if len(data) != wanted:
        raise Refused(
            f"input {spec.name!r}: {len(data):,} bytes, "
            f"the shape {list(shape)} of {spec.datatype} wants {wanted:,}"
        )
    if spec.datatype == "BOOL" and bytes(data).translate(None, b"\0\1"):
        raise Refused(f"input {spec.name!r}: a byte of a BOOL is 0 or 1")
    return Packed(data)


def _texts(data: memoryview, count: int, spec: TensorSpec) -> Sequence[str]:
    """Read texts, each behind its length as four bytes."""
    if count > MOST_VALUES:
        raise Refused(f"input {spec.name!r}: more than {MOST_VALUES:,} values")
    try:
        found = list(_prefixed(data))
    except UnicodeDecodeError:
        raise Refused(f"input {spec.name!r}: a text is not UTF-8") from None
    except IndexError:
        raise Refused(
            f"input {spec.name!r}: a length within its bytes points behind their end"
        ) from None
    if len(found) != count:
        raise Refused(f"input {spec.name!r}: {len(found):,} texts, its shape wants {count:,}")
    return found


def _prefixed(data: memoryview) -> Iterator[str]:
    at = 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data):
            raise IndexError
        yield str(data[start:at], "utf-8")


def _shown(given: object) -> str:
    """Return what a caller sent, short enough to go back; of what is no text only its kind."""
    if isinstance(given, str):
        return given[:128]
    return (
        str(given) if type(given) is int and abs(given) < 1 << 64 else f"a {type(given).__name__}"
    )


def _shape(given: object, spec: TensorSpec) -> tuple[int, ...]:
    wanted = ", ".join("n" if size < 0 else str(size) for size in spec.shape)
    if not isinstance(given, list) or not all(
        type(size) is int and 0 <= size <= _MOST_PACKED for size in given
    ):
        raise Refused(f"input {spec.name!r}: `shape` must be a list of sizes, like [{wanted}]")
    fits = len(given) == len(spec.shape) and all(
        want in (-1, size) for size, want in zip(given, spec.shape, strict=True)
    )
    if not fits:
        raise Refused(f"input {spec.name!r}: shape {given[:16]}, the model takes [{wanted}]")
    if prod(given) > _MOST_PACKED:
        raise Refused(f"input {spec.name!r}: too many values")
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
        limit = _INFINITE_FROM.get(spec.datatype)
        if fits and limit and not (-limit < min(flat, default=0) <= max(flat, default=0) < limit):
            raise Refused(
                f"input {spec.name!r}: `data` holds a number that is too large for {spec.datatype}"
            )
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
