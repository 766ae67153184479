"""Geometry of the page's pictures, in percent of their width: bars, and intervals on one axis.

Ratios are drawn on a logarithmic axis, so that twice as bad and half as bad lie equally far from
"the same". Percentages need no scaling of the picture: lines and letters keep their size.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Final

WHOLE: Final = 10_000
_LOWEST: Final = 0.1
_ENDS: Final = (10.0, 20.0, 50.0, 100.0)
_TICKS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One arm's part of a bar of shares."""

    version: str
    role: str
    share_bp: int
    x: float
    width: float

    @property
    def second(self) -> bool:
        """Whether it is the one that the bar shows hatched."""
        return self.role != "stable"


def bar(arms: Iterable[Mapping[str, Any]]) -> tuple[Slice, ...]:
    """Lay arms with a share beside each other, the stable one first."""
    found: list[Slice] = []
    x = 0.0
    for arm in sorted(arms, key=lambda arm: arm["role"] != "stable"):
        if not arm["share_bp"]:
            continue
        width = 100 * arm["share_bp"] / WHOLE
        found.append(
            Slice(
                version=arm["version"],
                role=arm["role"],
                share_bp=arm["share_bp"],
                x=round(x, 2),
                width=round(width, 2),
            )
        )
        x += width
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """An interval as drawn. `open`: nothing is known of how bad it may be at most."""

    x: float
    width: float
    open: bool
    unknown: bool
    """Open at both ends: too few were bad to say anything."""


@dataclass(frozen=True, slots=True)
class Axis:
    """How many times as bad, from a tenth to `highest`."""

    highest: float

    @classmethod
    def over(cls, metrics: Sequence[Mapping[str, Any]]) -> "Axis":
        """Return an axis on which all margins, and what is known of the upper ends, have room."""
        wanted = [10.0]
        for metric in metrics:
            low, high = metric["interval"]
            wanted += [2 * (metric["factor"] or 1.0), 1.2 * low, high or 0.0]
        reach = max(wanted)
        return cls(next((end for end in _ENDS if end >= reach), _ENDS[-1]))

    @property
    def ticks(self) -> tuple[Tick, ...]:
        return tuple(
            Tick(self.x(value), f"{value:g}x") for value in _TICKS if value <= self.highest
        )

    def x(self, ratio: float) -> float:
        """Return where a ratio lies; what is off the axis lies at its end."""
        ratio = min(max(ratio, _LOWEST), self.highest)
        return round(100 * log(ratio / _LOWEST) / log(self.highest / _LOWEST), 2)

    def span(self, low: float, high: float | None) -> Span:
        """Return an interval; a very narrow one stays visible."""
        left = self.x(low)
        right = 100.0 if high is None else self.x(high)
        width = max(round(right - left, 2), 0.8)
        unknown = high is None and low <= _LOWEST
        return Span(min(left, 100 - width), width, open=high is None, unknown=unknown)


def climb(e: float, needed: float) -> float:
    """Say how far evidence has come towards its proof, percent; it grows by factors."""
    if e <= 1 or needed <= 1:
        return 0.0
    return round(min(100.0, 100 * log(e) / log(needed)), 1)
