"""Traffic through our own corridor: router, two gateways, flushes, the store, the judge.

Only callers, versions and the clock are simulated. What a verdict then rests on is checked against
what was sent: an evidence row lost or counted twice stops the benchmark.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, NamedTuple

import numpy as np

from headway.deployments.facts import Facts, fix, past_of
from headway.deployments.reading import read_plan
from headway.deployments.strategies.canary import canary
from headway.gateway.accumulator import Accumulator, Flight
from headway.judge.evidence import (
    CANDIDATE,
    MEASURED,
    STABLE,
    Epoch,
    Evidence,
    fold,
    foldable_before,
)
from headway.judge.question import Question
from headway.judge.verdict import Finding, Verdict, judge
from headway.kernel.clock import DAY, MINUTE, SECOND
from headway.routing.allocation import lay_out, reshare
from headway.routing.assignment import NO_HINTS, UnitHints
from headway.routing.route import PIN_FOR, Arm, Role, Route, Rule, whole
from headway.routing.table import compile_route
from headway.testing.memory import MemoryWork, Store
from headway.tracking.measurement import DUE_STEP, Outcome
from headway.tracking.stamp import SINGLE, Stamper, flags_of

BEGIN: Final = 1_790_000_000_000
DEPLOYMENT: Final = "dep_1"
MODEL, PRODUCTION = "digits", "production"
ARMS: Final = (
    Arm("stable", "1.0.0", "sha256:aa", Role.STABLE),
    Arm("candidate", "1.1.0", "sha256:bb", Role.CANDIDATE),
)
BOOTS: Final = ("one", "two")
FOLD_FROM: Final = 300
"""Rows of evidence from which on those that are settled are folded."""
PAST: Final = 2_000
"""Requests that the stable version answers before: from them come M and the thresholds."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """A version: it fails so many times as often as its caller's own rate says, so late (ms)."""

    times: float = 1.0
    fails_after: float = 50.0
    answers_after: float = 50.0


@dataclass(frozen=True, kw_only=True)
class Callers:
    """Who calls: `units` of them (0: each request stands for itself) with heavy-tailed traffic.

    `errors` is the rate of bad requests; of units, 2 % fail in half of theirs instead, and each
    has a speed of its own.
    """

    per_second: int
    seconds: int
    errors: float
    units: int = 0


@dataclass(frozen=True, kw_only=True)
class Case:
    callers: Callers
    stable: Behaviour = Behaviour()
    candidate: Behaviour = Behaviour()
    judged: Sequence[str] = ("errors",)
    shares: Sequence[int] = (1_000,)
    """Basis points of the candidate, each for an equal part of the time."""
    longest: int = 10 * SECOND
    """L, milliseconds."""
    look_every: int = 20 * SECOND


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a run ended: whether it was called worse, after how many measured units of its own."""

    worse: bool
    candidate_units: int
    m: int
    """The age M that came of the stable version's past, ms."""


class Request(NamedTuple):
    at: int
    unit: str
    rate: float
    """Of bad requests, on a version that is as good as it should be."""
    chance: float
    """0..1, whether it is a bad one."""
    pace: float
    """Times as late as usual."""


