"""When an answer is slow: above the stable version's own quantiles, fixed at the start."""

from dataclasses import dataclass
from typing import Final

from headway.judge.evidence import QUANTILES, slow
from headway.tracking.sketch import Sketch

NEEDED: Final = 20
"""A quantile q wants 20 / (1 - q) values: else nobody knows where it lies."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One line between quick and slow, in the sketch's unit (milliseconds).

    `metric` names the evidence. The candidate's line is further by the margin: its value is
    divided by it, the stable version's is not.
    """

    metric: str
    quantile: str
    stable: float
    candidate: float


def thresholds(
    sketch: Sketch, *, margin: float = 0.0, metric: str = "latency"
) -> tuple[Threshold, ...]:
    """Return the lines that the stable version's last 24 h bear, lowest first.

    Quantiles that have too few values are left out: they join at a later epoch.
    """
    values = sketch.n
    found = []
    for quantile in QUANTILES:
        q = int(quantile[1:]) / 100
        at = sketch.quantile(q)
        if at is None or values * (1 - q) < NEEDED - 1e-9:
            continue
        found.append(Threshold(slow(metric, quantile), quantile, at, at * (1 + margin)))
    return tuple(found)
