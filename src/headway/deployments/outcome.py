"""What a decision comes to: how the deployment, its route and its way back will be. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from headway.deployments import change
from headway.deployments.change import Target
from headway.deployments.decision import (
    Abandon,
    Ask,
    Decision,
    Enter,
    FailBack,
    Fit,
    Freeze,
    GoBack,
    GoneBack,
    Hold,
    Pause,
    Probe,
    Resume,
    Situation,
    Succeed,
    TryBack,
    Wait,
    retry_pause,
)
from headway.deployments.deployment import Deployment, Progress, State, Undo
from headway.deployments.facts import Facts
from headway.deployments.plan import Check, Send
from headway.deployments.rollback import RollbackState
from headway.kernel.clock import MINUTE
from headway.routing.route import Route

FOLD_EVERY: Final = MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen: the situation to decide on, and what carrying it out needs besides."""

    situation: Situation
    facts: Facts
    current: Route | None
    before: Route | None
    """The route when this started."""
    chain: tuple[Target, ...] = ()
    """Where else a failed rollback may lead, best first."""

    @property
    def deployment(self) -> Deployment:
        return self.situation.deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is to be written. `deployment` and `progress` are as they will be."""

    look: Look
    decision: Decision
    deployment: Deployment
    progress: Progress
    kind: str | None = None
    """Of the event; None: nothing that the history tells."""
    route: Route | None = None
    """The next revision, if the route changes."""
    share_bp: int | None = None
    """What the candidate has in it, if this begins a new epoch."""
    target: Target | None = None
    """Where a rollback leads, if one is published here."""
    asks: tuple[str, ...] = ()
    """Checks to be asked."""
    probes: bool = False
    """Whether the restored version is asked."""
    rollback: RollbackState | None = None
    """What becomes of the rollback's row."""


def outcome_of(look: Look, decision: Decision) -> Outcome:
    """Return what a decision comes to. Pure."""
    s = look.situation
    progress = s.progress
    deployment = started(look)
    because, now = decision.because, s.now

    def moved(to: State, kind: str, **more: object) -> Outcome:
        after = deployment.moved(to, because=because, at=now)
        return replace(base, deployment=after, kind=kind, **more)  # type: ignore[arg-type]  # fields of Outcome

    base = Outcome(look=look, decision=decision, deployment=deployment, progress=progress)
    match decision.act:
        case Wait():
            return replace(base, deployment=s.deployment, progress=_kept(look))
        case Ask(names):
            known = {name for name, answer in s.answers.items() if answer.ok}
            asked = replace(
                progress,
                tried=progress.tried + 1,
                asked_at=now,
                passed=tuple(sorted({*progress.passed, *known})),
            )
            return replace(base, progress=asked, kind="deployment.check", asks=names)
        case Enter(number):
            return _enter(base, number)
        case Hold():
            held = replace(deployment, held_since=now, held_because=because)
            return replace(base, deployment=held, kind="deployment.held")
        case Fit(found):
            facts = look.facts.with_thresholds(found)
            fitted = replace(deployment, facts=facts.document())
            return replace(
                _share(replace(base, look=replace(look, facts=facts)), fitted),
                progress=replace(progress, fitted_at=now),
                kind="deployment.fitted",
            )
        case Freeze():
            told = replace(progress, frozen_at=now)
            return replace(base, progress=told, kind="deployment.evidence_frozen")
        case Pause():
            return moved(
                State.PAUSED, "deployment.paused", progress=replace(progress, paused_at=now)
            )
        case Resume():
            resumed = moved(
                State.RUNNING, "deployment.resumed", progress=replace(progress, paused_at=None)
            )
            lost = now - (progress.paused_at if progress.paused_at is not None else now)
            return replace(
                resumed, deployment=replace(resumed.deployment, since=deployment.since + lost)
            )
        case Succeed():
            if look.current is None:
                raise AssertionError(deployment.id)
            return moved(
                State.SUCCEEDED,
                "deployment.succeeded",
                route=change.promoted(deployment, current=look.current, at=now, because=because),
            )
        case GoBack():
            if not progress.published or look.current is None:
                return moved(State.ROLLED_BACK, "deployment.rolled_back")
            target = change.back_to(look.before, current=look.current)
            return going_back(replace(base, deployment=deployment), target)
        case Probe():
            undo = progress.way_back
            undo = replace(undo, tried=undo.tried + 1, asked_at=now)
            asked = replace(progress, undo=undo)
            return replace(base, progress=asked, kind="deployment.probe", probes=True)
        case GoneBack():
            return moved(
                State.ROLLED_BACK, "deployment.rolled_back", rollback=RollbackState.FINISHED
            )
        case FailBack():
            undo = progress.way_back
            failures = undo.failures + 1
            undo = replace(undo, failures=failures, retry_at=now + retry_pause(failures))
            return moved(
                State.ROLLBACK_FAILED,
                "deployment.rollback_failed",
                progress=replace(progress, undo=undo),
                rollback=RollbackState.FAILED,
            )
        case TryBack(further):
            return _try_back(base, further=further)
        case Abandon():
            return moved(State.ABANDONED, "deployment.abandoned", rollback=RollbackState.FAILED)


