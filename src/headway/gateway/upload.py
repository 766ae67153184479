"""A form on its way to a provider: held until it may begin, and its model renamed. No I/O."""

from typing import Final

from headway.gateway.body import malformed
from headway.gateway.form import Field, Form, Piece

_MOST_HELD: Final = 64 * 1024
"""Bytes that are held, to see the field `model`, where the model is named elsewhere too."""


class Upload:
    """The body of one request."""

    def __init__(self, boundary: bytes, length: int | None) -> None:
        """`length`: as the request's head says; None: it comes in chunks."""
        self._form = Form(boundary)
        self._length = length
        self._held: list[Piece] = []
        self._theirs: bytes | None = None
        """The name that the provider knows; None: nothing was sent yet."""
        self.size = 0
        """Bytes that are held."""

    @property
    def model(self) -> str | None:
        """Return the model that the form names, once that was seen."""
        return self._form.model

    @property
    def seen_enough(self) -> bool:
        """Say whether it may begin without its field: what follows may take long."""
        return self._form.file_began or self.size > _MOST_HELD

    def take(self, data: bytes) -> bytes:
        """Take bytes; return what passes now. Raises `NotAnswered` (400)."""
        return self._pass(self._form.feed(data))

    def end(self) -> bytes:
        """Take the end; return what passes now. Raises `NotAnswered` (400)."""
        return self._pass(self._form.end())

    def begin(self, theirs: str) -> tuple[int | None, bytes]:
        """Return how long the body will be, None for chunks, and what was held of it."""
        self._theirs = theirs.encode()
        length = self._length
        if length is not None and self._form.model is not None:
            length += len(self._theirs) - self._form.left_out
        held, self._held = self._held, []
        return length, _renamed(held, self._theirs)

    def _pass(self, pieces: list[Piece]) -> bytes:
        theirs = self._theirs
        if theirs is None:
            self._held += pieces
            self.size += sum(len(piece) for piece in pieces if isinstance(piece, bytes))
            return b""
        if (
            Field.MODEL in pieces
            and self._length is not None
            and len(theirs) != self._form.left_out
        ):
            # The request's head has promised a length.
            raise malformed(
                "the form's `model` must stand before its files", param="model", code="wrong_order"
            )
        return _renamed(pieces, theirs)


def _renamed(pieces: list[Piece], theirs: bytes) -> bytes:
    return b"".join(theirs if isinstance(piece, Field) else piece for piece in pieces)
