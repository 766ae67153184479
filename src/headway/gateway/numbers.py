"""How deep and how full JSON is that is mostly numbers, found out without reading it.

Tensors and tokens are as many as a body holds, and a walk over millions of them would make
everybody wait.
"""

from typing import Final

from headway.gateway.body import DEEPEST, MOST_VALUES, malformed

MOST_LISTS: Final = 1_000_000
"""A tensor may be nested, a list per row; each takes 30 times the memory of its brackets."""
_LEVEL: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def check_numbers(text: bytes) -> None:
    """Raise `NotAnswered` (400) for JSON that is too deep or holds too much besides numbers."""
    quotes = text.count(b'"')
    # Where a text begins there is never an escaped quote, so this never counts one too few.
    if quotes > 2 * MOST_VALUES and quotes - text.count(b'\\"') > 2 * MOST_VALUES:
        raise malformed(f"the body holds more than {MOST_VALUES:,} texts")
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return
    bare = _without_texts(text) if quotes else text
    if bare.count(b"{") > MOST_VALUES:
        raise malformed(f"the body holds more than {MOST_VALUES:,} objects")
    if bare.count(b"[") > MOST_LISTS:
        raise malformed(
            f"the body holds more than {MOST_LISTS:,} lists; `data` may also be one flat list"
        )
    if _is_deeper(bare.translate(_LEVEL, _NO_BRACKETS), DEEPEST):
        raise malformed(
            f"the body is nested more than {DEEPEST} deep, or its brackets do not match"
        )


def _without_texts(text: bytes) -> bytes:
    """Return JSON without what stands in quotes; of malformed JSON whatever comes out."""
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2])


def _is_deeper(brackets: bytes, most: int) -> bool:
    """Tell whether brackets are nested deeper, by taking away the innermost pairs, by level.

    Under an innermost pair lie no more pairs than there are levels. Where too few pairs are
    innermost the rest must be too deep, and no further level has to be taken away to know it.
    """
    for levels in range(most, 0, -1):
        if not brackets:
            return False
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        if (before - len(brackets)) * levels < before:
            return True
    return False
