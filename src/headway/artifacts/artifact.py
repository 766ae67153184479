"""An artifact: bytes that are named by their own digest, so that they can never change."""

import re
from dataclasses import dataclass
from typing import Final, Self

from headway.kernel.errors import Invalid, Refused

MIB: Final = 1024 * 1024
RESERVE: Final = 256 * MIB
"""Bytes that stay free on the disk for everything else: the database above all."""
DIGEST_PATTERN: Final = r"^sha256:[0-9a-f]{64}$"
_DIGEST: Final = re.compile(DIGEST_PATTERN.replace("$", r"\Z"))


@dataclass(frozen=True, order=True, slots=True)
class Digest:
    """`sha256:` and 64 hex digits in lower case."""

    hex: str

    @classmethod
    def parse(cls, text: str, *, pointer: str = "") -> Self:
        """Read `sha256:<64 hex digits>`, or raise `Invalid` that says how it is written."""
        if _DIGEST.match(text):
            return cls(text.removeprefix("sha256:"))
        shown = repr(text[:80])
        if re.match(r"(?i)(sha256:)?[0-9a-f]{64}\Z", text):
            likely = f"sha256:{text[-64:].lower()}"
            raise Invalid.at(pointer, f"{shown} is no digest: did you mean {likely!r}?")
        if re.match(r"(?i)sha256[:=]", text):
            given = len(text) - len("sha256:")
            raise Invalid.at(
                pointer, f"{shown} is no digest: after sha256: come 64 hex digits, not {given}"
            )
        raise Invalid.at(pointer, f"{shown} is no digest: write sha256: and 64 hex digits")

    @property
    def parts(self) -> tuple[str, str, str]:
        """Return where a store keeps it: `("sha256", "ab", "cdef…")`."""
        return "sha256", self.hex[:2], self.hex[2:]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One stored file: its digest (`sha256:…`), bytes, when (ms) and by whom it came."""

    digest: str
    size: int
    created_at: int
    created_by: str
    corrupt_at: int | None = None
    """When (ms) its stored bytes were found to be others, or gone; None: they are not known to be.

    Sending the right bytes again mends it.
    """


class Corrupt(Refused):
    """The stored bytes are not those that the digest names: the disk changed them."""


def corrupt_words(digest: str) -> str:
    """Say of an artifact what is wrong with it, and what to do."""
    return (
        f"the stored bytes of {digest} are not those that were uploaded: upload the right ones "
        "again, which mends every version that needs them"
    )
