"""Times in the few wide buckets of a Prometheus histogram: counts that may be summed for ever."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from headway.tracking.sketch import Sketch, middle

BOUNDS: Final = (
    *(5, 10, 25, 50, 100, 250, 500),
    *(1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000),
)
"""Upper ends, ms; above the last one there is no end."""
_NAMES: Final = (*map(str, BOUNDS), "inf")
_SUM: Final = "sum"
LATENCY: Final = "latency"
FIRST: Final = "first"
TimingOf: TypeAlias = tuple[str, str, str, str]
"""Model, environment, version, and `LATENCY` or `FIRST`."""


def histogram(sketch: Sketch) -> Mapping[str, int]:
    """Return how many values lie in each bucket (by its upper end), and their sum in us.

    Within the 1 % by which a sketch knows its values. What is 0 is left out.
    """
    found: Counter[str] = Counter()
    total = 0.0
    for index, n in sketch.counts.items():
        value = middle(index)
        found[_NAMES[bisect_left(BOUNDS, value)]] += n
        total += n * value
    found[_SUM] = round(1_000 * total)
    return {name: n for name, n in found.items() if n}


def cumulative(histogram: Mapping[str, int]) -> Sequence[tuple[float | None, int]]:
    """Return how many were at most each end, in seconds; None: however long."""
    n = 0
    found: list[tuple[float | None, int]] = []
    for bound, name in zip((*BOUNDS, None), _NAMES, strict=True):
        n += histogram.get(name, 0)
        found.append((None if bound is None else bound / 1_000, n))
    return found


def seconds(histogram: Mapping[str, int]) -> float:
    """Return the sum of all values."""
    return histogram.get(_SUM, 0) / 1_000_000
