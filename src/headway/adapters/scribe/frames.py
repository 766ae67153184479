"""Frames: four bytes of length, then JSON. Both ends are ours, and of one release."""

import socket
from typing import Any, Final

import orjson

from headway.tracking.sketch import Sketch

LONGEST: Final = 1 << 30
"""Bytes. A batch that waited for hours, or the routes of ten thousand models, are some 50 MB."""
_LENGTH: Final = 4
_PIECE: Final = 1 << 18


def send(sock: socket.socket, message: object) -> None:
    """Send one message; raise `OSError` as the socket does."""
    body = orjson.dumps(message, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    sock.sendall(len(body).to_bytes(_LENGTH, "big") + body)


def receive(sock: socket.socket) -> Any:  # noqa: ANN401 - JSON
    """Return the next message, None at the end; raise `OSError` when it is cut off."""
    head = _read(sock, _LENGTH)
    if not head:
        return None
    length = int.from_bytes(head, "big")
    if len(head) < _LENGTH or length > LONGEST:
        raise ConnectionAbortedError("no frame")
    body = _read(sock, length)
    if len(body) < length:
        raise ConnectionAbortedError("half a frame")
    return orjson.loads(body)


def _read(sock: socket.socket, length: int) -> bytes:
    parts = []
    while length and (part := sock.recv(min(length, _PIECE))):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _plain(value: object) -> object:
    if isinstance(value, Sketch):
        return value.document()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
