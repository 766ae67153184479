"""How long a plan takes at today's traffic, step by step, and what a running step still lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Final

from headway.deployments.deployment import Deployment
from headway.deployments.facts import FEW, Facts, proven
from headway.deployments.plan import Check, Plan, Requests, Send, Step, Until, Watch
from headway.judge.evidence import (
    CANDIDATE,
    MEASURED,
    STABLE,
    Evidence,
    Kind,
    Young,
    ages_of,
    kind_of,
)
from headway.judge.forecast import Forecast, Spent, Stage, until, until_worse, whole_plan
from headway.judge.question import Judged
from headway.judge.verdict import Verdict
from headway.kernel.canonical import Json
from headway.kernel.clock import DAY, HOUR, MINUTE, SECOND
from headway.kernel.quantity import WHOLE_BP, format_duration

_TWICE: Final = 2.0
_WIDER: Final = 2.0
_TELLING: Final = 2 * MINUTE
"""From then on what came under a deployment says what comes, ms."""
_LONG: Final = HOUR
"""When proofs take longer than this, `explain` offers what would be faster, ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a step will take. `seconds` is None when nobody knows."""

    sentence: str
    seconds: float | None
    requests: int | None = None
    on_candidate: int | None = None
    by: str | None = None
    metric: str | None = None
    """The one that takes longest."""

    def document(self) -> dict[str, Json]:
        return {
            "sentence": self.sentence,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "requests": self.requests,
            "on_candidate": self.on_candidate,
            "by": self.by,
        }


def expected(plan: Plan, facts: Facts) -> tuple[Expected, ...]:
    """Say of each step what it will take of a candidate that is like the stable version."""
    stages = [step for step in plan.steps if _proves(step)]
    forecasts = {
        metric: dict(zip(map(id, stages), found, strict=True))
        for metric, found in _by_metric(plan, facts, stages).items()
    }
    found = []
    for step in plan.steps:
        of = {metric: by_step.get(id(step)) for metric, by_step in forecasts.items()}
        one = _expected(step, facts, of)
        found.append(replace(one, sentence=f"{one.sentence}{_terms(step)}"))
    return tuple(found)


def _terms(step: Step) -> str:
    """Say what else ends a step, or keeps it from ending."""
    if isinstance(step, Check):
        return f"; tried again for {format_duration(step.within)}, then {step.else_}"
    if not isinstance(step, Send):
        return ""
    terms = ""
    match step.at_least:
        case Requests(n):
            terms = f"; not before {n:,} requests on the new version"
        case int() as lasting:
            terms = f"; not before {format_duration(lasting)}"
        case None:
            pass
    if step.at_most is not None:
        terms += f"; after {format_duration(step.at_most)} {step.else_}"
    return terms


def _proves(step: Step) -> bool:
    return isinstance(step, Send) and isinstance(step.until, Until)


def _by_metric(
    plan: Plan, facts: Facts, stages: Sequence[Step]
) -> dict[str, tuple[Forecast | None, ...]]:
    sends = [step for step in stages if isinstance(step, Send)]
    factors = [
        Stage(step.share_bp, step.until.factor) for step in sends if isinstance(step.until, Until)
    ]
    return {
        judged.metric: whole_plan(
            factors,
            base_rate=facts.base.get(judged.metric, 0.0),
            alpha=facts.alpha,
            floor=plan.judging.floor,
            per_second=facts.rate_of(judged.metric) or None,
        )
        for judged in facts.metrics
        if _foreseen(judged)
    }


def _foreseen(judged: Judged) -> bool:
    """Latency is left out: how often an answer is slow says nothing of how fast it is proven."""
    return kind_of(judged.metric) is not Kind.MAGNITUDE


def _expected(step: Step, facts: Facts, forecasts: Mapping[str, Forecast | None]) -> Expected:
    match step:
        case Check():
            return Expected(sentence=step.words(), seconds=0.0)
        case Watch(lasting):
            return Expected(sentence=step.words(), seconds=lasting / SECOND)
        case Send():
            return _send(step, facts, forecasts)


def _send(step: Send, facts: Facts, forecasts: Mapping[str, Forecast | None]) -> Expected:
    least = _least(step, facts)
    if not isinstance(step.until, Until):
        return Expected(sentence=step.words(), seconds=least)
    names = proven(step.until, facts) or tuple(forecasts)
    of = {name: forecasts[name] for name in names if name in forecasts}
    if not of:
        said = f"{step.words()}: nothing is known of how long that takes"
        return Expected(sentence=said, seconds=None)
    known = [(found, name) for name, found in of.items() if found is not None]
    if len(known) < len(of):
        name = next(name for name, found in of.items() if found is None)
        said = f"{step.words()}: no amount of such traffic proves it on {name}"
        return Expected(sentence=said, seconds=None)
    slowest, metric = max(known, key=_how_long)
    seconds = None
    if slowest.seconds is not None and least is not None:
        seconds = max(slowest.seconds + age_of(metric, facts) / SECOND, least)
    time = (
        f" = {duration_words(seconds)}"
        if seconds is not None
        else " (too little traffic yet to say how long)"
    )
    return Expected(
        sentence=f"{step.words()}: about {slowest.requests:,} {requests_of(metric)}{time}, "
        f"{slowest.on_candidate:,} of them on the new version",
        seconds=seconds,
        requests=slowest.requests,
        on_candidate=slowest.on_candidate,
        by=slowest.by,
    )


def _how_long(pair: tuple[Forecast, str]) -> tuple[float, int]:
    """Order forecasts by time, those without one after all others, and then by requests."""
    forecast, _ = pair
    return (inf if forecast.seconds is None else forecast.seconds), forecast.requests


def requests_of(metric: str) -> str:
    """Say what a metric counts."""
    return "scored requests" if kind_of(metric) is Kind.SCORE else "requests"


def _least(step: Send, facts: Facts) -> float | None:
    """Return the seconds that the step lasts whatever is proven; None: nobody knows."""
    least = (step.for_ or 0) / SECOND
    match step.at_least:
        case Requests(n):
            if not facts.per_second:
                return None
            return max(least, n / (facts.per_second * step.share_bp / WHOLE_BP))
        case int() as lasting:
            return max(least, lasting / SECOND)
        case None:
            return least


def age_of(metric: str, facts: Facts) -> int:
    """Return by how much a proof trails the traffic, ms: L, and M for scores."""
    ages = ages_of(metric, facts.ages)
    return ages.m if kind_of(metric) is Kind.SCORE else ages.l


def duration_words(seconds: float) -> str:
    """Say roughly how long: "40 s", "7 min", "3.5 h", "2.1 d"."""
    milliseconds = seconds * SECOND
    if milliseconds < 2 * MINUTE:
        return f"{ceil(seconds)} s"
    if milliseconds < 2 * HOUR:
        return f"{milliseconds / MINUTE:.0f} min"
    if milliseconds < 2 * DAY:
        return f"{milliseconds / HOUR:.3g} h"
    return f"{milliseconds / DAY:.3g} d"


def missing(
    deployment: Deployment,
    facts: Facts,
    evidence: Evidence,
    verdict: Verdict,
    young: Mapping[str, Young],
) -> Expected | None:
    """Say what the present step still lacks until its proof; None: it waits for no proof.

    `young`: by metric, what came and is too young for a proof.
    """
    step = deployment.step
    if not isinstance(step, Send) or not isinstance(step.until, Until):
        return None
    open_ = [
        result.metric
        for result in verdict.results
        if result.proved_by is None
        and (not verdict.question.prove or result.metric in verdict.question.prove)
    ]
    of: dict[str, Forecast | None] = {}
    shown = {result.metric: result for result in verdict.results}
    for judged in facts.metrics:
        if judged.metric in open_ and _foreseen(judged):
            of[judged.metric] = until(
                share_bp=step.share_bp,
                factor=step.until.factor,
                base_rate=facts.base.get(judged.metric, 0.0),
                alpha=facts.alpha,
                floor=deployment.plan.judging.floor,
                before=spent(judged.metric, evidence),
                ratio_so_far=shown[judged.metric].log_e_not or 0.0,
                floor_so_far=shown[judged.metric].log_floor or 0.0,
                per_second=_pace(judged.metric, deployment, facts, evidence, young) or None,
            )
    # What was foreseen may have come without the proof: then nobody can say how long it takes.
    known = [(found, metric) for metric, found in of.items() if found and found.requests]
    if not known:
        what = f"waits for proof: {step.until.words()}"
        return Expected(sentence=f"{what}, on {', '.join(open_)}" if open_ else what, seconds=None)
    slowest, metric = max(known, key=_how_long)
    return _still(
        slowest,
        f"{step.until.words()} is proven on {metric}",
        came=young.get(metric, Young()),
        age=age_of(metric, facts) / SECOND,
        share_bp=step.share_bp,
        per_second=_pace(metric, deployment, facts, evidence, young),
        metric=metric,
        now=evidence.now,
    )


def _pace(
    metric: str,
    deployment: Deployment,
    facts: Facts,
    evidence: Evidence,
    young: Mapping[str, Young],
) -> float:
    """Return per second what is new for a metric.

    Conversations that come again and answers without a score are requests, and nothing new: after
    a while what has come under this deployment says how much of the traffic counts.
    """
    pace = facts.rate_of(metric)
    began = deployment.started_at
    if began is None or evidence.now < began + _TELLING:
        return pace
    came = young.get(metric, Young()).n + sum(
        sum(n for _, n in tally.bins(arm, metric))
        if kind_of(metric) is Kind.SCORE
        else tally.of(arm, MEASURED, 0)
        for tally in evidence.settled
        for arm in (CANDIDATE, STABLE)
    )
    return min(pace, came * SECOND / (evidence.now - began))


def _still(
    lacks: Forecast,
    proof: str,
    *,
    came: Young,
    age: float,
    share_bp: int,
    per_second: float,
    metric: str,
    now: int,
) -> Expected:
    """Say what is to come until a proof; `came`: what counts at that age (seconds), and when."""
    requests = max(0, lacks.requests - came.n)
    if requests:
        seconds = requests / per_second + age if per_second else None
        time = f", about {duration_words(seconds)}" if seconds is not None else ""
        sentence = f"about {requests:,} more {requests_of(metric)}{time} until {proof}"
    else:
        seconds = ((came.reached(lacks.requests) or now) - now) / SECOND
        sentence = (
            f"enough requests have come: about {duration_words(seconds)} until they are old "
            f"enough to count, and {proof}"
        )
    return Expected(
        sentence=sentence,
        seconds=seconds,
        requests=requests,
        on_candidate=round(requests * share_bp / WHOLE_BP),
        by=lacks.by,
        metric=metric,
    )


def spent(metric: str, evidence: Evidence) -> tuple[Spent, ...]:
    """Return what was collected for a metric, by set of shares."""
    found = []
    for tally in evidence.settled:
        if kind_of(metric) is Kind.SCORE:
            bad = sum(
                badness * n / 100
                for arm in (CANDIDATE, STABLE)
                for badness, n in tally.bins(arm, metric)
            )
            units = float(sum(n for _, n in tally.bins(CANDIDATE, metric)))
        else:
            bad = float(tally.of(CANDIDATE, metric) + tally.of(STABLE, metric))
            units = float(tally.of(CANDIDATE, MEASURED, 0))
        found.append(Spent(tally.epoch.share_bp, bad, units))
    return tuple(found)


def _found_out(plan: Plan, facts: Facts) -> list[str]:
    """Say how soon a bad version would be found out, under the first shares that compare."""
    share = next(
        (s.share_bp for s in plan.steps if isinstance(s, Send) and s.share_bp < WHOLE_BP), None
    )
    if share is None:
        return []
    notes = []
    for judged in facts.metrics:
        found = until_worse(
            share_bp=share,
            times=_TWICE,
            base_rate=facts.base.get(judged.metric, 0.0),
            alpha=facts.alpha,
            metrics=len(facts.metrics),
        )
        if found is not None and _foreseen(judged):
            notes.append(
                f"twice as bad on {judged.metric} would be found out after about "
                f"{found.on_candidate:,} requests on the new version"
            )
    return notes


def _faster(plan: Plan, facts: Facts, steps: Sequence[Expected]) -> list[str]:
    """Offer what would be faster where the proofs take long, and say what it would give up."""
    proofs = [
        (step.until, of.seconds)
        for step, of in zip(plan.steps, steps, strict=True)
        if isinstance(step, Send) and isinstance(step.until, Until)
    ]
    seconds = _sum([took for _, took in proofs])
    if not proofs or (seconds is not None and seconds * SECOND <= _LONG):
        return []
    notes = []
    wide = replace(plan, steps=tuple(map(_widened, plan.steps)))
    sooner = _sum(
        [
            of.seconds
            for step, of in zip(wide.steps, expected(wide, facts), strict=True)
            if isinstance(step, Send) and isinstance(step.until, Until)
        ]
    )
    if sooner is not None and seconds is not None and sooner < seconds:
        factors = ", ".join(f"{until.factor * _WIDER:g}x" for until, _ in proofs)
        last = proofs[-1][0].factor
        notes.append(
            f"faster: until not {factors} worse takes {duration_words(sooner)} instead of "
            f"{duration_words(seconds)}; given up: one that is {last * _WIDER:g} times worse, "
            f"instead of {last:g} times, is what the last proof keeps out"
        )
    notes.append(
        "faster: a time instead of a proof (`until: healthy` with an `at_least`, or `for: 1h`); "
        "given up: nothing is proven then, and what is worse passes unless that is proven in time"
    )
    return notes


def _widened(step: Step) -> Step:
    if not isinstance(step, Send) or not isinstance(step.until, Until):
        return step
    return replace(step, until=replace(step.until, factor=step.until.factor * _WIDER))


def _sum(seconds: Sequence[float | None]) -> float | None:
    """Add up; None: one of them is not known."""
    known = [one for one in seconds if one is not None]
    return sum(known) if len(known) == len(seconds) else None


def plan_document(plan: Plan, facts: Facts, *, version: str) -> dict[str, Json]:
    """Return the filled plan with what each step will take: what `explain` prints."""
    steps = expected(plan, facts)
    whole = _sum([step.seconds for step in steps])
    notes: list[str] = []
    if facts.stable is None:
        notes.append("nothing is stable there yet: a first version goes out directly")
    elif not facts.per_second:
        notes.append(
            f"fewer than {FEW} requests in the last 24 hours: nobody can say how long proofs take"
        )
    notes += _found_out(plan, facts)
    notes += _faster(plan, facts, steps) if facts.stable is not None else []
    if facts.metrics and (late := facts.ages["errors"].m) >= MINUTE:
        notes.append(
            f"a request counts when it is {format_duration(late)} old: until then the evidence "
            "shows nothing of it, and `never` limits alone act"
        )
    notes += [
        f"{metric}: too rare to be waited for; proven worse it sends everybody back all the same"
        for metric in facts.rare
    ]
    if any(not _foreseen(judged) for judged in facts.metrics):
        notes.append("latency is judged as well, and is left out of the forecast")
    return {
        "plan": plan.document(),
        "plan_digest": plan.digest,
        "version": version,
        "stable": facts.stable,
        "steps": [
            {"number": number, **step.document(), **forecast.document()}
            for number, (step, forecast) in enumerate(zip(plan.steps, steps, strict=True), 1)
        ],
        "seconds": None if whole is None else round(whole, 1),
        "sentence": f"about {duration_words(whole)} in all" if whole is not None else None,
        "requests_per_second": round(facts.per_second, 3),
        "base_rates": dict(facts.base),
        "ages": {
            metric: {"m": format_duration(ages.m), "l": format_duration(ages.l)}
            for metric, ages in facts.ages.items()
        },
        "notes": list(notes),
    }
