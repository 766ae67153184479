"""The candidate's own proof that its rate is low enough, and what used-up units hide.

Without bad events nothing can be said of a ratio, and a step would never end. So a rate below the
floor is good enough, whatever the stable version's is.
"""

from collections.abc import Sequence
from math import log
from typing import Final

from headway.judge.events import log_mean_exp

FLOOR: Final = 0.005
_BETS: Final[Sequence[tuple[float, float]]] = ((0.02, 0.4), (0.1, 0.3), (0.25, 0.2), (0.5, 0.1))
"""(part of the rate in question, weight)."""


def threshold(factor: float, floor: float) -> float:
    """Return t: the rate that a candidate `factor` times worse than the floor would have."""
    return min(factor * floor, 0.5)


def log_floor(*, n: float, bad: float, factor: float, floor: float) -> float:
    """Return ln F against "the candidate's rate is at least `factor` times the floor".

    F = sum v_k f_k^x ((1 - f_k t) / (1 - t))^(n - x), x bad of n first measured units. It assumes
    that the rate is the same throughout: a clean night proves it for the night.
    """
    t = threshold(factor, floor)
    return log_mean_exp(
        (bad * log(part) + (n - bad) * log((1 - part * t) / (1 - t)), weight)
        for part, weight in _BETS
    )


def ratio_of_units(factor: float, used_up: float) -> float:
    """Return how many times more units have had the event when requests have it `factor` times.

    r1* = (1 - (1 - b)^r1) / b, b being the part of the stable version's units that had it: who
    had it once counts no more, and so a difference between requests shrinks between units.
    """
    return (1 - (1 - used_up) ** factor) / used_up if used_up > 0 else factor
