"""What is fixed when a deployment starts, from the stable version's last 24 hours.

Ages, thresholds and metrics must not depend on what the candidate does: else one could look for
the rule under which it passes. So they are worked out once, stand in the deployment's row, and
travel in every route revision that it makes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Final, Self

from headway.deployments.plan import Judging, Limit, Plan, Send, Until
from headway.judge.evidence import QUANTILES, Kind, ages_of, kind_of
from headway.judge.forecast import Stage, whole_plan
from headway.judge.latency import thresholds
from headway.judge.limits import Limit as RateLimit
from headway.judge.question import Judged
from headway.kernel.canonical import Json
from headway.kernel.clock import DAY, MINUTE, SECOND
from headway.routing.route import Ages, Epoch, Guard
from headway.tracking.measurement import ERRORS, Measurement, Outcome
from headway.tracking.sketch import Sketch

WINDOW: Final = DAY
"""How far back the stable version is looked at, ms."""
LEAST_AGE: Final = 2 * SECOND
_ENOUGH: Final = 100
"""From so many values on their quantile is believed."""
FEW: Final = 20
"""From so many on, twice the greatest; with fewer, nothing is known."""
_SKETCH_ERROR: Final = 1.01
CANDIDATE: Final = "candidate"
STABLE: Final = "stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the stable version did in its last 24 hours."""

    latency: Sketch = field(default_factory=Sketch)
    bad: Sketch = field(default_factory=Sketch)
    """The part of `latency` that were errors."""
    requests: int = 0
    errors: int = 0
    per_second: float = 0.0
    """Requests of the whole route; 0: too few to tell."""
    badness: Mapping[str, float] = field(default_factory=dict)
    """By name of a score: 1 - its mean."""
    scored: Mapping[str, int] = field(default_factory=dict)
    """By name of a score: how many there were."""
    delays: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By name of a score: how long after the request it came, ms."""
    ended: Mapping[int, int] = field(default_factory=dict)
    """By how long ago (ms, at least): how many of its requests ended then."""

    def shows(self, longest: int) -> bool:
        """Say whether its slowest requests, of `longest` ms, can have shown by now.

        What began lately shows in here only if it was quick: a version that has served for a
        minute has no failure that took two. Where half of what ended did so longer than that ago,
        at most half of the slow ones are missing, and the ages below bear that. (A version that
        has served for just over `longest` does not do: of 100 harmless successors whose failures
        come sooner 52 are rolled back; see `benchmarks/judge.py`.)
        """
        old = sum(n for ago, n in self.ended.items() if ago >= longest)
        return 2 * old >= sum(self.ended.values()) > 0


def past_of(measurements: Iterable[Measurement], *, version: str, now: int) -> Past:
    """Return what a version did, and the route's requests per second; nothing of scores.

    The rate of a handful of requests says nothing of those to come: then there is none.
    Only answers that say something of a version count: what was refused by us does not.
    """
    latency, bad = Sketch(), Sketch()
    requests = errors = everybody = 0
    ended: dict[int, int] = {}
    first = now
    for one in measurements:
        if not one.of_callers:
            continue
        counted = {
            outcome: n
            for outcome, n in one.outcomes.items()
            if outcome == Outcome.OK or outcome in ERRORS
        }
        everybody += sum(counted.values())
        first = min(first, one.minute)
        if one.version == version:
            latency.merge(one.latency)
            bad.merge(one.bad)
            requests += sum(counted.values())
            ago = now - one.minute - MINUTE
            ended[ago] = ended.get(ago, 0) + sum(counted.values())
            errors += sum(n for outcome, n in counted.items() if outcome in ERRORS)
    seconds = max(now - first, MINUTE) / SECOND
    return Past(
        latency=latency,
        bad=bad,
        requests=requests,
        errors=errors,
        per_second=everybody / seconds if everybody >= FEW else 0.0,
        ended=ended,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    alpha: float
    first_gateway: int
    """The lowest number of a living gateway: sets the gateways' part of the budget."""
    ages: Mapping[str, Ages]
    metrics: tuple[Judged, ...] = ()
    thresholds_ms: Mapping[str, float] = field(default_factory=dict)
    margin: Mapping[str, float] = field(default_factory=dict)
    base: Mapping[str, float] = field(default_factory=dict)
    """By metric: the stable version's rate of bad requests."""
    per_second: float = 0.0
    stable: str | None = None
    """The version that was stable; None: there was none."""
    scored: Mapping[str, float] = field(default_factory=dict)
    """By metric of a score: which part of the stable version's requests had one."""
    rare: tuple[str, ...] = ()
    """Scores that are judged and not waited for: a step would be over before they prove it."""

    def rate_of(self, metric: str) -> float:
        """Return per second what counts for a metric: requests, or those with a score."""
        if kind_of(metric) is not Kind.SCORE:
            return self.per_second
        return self.per_second * self.scored.get(metric, 0.0)

    def document(self) -> dict[str, Json]:
        return {
            "alpha": self.alpha,
            "first_gateway": self.first_gateway,
            "ages": {metric: [ages.m, ages.l] for metric, ages in self.ages.items()},
            "metrics": [judged.document() for judged in self.metrics],
            "thresholds_ms": dict(self.thresholds_ms),
            "margin": dict(self.margin),
            "base": dict(self.base),
            "per_second": self.per_second,
            "stable": self.stable,
            "scored": dict(self.scored),
            "rare": list(self.rare),
        }

    @classmethod
    def read(cls, document: Json) -> Self:
        """Read what `document` wrote."""
        if not isinstance(document, Mapping):
            raise TypeError(document)
        fields: dict[str, Any] = dict(document)
        fields["ages"] = {metric: Ages(*pair) for metric, pair in fields["ages"].items()}
        fields["metrics"] = tuple(Judged.read(row) for row in fields["metrics"])
        fields["rare"] = tuple(fields.get("rare", ()))
        return cls(**fields)

    def epoch(self, deployment: str, *, step: int, pin_for: int) -> Epoch:
        """Return what gateways must know under the shares of a step."""
        return Epoch(
            deployment=deployment,
            step=step,
            alpha=self.alpha,
            first_gateway=self.first_gateway,
            ages=self.ages,
            thresholds_ms=self.thresholds_ms,
            margin=self.margin,
            pin_for=pin_for,
        )

    def with_thresholds(self, found: Mapping[str, float]) -> Self:
        """Let quantiles join that could not be known before; those that are fixed stay."""
        known = {**found, **self.thresholds_ms}
        there = tuple(quantile for quantile in QUANTILES if quantile in known)
        metrics = tuple(
            replace(judged, quantiles=there)
            if kind_of(judged.metric) is Kind.MAGNITUDE
            else judged
            for judged in self.metrics
        )
        return replace(self, thresholds_ms=known, metrics=metrics)


