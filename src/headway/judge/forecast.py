"""How many requests a proof will take, before and while it is collected.

Within a fifth of the simulated median, mostly above it. A request counts only at its age L: add
that to the seconds. With KL(x || y) = x ln(x/y) + (1-x) ln((1-x)/(1-y)):

    until, comparison:  events = (ln(2/alpha) + ln 3 - had) / KL(pi || p(r1))
    until, floor:       units = (ln(2/alpha) + ln 2.5) / -ln(1 - t) - the candidate's so far
    worse, K metrics:   events = (ln(1.25 K/alpha) + ln 3) / KL(p(r) || pi)

had is what the steps before brought: the sum of (their events) KL(pi_i || p_i(r1)).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log
from typing import Final

from headway.judge.floor import FLOOR, threshold
from headway.judge.result import Proof
from headway.kernel.quantity import WHOLE_BP

_GRID: Final = log(3)
"""What a mixture over several bets costs against the best one of them."""
_FLOOR_GRID: Final = log(2.5)


@dataclass(frozen=True, slots=True)
class Spent:
    """What was collected under one set of shares: bad events of both arms, candidate's units."""

    share_bp: int
    events: float
    units: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """How much is missing: requests of the rule in all, those of the candidate among them.

    `seconds` is None without a rate. `by` is the proof that comes first. None instead of a
    Forecast means that no amount of such traffic proves it.
    """

    requests: int
    on_candidate: int
    seconds: float | None
    by: Proof | None = None


def until(
    *,
    share_bp: int,
    factor: float,
    base_rate: float,
    alpha: float = 0.01,
    floor: float = FLOOR,
    before: Sequence[Spent] = (),
    ratio_so_far: float = 0.0,
    floor_so_far: float = 0.0,
    per_second: float | None = None,
) -> Forecast | None:
    """Say what "not `factor` times worse" will take of a candidate that is like the stable one.

    `base_rate`: the stable version's rate of bad units in the last 24 h. `before`: what the steps
    before have collected; for a running step also what it has itself, under its own share.
    `ratio_so_far`, `floor_so_far`: ln E' and ln F as they stand; one that is ahead of what its
    counts would be expected to bring has less to go.
    """
    by_ratio = _until_ratio(share_bp, factor, base_rate, alpha, before, ratio_so_far)
    by_floor = _until_floor(share_bp, factor, base_rate, alpha, floor, before, floor_so_far)
    requests = min(by_ratio, by_floor)
    by = Proof.FLOOR if by_floor <= by_ratio else Proof.RATIO
    return _forecast(requests, share_bp, per_second, by)


def until_worse(
    *,
    share_bp: int,
    times: float,
    base_rate: float,
    alpha: float = 0.01,
    metrics: int = 1,
    per_second: float | None = None,
) -> Forecast | None:
    """Say what the finding "worse" will take of a candidate that is so many times worse."""
    pi = share_bp / WHOLE_BP
    if not 0 < pi < 1 or times <= 1 or base_rate <= 0:
        return None
    needed = log(1.25 * metrics / alpha) + _GRID
    events = needed / divergence(_hit(pi, times), pi)
    requests = events / (base_rate * (pi * times + 1 - pi))
    return _forecast(requests, share_bp, per_second, None)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a plan: the candidate's share and the factor that it proves."""

    share_bp: int
    factor: float


def whole_plan(
    stages: Sequence[Stage],
    *,
    base_rate: float,
    alpha: float = 0.01,
    floor: float = FLOOR,
    per_second: float | None = None,
) -> tuple[Forecast | None, ...]:
    """Say of each step what it will take after those before; None from where it never ends."""
    spent: list[Spent] = []
    found: list[Forecast | None] = []
    for stage in stages:
        step = None
        if None not in found:
            step = until(
                share_bp=stage.share_bp,
                factor=stage.factor,
                base_rate=base_rate,
                alpha=alpha,
                floor=floor,
                before=spent,
                per_second=per_second,
            )
        found.append(step)
        if step:
            events = step.requests * base_rate
            spent.append(Spent(stage.share_bp, events, step.on_candidate))
    return tuple(found)


def divergence(x: float, y: float) -> float:
    """Return KL(x || y) of two coins, in nats."""
    return x * log(x / y) + (1 - x) * log((1 - x) / (1 - y))


def _until_ratio(
    share_bp: int,
    factor: float,
    base_rate: float,
    alpha: float,
    before: Sequence[Spent],
    so_far: float,
) -> float:
    pi = share_bp / WHOLE_BP
    if not 0 < pi < 1 or factor <= 1 or base_rate <= 0:
        return inf
    had = sum(
        spent.events * divergence(share, _hit(share, factor))
        for spent in before
        if 0 < (share := spent.share_bp / WHOLE_BP) < 1
    )
    needed = log(2 / alpha) + _GRID - max(had, _ahead(so_far, _GRID))
    return max(0.0, needed / divergence(pi, _hit(pi, factor)) / base_rate)


def _until_floor(
    share_bp: int,
    factor: float,
    base_rate: float,
    alpha: float,
    floor: float,
    before: Sequence[Spent],
    so_far: float,
) -> float:
    t = threshold(factor, floor)
    if base_rate > t / 4:
        return inf
    had = sum(spent.units for spent in before) * -log(1 - t)
    needed = log(2 / alpha) + _FLOOR_GRID - max(had, _ahead(so_far, _FLOOR_GRID))
    return max(0.0, needed / -log(1 - t) / (share_bp / WHOLE_BP))


def _ahead(so_far: float, grid: float) -> float:
    """Return what a proof has that stands so high; one that is not above 1 has nothing."""
    return so_far + grid if so_far > 0 else 0.0


def _hit(share: float, times: float) -> float:
    return share * times / (share * times + 1 - share)


def _forecast(
    requests: float, share_bp: int, per_second: float | None, by: Proof | None
) -> Forecast | None:
    if requests == inf:
        return None
    whole = ceil(requests)
    return Forecast(
        requests=whole,
        on_candidate=round(whole * share_bp / WHOLE_BP),
        seconds=whole / per_second if per_second else None,
        by=by,
    )
