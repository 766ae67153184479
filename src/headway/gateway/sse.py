"""Server-sent events as providers write them: bytes in, whole events out, in bounded memory."""

import re
from typing import Any, Final, NamedTuple

import orjson

_LONGEST_EVENT: Final = 8 << 20
_BLOCKS: Final = re.compile(rb".+?(?:\r\n\r\n|\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)
_BOM: Final = b"\xef\xbb\xbf"
_FIELDS: Final = frozenset({b"", b"data", b"event", b"id", b"retry"})
"""Names of a line; without one it is a comment."""
DONE: Final = b"[DONE]"
TOO_LONG: Final = "an event of the provider's stream is too long"


class SseEvent(NamedTuple):
    """One event: its name, if it has one, and its data with lines joined."""

    name: bytes
    data: bytes


class Broken(Exception):
    """An event that is none; the text says why, in words for the caller."""


class Splitter:
    """Cuts a stream of bytes into blocks that end at a blank line.

    LF, CR LF and CR end lines, as the specification has them (WHATWG HTML, 9.2.5); a byte order
    mark in front is taken away, since few clients do.
    """

    __slots__ = ("_begun", "_size", "_tail", "kept", "too_long")

    def __init__(self) -> None:
        self._begun = False
        self.kept: list[bytes] = []
        """What waits for a blank line, as it came: joined once, however many pieces it is in."""
        self._size = 0
        self._tail = b""
        """The last three bytes of it: a blank line may be cut in two."""
        self.too_long = False
        """More than 8 MiB waited for a blank line. What was complete before is returned."""

    def feed(self, data: bytes) -> bytes:
        """Return all bytes up to the last blank line, those kept before included."""
        tail = self._tail
        if not tail and self._begun and data[-2:] == b"\n\n" and len(data) > 2:
            return data  # whole events, as they mostly come
        seam = tail + data if tail else data
        end = seam.rfind(b"\n\n") + 2
        if b"\r" in seam:
            end = max(end, seam.rfind(b"\n\r\n") + 3, seam.rfind(b"\r\r") + 2)
        end -= len(tail)
        if end <= 0 or end + len(tail) < 3:
            self._keep(data)
            return b""
        ready = data[:end]
        if self.kept:
            ready = b"".join((*self.kept, ready))
            self.kept, self._size, self._tail = [], 0, b""
        if end < len(data):
            self._keep(data[end:])
        if not self._begun:
            self._begun = True
            return ready.removeprefix(_BOM)
        return ready

    def _keep(self, data: bytes) -> None:
        self.kept.append(data)
        self._size += len(data)
        self._tail = (self._tail + data[-3:])[-3:]
        if self._size > _LONGEST_EVENT:
            self.too_long = True

    def rest(self) -> bytes:
        """Return what came after the last blank line, ended as if one had come."""
        tail = b"".join(self.kept)
        self.kept, self._size, self._tail = [], 0, b""
        return tail.rstrip(b"\r\n") + b"\n\n" if tail.strip() else b""


def blocks(data: bytes) -> list[bytes]:
    """Split at blank lines; each block keeps the blank line that ends it."""
    if data.find(b"\n\n") == len(data) - 2 and b"\r" not in data:
        return [data]
    if b"\r" in data:
        return [block for block in _BLOCKS.findall(data) if block.strip()]
    return [block + b"\n\n" for block in data.split(b"\n\n") if block]


def event_of(block: bytes) -> SseEvent:
    """Read one block; a block of comments alone has neither name nor data.

    Raises `Broken` for a line that is none of the format's: a client passes over it, and with it
    over an event that stands behind garbage in the same line.
    """
    name = b""
    lines: list[bytes] = []
    for line in block.splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.strip()
        elif field not in _FIELDS:
            raise Broken("the provider's stream holds a line that is none of an event")
    return SseEvent(name, b"\n".join(lines))


def object_of(data: bytes) -> dict[str, Any]:
    """Read an event's data, or raise `Broken`."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Broken("the provider's stream holds an event that is not JSON") from None
    if type(document) is not dict:
        raise Broken("the provider's stream holds an event that is not a JSON object")
    return document


def write_event(name: bytes, data: bytes) -> bytes:
    """Write one event; `data` holds no line break."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