def fix(
    plan: Plan, past: Past | None, *, stable: str | None, longest: int, first_gateway: int
) -> Facts:
    """Return the facts. `longest`: the greatest `timeouts.total` of both arms' versions, ms.

    Without a stable version nothing is compared, and `never` limits watch alone.
    """
    judging = plan.judging
    past = past or Past()
    found = thresholds_of(past.latency, judging, longest=longest) if stable else {}
    m = longest
    if past.shows(longest):
        m = max(age(past.latency, most=longest), age_of_bad(past.bad, most=longest))
    if found:  # what has not ended when it is slow is slow: later than that nobody need wait
        slowest = max(found.values()) * (1 + judging.worse["latency"])
        m = min(longest, max(m, ceil(slowest)))
    ages = {"errors": Ages(m, longest), "score.*": Ages(judging.matures, judging.matures)}
    for name, delays in past.delays.items():
        of = age(delays, most=judging.matures, part=0.99)
        ages[f"score.{name}"] = Ages(of, judging.matures)
    base = {f"score.{name}": badness for name, badness in past.badness.items()}
    if past.requests:
        base["errors"] = past.errors / past.requests
    metrics = judged_metrics(plan, past.badness, found) if stable else ()
    facts = Facts(
        alpha=judging.alpha,
        first_gateway=first_gateway,
        ages=ages,
        metrics=metrics,
        thresholds_ms=found,
        margin={judged.metric: judged.margin for judged in metrics},
        base=base,
        per_second=past.per_second,
        stable=stable,
        scored={
            f"score.{name}": min(1.0, n / past.requests)
            for name, n in past.scored.items()
            if past.requests and n >= FEW
        },
    )
    return replace(facts, rare=_rare(plan, facts))


def _rare(plan: Plan, facts: Facts) -> tuple[str, ...]:
    """Return the scores for which no step waits, because their proof would outlast it.

    That goes for what `score.*` stands for: whoever names a score means to wait for it. It is told
    by the stable version's last 24 hours alone, so that no candidate can make its scores rare.
    """
    sends = [
        (step, step.until)
        for step in plan.steps
        if isinstance(step, Send) and isinstance(step.until, Until)
    ]
    asked = {metric for _, until in sends for metric in until.metrics}
    named = asked | set(plan.judging.worse)
    if "score.*" in asked:
        return ()
    rare = tuple(
        judged.metric
        for judged in facts.metrics
        if kind_of(judged.metric) is Kind.SCORE
        and judged.metric not in named
        and _outlasts(judged.metric, sends, plan, facts)
    )
    return rare if len(rare) < len(facts.metrics) else ()


