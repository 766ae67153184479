"""A mergeable summary of a distribution: counts in buckets 2 % wide, quantiles within 1 %.

Bucket i holds the values in (g^(i-1), g^i] with g = 1.01/0.99, so that no value is further than
1 % from the middle of its bucket. Sketches add up exactly, in any order: what many gateways saw in
many minutes is one sketch. The buckets are those of Masson, Rim & Lee, "DDSketch" (VLDB 2019).
"""

from collections.abc import Iterable, Mapping
from math import ceil, exp, log
from typing import Final, Self

ERROR: Final = 0.01
"""How far a quantile may lie from the value that it stands for, as a part of it."""
_LOG_WIDTH: Final = log((1 + ERROR) / (1 - ERROR))
_PER_LOG: Final = 1 / _LOG_WIDTH
_LEAST: Final = 1e-6
"""Values at or below it (zero, a clock that went back) share one bucket."""
_LOWEST: Final = ceil(log(_LEAST) * _PER_LOG)
_MIDDLE: Final = log(2 / (1 + (1 + ERROR) / (1 - ERROR)))


class Sketch:
    """Counts of values by bucket; sparse, integers only."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts) if counts else {}

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        sketch = cls()
        for value in values:
            sketch.add(value)
        return sketch

    def add(self, value: float) -> None:
        """Count one value, of any unit."""
        index = ceil(log(value) * _PER_LOG) if value > _LEAST else _LOWEST
        counts = self.counts
        counts[index] = counts.get(index, 0) + 1

    def merge(self, other: "Sketch") -> None:
        """Count all that another sketch has counted."""
        counts = self.counts
        for index, n in other.counts.items():
            counts[index] = counts.get(index, 0) + n

    @property
    def n(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> float | None:
        """Return a value within 1 % of the q-quantile (0..1), None if nothing was counted.

        The q-quantile of n values is the one at place floor(q (n - 1)), counted from 0.
        """
        total = self.n
        return self.at(int(q * (total - 1))) if total else None

    def at(self, place: int) -> float:
        """Return a value within 1 % of the one at that place in rising order, counted from 0."""
        before = 0
        for index in sorted(self.counts):
            before += self.counts[index]
            if before > place:
                return middle(index)
        raise IndexError(place)

    def document(self) -> dict[str, int]:
        """Return the JSON form, `{"512": 3}`: bucket -> count, in rising order."""
        return {str(index): self.counts[index] for index in sorted(self.counts)}

    @classmethod
    def read(cls, document: Mapping[str, int]) -> Self:
        """Read what `document` wrote."""
        return cls({int(index): n for index, n in document.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]  # it changes: equal by content, no key of a dict

    def __repr__(self) -> str:
        return f"Sketch({self.document()})"


def middle(index: int) -> float:
    """Return the value of a bucket that is within 1 % of all that it holds."""
    return exp(index * _LOG_WIDTH + _MIDDLE)
