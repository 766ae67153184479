"""What the judge reaches against simulated traffic, beside what it promises.

    python benchmarks/judge.py [--runs 1.0] [--seed 1]

Most rows drive the judge alone: counters are drawn by chance, as the router's coin would. Paths of
E are computed for all runs at once by numpy; each row checks a sample of its looks against the
judge's own `log_e`, and stops when they differ by 1e-9. The rows of the corridor send requests
through our own router, gateways and store to the judge, fewer of them, and stop when the evidence
is not what was sent. `--runs` scales how many runs each row takes.

Leaves with 1 when a promise is not kept. Where a row says what another rule would have done, it
stands in brackets.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, inf, log
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from headway.deployments.facts import Past, age_of_bad, fix
from headway.deployments.reading import read_plan
from headway.deployments.strategies.canary import canary
from headway.judge.events import (
    RATE_BETS,
    SCORE_BETS,
    SLOW_BETS,
    Bets,
    Hits,
    log_e,
    log_mean_exp,
    mirrored,
)
from headway.judge.floor import log_floor
from headway.judge.forecast import Stage, whole_plan
from headway.judge.limits import Limit, LimitWatch, needed_in_control, needed_in_gateway
from headway.kernel.clock import DAY
from headway.tracking.sketch import Sketch

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import corridor

Numbers = npt.NDArray[np.float64]

ALPHA = 0.01
WORSE = log(1 / (0.8 * ALPHA))
DEFAULT = (Stage(100, 20), Stage(500, 5), Stage(2_500, 2), Stage(5_000, 1.5))
NORMAL = NormalDist()
PLAN = read_plan(
    {"model": "digits", "to": "1.1.0", "judge": {"worse": {"errors": "any"}}}, {"canary": canary}
)


@dataclass(frozen=True)
class Row:
    """One line of the table; `kept` is None for figures that promise nothing."""

    case: str
    figure: str
    promise: str
    kept: bool | None = None


@dataclass(frozen=True)
class Epoch:
    """Running counts under one set of shares, `[run, look]`; `bad` as in `Hits`."""

    share_bp: int
    candidate: Numbers
    stable: Numbers
    bad: float = 1.0


class Bench:
    """The rows, their randomness, and how many runs they take."""

    def __init__(self, *, seed: int, scale: float) -> None:
        self.chance = np.random.default_rng(seed)
        self.scale = scale

    def runs(self, n: int) -> int:
        return max(20, round(n * self.scale))

    def paths(self, epochs: Sequence[Epoch], *, null: float, bets: Bets) -> Numbers:
        """Return ln E of each run at each look, and check a few of them with the judge's own."""
        logs = []
        for times, weight in bets:
            total = np.zeros_like(epochs[0].candidate)
            for epoch in epochs:
                share = epoch.share_bp / 10_000
                wider = (share * null + 1 - share) / (share * null * times + 1 - share)
                total += epoch.candidate * log(1 + epoch.bad * (times * wider - 1))
                total += epoch.stable * log(1 + epoch.bad * (wider - 1))
            logs.append(total + log(weight))
        found: Numbers = np.logaddexp.reduce(logs, axis=0)
        for _ in range(10):
            run = int(self.chance.integers(found.shape[0]))
            look = int(self.chance.integers(found.shape[1]))
            hits = [
                Hits(e.share_bp, int(e.candidate[run, look]), int(e.stable[run, look]), e.bad)
                for e in epochs
            ]
            own = log_e(hits, null=null, bets=bets)
            if abs(own - found[run, look]) > 1e-9 * max(1.0, abs(own)):
                sys.exit(f"the simulation is not the judge's: {own} and {found[run, look]}")
        return found

    def coin(self, events: npt.NDArray[np.int64], share_bp: int, times: float = 1.0) -> Numbers:
        """Draw how many of the bad events hit a candidate that is so many times as bad."""
        share = share_bp / 10_000
        p = share * times / (share * times + 1 - share)
        return self.chance.binomial(events, p).astype(float)

    def traffic(
        self,
        shape: tuple[int, int],
        share_bp: int,
        per_look: int,
        base: Numbers | float,
        times: float,
    ) -> Epoch:
        """Draw requests of both arms in windows, and return the running counts of bad ones."""
        on_candidate = round(per_look * share_bp / 10_000)
        worse = np.minimum(np.asarray(base) * times, 1.0)
        candidate = self.chance.binomial(on_candidate, worse, size=shape)
        stable = self.chance.binomial(per_look - on_candidate, base, size=shape)
        return Epoch(
            share_bp,
            np.cumsum(candidate, axis=1).astype(float),
            np.cumsum(stable, axis=1).astype(float),
        )