def _outlasts(metric: str, sends: Sequence[tuple[Send, Until]], plan: Plan, facts: Facts) -> bool:
    rate = facts.rate_of(metric)
    if not rate:
        return True
    found = whole_plan(
        [Stage(step.share_bp, until.factor) for step, until in sends],
        base_rate=facts.base.get(metric, 0.0),
        alpha=facts.alpha,
        floor=plan.judging.floor,
        per_second=rate,
    )
    late = ages_of(metric, facts.ages).m / SECOND
    return any(
        forecast is not None
        and forecast.seconds is not None
        and (forecast.seconds + late) * SECOND > (step.at_most or DAY)
        for (step, _), forecast in zip(sends, found, strict=True)
    )


def age(values: Sketch | Sequence[int], *, most: int, part: float = 0.999, few: int = FEW) -> int:
    """Return M: by this age (ms) that part of what there was had come; at least 2 s.

    From `few` to 99 values: twice the greatest. Fewer: `most`, since nothing is known.
    """
    n = values.n if isinstance(values, Sketch) else len(values)
    if n < few:
        return most
    place = n - 1 if n < _ENOUGH else max(ceil(part * n) - 1, 0)
    reached = (
        values.at(place) * _SKETCH_ERROR if isinstance(values, Sketch) else sorted(values)[place]
    )
    wanted = reached if n >= _ENOUGH else 2 * reached
    return min(most, max(LEAST_AGE, ceil(wanted)))


def age_of_bad(bad: Sketch, *, most: int) -> int:
    """Return the age (ms) that M must cover for the sake of the bad requests; at least 2 s.

    Failures may be so rare that 99.9 % of all requests say nothing of how late they come. From 100
    of them: the age by which 99 % had come. Fewer: twice the greatest. None: the least.
    """
    if not bad.n:
        return LEAST_AGE
    return age(bad, most=most, part=0.99, few=1)


def thresholds_of(latency: Sketch, judging: Judging, *, longest: int) -> dict[str, float]:
    """Return `p50` .. `p99` of the stable version, ms, as far as they can be known.

    Left out is what could not be seen by the longest age (L, ms): requests end there, so that a
    candidate would never cross its line, a margin further than the stable version's.
    """
    if "latency" not in judging.worse:
        return {}
    return {
        found.quantile: round(found.stable, 3)
        for found in thresholds(latency, margin=judging.worse["latency"])
        if found.candidate <= longest
    }


def judged_metrics(
    plan: Plan, scores: Iterable[str], found: Mapping[str, float]
) -> tuple[Judged, ...]:
    """Return what is judged: `score.*` stands for the scores that the stable version has.

    `found` are the thresholds of the latency that are there from the first epoch on, ms.
    """
    worse, weights = plan.judging.worse, plan.judging.weights
    named = {f"score.{name}" for name in scores} if "score.*" in worse else set()
    named |= {
        metric
        for step in plan.steps
        if isinstance(step, Send) and isinstance(step.until, Until)
        for metric in step.until.metrics
    }
    names = [*worse, *sorted(named - set(worse))]
    return tuple(
        Judged(
            metric=metric,
            margin=worse[_rule(metric, worse)],
            weight=weights.get(_rule(metric, worse), 1.0),
            quantiles=tuple(found) if kind_of(metric) is Kind.MAGNITUDE else QUANTILES,
            lines=tuple(found.items()) if kind_of(metric) is Kind.MAGNITUDE else (),
        )
        for metric in names
        if metric != "score.*"
    )


def _rule(metric: str, worse: Mapping[str, float]) -> str:
    return metric if metric in worse else "score.*"


def proven(until: Until, facts: Facts) -> tuple[str, ...]:
    """Return the metrics that a proof is about; none: all of them.

    Where none are named, scores that are too rare are not waited for.
    """
    metrics = facts.metrics
    if not until.metrics and facts.rare:
        return tuple(judged.metric for judged in metrics if judged.metric not in facts.rare)
    names = [
        name
        for metric in until.metrics
        for name in (
            [judged.metric for judged in metrics if kind_of(judged.metric) is Kind.SCORE]
            if metric == "score.*"
            else [metric]
        )
    ]
    return tuple(dict.fromkeys(names))


def guards_of(never: Iterable[Limit]) -> tuple[Guard, ...]:
    """Return the limits as gateways must know them: they act by themselves."""
    return tuple(
        Guard(
            arm=CANDIDATE,
            metric=limit.metric,
            above=limit.above,
            slower_than_ms=limit.slower_than_ms,
        )
        for limit in never
    )


def rate_limits(judging: Judging) -> tuple[RateLimit, ...]:
    """Return the limits as they are judged here, on the counts of all gateways together."""
    return tuple(
        RateLimit(guard.event, guard.above, judging.worse.get(guard.metric, 0.0))
        for guard in guards_of(judging.never)
    )
