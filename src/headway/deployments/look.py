"""Looking: everything that a decision may depend on, read in one transaction, judged after it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from headway.deployments import change
from headway.deployments.change import Target
from headway.deployments.checks import Answer, CheckKind
from headway.deployments.decision import Situation
from headway.deployments.deployment import Deployment, Progress, Shares, State
from headway.deployments.facts import (
    WINDOW,
    Facts,
    Past,
    fix,
    past_of,
    proven,
    rate_limits,
    thresholds_of,
)
from headway.deployments.outcome import Look
from headway.deployments.plan import Check, Plan, Send, Until
from headway.deployments.ports import Work
from headway.deployments.writing import check_key, probe_key
from headway.judge.evidence import CANDIDATE, MEASURED, QUANTILES, Epoch, Evidence, fold
from headway.judge.question import Question
from headway.judge.verdict import Verdict, judge
from headway.kernel.clock import DAY, HOUR, MINUTE, SECOND
from headway.kernel.errors import Invalid, NotFound
from headway.kernel.quantity import WHOLE_BP
from headway.outbox.message import Message
from headway.registry.model import Version
from headway.registry.ports import Work as RegistryWork
from headway.registry.service import resolve
from headway.registry.version import SemVer
from headway.routing.route import Route, StickTo
from headway.tracking.measurement import Count, Outcome

LIVING: Final = 5 * SECOND
"""A gateway flushes once a second; one that was silent for so long is not waited for."""
FIT_EVERY: Final = MINUTE
_REVISIONS: Final = 200
_QUIET: Final = 2 * MINUTE
_QUIET_REQUESTS: Final = 10
"""Where nothing came for so long, and in the time of so many requests, no more are foreseen."""
_LATELY: Final = HOUR
"""From how far back on the traffic of a running deployment is taken for that to come, ms."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read, before anything is judged."""

    look: Look
    counts: Sequence[Count]


def see(
    work: Work, deployment: Deployment, checks: Mapping[str, CheckKind], *, steady: bool = True
) -> Seen:
    """Read everything that a decision about a deployment may depend on."""
    now = work.now()
    progress = Progress.read(deployment.progress)
    current = current_route(work, deployment.model, deployment.environment)
    started = deployment.started_at is not None
    before = _before(work, deployment) if started else current
    facts = (
        Facts.read(deployment.facts)
        if started
        else facts_of(work, deployment.plan, deployment.version, before, now)
    )
    living = work.gateways.living(within=LIVING)
    messages = work.outbox.messages_of(deployment.id) if _asks(deployment) else ()
    chain: tuple[Target, ...] = ()
    if deployment.state is State.ROLLBACK_FAILED and before is not None:
        undo = progress.way_back
        tried = {*undo.unanswered, undo.version, deployment.version}
        chain = chain_of(work, before, tried, now)
    found: Mapping[str, float] = {}
    if _may_fit(deployment, facts, progress, now):
        found = _more_thresholds(work, deployment, facts, now)
        progress = replace(progress, fitted_at=now)
    situation = Situation(
        deployment=deployment,
        progress=progress,
        now=now,
        stable=change.stable_arm(before) is not None,
        switched_off=bool(progress.published and current and not current.enabled),
        intents=tuple(work.intents.waiting(deployment.id)),
        vetoes=tuple(veto for veto in work.vetoes.of(deployment.id) if veto.arm == CANDIDATE),
        answers=_answers(deployment, progress.tried, progress, messages, checks),
        failed=_answers(deployment, progress.tried - 1, progress, messages, checks),
        behind=tuple(row.boot for row in living if row.applied_generation < progress.generation),
        probe=_probe(progress, messages),
        good=_good(work, deployment, progress, now),
        targets=len(chain),
        thresholds_ms=found,
        frozen=bool(progress.shares) and work.evidence.frozen(deployment.id),
        steady=steady,
    )
    look = Look(situation=situation, facts=facts, current=current, before=before, chain=chain)
    return Seen(look, work.evidence.of(deployment.id) if progress.shares else ())


def judged(seen: Seen) -> Look:
    """Judge what was seen. Outside of any transaction: it takes its time."""
    look = seen.look
    s = look.situation
    if not s.progress.shares:
        return look
    evidence = evidence_of(seen.counts, look.facts, s.progress, s.now)
    return replace(
        look,
        situation=replace(
            s,
            verdict=verdict_of(s.deployment, s.progress, look.facts, evidence, look.current),
            measured=_measured(evidence, s.deployment, s.progress),
        ),
    )


def evidence_of(counts: Sequence[Count], facts: Facts, progress: Progress, now: int) -> Evidence:
    """Return what may be read now, by epoch of this deployment."""
    epochs = [Epoch(shares.epoch, _compared(shares, facts)) for shares in progress.shares]
    return fold(counts, epochs=epochs, ages=facts.ages, now=now)