def share_of(paths: Numbers, needed: float = WORSE) -> float:
    """Return the part of the runs that ever reach it."""
    return float((paths.max(axis=1) >= needed).mean())


def first(paths: Numbers, needed: float = WORSE) -> Numbers:
    """Return the look (from 1) at which each run reaches it, infinity if never."""
    reached = paths >= needed
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


def percent(part: float) -> str:
    return f"{part * 100:.2f} %"


def at_most(case: str, part: float, most: float, *, runs: int, note: str = "") -> Row:
    """Hold a part against its promise; chance may exceed it by three standard errors."""
    slack = 3 * (most * (1 - most) / runs) ** 0.5
    return Row(
        case, f"{percent(part)} of {runs:,}{note}", f"<= {percent(most)}", part <= most + slack
    )


def no_more(case: str, figure: float, most: float, note: str = "") -> Row:
    return Row(case, f"{figure:,.0f}{note}", f"<= {most:,.0f}", figure <= most)


# Harmless versions ------------------------------------------------------------------------------


def identical(bench: Bench) -> list[Row]:
    runs = bench.runs(4_000)
    epoch = bench.traffic((runs, 200), 1_000, 1_000, 0.01, 1)
    part = share_of(bench.paths([epoch], null=1, bets=RATE_BETS))
    return [at_most("identical, 1 % errors, 200 looks", part, 0.01, runs=runs)]


def ramp(bench: Bench) -> list[Row]:
    runs, looks = bench.runs(3_000), 50
    shares = (100, 500, 2_500, 5_000)
    drift = np.linspace(0.005, 0.02, looks * len(shares)).reshape(len(shares), looks)
    epochs = [
        bench.traffic((runs, looks), share, 1_000, drift[step], 1)
        for step, share in enumerate(shares)
    ]
    part = share_of(bench.paths(in_sequence(epochs), null=1, bets=RATE_BETS))
    return [at_most("ramp 1/5/25/50 % while the base drifts 0.5 -> 2 %", part, 0.01, runs=runs)]


def in_sequence(epochs: Sequence[Epoch]) -> list[Epoch]:
    """Put epochs one after the other on one axis of looks: before its own an epoch has nothing."""
    placed = []
    for place, epoch in enumerate(epochs):
        parts = [[], []]  # type: list[list[Numbers]]
        for other, of in enumerate(epochs):
            for part, counts in zip(parts, (epoch.candidate, epoch.stable), strict=True):
                if other == place:
                    part.append(counts)
                elif other < place:
                    part.append(np.zeros_like(of.candidate))
                else:
                    part.append(np.repeat(counts[:, -1:], of.candidate.shape[1], axis=1))
        placed.append(Epoch(epoch.share_bp, np.hstack(parts[0]), np.hstack(parts[1]), epoch.bad))
    return placed