class Corridor:
    """One deployment's whole way; made anew for each run."""

    def __init__(self, case: Case, chance: np.random.Generator) -> None:
        self.case = case
        self.chance = chance
        self.now = BEGIN
        self.store = Store()
        self.gateways = tuple(Accumulator() for _ in BOOTS)
        self.stamper = Stamper(b"corridor" * 4)
        self.seq = 0
        self.numbers = count()
        self.under_way: list[tuple[float, int, int, Flight, Outcome, float]] = []
        self.sent: dict[str, tuple[set[str], set[str]]] = {
            role: (set(), set()) for role in (STABLE, CANDIDATE)
        }
        """By arm: the units that came, and those that had a bad request."""
        with self.work() as work:
            for boot in BOOTS:
                work.gateways.start(boot=boot, host="h", pid=1)
            work.commit()

    def run(self) -> Ran:
        quiet = Route(model=MODEL, environment=PRODUCTION, rules=(whole(ARMS[0]),), salt="s", id=1)
        before = replace(self.case.callers, seconds=PAST // self.case.callers.per_second)
        for part in self.requests(before):
            self.second(part, quiet)
        self.now += self.case.longest + MINUTE  # all of them have ended, and long enough ago
        self.second([], quiet)
        facts = self.facts()
        for arm in self.sent.values():
            for units in arm:
                units.clear()
        return self.deploy(facts)

    def facts(self) -> Facts:
        worse = dict.fromkeys(self.case.judged, "any")
        plan = read_plan(
            {"model": MODEL, "to": "1.1.0", "judge": {"worse": worse}}, {"canary": canary}
        )
        with self.work() as work:
            rows = work.measurements.read(
                model=MODEL, environment=PRODUCTION, since=self.now - DAY, until=self.now + DAY
            )
        past = past_of(rows, version="1.0.0", now=self.now)
        return fix(plan, past, stable="1.0.0", longest=self.case.longest, first_gateway=1)

    def deploy(self, facts: Facts) -> Ran:
        """Send traffic under the shares, one after the other, and look until it is worse."""
        routes = self.routes(facts)
        m = facts.ages["errors"].m
        epochs: list[Epoch] = []
        looked = self.now
        seconds = list(self.requests(self.case.callers))
        for number, part in enumerate(seconds):
            place = number * len(routes) // len(seconds)
            if place == len(epochs):
                epochs.append(Epoch(routes[place].id, self.case.shares[place]))
            self.second(part, routes[place])
            if self.now >= looked + self.case.look_every:
                looked = self.now
                verdict = self.look(facts, epochs)
                if verdict.finding is Finding.WORSE:
                    return Ran(worse=True, candidate_units=self.units(verdict.evidence), m=m)
        self.now += self.case.longest
        self.second([], routes[-1])
        self.now += self.case.longest + DUE_STEP
        verdict = self.look(facts, epochs)
        self.check(verdict.evidence)
        worse = verdict.finding is Finding.WORSE
        return Ran(worse=worse, candidate_units=self.units(verdict.evidence), m=m)

    def routes(self, facts: Facts) -> list[Route]:
        segments = lay_out({"stable": 10_000})
        routes = []
        for step, share in enumerate(self.case.shares, 1):
            segments = reshare(segments, {"stable": 10_000 - share, "candidate": share})
            routes.append(
                Route(
                    model=MODEL,
                    environment=PRODUCTION,
                    rules=(Rule(ARMS, segments),),
                    salt=f"{self.chance.integers(1 << 62)}",
                    id=10 + step,
                    epoch=facts.epoch(DEPLOYMENT, step=step, pin_for=PIN_FOR),
                )
            )
        return [replace(route, salt=routes[0].salt) for route in routes]

    def requests(self, callers: Callers) -> list[list[Request]]:
        """Draw the requests of each second."""
        n, chance = callers.per_second * callers.seconds, self.chance
        at = np.sort(chance.random(n)) * callers.seconds
        pace = chance.lognormal(0, 0.5, n)
        rate = np.full(n, callers.errors)
        units = np.full(n, -1)
        if callers.units:
            weight = chance.pareto(1.2, callers.units) + 1
            units = chance.choice(callers.units, n, p=weight / weight.sum())
            bad = np.where(chance.random(callers.units) < 0.02, 0.5, callers.errors)
            rate = bad[units]
            pace *= chance.lognormal(0, 0.5, callers.units)[units]
        found: list[list[Request]] = [[] for _ in range(callers.seconds)]
        columns = (at, units, rate, chance.random(n), pace)
        for when, unit, of, luck, times in zip(*(one.tolist() for one in columns), strict=True):
            name = f"u{unit}" if unit >= 0 else ""
            request = Request(self.now + int(when * SECOND), name, of, luck, times)
            found[int(when)].append(request)
        return found

    def second(self, requests: Sequence[Request], route: Route) -> None:
        """Let these requests come within a second, those end that do, and both gateways flush."""
        table = compile_route(route)
        for request in requests:
            number = next(self.numbers)
            hints = UnitHints(conversation_header=request.unit) if request.unit else NO_HINTS
            assignment = table.assign(hints, {}, f"r{number}")
            flags = flags_of(assignment)
            unit = 0 if flags & SINGLE else self.stamper.unit_hash(assignment.unit)
            place = number % 3 % 2
            gateway = self.gateways[place]
            flight = gateway.begin(assignment, unit=unit, flags=flags, at=request.at)
            gateway.sent(flight)
            role = assignment.arm.role
            version = self.case.candidate if role is Role.CANDIDATE else self.case.stable
            bad = request.chance < request.rate * version.times
            usual = version.fails_after if bad else version.answers_after
            latency = min(usual * request.pace, float(self.case.longest))
            outcome = Outcome.PROVIDER if bad else Outcome.OK
            came, failed = self.sent[role]
            came.add(assignment.unit)
            if bad:
                failed.add(assignment.unit)
            heappush(
                self.under_way, (request.at + latency, number, place, flight, outcome, latency)
            )
        self.now += SECOND
        while self.under_way and self.under_way[0][0] <= self.now:
            _, _, place, flight, outcome, latency = heappop(self.under_way)
            self.gateways[place].record(flight, outcome, latency_ms=latency)
        for _, _, place, flight, _, _ in self.under_way:
            self.gateways[place].mark(flight, self.now - flight.at)
        self.seq += 1
        with self.work() as work:
            for boot, gateway in zip(BOOTS, self.gateways, strict=True):
                work.gateways.flush(gateway.freeze(boot, self.seq, 1))
            work.commit()

    def look(self, facts: Facts, epochs: Sequence[Epoch]) -> Verdict:
        with self.work() as work:
            counts = work.evidence.of(DEPLOYMENT)
            if len(counts) > FOLD_FROM:
                settled = foldable_before(facts.ages, now=self.now)
                for epoch in epochs:
                    work.evidence.fold(DEPLOYMENT, due_before=settled, epoch=epoch.id)
                work.commit()
        evidence = fold(counts, epochs=epochs, ages=facts.ages, now=self.now)
        return judge(evidence, Question(metrics=facts.metrics, alpha=facts.alpha))

    def check(self, evidence: Evidence) -> None:
        """Stop when the evidence is not what was sent; units may have moved between arms."""
        moved = len(self.case.shares) > 1 and self.case.callers.units
        arms = [(STABLE, CANDIDATE)] if moved else [(STABLE,), (CANDIDATE,)]
        for some in arms:
            found = [
                sum(tally.of(arm, *key) for tally in evidence.current for arm in some)
                for key in ((MEASURED, 0), ("errors", 1))
            ]
            sent = [len(set().union(*(self.sent[arm][i] for arm in some))) for i in (0, 1)]
            if found != sent:
                sys.exit(f"the corridor does not keep count: {found} of {sent} on {some}")

    @staticmethod
    def units(evidence: Evidence) -> int:
        return sum(tally.of(CANDIDATE, MEASURED, 0) for tally in evidence.current)

    def work(self) -> "_Within":
        return _Within(MemoryWork(self.store, lambda: self.now))


class _Within:
    """A work as a context, without the cost of a generator."""

    def __init__(self, work: MemoryWork) -> None:
        self.work = work

    def __enter__(self) -> MemoryWork:
        return self.work

    def __exit__(self, *_: object) -> None:
        pass


def runs(case: Case, chance: np.random.Generator, n: int) -> list[Ran]:
    """Run a case so many times."""
    return [Corridor(case, chance).run() for _ in range(n)]


BUSY: Final = Callers(per_second=20, seconds=400, errors=0.01)
BOTH: Final[Mapping[str, Any]] = {"judged": ("errors", "latency"), "shares": (1_000, 5_000)}
FAILING: Final = Case(
    callers=Callers(per_second=100, seconds=100, errors=0.1),
    shares=(5_000,),
    longest=60 * SECOND,
    look_every=DUE_STEP,
)
CASES: Final[Mapping[str, Case]] = {
    "identical": Case(callers=BUSY, **BOTH),
    "sticky": Case(callers=replace(BUSY, errors=0.002, units=1_500), **BOTH),
    "earlier": replace(FAILING, stable=Behaviour(fails_after=20_000)),
    "later": replace(FAILING, candidate=Behaviour(fails_after=20_000)),
    "worse": Case(
        callers=Callers(per_second=50, seconds=300, errors=0.01),
        candidate=Behaviour(times=5),
        look_every=DUE_STEP,
    ),
}