def started(look: Look) -> Deployment:
    """Return the deployment with what is fixed when it starts, at the first thing that happens."""
    deployment = look.deployment
    if deployment.started_at is not None:
        return deployment
    return replace(
        deployment,
        started_at=look.situation.now,
        before=look.current.revision if look.current else None,
        facts=look.facts.document(),
    )


def going_back(base: Outcome, target: Target) -> Outcome:
    """Return the way back to a target: committed now, finished when it answers."""
    look, decision = base.look, base.decision
    now = look.situation.now
    if look.current is None:
        raise AssertionError(base.deployment.id)
    undo = Undo(rollback="", version=target.version, since=now, asked_at=now)
    return replace(
        base,
        deployment=base.deployment.moved(State.ROLLING_BACK, because=decision.because, at=now),
        progress=replace(base.progress, undo=undo),
        kind="deployment.rolling_back",
        route=change.again(
            target,
            current=look.current,
            at=now,
            because=decision.because,
            by=decision.actor.name,
        ),
        target=target,
        probes=target.version is not None,
    )


def _enter(base: Outcome, number: int) -> Outcome:
    look, now = base.look, base.look.situation.now
    after = base.deployment.moved(
        State.RUNNING, because=base.decision.because, at=now, entered=number
    )
    step = after.plan.steps[number - 1]
    progress = replace(base.progress, tried=0, passed=(), paused_at=None)
    entered = replace(base, deployment=after, progress=progress, kind="deployment.step")
    match step:
        case Check(names):
            asked = replace(progress, tried=1, asked_at=now)
            return replace(entered, progress=asked, asks=names)
        case Send():
            return _share(replace(entered, look=look), after)
        case _:
            return entered


def _share(base: Outcome, deployment: Deployment) -> Outcome:
    """Publish the share of the present step."""
    step = deployment.step
    if not isinstance(step, Send):
        raise TypeError(step)
    look = base.look
    route = change.with_share(
        deployment,
        current=look.current,
        before=look.before,
        facts=look.facts,
        share_bp=step.share_bp,
        step=deployment.entered,
        at=look.situation.now,
        because=base.decision.because,
    )
    return replace(base, deployment=deployment, route=route, share_bp=step.share_bp)


def _try_back(base: Outcome, *, further: bool) -> Outcome:
    look, now = base.look, base.look.situation.now
    undo = base.progress.way_back
    after = base.deployment.moved(State.ROLLING_BACK, because=base.decision.because, at=now)
    unanswered = (*undo.unanswered, *([undo.version] if undo.version and further else []))
    undo = replace(
        undo, since=now, asked_at=now, tried=undo.tried + 1, good=None, unanswered=unanswered
    )
    tried = replace(
        base, deployment=after, kind="deployment.rolling_back", rollback=RollbackState.COMMITTED
    )
    if further and look.current is not None:
        target = look.chain[0]
        undo = replace(undo, version=target.version)
        route = change.again(
            target,
            current=look.current,
            at=now,
            because=base.decision.because,
            by=base.decision.actor.name,
        )
        tried = replace(tried, route=route, target=target)
    probes = undo.version is not None
    return replace(tried, progress=replace(base.progress, undo=undo), probes=probes)


def _kept(look: Look) -> Progress:
    """Return what is to be remembered although nothing changed: limits, folding, a first count."""
    s = look.situation
    progress = s.progress
    if s.verdict is not None:
        progress = replace(progress, watches=s.verdict.watches)
        if s.now >= progress.folded_at + FOLD_EVERY:
            progress = replace(progress, folded_at=s.now)
    if progress.undo is not None and progress.undo.good is None and not s.behind:
        progress = replace(progress, undo=replace(progress.undo, good=s.good))
    return progress
