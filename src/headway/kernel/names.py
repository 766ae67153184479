"""What things may be called, and which known word somebody probably meant."""

import difflib
import re
from collections.abc import Iterable
from typing import Final

from headway.kernel.errors import Invalid

NAME_PATTERN: Final = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"
_NAME: Final = re.compile(NAME_PATTERN.replace("$", r"\Z"))
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""C0 but newline and tab, DEL and C1, and halves of a pair that is none."""
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))]
)


def check_name(name: str, *, what: str, pointer: str = "") -> str:
    """Return a name that may be used, or raise `Invalid`.

    Names of models, aliases, environments and tag keys are ASCII, unique without regard to case,
    and never those of a Windows device.
    """
    if not _NAME.match(name):
        raise Invalid.at(
            pointer,
            f"{name[:128]!r} cannot name a {what}: a name is 1 to 128 of A-Z a-z 0-9 . _ - "
            "and starts and ends with a letter or digit",
        )
    if name.split(".", 1)[0].lower() in _DEVICES:
        raise Invalid.at(pointer, f"{name!r} is the name of a device on Windows")
    return name


def folded(name: str) -> str:
    """Return a name without regard to case. Names are ASCII: what is not is nobody's, and stays.

    (The sign for kelvins is a "k" in lower case, and there are more letters of that kind.)
    """
    return name.lower() if name.isascii() else name


def nearest(word: str, known: Iterable[str], *, alike: float = 0.5) -> str | None:
    """Return the known word that was probably meant, or None; `alike`: from 0 to 1, at least."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=alike)
    return found[0] if found else None


def unknown_word(word: str, known: Iterable[str], *, what: str) -> str:
    """Say that a word is not known, which one was probably meant, and which ones there are."""
    known, shown = sorted(map(str, known)), word[:64]
    guess = nearest(shown, known)
    hint = f"; did you mean {guess!r}?" if guess else ""
    there = f"there are: {', '.join(known)}" if known else "there are none"
    return f"unknown {what} {shown!r}{hint} ({there})"


def check_text(text: str, *, pointer: str = "", longest: int = 4096) -> str:
    """Return free text that may be stored: no NUL, no control characters but newline and tab."""
    if len(text) > longest:
        raise Invalid.at(pointer, f"{len(text):,} characters; at most {longest:,} are taken")
    if found := _CONTROL.search(text):
        raise Invalid.at(pointer, f"holds the control character U+{ord(found[0]):04X}")
    return text
