"""A form (`multipart/form-data`) as it comes: which model it names, and where. Pure.

    --boundary CRLF head CRLF CRLF content CRLF --boundary ... --boundary--

Nothing is held but the field `model`, so files of any size pass. What comes out are the same
bytes, with a `Field` where the content of `model` stood. (A length that this part tells of itself
would be wrong then; it is left out, as the standard wants.)
"""

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final, TypeAlias

from headway.gateway.body import malformed
from headway.gateway.exchange import NotAnswered

_PARAMETER: Final = re.compile(rb';\s*([^\s=;]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')
_DISPOSITION: Final = re.compile(
    rb"\r\ncontent-disposition:\s*form-data\s*(;[^\r\n]*)", re.IGNORECASE
)
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[^\r\n]*", re.IGNORECASE)
_LARGEST_HEAD: Final = 8 * 1024
_LONGEST_MODEL: Final = 512
_LONGEST_BOUNDARY: Final = 70
_FIELD: Final = b"model"


class Field(Enum):
    """Stands for the content of `model`."""

    MODEL = "model"


Piece: TypeAlias = bytes | Field


class _At(Enum):
    CONTENT = "content"
    """Of a part that passes, or before the first."""
    BORDER = "border"
    HEAD = "head"
    MODEL = "model"
    AFTER = "after"


def boundary_of(content_type: bytes) -> bytes | None:
    """Return what stands between the parts of a form; None: it is no form."""
    kind, _, rest = content_type.partition(b";")
    if kind.strip().lower() != b"multipart/form-data":
        return None
    found = _parameters(b";" + rest).get(b"boundary", b"")
    return found if 0 < len(found) <= _LONGEST_BOUNDARY else None


def _parameters(text: bytes) -> dict[bytes, bytes]:
    """Return parameters of a field's value by name; of those that stand twice the last."""
    return {
        found[1].lower(): found[3] if found[2] is None else found[2]
        for found in _PARAMETER.finditer(text)
    }


class Form:
    """Reads one form."""

    def __init__(self, boundary: bytes) -> None:
        self.model: str | None = None
        """What the field says, once it was seen."""
        self.file_began = False
        """A file has begun: what follows may take long."""
        self.left_out = 0
        """Bytes that came and do not come out."""
        self._model_head = b""
        self._border = b"\r\n--" + boundary
        self._at = _At.CONTENT
        self._rest = b"\r\n"  # as if a line had ended before, so that all borders are alike
        self._unsaid = 2

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes; return what may pass. Raises `NotAnswered` (400)."""
        self._rest += data
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return list(self._said(pieces))

    def _said(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Leave out what is empty, and the line's end that did not come."""
        for piece in pieces:
            if not isinstance(piece, bytes):
                yield piece
            elif said := piece[self._unsaid :]:
                self._unsaid = 0
                yield said

    def end(self) -> list[Piece]:
        """Take the end; return what is left, which no border follows."""
        if self._at is _At.MODEL:
            raise _malformed("the form ends within its `model`")
        return list(self._said([self._take(len(self._rest))]))

    def _step(self, pieces: list[Piece]) -> bool:
        """Take one step; say whether there may be another."""
        match self._at:
            case _At.CONTENT:
                return self._content(pieces)
            case _At.BORDER:
                return self._after_border(pieces)
            case _At.HEAD:
                return self._head(pieces)
            case _At.MODEL:
                return self._named(pieces)
            case _At.AFTER:
                pieces.append(self._take(len(self._rest)))
                return False

    def _take(self, length: int) -> bytes:
        taken, self._rest = self._rest[:length], self._rest[length:]
        return taken

    def _content(self, pieces: list[Piece]) -> bool:
        found = self._rest.find(self._border)
        if found < 0:
            # The border may have begun at the end of what is here.
            begun = self._rest.rfind(b"\r", max(0, len(self._rest) - len(self._border) + 1))
            pieces.append(self._take(len(self._rest) if begun < 0 else begun))
            return False
        pieces.append(self._take(found + len(self._border)))
        self._at = _At.BORDER
        return True

    def _after_border(self, pieces: list[Piece]) -> bool:
        """Tell the last border from one that a part follows."""
        if self._rest.startswith(b"--"):
            self._at = _At.AFTER
            return True
        end = self._rest.find(b"\r\n")
        if end < 0:
            if len(self._rest) > _LARGEST_HEAD:
                raise _malformed("a part of the form has no end of its first line")
            return False
        if self._rest[:end].strip(b" \t"):
            self._at = _At.CONTENT  # a line that only begins like a border
            return True
        pieces.append(self._take(end))
        self._at = _At.HEAD
        return True

    def _head(self, pieces: list[Piece]) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            if len(self._rest) > _LARGEST_HEAD:
                raise _malformed("a part of the form has a head that is too large")
            return False
        # The last line's end stays: where a part is empty it may belong to the next border.
        head = self._take(end + 2)
        disposition = _DISPOSITION.search(head)
        said = _parameters(disposition[1]) if disposition is not None else {}
        self._at = _At.CONTENT
        if b"filename" in said or b"filename*" in said:
            self.file_began = True
        elif said.get(b"name") == _FIELD:
            if self.model is not None:
                raise _malformed("the form names a `model` twice")
            self._model_head = head + self._take(2)
            self._at = _At.MODEL
            return True
        pieces.append(head)
        return True

    def _named(self, pieces: list[Piece]) -> bool:
        found = self._rest.find(self._border)
        if (found if found >= 0 else len(self._rest)) > _LONGEST_MODEL + len(self._border):
            raise _malformed("the form's `model` is too long")
        if found < 0:
            return False
        content = self._take(found)
        try:
            self.model = content.decode()
        except UnicodeDecodeError:
            raise _malformed("the form's `model` is no UTF-8") from None
        head = _LENGTH.sub(b"", self._model_head)
        self.left_out = len(self._model_head) - len(head) + len(content)
        pieces += [head, Field.MODEL]
        self._at = _At.CONTENT
        return True


def _malformed(words: str) -> NotAnswered:
    return malformed(words, param="model", code="invalid_value")
