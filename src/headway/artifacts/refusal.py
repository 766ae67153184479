"""Files that are never stored, known by their first bytes: those that run code when opened.

Nothing here opens them; whoever downloads an artifact might. Archives and compressed files are
looked into only as far as their head goes.
"""

import bz2
import lzma
import pickletools
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

HEAD: Final = 4096
"""How many of the first bytes are looked at."""

_PICKLE: Final = (
    "a pickle (also joblib, .pt, .sav) runs any code when it is loaded; export the model as ONNX"
)
_ARCHIVE: Final = "an archive is not unpacked here; send the file in it, as in model.onnx"
_LIBRARY: Final = "a program or a library of custom operators runs code of its own"
_DEEPEST: Final = 3

_CALLS: Final = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_NAMES: Final = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})
_MODULE: Final = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*\Z")
_NOT_LOOKED_INTO: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}
_PROGRAMS: Final = (
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)


def why_refused(head: bytes, *, depth: int = 0) -> str | None:
    """Return why a file that begins so is not taken, or None if it is."""
    if _is_pickle(head):
        return _PICKLE
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _PICKLE if b".pkl" in head[:512] else _ARCHIVE
    if head[257:262] == b"ustar":
        return _ARCHIVE
    if head.startswith(_PROGRAMS) or _is_windows_program(head):
        return _LIBRARY
    if head.startswith(b"\x93NUMPY") and re.search(rb"'descr'\s*:[^}]*[|<>=]O", head[:HEAD]):
        return _PICKLE
    for start, name in _NOT_LOOKED_INTO.items():
        if head.startswith(start):
            return f"what {name} compressed is not looked into; send it as it is"
    for inner in _unpacked(head):
        if depth >= _DEEPEST:
            return "it is compressed again and again; send it as it is"
        if inner and (why := why_refused(inner, depth=depth + 1)):
            return why
    return None


def _is_pickle(head: bytes) -> bool:
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return not _is_safetensors(head) and head[2:3] in _OPCODES
    return _calls_something(head)


def _is_safetensors(head: bytes) -> bool:
    """Its first eight bytes are the length of a JSON object, and may look like a pickle's."""
    return head[5:8] == bytes(3) and head[8:10] == b'{"'


_OPCODES: Final = frozenset(op.code.encode("latin-1") for op in pickletools.opcodes)


def _calls_something(head: bytes) -> bool:
    """Say whether the head reads as a pickle of the old text form that names and calls a thing."""
    named = False
    with suppress(Exception):  # it ends in the middle of something, or is no pickle at all
        for op, argument, _ in pickletools.genops(head):
            if op.name in _NAMES:
                named = named or op.name == "STACK_GLOBAL" or bool(_MODULE.match(str(argument)))
            if named and op.name in _CALLS:
                return True
    return False


def _is_windows_program(head: bytes) -> bool:
    at = int.from_bytes(head[0x3C:0x40], "little")
    return head.startswith(b"MZ") and head[at : at + 4] == b"PE\x00\x00"


def _unpacked(head: bytes) -> Iterator[bytes]:
    """Yield the head of what is compressed, for each form that it may be in."""
    forms: list[Callable[[], bytes]] = []
    if head.startswith(b"\x1f\x8b"):
        forms.append(lambda: zlib.decompressobj(wbits=31).decompress(head, HEAD))
    if head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0:
        forms.append(lambda: zlib.decompressobj().decompress(head, HEAD))
    if head.startswith(b"BZh"):
        forms.append(lambda: bz2.BZ2Decompressor().decompress(head, HEAD))
    if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        limit = 64 * 1024 * 1024
        forms.append(lambda: lzma.LZMADecompressor(memlimit=limit).decompress(head, HEAD))
    for form in forms:
        with suppress(zlib.error, OSError, lzma.LZMAError, EOFError):
            yield form()
