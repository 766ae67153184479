"""Heads that come again: what the parser has accepted once need not be parsed a second time.

On a kept connection the next head mostly differs from the one before in its Content-Length alone.
No second set of rules reads it: bytes that equal what the parser took mean what they meant then,
and only the digits of that one number may differ.
"""

import re
from typing import Final, Generic, TypeVar

from headway.wire.framing import Headers

T = TypeVar("T")

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)
_NAME: Final = b"content-length"
_MOST_DIGITS: Final = 18
_TRIES: Final = 8
"""After so many heads in a row that did not come again it is not worth learning one."""


class KnownHead(Generic[T]):
    """The last head of one connection, cut round the digits of its Content-Length."""

    __slots__ = ("_after", "_at", "_before", "_headers", "_misses", "_said")

    def __init__(self) -> None:
        self._before = b""  # empty: none is known
        self._after = b""
        self._headers = Headers()
        self._at = 0
        self._said: T
        self._misses = 0

    def read(self, data: bytes) -> tuple[Headers, bytes, T] | None:
        """Return fields, body and what `learn` was given, if this is the head with another body.

        None unless the bytes are the head, its whole body, and no more.
        """
        before, after = self._before, self._after
        if not before or not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + _MOST_DIGITS + 1)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(after, end):
            return None
        start = end + len(after)
        if len(data) - start != int(digits):
            return None
        self._misses = 0
        if self._headers[self._at][1] != digits:
            self._headers = Headers(self._headers)
            self._headers[self._at] = (_NAME, digits)
            self._headers.by_name()
        return self._headers, data[start:], self._said

    def learn(self, data: bytes, length: int, headers: Headers, said: T) -> None:
        """Remember the head of a message, if it came whole and by itself in this one read.

        `length` and `headers` are what the parser found, `said` is what else the caller wants to
        hear of it again.
        """
        if self._misses == _TRIES:
            return
        self._misses += 1
        self._before = b""
        end = data.find(b"\r\n\r\n") + 4
        if len(data) - end != length:
            return
        found = _LENGTH.search(data, 0, end)
        if found is not None:
            self._before, self._after = data[: found.start(1)], data[found.end(1) : end]
            self._headers = headers
            self._at = next(i for i, (name, _) in enumerate(headers) if name == _NAME)
            self._said = said
