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

_PARAMETER: Final = re.compile(
    rb';[ \t;]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))[ \t]*'
)
_DISPOSITION: Final = re.compile(
    rb"\r\ncontent-disposition[ \t]*:[ \t]*([^\s;]*)[ \t]*([^\r\n]*)", re.IGNORECASE
)
_ODD_LINE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)|\r\n[ \t]")
"""A line's end that is only half of one, or a line that goes on in the next."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[^\r\n]*", re.IGNORECASE)
_BEHIND: Final = re.compile(rb"(--)|[ \t]*(\r?\n)|(?:-|[ \t]*\r?)(\Z)")
"""What makes a border of a line that begins like one; the third: more must come to tell."""
_LARGEST_HEAD: Final = 8 * 1024
_LONGEST_MODEL: Final = 512
_LONGEST_BOUNDARY: Final = 70
_MOST_PARTS: Final = 1_000
_FIELD: Final = b"model"
_CR: Final = ord("\r")


class Field(Enum):
    """Stands for the content of `model`."""

    MODEL = "model"


Piece: TypeAlias = bytes | Field


class _At(Enum):
    CONTENT = "content"
    """Of a part that passes, or before the first."""
    HEAD = "head"
    MODEL = "model"
    LAST = "last"
    """In the line of the last border."""
    AFTER = "after"


def boundary_of(content_type: bytes) -> bytes | None:
    """Return what stands between the parts of a form; None: it is no form.

    Raises `NotAnswered` (400) where two readers could find different parts, or none.
    """
    kind, _, rest = content_type.partition(b";")
    kind = kind.strip().lower()
    if kind == b"multipart/mixed":  # some providers read it as a form
        raise _malformed("a form must come as multipart/form-data")
    if kind != b"multipart/form-data":
        return None
    said = _parameters(b";" + rest, of="the form's Content-Type")
    found = said.get(b"boundary", b"")
    if b"boundary*" in said or b"\\" in found or not 0 < len(found) <= _LONGEST_BOUNDARY:
        raise _malformed(
            f"the form's Content-Type must say a boundary of 1 to {_LONGEST_BOUNDARY} "
            "characters, without escapes"
        )
    return found


def _parameters(text: bytes, *, of: str) -> dict[bytes, bytes]:
    """Return parameters by name, or raise `NotAnswered`: not everybody reads odd ones alike."""
    said: dict[bytes, bytes] = {}
    text = text.rstrip(b" \t;")
    at = 0
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None:
            raise _malformed(f"{of} cannot be read")
        name = found[1].lower()
        if name in said:
            raise _malformed(f"{of} says {name.decode('latin-1')[:64]!r} twice")
        said[name] = found[3] if found[2] is None else found[2]
        at = found.end()
    return said


def _said_of(head: bytes) -> dict[bytes, bytes]:
    """Return what a part's head says of its content, or raise `NotAnswered`.

    A name that our reader and the provider's could read differently would let a `model` through
    that nobody has checked.
    """
    if _ODD_LINE.search(head):
        raise _malformed("the lines of a part's head must end in CRLF, and none may be folded")
    found = _DISPOSITION.findall(head)
    if not found:
        return {}
    if len(found) > 1:
        raise _malformed("a part of the form has two lines Content-Disposition")
    kind, rest = found[0]
    said = _parameters(rest, of="the Content-Disposition of a part")
    name = said.get(b"name", b"")
    if b"\\" in name or any(each.startswith(b"name*") for each in said):
        raise _malformed("the name of a part must be written plainly, without escapes")
    if kind.lower() != b"form-data":
        if name == _FIELD:
            raise _malformed("the Content-Disposition of `model` must be form-data")
        return {}
    return said


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
        self._border = b"\n--" + boundary
        self._at = _At.CONTENT
        self._rest = b"\r\n"  # as if a line had ended before, so that all borders are alike
        self._start = 0
        """Where in the rest those bytes begin that did not come out yet."""
        self._read = 0
        """How far the rest was read."""
        self._parts = 0
        self._unsaid = 2

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes; return what may pass. Raises `NotAnswered` (400).

        The rest is walked by an offset and cut where the model stands and at the end: to cut it at
        each border would copy all that follows as often as something looks like one.
        """
        self._rest += data
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        pieces.append(self._out(self._read))
        self._rest = self._rest[self._read :]
        self._start = self._read = 0
        return list(self._said(pieces))

    def _out(self, end: int) -> bytes:
        out, self._start = self._rest[self._start : end], end
        return out

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
        if self._at is _At.HEAD:
            raise _malformed("the form ends within the head of a part")
        if self._at is _At.CONTENT and not self._parts:
            raise _malformed("the form has no part that its boundary marks")
        return list(self._said([self._out(len(self._rest))]))

    def _step(self, pieces: list[Piece]) -> bool:
        """Take one step; say whether there may be another."""
        match self._at:
            case _At.CONTENT:
                _, self._read = self._next_border()
                return self._at is not _At.CONTENT
            case _At.HEAD:
                return self._head(pieces)
            case _At.MODEL:
                return self._named(pieces)
            case _At.LAST:
                return self._last()
            case _At.AFTER:
                self._read = len(self._rest)
                return False

    def _next_border(self) -> tuple[int, int]:
        """Find the next border; return where what it ends ends, and where to read on.

        Both are alike while no whole border is here: all after it may belong to one.
        """
        rest, at = self._rest, self._read
        while (found := rest.find(self._border, at)) >= 0:
            at = found + len(self._border)
            behind = _BEHIND.match(rest, at)
            if behind is None:
                continue  # a line that only begins like a border
            ends = found - 1 if found > self._read and rest[found - 1] == _CR else found
            if behind[3] is not None:
                if len(rest) - ends > _LARGEST_HEAD:
                    raise _malformed("a part of the form has no end of its first line")
                return ends, ends
            if ends == found or behind[2] == b"\n":
                raise _malformed("the lines of a form's borders must begin and end in CRLF")
            return ends, self._passed_border(behind)
        ends = rest.rfind(b"\n", max(at, len(rest) - len(self._border) + 1))
        if ends < 0:
            ends = len(rest)
        if ends > self._read and rest[ends - 1] == _CR:
            ends -= 1
        return ends, ends

    def _passed_border(self, behind: re.Match[bytes]) -> int:
        if behind[1] is not None:
            self._at = _At.LAST
            return behind.end()
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _malformed(f"the form has more than {_MOST_PARTS:,} parts")
        self._at = _At.HEAD
        # The line's end stays: with it the head's lines all begin alike.
        return behind.start(2)

    def _last(self) -> bool:
        end = self._rest.find(b"\n", self._read)
        line = self._rest[self._read : end if end >= 0 else len(self._rest)]
        if line.strip(b" \t\r") or len(line) > _LARGEST_HEAD:
            raise _malformed("the line of the form's last border does not end there")
        self._at = _At.LAST if end < 0 else _At.AFTER
        return self._at is _At.AFTER

    def _head(self, pieces: list[Piece]) -> bool:
        start = self._read
        end = self._rest.find(b"\r\n\r\n", start)
        if (end if end >= 0 else len(self._rest)) - start > _LARGEST_HEAD:
            raise _malformed("a part of the form has a head that is too large")
        if end < 0:
            return False
        # The last line's end stays: where a part is empty it may belong to the next border.
        self._read = end + 2
        head = self._rest[start : self._read]
        said = _said_of(head)
        self._at = _At.CONTENT
        if b"filename" in said or b"filename*" in said:
            self.file_began = True
        elif said.get(b"name") == _FIELD:
            if self.model is not None:
                raise _malformed("the form names a `model` twice")
            pieces.append(self._out(start))
            self._read += 2
            self._start = self._read
            self._model_head = head + b"\r\n"
            self._at = _At.MODEL
        return True

    def _named(self, pieces: list[Piece]) -> bool:
        start = self._read
        end, on = self._next_border()
        if end - start > _LONGEST_MODEL:
            raise _malformed("the form's `model` is too long")
        if self._at is _At.MODEL:
            return False  # it ends behind what is here
        self._read = on
        content = self._out(end)
        try:
            self.model = content.decode()
        except UnicodeDecodeError:
            raise _malformed("the form's `model` is no UTF-8") from None
        head = _LENGTH.sub(b"", self._model_head)
        self.left_out = len(self._model_head) - len(head) + len(content)
        pieces += [head, Field.MODEL]
        return True


def _malformed(words: str) -> NotAnswered:
    return malformed(words, param="model", code="invalid_value")