def sticky(bench: Bench) -> list[Row]:
    """2,000 units, 2 % of them bad callers with half of their requests failing, heavy tails."""
    runs, units, looks = bench.runs(600), 2_000, 100
    by_unit: list[Numbers] = []
    by_request: list[Numbers] = []
    for _ in range(runs):
        per_look = (bench.chance.pareto(1.2, units) + 1) * 0.2
        rate = np.where(bench.chance.random(units) < 0.02, 0.5, 0.002)
        candidate = bench.chance.random(units) < 0.1
        bad = bench.chance.poisson((per_look * rate)[:, None], size=(units, looks))
        once = np.zeros_like(bad)
        ever = bad.any(axis=1)
        once[np.nonzero(ever)[0], (bad > 0).argmax(axis=1)[ever]] = 1
        for into, counts in ((by_unit, once), (by_request, bad)):
            into.append(
                np.stack([counts[candidate].sum(axis=0), counts[~candidate].sum(axis=0)]).cumsum(1)
            )
    parts = []
    for counted in (by_unit, by_request):
        both = np.stack(counted).astype(float)
        epoch = Epoch(1_000, both[:, 0], both[:, 1])
        parts.append(share_of(bench.paths([epoch], null=1, bets=RATE_BETS)))
    note = f" (counting requests: {percent(parts[1])})"
    return [
        at_most("sticky units, 2 % bad callers, heavy tails", parts[0], 0.01, runs=runs, note=note)
    ]


def outage(bench: Bench) -> list[Row]:
    runs, looks = bench.runs(3_000), 100
    base = np.full(looks, 0.01)
    base[40:60] = 1.0
    # Both arms have all of their requests fail: what hits the candidate is then the router's coin.
    on_candidate = bench.chance.binomial(1_000, 0.1, size=(runs, looks))
    candidate = bench.chance.binomial(on_candidate, base)
    stable = bench.chance.binomial(1_000 - on_candidate, base)
    epoch = Epoch(1_000, candidate.cumsum(1).astype(float), stable.cumsum(1).astype(float))
    part = share_of(bench.paths([epoch], null=1, bets=RATE_BETS))
    rows = [at_most("outage of both arms", part, 0.01, runs=runs)]
    runs, hit = bench.runs(60), 0
    for _ in range(runs):
        watch = LimitWatch(Limit("errors", 0.1), needed=needed_in_gateway(1, alpha=ALPHA))
        acted = False
        for sweep in range(4 * 90):
            rate = 0.9 if 120 <= sweep < 240 else 0.01
            acted |= swept(bench, watch, sweep, per_sweep=50, base=rate)
        hit += acted
    rows.append(
        at_most("outage of both arms beyond a rate limit of 10 %", hit / runs, 0.01, runs=runs)
    )
    return rows


def swept(bench: Bench, watch: LimitWatch, sweep: int, *, per_sweep: int, base: float) -> bool:
    """Draw one sweep (250 ms) of a gateway with 10 % candidate, and say whether the limit acts."""
    sent = int(bench.chance.binomial(per_sweep, 0.1))
    c = int(bench.chance.binomial(sent, base))
    s = int(bench.chance.binomial(per_sweep - sent, base))
    minute = sweep // 240
    return watch.sweep(minute, sent=sent, bad={minute: c} if c else {}, hits=[Hits(1_000, c, s)])


