"""What providers say of tokens and of failures, taken for what it is worth."""

import re
from collections.abc import Hashable, Mapping
from typing import Final, TypeVar

from headway.kernel.canonical import Json

K = TypeVar("K", bound=Hashable)

_MOST_TOKENS: Final = 1 << 30
"""Of one answer: more than any model reads, and few enough for sums of their cost in 64 bits."""
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


def counted(tokens: Mapping[str, Json]) -> Mapping[str, int]:
    """Return those classes of which there is a number of tokens that can be."""
    return {name: n for name, n in tokens.items() if type(n) is int and 0 < n < _MOST_TOKENS}


def highest(known: Mapping[str, int], told: Mapping[str, int]) -> Mapping[str, int]:
    """Return tokens by class: numbers are sums so far, so the highest that was told counts.

    A later event that leaves a class out, or says less, takes nothing back that was spent.
    """
    if not known:
        return told
    return {**known, **{name: max(n, known.get(name, 0)) for name, n in told.items()}}


def add_up(sums: dict[K, int], more: Mapping[K, int]) -> None:
    """Add to sums by class, where they are."""
    for key, n in more.items():
        sums[key] = sums.get(key, 0) + n


def together(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Return the sums by class: of two answers that are both paid for, of two batches."""
    sums = dict(first)
    add_up(sums, second)
    return sums


def ended_by(error: Json) -> str:
    """Say that a provider ended with an error: its word for programs, never its sentences.

    Those speak to the provider's own customer, and may name what is behind this gateway.
    """
    word = error
    if isinstance(error, Mapping):
        word = next((error[name] for name in ("code", "type") if is_word(error.get(name))), "")
    kind = f" ({word})" if is_word(word) else ""
    return f"the provider ended its answer with an error{kind}"


def is_word(value: Json) -> bool:
    return isinstance(value, str) and _WORD.match(value) is not None
