"""What an answer of the Open Inference Protocol must be to be one. Pure.

Answers hold up to millions of numbers, and reading all would make everybody wait. So a large one
is judged by its two ends, and by what raw tensors tell of their size; what is no answer (an error,
a page of HTML, an object of something else) is never large.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

_READ_BELOW: Final = 1 << 20
_END: Final = 64
_ERROR: Final = "the model answered with an error"
_NO_OBJECT: Final = "the model's answer is not a JSON object"
_NOT_WHOLE: Final = "the model's answer is not a whole JSON object"
_NO_OUTPUTS: Final = "the model's answer has no `outputs`"
_NO_TENSOR: Final = "the model's answer has an output that is no tensor"
_SHORT: Final = "the model's answer is shorter than it says"


def fault_of(text: bytes, raw: int | None) -> str | None:
    """Return why an answer is none, in words for the caller; None: it is good.

    `text`: its JSON; `raw`: how many bytes of raw tensors follow, None if it has no such part.
    """
    beginning = text[:_END].lstrip()
    if not beginning:
        return "the model's answer is empty"
    if not beginning.startswith(b"{"):
        return _NO_OBJECT
    if not text[-_END:].rstrip().endswith(b"}"):
        return _NOT_WHOLE
    if len(text) > _READ_BELOW:
        return _ERROR if beginning.startswith(b'{"error"') else None
    document = _object(text)
    if document is None:
        return _NOT_WHOLE
    if document.get("error"):
        return _ERROR
    outputs = document.get("outputs")
    if not isinstance(outputs, list):
        return _NO_OUTPUTS
    sizes = [_raw_size(output) for output in outputs]
    if None in sizes:
        return _NO_TENSOR
    return _SHORT if sum(size for size in sizes if size) != (raw or 0) else None


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = _with_infinities(text)
    return found if type(found) is dict else None


def _with_infinities(text: bytes) -> object:
    """Read what is JSON but for NaN and infinities, which servers write and clients read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _raw_size(output: object) -> int | None:
    """Return how many raw bytes a tensor has; None: it is no tensor."""
    match output:
        case {"name": str(), "parameters": {"binary_data_size": int(size)}} if size >= 0:
            return size
        case {"name": str(), "data": list()}:
            return 0
        # Servers that write tensors into shared memory leave both out.
        case {"name": str(), "parameters": Mapping() as more} if "shared_memory_region" in more:
            return 0
        case _:
            return None