def earlier(bench: Bench) -> list[Row]:
    """Show the same failures sooner on one arm than on the other."""
    rows = []
    for case, base, delays, last, per_second in (
        ("same failures, 5 s against 10 s, 100/s", 0.02, (5, 10), 600, 100),
        ("same failures, 5 s against 10 s, 1,000/s", 0.02, (5, 10), 600, 1_000),
        ("same failures, 10 s against 5 s, 1,000/s", 0.02, (10, 5), 600, 1_000),
        ("time-outs (60 s) against fast failures, 100/s", 0.01, (0, 60), 60, 100),
    ):
        runs = bench.runs(300)
        m = age_fixed(bench, base, delays, last)
        part = by_age(bench, runs, base, delays, m, last, per_second)
        rows.append(at_most(case, part, 0.01, runs=runs))
    # Time-outs so rare that 99.9 % of all requests end sooner: M must cover the bad ones too.
    runs = bench.runs(300)
    covers, misses = (by_age(bench, runs, 0.0008, (0, 600), m, 600, 100) for m in (600, 2))
    note = f" (M of all requests: {percent(misses)})"
    case = "rare time-outs (0.08 %, 600 s) against fast failures"
    rows.append(at_most(case, covers, 0.01, runs=runs, note=note))
    # So few failures before that twice the slowest of them has to do.
    runs = bench.runs(400)
    base = 99 / 3_600 / 100
    parts = []
    for cover in (True, False):
        worse = 0.0
        for _ in range(runs):
            before = Sketch.of(bench.chance.exponential(60_000, 99))
            m = ceil(age_of_bad(before, most=600_000) / 1_000) if cover else 2
            worse += by_age(bench, 1, base, (0.05, 60), m, 600, 100, share=0.5)
        parts.append(worse / runs)
    note = f" (M of all requests: {percent(parts[1])})"
    case = "99 failures an hour, 60 s against 50 ms, 50 % candidate"
    rows.append(at_most(case, parts[0], 0.01, runs=runs, note=note))
    return rows


def age_fixed(bench: Bench, base: float, delays: tuple[float, float], longest: int) -> int:
    """Return M (s) as it is fixed after a day in which the stable version failed that late."""
    failures, delay = 10_000, delays[1] * 1_000.0
    late = bench.chance.exponential(delay, failures) if min(delays) else [delay] * failures
    bad = Sketch.of(np.minimum(late, longest * 1_000))
    good = round(failures * (1 - base) / base)
    latency = Sketch({bucket: n * good for bucket, n in Sketch.of([50.0]).counts.items()})
    latency.merge(bad)
    past = Past(latency=latency, bad=bad, ended={DAY: 1})
    facts = fix(PLAN, past, stable="1.0.0", longest=longest * 1_000, first_gateway=1)
    return facts.ages["errors"].m // 1_000


def young(bench: Bench) -> list[Row]:
    """Deploy while the stable version is so young that its slow failures have not shown."""
    rows = []
    longest, base, per_second = 600, 0.001, 100
    for served in (60, 605, 1_230):
        runs = bench.runs(300)
        parts = []
        for whatever in (False, True):
            worse = 0.0
            for _ in range(runs):
                m = age_after(bench, served, base * per_second, longest, whatever=whatever)
                worse += by_age(bench, 1, base, (0, longest), m, longest, per_second)
            parts.append(worse / runs)
        note = f" (M of what has shown: {percent(parts[1])})"
        case = f"stable has served {served} s, fails after 600 s, candidate at once"
        rows.append(at_most(case, parts[0], 0.01, runs=runs, note=note))
    return rows


def age_after(
    bench: Bench, served: int, per_second: float, longest: int, *, whatever: bool
) -> int:
    """Return M (s) as it is fixed after so many seconds in which failures take `longest` s."""
    began = -bench.chance.random(bench.chance.poisson(per_second * served)) * served
    seen = int((began + longest <= 0).sum())
    minutes = range(0, served, 60)
    ended = {ago * 1_000: 100 * min(60, served - ago) for ago in minutes}
    past = Past(
        latency=Sketch.of([50.0] * 1_000),
        bad=Sketch.of([longest * 1_000.0] * seen),
        ended={DAY: 1} if whatever else ended,
    )
    facts = fix(PLAN, past, stable="1.0.0", longest=longest * 1_000, first_gateway=1)
    return facts.ages["errors"].m // 1_000


