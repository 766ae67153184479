"""What tokens cost: dated prices, and the cost of what was used. Pure.

Money is integers. A rate is pico-dollars per token, which is micro-dollars per million tokens:
exact for every published price. A cost is nano-dollars. What nobody knows is None, never 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self, TypeAlias

from headway.kernel.canonical import Json
from headway.kernel.money import PICO_OF_NANO

ANY_HOST: Final = "*"


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-dollars per token of each class.

    `cached` and `cache_write` are parts of the input; without a rate of their own they cost what
    other input costs. Without one of output, output has no known price.
    """

    input: int
    output: int | None = None
    cached: int | None = None
    cache_write: int | None = None

    def cost(self, tokens: Mapping[str, int]) -> int | None:
        """Return nano-dollars, or None if a class of these tokens has no price."""
        output = tokens.get("output", 0)
        if self.output is None and output:
            return None
        cached, written = tokens.get("cached", 0), tokens.get("cache_write", 0)
        plain = max(0, tokens.get("input", 0) - cached - written)
        pico = (
            plain * self.input
            + cached * (self.input if self.cached is None else self.cached)
            + written * (self.input if self.cache_write is None else self.cache_write)
            + output * (self.output or 0)
        )
        return (pico + PICO_OF_NANO // 2) // PICO_OF_NANO

    def amounts(self) -> dict[str, int]:
        """Return the rates that there are, by class."""
        named = {
            "input": self.input,
            "output": self.output,
            "cached": self.cached,
            "cache_write": self.cache_write,
        }
        return {name: rate for name, rate in named.items() if rate is not None}

    def document(self) -> dict[str, Json]:
        return dict(self.amounts())

    @classmethod
    def of(cls, document: Mapping[str, int]) -> Self:
        return cls(**document)


class Dated(NamedTuple):
    """Rates from a time on, milliseconds UTC; 0: ever since."""

    since: int
    rates: Rates


Timeline: TypeAlias = tuple[Dated, ...]
"""Rates by time, the earliest first, each until the next; empty: the price is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A price that somebody set: of an upstream's model, from a time on."""

    host: str
    """`api.openai.com`; `*`: wherever that model is called."""
    model: str
    """As the upstream calls it."""
    since: int
    rates: Rates
    set_at: int
    set_by: str


def rates_at(timeline: Timeline, at: int) -> Rates | None:
    """Return the rates of a moment (ms), None if they are unknown."""
    found = None
    for since, rates in timeline:
        if since > at:
            break
        found = rates
    return found


def laid_over(*layers: Iterable[Dated]) -> Timeline:
    """Return one timeline of several: at each moment the first that knows a price says it."""
    sorted_layers = [tuple(sorted(layer, key=lambda dated: dated.since)) for layer in layers]
    edges = sorted({dated.since for layer in sorted_layers for dated in layer})
    timeline: list[Dated] = []
    for edge in edges:
        known = (rates_at(layer, edge) for layer in sorted_layers)
        rates = next((each for each in known if each is not None), None)
        if rates is not None and (not timeline or timeline[-1].rates != rates):
            timeline.append(Dated(edge, rates))
    return tuple(timeline)


def timeline_from(document: Iterable[Sequence[Any]]) -> Timeline:
    """Read a timeline as `timeline_document` writes it."""
    return tuple(Dated(since, Rates(**rates)) for since, rates in document)


def timeline_document(timeline: Timeline) -> list[Json]:
    return [[since, rates.document()] for since, rates in timeline]


class Cost:
    """Adds up what is known, and counts what is not."""

    __slots__ = ("known", "nano", "unknown")

    def __init__(self) -> None:
        self.nano = 0
        self.known = False
        self.unknown = False

    def add(self, timeline: Timeline, tokens: Mapping[str, int], at: int) -> None:
        """Add tokens that were used then; of none nothing has to be known."""
        rates = rates_at(timeline, at)
        cost = None if rates is None else rates.cost(tokens)
        if cost is not None:
            self.nano += cost
            self.known = True
        elif any(tokens.values()):
            self.unknown = True

    @property
    def total(self) -> int | None:
        """Nano-dollars; None if any part is unknown."""
        return self.nano if self.known and not self.unknown else None
