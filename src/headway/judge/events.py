"""How strongly events speak against "at most r0 times as bad": e-values on the router's coin.

Given a bad event, and a candidate with the share pi of the traffic that is r times as bad as the
stable version, the event hit the candidate with probability p(r) = pi r / (pi r + 1 - pi). Nothing
but the router's own coin enters: an outage of both arms, a drifting base rate, an evening peak
change nothing, and evidence carries over from one set of shares to the next.

An e-value has an expectation of at most 1 if the candidate is no worse than said, at any time,
whenever one stops looking (Ville's inequality): one of 125 comes in at most 0.8 % of such cases.
All of them are returned as natural logarithms; 0 says nothing.

Sources: Lindon & Malek, NeurIPS 2022 (arXiv 2011.03567); Turner, Ly & Grünwald, JSPI 230 (2024),
arXiv 2106.02693.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, fsum, inf, log, sqrt
from typing import Final

from headway.kernel.quantity import WHOLE_BP

Bets = Sequence[tuple[float, float]]
"""(times as bad, weight): how much of the evidence bets on which candidate."""

RATE_BETS: Final[Bets] = (
    (1.5, 0.25), (2, 0.25), (3, 0.15), (5, 0.10), (10, 0.10), (30, 0.10), (100, 0.05),
)  # fmt: skip
SCORE_BETS: Final[Bets] = tuple((times, 1 / 7) for times in (1.1, 1.25, 1.5, 2, 3, 5, 10))
SLOW_BETS: Final[dict[str, Bets]] = {
    quantile: tuple((times, 1 / len(grid)) for times in grid)
    for quantile, grid in {
        "p50": (1.1, 1.25, 1.5, 1.8),
        "p90": (1.25, 1.5, 2, 3, 5, 8),
        "p95": (1.5, 2, 3, 5, 10, 18),
        "p99": (1.5, 2, 3, 5, 10, 18),
    }.items()
}
"""Of answers above the stable version's p50 there are at most twice as many, and so on."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Bad events under one set of shares: how many hit the candidate, how many the stable arm.

    `bad` is how much of a bad event each of them was, 1 but for graded scores.
    """

    share_bp: int
    candidate: int
    stable: int
    bad: float = 1.0


def mirrored(bets: Bets) -> Bets:
    """Turn bets that a candidate is worse into bets that it is so many times better."""
    return tuple((1 / times, weight) for times, weight in bets)


def log_e(hits: Sequence[Hits], *, null: float, bets: Bets) -> float:
    """Return ln E against "the candidate is at most `null` times as bad".

    With mirrored bets: against "it is at least `null` times as bad". The factor of one event is
    1 + bad (LR(A) - 1), A telling which arm it hit; LR(A) = p(null R) / p(null) for the candidate.
    """
    counted = [hit for hit in hits if _compares(hit) and hit.bad and hit.candidate + hit.stable]
    if not counted:
        return 0.0
    return log_mean_exp((log_likelihood(counted, null, times), weight) for times, weight in bets)


def log_likelihood(hits: Iterable[Hits], null: float, times: float) -> float:
    """Return ln of the likelihood ratio of `null * times` against `null`."""
    parts = []
    for hit in hits:
        share = hit.share_bp / WHOLE_BP
        wider = (share * null + 1 - share) / (share * null * times + 1 - share)
        if hit.bad == 1.0:
            parts.append(hit.candidate * log(times))
            parts.append((hit.candidate + hit.stable) * log(wider))
        else:
            parts.append(hit.candidate * log(1 + hit.bad * (times * wider - 1)))
            parts.append(hit.stable * log(1 + hit.bad * (wider - 1)))
    return fsum(parts)


def log_mean_exp(parts: Iterable[tuple[float, float]]) -> float:
    """Return ln of the weighted sum of exp, for (logarithm, weight); weights add up to 1."""
    known = [(value, weight) for value, weight in parts if value > -inf]
    if not known:
        return -inf
    top = max(value for value, _ in known)
    return top + log(fsum(weight * exp(value - top) for value, weight in known))


def interval(
    against: Callable[[float], float], mirror: Callable[[float], float], *, alpha: float
) -> tuple[float, float | None]:
    """Return all r that the evidence leaves: E(r) and E'(r) both below 2/alpha.

    `against` and `mirror` give ln E and ln E' at r; the first falls with r, the second rises. A
    lower end of 0 and an upper end of None are open: nothing is known on that side.
    """
    most = log(2 / alpha)
    low = _crossing(lambda r: against(r) >= most)
    high = _crossing(lambda r: mirror(r) < most)
    return (0.0 if low <= _LEAST else low), (None if high >= _GREATEST else high)


_LEAST: Final = 1e-3
_GREATEST: Final = 1e4


def _crossing(holds: Callable[[float], bool]) -> float:
    """Return where `holds` turns from True to False as r grows, to 0.01 %."""
    low, high = _LEAST, _GREATEST
    if not holds(low):
        return low
    if holds(high):
        return high
    while high / low > 1.0001:
        middle = sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return sqrt(low * high)


def _compares(hit: Hits) -> bool:
    return 0 < hit.share_bp < WHOLE_BP