def by_age(
    bench: Bench,
    runs: int,
    base: float,
    delays: tuple[float, float],
    m: int,
    last: int,
    per_second: int,
    *,
    share: float = 0.1,
) -> float:
    """Simulate cohorts of 5 s over 30 minutes; each failure counts at age M, or at L if later.

    Delays are exponential where both are above nought, else fixed.
    """
    step, cohorts = 5, 360
    per_cohort = per_second * step
    counts = []
    for part, delay in zip((share, 1 - share), delays, strict=True):
        n = bench.chance.binomial(per_cohort, part, size=(runs, cohorts))
        bad = bench.chance.binomial(n, base)
        fixed = min(delays) == 0
        soon = float(delay <= m) if fixed else 1 - exp(-m / delay)
        shown = bench.chance.binomial(bad, soon)
        later = bad - shown
        looks = np.zeros((runs, cohorts + last // step + 1))
        looks[:, m // step : m // step + cohorts] += shown
        looks[:, last // step : last // step + cohorts] += later
        counts.append(looks.cumsum(axis=1))
    return share_of(
        bench.paths([Epoch(round(share * 10_000), counts[0], counts[1])], null=1, bets=RATE_BETS)
    )


def six_metrics(bench: Bench) -> list[Row]:
    runs = bench.runs(1_500)
    paths = [
        bench.paths([bench.traffic((runs, 100), 1_000, 1_000, 0.02, 1)], null=1, bets=RATE_BETS)
        for _ in range(6)
    ]
    together: Numbers = np.logaddexp.reduce(paths, axis=0) - log(6)
    return [at_most("six metrics, identical", share_of(together), 0.01, runs=runs)]


def at_the_limit(bench: Bench) -> list[Row]:
    runs, hit = bench.runs(25), 0
    for _ in range(runs):
        watches = [
            LimitWatch(Limit("errors", 0.1), needed=needed_in_gateway(place, alpha=ALPHA))
            for place in range(1, 17)
        ]
        acted = False
        for sweep in range(4 * 120):
            for watch in watches:
                acted |= swept(bench, watch, sweep, per_sweep=20, base=0.1)
        hit += acted
    rows = [
        at_most("16 gateways, both arms exactly at a limit of 10 %", hit / runs, 0.001, runs=runs)
    ]
    runs, hit = bench.runs(200), 0
    for _ in range(runs):
        watch = LimitWatch(Limit("latency>800", 0.1), needed=needed_in_control(alpha=ALPHA))
        hit += any(
            swept(bench, watch, sweep * 20, per_sweep=6_400, base=0.1) for sweep in range(12 * 60)
        )
    case = "control, all counts every 5 s for an hour, both arms exactly at a limit"
    rows.append(at_most(case, hit / runs, 0.001, runs=runs))
    return rows


# Margins ----------------------------------------------------------------------------------------


def margins(bench: Bench) -> list[Row]:
    runs = bench.runs(2_000)
    epoch = bench.traffic((runs, 200), 1_000, 1_000, 0.02, 1.2)
    part = share_of(bench.paths([epoch], null=1.2, bets=RATE_BETS))
    rows = [at_most("exactly at a margin of 20 %: errors", part, 0.01, runs=runs)]
    slower = latency(bench, (runs, 200), 1_000, lambda z: z, margin=1.2, times=1.2)
    rows.append(at_most("exactly at a margin of 20 %: latency", share_of(slower), 0.01, runs=runs))
    # Graded: stable 0 / 0.5 / 1 at 70 / 20 / 10 %, mean 0.2; candidate at 0.24, spread otherwise.
    grades = (0.3, 0.5, 1.0)
    stable = bench.chance.multinomial(900, [0, 0.2, 0.1, 0.7], size=(runs, 100))
    candidate = bench.chance.multinomial(100, [0.4, 0, 0.12, 0.48], size=(runs, 100))
    epochs = [
        Epoch(
            1_000,
            candidate[..., i].cumsum(1).astype(float),
            stable[..., i].cumsum(1).astype(float),
            bad,
        )
        for i, bad in enumerate(grades)
    ]
    part = share_of(bench.paths(epochs, null=1.2, bets=SCORE_BETS))
    rows.append(at_most("exactly at a margin of 20 %: graded score", part, 0.01, runs=runs))
    return rows


# Power ------------------------------------------------------------------------------------------

FINE = 10
"""Candidate requests between looks, in the rows on power."""


def power(bench: Bench) -> list[Row]:
    rows = []
    for times, most in ((2, 1_700), (5, 250)):
        runs = bench.runs(1_000)
        epoch = bench.traffic((runs, 700), 1_000, 10 * FINE, 0.01, times)
        looks = first(bench.paths([epoch], null=1, bets=RATE_BETS)) * FINE
        rows.append(
            no_more(
                f"errors 1 -> {times} %: candidate requests, median", float(np.median(looks)), most
            )
        )
        if times == 2:
            found = float((looks <= 6_000).mean())
            rows.append(
                Row(
                    "errors 1 -> 2 %: found within 6,000",
                    percent(found),
                    ">= 99 %",
                    found >= 0.985,
                )
            )
    log_sigma = 0.5
    t90 = log_sigma * NORMAL.inv_cdf(0.9)

    def tail(times: float) -> Callable[[float], float]:
        """Stretch what is above p90: a line at z is crossed by what was above this one."""
        return lambda z: max(t90, z - log(times)) if z >= t90 else z

    for case, shift, most in (
        ("latency x 1.2", lambda z: z - log(1.2), 230),
        ("latency x 1.5", lambda z: z - log(1.5), 120),
        ("only the tail, p95 + 20 %", tail(1.2), 700),
        ("only the tail, p95 + 50 %", tail(1.5), 340),
    ):
        runs = bench.runs(600)
        looks = first(latency(bench, (runs, 200), 10 * FINE, shift)) * FINE
        median = float(np.median(looks))
        promise = f"<= {most} once ranks are the other half"
        rows.append(Row(f"{case}: candidate requests, median", f"{median:,.0f}", promise))
    return rows


def latency(
    bench: Bench,
    shape: tuple[int, int],
    per_look: int,
    shift: Callable[[float], float],
    *,
    margin: float = 1.0,
    times: float = 1.0,
) -> Numbers:
    """Return ln E of exceedance: log-normal answers (0.5), 10 % candidate, four thresholds.

    `shift` maps a line on the logarithmic scale to the one that a stable answer must cross for
    the candidate's to cross it; `times` slower, and divided by `margin` before it is counted.
    """
    sigma = 0.5
    lines = [sigma * NORMAL.inv_cdf(q) for q in (0.5, 0.9, 0.95, 0.99)]
    crossed = []
    for n, chances in (
        (
            per_look // 10,
            [1 - NORMAL.cdf((shift(z) + log(margin / times)) / sigma) for z in lines],
        ),
        (per_look - per_look // 10, [0.5, 0.1, 0.05, 0.01]),
    ):
        between = [1 - chances[0], *(a - b for a, b in pairwise(chances)), chances[-1]]
        drawn = bench.chance.multinomial(n, between, size=shape)
        above = drawn[..., ::-1].cumsum(axis=-1)[..., ::-1][..., 1:]
        crossed.append(above.cumsum(axis=1).astype(float))
    logs = [
        bench.paths(
            [Epoch(1_000, crossed[0][..., i], crossed[1][..., i])],
            null=1,
            bets=SLOW_BETS[quantile],
        )
        for i, quantile in enumerate(SLOW_BETS)
    ]
    mean: Numbers = np.logaddexp.reduce(logs, axis=0) - log(4)
    return mean


# Whole plans ------------------------------------------------------------------------------------


def plans(bench: Bench) -> list[Row]:
    rows = []
    for base, told in ((0.0, 11_000), (0.001, 12_000), (0.01, 37_000), (0.05, 7_500)):
        runs = bench.runs(150)
        took = [default_plan(bench, base=base, times=1) for _ in range(runs)]
        ended = [requests for requests, promoted in took if promoted]
        foreseen = sum(step.requests for step in whole_plan(DEFAULT, base_rate=base) if step)
        median = float(np.median([requests if promoted else inf for requests, promoted in took]))
        rows.append(
            Row(
                f"default plan, identical, {base * 100:g} % errors: requests, median",
                f"{median:,.0f}, {len(ended)} of {runs} promoted, foreseen {foreseen:,}",
                f"about {told:,}; foreseen within a fifth",
                abs(foreseen / median - 1) <= 0.2,
            )
        )
    for times in (2, 1.5):
        runs = bench.runs(400)
        promoted = sum(default_plan(bench, base=0.02, times=times)[1] for _ in range(runs))
        rows.append(
            at_most(
                f"default plan promotes a hidden {times:g}x regression",
                promoted / runs,
                0.01,
                runs=runs,
            )
        )
    return rows


def default_plan(bench: Bench, *, base: float, times: float) -> tuple[int, bool]:
    """Run one canary by the judge's own functions: requests taken, and whether it was promoted."""
    hits: list[Hits] = []
    requests = units = bad = 0
    proven = log(1 / ALPHA)
    for stage in DEFAULT:
        share = stage.share_bp / 10_000
        candidate = stable = 0
        per_look = 100
        for _ in range(3_000):
            requests += per_look
            n = int(bench.chance.binomial(per_look, share))
            c = int(bench.chance.binomial(n, base * times))
            candidate, units, bad = candidate + c, units + n, bad + c
            stable += int(bench.chance.binomial(per_look - n, base))
            now = [*hits, Hits(stage.share_bp, candidate, stable)]
            if log_e(now, null=1, bets=RATE_BETS) >= WORSE:
                return requests, False
            ratio = log_e(now, null=stage.factor, bets=mirrored(RATE_BETS))
            low = log_floor(n=units, bad=bad, factor=stage.factor, floor=0.005)
            if log_mean_exp(((ratio, 0.5), (low, 0.5))) >= proven:
                hits = now
                break
            per_look = max(100, requests // 100)
        else:
            return requests, False
    return requests, True


# The whole corridor -----------------------------------------------------------------------------


def through_the_corridor(bench: Bench) -> list[Row]:
    """Send requests through router, accumulators, flushes and store to the judge."""
    rows = []
    for name, told in (
        ("identical", "identical, 1 % errors, errors and latency, 10 -> 50 %"),
        ("sticky", "sticky units, heavy tails, errors and latency, 10 -> 50 %"),
        ("earlier", "same failures, 50 ms against 20 s, 10/s"),
        ("later", "same failures, 20 s against 50 ms, 10/s"),
    ):
        n = max(5, round(16 * bench.scale))
        ran = corridor.runs(corridor.CASES[name], bench.chance, n)
        middle = int(np.median([run.m for run in ran])) / 1_000
        part = sum(run.worse for run in ran) / n
        rows.append(at_most(f"corridor: {told}", part, 0.01, runs=n, note=f" (M {middle:g} s)"))
    ran = corridor.runs(corridor.CASES["worse"], bench.chance, max(10, round(40 * bench.scale)))
    found = [run.candidate_units if run.worse else inf for run in ran]
    case = "corridor: errors 1 -> 5 %: candidate requests, median"
    rows.append(no_more(case, float(np.median(found)), 250, note=f" ({len(ran)} runs)"))
    return rows


ROWS: Sequence[Callable[[Bench], list[Row]]] = (
    identical,
    ramp,
    sticky,
    outage,
    earlier,
    young,
    six_metrics,
    at_the_limit,
    margins,
    power,
    plans,
    through_the_corridor,
)


def main() -> int:
    """Print the table; return 1 if a promise was not kept."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=float, default=1.0, help="scales the number of runs")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    bench = Bench(seed=given.seed, scale=given.runs)
    broken = 0
    print(f"{'case':<78} {'reached':<52} promise")
    for rows in ROWS:
        began = time.monotonic()
        for row in rows(bench):
            broken += row.kept is False
            mark = {True: "", False: "   NOT KEPT", None: ""}[row.kept]
            print(f"{row.case:<78} {row.figure:<52} {row.promise}{mark}", flush=True)
        print(f"    {rows.__name__}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