def _compared(shares: Shares, facts: Facts) -> int:
    return shares.share_bp if facts.stable else WHOLE_BP


def verdict_of(
    deployment: Deployment,
    progress: Progress,
    facts: Facts,
    evidence: Evidence,
    current: Route | None,
) -> Verdict:
    """Ask the judge what the present step of the plan wants to know."""
    judging = deployment.plan.judging
    until = deployment.step.until if isinstance(deployment.step, Send) else None
    asked = until if isinstance(until, Until) else None
    alone = not facts.stable or progress.shares[-1].share_bp == WHOLE_BP
    question = Question(
        metrics=facts.metrics,
        alpha=facts.alpha,
        factor=asked.factor if asked else None,
        prove=proven(asked, facts) if asked else (),
        floor=judging.floor,
        limits=rate_limits(judging),
        watches=progress.watches,
        stable=not alone,
        sticky=current is None or current.stick_to != StickTo.REQUEST,
    )
    return judge(evidence, question)


def named_version(work: Work, model: str, ref: str) -> Version:
    """Return the version that a number, an alias, `latest` or a range names now."""
    # It reads versions and aliases alone, and this work has both.
    return resolve(cast(RegistryWork, work), model, ref)


def current_route(work: Work, model: str, environment: str) -> Route | None:
    try:
        return work.routes.current(model, environment)
    except NotFound:
        return None


def facts_of(work: Work, plan: Plan, version: str, before: Route | None, now: int) -> Facts:
    """Work out what is fixed when a deployment of that version starts now."""
    stable = change.stable_arm(before)
    versions = {version} | ({stable.version} if stable else set())
    longest = max(
        work.versions.get(plan.model, SemVer.parse(number)).target.timeouts.total
        for number in versions
    )
    living = work.gateways.living(within=LIVING)
    return fix(
        plan,
        past_of_stable(work, plan, stable.version, now) if stable else None,
        stable=stable.version if stable else None,
        longest=longest,
        first_gateway=min((row.number for row in living), default=1),
    )


def past_of_stable(work: Work, plan: Plan, version: str, now: int) -> Past:
    """Return what the stable version did in its last 24 hours."""
    model, environment, since = plan.model, plan.environment, now - WINDOW
    rows = work.measurements.read(
        model=model, environment=environment, since=since, until=now + MINUTE
    )
    past = past_of(rows, version=version, now=now)
    means = [
        mean
        for mean in work.scores.means(model=model, environment=environment, since=since)
        if mean.version == version
    ]
    return replace(
        past,
        scored={mean.name: mean.n for mean in means},
        badness={mean.name: round(1 - mean.mean, 9) for mean in means},
        delays={
            mean.name: work.scores.delays(
                model=model, environment=environment, name=mean.name, since=since
            )
            for mean in means
        },
    )


def rate_now(work: Work, deployment: Deployment, *, expected: float) -> float:
    """Return the route's requests per second since a deployment began.

    Where those are too few to tell, what was `expected`; where none come any more, 0: then nobody
    can say how long anything takes.
    """
    if deployment.started_at is None:
        return expected
    now = work.now()
    began = max(deployment.started_at, now - _LATELY)
    rows = work.measurements.read(
        model=deployment.model,
        environment=deployment.environment,
        since=began - began % MINUTE,
        until=now + MINUTE,
    )
    rate = past_of(rows, version=deployment.version, now=now).per_second or expected
    last = max((row.minute + MINUTE for row in rows if row.of_callers), default=began)
    quiet = now - last > max(_QUIET, _QUIET_REQUESTS * SECOND / rate) if rate else True
    return 0.0 if quiet else rate


def chain_of(
    work: Work, before: Route, tried: Collection[str | None], now: int
) -> tuple[Target, ...]:
    """Return where else a failed rollback may lead, best first: versions not tried yet.

    What was before, the last version that was stable for 24 h, the route's fallback if it is a
    version of the same model. (To another model the gateways hand over by themselves whatever
    the route's version does not answer.) After them there is nothing but to hold and to tell
    people. What was left for its faults belongs to `tried`. A version whose artifact is corrupt is
    passed over: it cannot be loaded.
    """
    found = [change.to_revision(before)]
    revisions = work.routes.revisions(
        before.model, before.environment, before=before.revision + 1, limit=_REVISIONS
    )
    named = {route_version for route in revisions if (route_version := change.serving(route))}
    corrupt = {number for number in named - set(tried) if is_corrupt(work, before.model, number)}
    besides = {*tried, *corrupt}
    if (old := change.stable_before(revisions, now=now, besides=besides)) is not None:
        found.append(change.to_revision(old, called="stable for a day"))
    if before.fallback is not None:
        try:
            number = SemVer.parse(before.fallback)
        except Invalid:  # another model: gateways fall back to it by themselves
            number = None
        version = work.versions.find(before.model, number) if number else None
        if version is not None:
            found.append(change.to_version(version, current=before))
            if version.corrupt_at is not None:
                corrupt.add(str(version.number))
    chain: dict[str | None, Target] = {}
    passed_over: list[str] = []
    for target in found:
        if target.version is None or target.version in tried:
            continue
        if target.version in corrupt:
            passed_over.append(target.version)
        else:
            chain.setdefault(target.version, change.passing_over(passed_over, target))
    return tuple(chain.values())


