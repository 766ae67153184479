"""A tiny world for the judge's tests: counters made by hand, and traffic made by chance."""

from collections.abc import Mapping
from math import log
from random import Random

from headway.judge.evidence import CANDIDATE, MEASURED, STABLE, Epoch, Evidence, Tally


def tally(share_bp: int, *, epoch: int = 1, **counts: int | Mapping[int, int]) -> Tally:
    """Make the sums of an epoch: `candidate_errors=3`, `stable_measured=900`.

    `__` stands for a dot (`candidate_latency__p50=3`); a mapping is bin -> count, for scores.
    """
    sums: dict[tuple[str, str, int], int] = {}
    for key, value in counts.items():
        arm, metric = key.replace("__", ".").split("_", 1)
        assert arm in {CANDIDATE, STABLE}
        bins = value if isinstance(value, Mapping) else {int(metric != MEASURED): value}
        sums |= {(arm, metric, number): n for number, n in bins.items()}
    return Tally(Epoch(epoch, share_bp), sums)


def seen(*tallies: Tally, now: int = 0) -> Evidence:
    """Evidence that is all older than L, and was all known at age M."""
    return Evidence(now, tallies, tallies, tallies, tallies)


def hit(share_bp: int, times: float) -> float:
    """How likely a bad event hits a candidate that is so many times as bad, from first principles.

    Of a million requests at a base rate of one in a thousand.
    """
    candidate = share_bp / 10_000 * 1_000_000
    bad_there = candidate * 0.001 * times
    bad_elsewhere = (1_000_000 - candidate) * 0.001
    return bad_there / (bad_there + bad_elsewhere)


def binomial(chance: Random, n: int, p: float) -> int:
    """Draw how many of n succeed; quick where few do."""
    if n <= 0 or p <= 0:
        return 0
    if p >= 1:
        return n
    hits, place = 0, 0
    # Skip from success to success: the gaps are geometric.
    steps = log(1 - p)
    while True:
        place += int(log(1 - chance.random()) / steps) + 1
        if place > n:
            return hits
        hits += 1
