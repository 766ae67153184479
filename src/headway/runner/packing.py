"""Values as the binary extension of the Open Inference Protocol writes them.

Little-endian and row by row; a text of a BYTES tensor stands behind its length as four bytes.
"""

import struct
from collections.abc import Sequence
from math import prod
from typing import Final

from headway.runner.ports import Packed, Tensor

_CODES: Final = {
    "BOOL": "?",
    "INT8": "b",
    "UINT8": "B",
    "INT16": "h",
    "UINT16": "H",
    "INT32": "i",
    "UINT32": "I",
    "INT64": "q",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
SIZES: Final = {"BF16": 2, **{name: struct.calcsize(f"<{code}") for name, code in _CODES.items()}}
"""Bytes per value, of all datatypes but BYTES."""


def pack(tensor: Tensor) -> bytes:
    """Return a tensor's values as bytes."""
    data = tensor.data
    if isinstance(data, Packed):
        return bytes(data.bytes)
    if tensor.datatype == "BYTES":
        texts = [str(text).encode() for text in data]
        return b"".join(b"%b%b" % (len(text).to_bytes(4, "little"), text) for text in texts)
    return struct.pack(f"<{len(data)}{_CODES[tensor.datatype]}", *data)


def unpack(tensor: Tensor) -> Sequence[object]:
    """Return a tensor's values as a flat list."""
    data = tensor.data
    if not isinstance(data, Packed):
        return data
    count = prod(tensor.shape)
    if tensor.datatype == "BF16":
        return struct.unpack(f"<{count}f", _doubled(bytes(data.bytes)))
    return struct.unpack(f"<{count}{_CODES[tensor.datatype]}", data.bytes)


def _doubled(halves: bytes) -> bytes:
    """Return FP32 for BF16, which is its upper half."""
    found = bytearray(2 * len(halves))
    found[2::4], found[3::4] = halves[::2], halves[1::2]
    return bytes(found)
