"""What a deployment looks like from outside: one document for the API, the page and the CLI.

Pure. Times are milliseconds UTC in fields that end in `_at` or `_since`; whoever shows them
writes them as he likes.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from math import exp
from typing import Final

from headway.deployments.decision import FROZEN, Decision, Wait, may
from headway.deployments.deployment import Deployment, State
from headway.deployments.facts import Facts
from headway.deployments.forecast import Expected, duration_words, missing
from headway.deployments.intent import Verb
from headway.deployments.outcome import Look
from headway.deployments.plan import Check, Send, Step, Watch
from headway.judge.evidence import Evidence, Young, ages_of, unread, unsettled
from headway.judge.result import Result, bounded, counted
from headway.judge.verdict import Verdict
from headway.kernel.canonical import Json
from headway.kernel.clock import SECOND
from headway.kernel.quantity import format_duration, format_ratio
from headway.outbox.event import Event
from headway.routing.route import Route
from headway.tracking.measurement import Count

EXACT: Final = 1e-9
"""By how much E (its logarithm) may differ when it is worked out once more."""


def describe(
    look: Look, evidence: Evidence | None, counts: Sequence[Count], decision: Decision
) -> dict[str, Json]:
    """Return the status: state, shares, steps, evidence with its intervals, what comes next.

    `counts` are those that `evidence` was made of.
    """
    deployment = look.deployment
    s = look.situation
    return {
        **summary(deployment),
        "shares": shares(look.current),
        "route_revision": look.current.revision if look.current else None,
        "steps": steps(deployment),
        "frozen": FROZEN if s.frozen else None,
        **_judged(look, counts),
        "next": _next(look, evidence, counts, decision),
        "rollback": _rollback(look),
        "plan": deployment.plan.document(),
        "plan_digest": deployment.plan.digest,
    }


def summary(deployment: Deployment) -> dict[str, Json]:
    """Return what lists show of a deployment."""
    held = None
    if deployment.held_since is not None:
        held = {"held_since": deployment.held_since, "because": deployment.held_because}
    return {
        "id": deployment.id,
        "model": deployment.model,
        "environment": deployment.environment,
        "version": deployment.version,
        "digest": deployment.digest,
        "strategy": deployment.plan.strategy,
        "why": deployment.plan.why,
        "state": deployment.state,
        "because": deployment.because.replace(" | ", "; "),
        "step": deployment.entered,
        "step_since": deployment.since,
        "held": held,
        "created_at": deployment.created_at,
        "created_by": deployment.created_by,
        "started_at": deployment.started_at,
        "finished_at": deployment.finished_at,
        "revision": deployment.revision,
        "may": [verb for verb in Verb if may(deployment.state, verb)],
    }


def shares(route: Route | None) -> list[Json]:
    """Return who gets how much of everybody else's traffic, basis points; none: switched off."""
    if route is None or not route.enabled:
        return []
    rule = route.rules[-1]
    return [
        {
            "arm": arm.key,
            "version": arm.version,
            "role": arm.role,
            "share_bp": rule.share_bp(arm.key),
        }
        for arm in rule.arms
    ]


def steps(deployment: Deployment) -> list[Json]:
    """Return the plan as a track: which steps are done, which one is now, which come."""
    return [
        {
            "number": number,
            "text": step.words(),
            "verb": _verb(step),
            "state": _place(deployment, number),
            **step.document(),
        }
        for number, step in enumerate(deployment.plan.steps, 1)
    ]


def _verb(step: Step) -> str:
    return type(step).__name__.lower()


def _place(deployment: Deployment, number: int) -> str:
    if number < deployment.entered or deployment.state is State.SUCCEEDED:
        return "done"
    if number > deployment.entered:
        return "never" if deployment.finished or _going_back(deployment) else "next"
    return "stopped" if deployment.finished or _going_back(deployment) else "now"


def _going_back(deployment: Deployment) -> bool:
    return deployment.state in {State.ROLLING_BACK, State.ROLLBACK_FAILED}


def _judged(look: Look, counts: Sequence[Count]) -> dict[str, Json]:
    s = look.situation
    verdict, vetoed = s.verdict, {veto.metric for veto in s.vetoes}
    if verdict is None:
        return {"finding": None, "reason": "nothing was judged yet", "evidence": [], "limits": []}
    needed = exp(verdict.log_needed)
    return {
        "finding": verdict.finding,
        "reason": verdict.reason,
        "promise": verdict.promise,
        "e": _rounded(verdict.e),
        "e_needed": _rounded(needed),
        "evidence": [
            metric(result, verdict)
            | _waiting(
                result, unread(counts, result.metric, epochs=_epochs(look), now=s.now), look
            )
            for result in verdict.results
        ],
        "limits": [
            {
                "metric": state.limit.metric,
                "words": state.limit.words(),
                "above": state.limit.above,
                "e_rate": _rounded(bounded(state.log_rate)),
                "e_worse": _rounded(bounded(state.log_worse)),
                "e_needed": _rounded(bounded(state.log_needed)),
                "hit": state.hit or state.limit.metric in vetoed,
            }
            for state in verdict.limits
        ],
    }


