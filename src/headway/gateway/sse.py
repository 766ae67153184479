"""Server-sent events as providers write them: bytes in, whole events out, in bounded memory."""

import re
from typing import Final, NamedTuple

_LONGEST_EVENT: Final = 8 << 20
_BLOCKS: Final = re.compile(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)
_BOM: Final = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One event: its name, if it has one, and its data with lines joined."""

    name: bytes
    data: bytes


class TooLong(Exception):
    """An event that does not end within bounds."""


class Splitter:
    """Cuts a stream of bytes into blocks that end at a blank line.

    LF, CR LF and CR end lines, as the specification has them (WHATWG HTML, 9.2.5); comment lines
    and fields that nobody knows pass within their block.
    """

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> bytes:
        """Return all bytes up to the last blank line, those kept before included.

        Raises `TooLong` when more than 8 MiB wait for one.
        """
        if self._tail:
            data = self._tail + data
        end = data.rfind(b"\n\n") + 2
        if b"\r" in data:
            end = max(end, data.rfind(b"\n\r\n") + 3, data.rfind(b"\r\r") + 2)
        if end < 3:
            end = 0
        self._tail = data[end:]
        if len(self._tail) > _LONGEST_EVENT:
            raise TooLong
        return data[:end]

    def rest(self) -> bytes:
        """Return what came after the last blank line, ended as if one had come."""
        tail, self._tail = self._tail, b""
        return tail.rstrip(b"\r\n") + b"\n\n" if tail.strip() else b""


def blocks(data: bytes) -> list[bytes]:
    """Split at blank lines; each block keeps the blank line that ends it."""
    if b"\r" in data:
        return [block for block in _BLOCKS.findall(data) if block.strip()]
    return [block + b"\n\n" for block in data.split(b"\n\n") if block.strip(b"\n")]


def event_of(block: bytes) -> SseEvent:
    """Read one block; a block of comments alone has neither name nor data."""
    name = b""
    lines: list[bytes] = []
    for line in block.removeprefix(_BOM).splitlines():
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].strip()
    return SseEvent(name, b"\n".join(lines))


def write_event(name: bytes, data: bytes) -> bytes:
    """Write one event; `data` holds no line break."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