def is_corrupt(work: Work, model: str, number: str) -> bool:
    """Say whether the artifact of a version is known to be corrupt."""
    version = work.versions.find(model, SemVer.parse(number))
    return version is not None and version.corrupt_at is not None


def _before(work: Work, deployment: Deployment) -> Route | None:
    if deployment.before is None:
        return None
    return work.routes.get(deployment.model, deployment.environment, deployment.before)


def _asks(deployment: Deployment) -> bool:
    return isinstance(deployment.step, Check) or deployment.state in {
        State.ROLLING_BACK,
        State.ROLLBACK_FAILED,
    }


def _answers(
    deployment: Deployment,
    tried: int,
    progress: Progress,
    messages: Sequence[Message],
    checks: Mapping[str, CheckKind],
) -> dict[str, Answer]:
    """Return what the checks of the present step said when they were asked for that time."""
    step = deployment.step
    if not isinstance(step, Check) or not tried:
        return {}
    by_key = {message.key: message for message in messages}
    found = {}
    for name in step.names:
        if name in progress.passed:
            continue
        message = by_key.get(check_key(deployment, name, tried))
        if name not in checks:
            found[name] = Answer(ok=False, detail="no check of that name is installed")
        elif message is not None and message.answered_at is not None:
            found[name] = checks[name].read(message.answer)
        elif message is not None and message.dead:
            found[name] = Answer(ok=False, detail="it could not be carried out")
    return found


def _probe(progress: Progress, messages: Sequence[Message]) -> Answer | None:
    if progress.undo is None:
        return None
    key = probe_key(progress.undo.rollback, progress.undo.tried)
    for message in messages:
        if message.key == key and message.answered_at is not None:
            return Answer.read(message.answer)
    return None


def _good(work: Work, deployment: Deployment, progress: Progress, now: int) -> int:
    """Return the good answers of the restored version since the minute of the rollback."""
    undo = progress.undo
    if undo is None or undo.version is None:
        return 0
    return good_answers(
        work, deployment.model, deployment.environment, undo.version, since=undo.since, now=now
    )


def good_answers(
    work: Work, model: str, environment: str, version: str, *, since: int, now: int
) -> int:
    """Return how many good answers a version gave since the minute of that time."""
    rows = work.measurements.read(
        model=model,
        environment=environment,
        version=version,
        since=max(since - since % MINUTE, now - DAY),
        until=now + MINUTE,
    )
    return sum(row.outcomes.get(Outcome.OK, 0) for row in rows if row.of_callers)


def _measured(evidence: Evidence, deployment: Deployment, progress: Progress) -> int:
    here = {shares.epoch for shares in progress.shares if shares.step == deployment.entered}
    return sum(
        tally.of(CANDIDATE, MEASURED, 0) for tally in evidence.current if tally.epoch.id in here
    )


def _may_fit(deployment: Deployment, facts: Facts, progress: Progress, now: int) -> bool:
    """Say whether to see if more quantiles of the latency can be known by now."""
    return (
        deployment.state is State.RUNNING
        and isinstance(deployment.step, Send)
        and isinstance(deployment.step.until, Until)
        and bool(facts.stable)
        and any(judged.metric == "latency" for judged in facts.metrics)
        and len(facts.thresholds_ms) < len(QUANTILES)
        and now >= progress.fitted_at + FIT_EVERY
    )


def _more_thresholds(
    work: Work, deployment: Deployment, facts: Facts, now: int
) -> dict[str, float]:
    rows = work.measurements.read(
        model=deployment.model,
        environment=deployment.environment,
        version=facts.stable,
        since=now - WINDOW,
        until=now + MINUTE,
    )
    past = past_of(rows, version=str(facts.stable), now=now)
    longest = facts.ages["errors"].l
    known = thresholds_of(past.latency, deployment.plan.judging, longest=longest)
    return {quantile: at for quantile, at in known.items() if quantile not in facts.thresholds_ms}