def metric(result: Result, verdict: Verdict) -> dict[str, Json]:
    """Return the evidence on one metric: counts, interval of the ratio, both proofs."""
    factor = verdict.question.factor
    proof = 1 / verdict.question.alpha
    not_worse = None
    if result.log_e_not is not None:
        parts = [result.log_e_not, *([result.log_floor] if result.log_floor is not None else [])]
        not_worse = sum(bounded(part) for part in parts) / len(parts)
    low, high = result.interval
    return {
        "metric": result.metric,
        "candidate": counted(result.metric, result.candidate_bad, result.candidate_n),
        "stable": counted(result.metric, result.stable_bad, result.stable_n),
        "candidate_bad": result.candidate_bad,
        "candidate_n": result.candidate_n,
        "stable_bad": result.stable_bad,
        "stable_n": result.stable_n,
        "interval": [round(low, 4), None if high is None else round(high, 4)],
        "data": bool(result.candidate_n or result.stable_n),
        "e": _rounded(result.e),
        "e_not": None if not_worse is None else _rounded(not_worse),
        "e_not_needed": None if factor is None else _rounded(proof),
        "factor": factor,
        "worse": f"{_rounded(result.e):g} of {exp(verdict.log_needed):.0f}",
        "not_worse": _not_worse(result, not_worse, proof),
        "proved_by": result.proved_by,
        "note": result.note,
    }


def _epochs(look: Look) -> Collection[int]:
    return {shares.epoch for shares in look.situation.progress.shares}


def _waiting(result: Result, young: Young, look: Look) -> dict[str, Json]:
    """Say what came and does not count yet; in words only where nothing counts so far."""
    return {
        "waiting": young.n,
        "counts_at": young.counts_at,
        "waits": "too rare to be waited for"
        if result.metric in look.facts.rare and not look.deployment.finished
        else ""
        if look.deployment.finished or (result.candidate_n and result.stable_n)
        else _waits(result.metric, young, look.facts, look.situation.now),
    }


def _waits(metric: str, young: Young, facts: Facts, now: int) -> str:
    age = f"when it is {format_duration(ages_of(metric, facts.ages).m)} old"
    if young.counts_at is None:
        return f"a request counts {age}"
    first = duration_words((young.counts_at - now) / SECOND)
    return f"{young.n:,} wait: each counts {age}, the first of them in {first}"


def _not_worse(result: Result, value: float | None, needed: float) -> str:
    if result.proved_by is not None:
        return "proven"
    return "" if value is None else f"{_rounded(value):g} of {needed:.0f}"


def _rounded(value: float) -> float:
    """Keep four digits: what is shown, never what is judged."""
    return float(f"{value:.4g}")


def _next(
    look: Look, evidence: Evidence | None, counts: Sequence[Count], decision: Decision
) -> dict[str, Json] | None:
    """Say what happens next, and when that is known."""
    deployment, s = look.deployment, look.situation
    if deployment.finished:
        return None
    gives_up_at: int | None = None
    what, at = decision.because.replace(" | ", "; "), None
    step = deployment.step
    forecast: Expected | None = None
    if deployment.state is State.RUNNING and isinstance(decision.act, Wait):
        if isinstance(step, Watch):
            at = deployment.since + step.for_
        elif isinstance(step, Check):
            gives_up_at = deployment.since + step.within
        elif isinstance(step, Send) and step.until is None and step.lasts:
            at = deployment.since + step.lasts
        elif evidence is not None and s.verdict is not None and not s.frozen:
            ages = look.facts.ages
            young = {
                judged.metric: unsettled(
                    counts, judged.metric, epochs=_epochs(look), ages=ages, now=s.now
                )
                for judged in look.facts.metrics
            }
            forecast = missing(deployment, look.facts, evidence, s.verdict, young)
    if forecast is not None:
        what = f"{what}; {forecast.sentence}"
        if forecast.seconds is not None:
            at = s.now + round(forecast.seconds * SECOND)
    return {
        "what": what,
        "expected_at": at,
        "requests": None if forecast is None else forecast.requests,
        "metric": None if forecast is None else forecast.metric,
        "seconds": None if at is None else max(0.0, round((at - s.now) / SECOND, 1)),
        "gives_up_at": gives_up_at,
        "after": _after(deployment),
    }


def _after(deployment: Deployment) -> str | None:
    """Say what the plan has after the present step; on the way back there is nothing."""
    if _going_back(deployment) or deployment.next_step is None:
        return None
    return deployment.next_step.words()


def _rollback(look: Look) -> dict[str, Json] | None:
    undo = look.situation.progress.undo
    if undo is None:
        return None
    return {
        "id": undo.rollback,
        "version": undo.version,
        "since": undo.since,
        "gateways_behind": len(look.situation.behind),
        "answered": bool(look.situation.probe and look.situation.probe.ok),
        "failures": undo.failures,
        "retry_at": undo.retry_at,
    }


def told(event: Event) -> dict[str, Json]:
    """Return one line of the history: the sentence, and below it what it was based on."""
    return {
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "actor": event.actor,
        "actor_kind": event.actor_kind,
        "why": event.why.replace(" | ", "; "),
        "evidence": list(basis(event)),
        "veto": veto_in(event),
    }


def basis(event: Event) -> tuple[str, ...]:
    """Return the counters behind a decision as sentences, from the verdict in its event."""
    lines = _basis_of_veto(event)
    verdict = verdict_in(event)
    if verdict is None:
        return tuple(lines)
    for row in _rows(verdict.get("metrics")):
        interval = row.get("interval")
        low, high = interval if isinstance(interval, list) else (0.0, None)
        upper = "any" if high is None else f"{format_ratio(_number(high))}x"
        metric = str(row.get("metric"))
        candidate, stable = (
            counted(metric, _number(row.get(bad)), int(_number(row.get(n))))
            for bad, n in (("c", "candidate_n"), ("s", "stable_n"))
        )
        line = (
            f"{metric}: candidate {candidate}, stable {stable}; "
            f"{format_ratio(_number(low))}x to {upper}; E = {_number(row.get('e')):.3g}"
        )
        if row.get("e_not") is not None:
            line += f", E' = {_number(row.get('e_not')):.3g}"
        if row.get("floor") is not None:
            line += f", F = {_number(row.get('floor')):.3g}"
        if row.get("note"):
            line += f" ({row['note']})"
        lines.append(line)
    lines += [
        f"never {row.get('words')}: hit{_of_ground(row.get('ground'))}"
        for row in _rows(verdict.get("limits"))
        if row.get("hit")
    ]
    if lines:
        lines.append(f"promise: {verdict.get('promise')}")
    return tuple(lines)


def veto_in(event: Event) -> Mapping[str, Json] | None:
    """Return the counters of the gateway whose veto a decision followed; None: it did not."""
    detail = event.detail
    veto = detail.get("veto") if isinstance(detail, Mapping) else None
    return veto if isinstance(veto, Mapping) else None


def _basis_of_veto(event: Event) -> list[str]:
    veto = veto_in(event)
    of = None if veto is None else veto.get("of")
    if not isinstance(of, Mapping):
        return []
    bad = _bad(str(veto and veto.get("metric")))
    lines = [f"gateway {of.get('gateway')}: its own counts{_of_ground(of.get('ground'), bad)}"]
    stable = of.get("stable")
    if isinstance(stable, Mapping) and not of.get("alone"):
        lines[0] += (
            f"; on the stable version {_number(stable.get('bad')):,.0f} of "
            f"{_number(stable.get('n')):,.0f} since it began"
        )
    wanted = exp(_number(of.get("needed")))
    above = f"above the limit: E = {bounded(_number(of.get('log_rate'))):,.4g} of {wanted:,.0f}"
    worse = f"worse than stable: E = {bounded(_number(of.get('log_worse'))):,.4g} of {wanted:,.0f}"
    return [*lines, above if of.get("alone") else f"{above}; {worse}"]


def _bad(metric: str) -> str:
    """Say what a limit counts of requests."""
    slower = metric.partition(">")[2]
    return f"were slower than {format_duration(int(slower))}" if slower.isdigit() else "failed"


def _of_ground(ground: Json, bad: str = "were bad") -> str:
    """Say what a limit stands on: `: 14 of 28 requests on the new version failed since …`."""
    if not isinstance(ground, Mapping):
        return ""
    since = datetime.fromtimestamp(_number(ground.get("since")) / SECOND, UTC)
    return (
        f": {_number(ground.get('bad')):,.0f} of {_number(ground.get('n')):,.0f} requests on the "
        f"new version {bad} since {since:%H:%M} UTC"
    )


def verdict_in(event: Event) -> Mapping[str, Json] | None:
    """Return the verdict that stands in an event, read from its text."""
    text = verdict_text(event)
    verdict = None if text is None else json.loads(text)
    return verdict if isinstance(verdict, dict) else None


def verdict_text(event: Event) -> str | None:
    """Return the verdict of an event as it was written; None: it stands on none."""
    detail = event.detail
    text = detail.get("verdict") if isinstance(detail, Mapping) else None
    return text if isinstance(text, str) else None


def recomputed(event: Event, text: str, again: Verdict) -> dict[str, Json]:
    """Return a verdict beside what judging its counters once more has come to."""
    verdict = json.loads(text)
    same = again.finding == verdict["finding"] and abs(again.log_e - verdict["log_e"]) <= EXACT
    return {
        "seq": event.seq,
        "at": event.at,
        "verdict": verdict,
        "again": {"finding": again.finding, "log_e": again.log_e, "same": same},
    }


def _rows(value: Json) -> list[Mapping[str, Json]]:
    if not isinstance(value, list):
        return []
    return [row for row in value if isinstance(row, Mapping)]


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
