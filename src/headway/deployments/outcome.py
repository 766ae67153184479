"""What a decision comes to: the rows that one transaction writes, all of them or none.

State, traffic, history and messages change together, because the gateways read their routes from
the same database: the deployment's row, the snapshot of what was, the route's next revision (with
its epoch and guards, and the generation that gateways poll), the move of an alias, the rollback's
row, the event with the verdict and the counters behind it, and the messages about it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from headway.deployments import change
from headway.deployments.change import Target
from headway.deployments.checks import CheckKind
from headway.deployments.checks.smoke import request_of
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
from headway.deployments.deployment import Deployment, Progress, Shares, State, Undo
from headway.deployments.facts import Facts
from headway.deployments.plan import Check, Send
from headway.deployments.ports import Work
from headway.deployments.rollback import Rollback, RollbackState
from headway.judge.evidence import Kind, foldable_before, kind_of
from headway.kernel.canonical import Json
from headway.kernel.clock import MINUTE
from headway.kernel.ids import NewId
from headway.outbox.actor import Actor
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.registry.model import Alias
from headway.registry.version import SemVer
from headway.routing.route import Route
from headway.snapshots.snapshot import Snapshot

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


Save = Callable[[Work, Deployment], object]
"""Writes the row: with a claim (`save`) or without one (`update`)."""


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
            undo = _undo(progress)
            undo = replace(undo, tried=undo.tried + 1, asked_at=now)
            asked = replace(progress, undo=undo)
            return replace(base, progress=asked, kind="deployment.probe", probes=True)
        case GoneBack():
            return moved(
                State.ROLLED_BACK, "deployment.rolled_back", rollback=RollbackState.FINISHED
            )
        case FailBack():
            undo = _undo(progress)
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
            return moved(State.ABANDONED, "deployment.abandoned")


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
    undo = _undo(base.progress)
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


def _undo(progress: Progress) -> Undo:
    if progress.undo is None:
        raise AssertionError(progress)
    return progress.undo


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


# ── writing ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes an outcome into an open transaction; the caller commits it."""

    checks: Mapping[str, CheckKind]
    new_id: NewId

    def write(self, work: Work, outcome: Outcome, save: Save) -> Deployment:
        """Write everything but the commit; return the row as it was handed to `save`."""
        progress = outcome.progress
        if outcome.route is not None:
            progress = self._publish(work, outcome, outcome.route)
        if outcome.deployment.state is State.SUCCEEDED:
            self._move_alias(work, outcome)
        if outcome.rollback or outcome.target:
            progress = self._roll(work, outcome, progress)
        messages, passed = self._asks(work, outcome)
        progress = replace(progress, passed=tuple(sorted({*progress.passed, *passed})))
        deployment = replace(outcome.deployment, progress=progress.document())
        save(work, deployment)
        if outcome.decision.settles:
            work.intents.settle(outcome.decision.settles)
        if outcome.kind is not None:
            event = event_of(outcome, deployment, progress)
            messages += self._probes(work, outcome, progress)
            work.outbox.add(event, *messages, *notices(deployment, event))
        self._fold(work, outcome, progress)
        return deployment

    def _publish(self, work: Work, outcome: Outcome, route: Route) -> Progress:
        """Publish the route; what was before stays as a snapshot, in the same transaction."""
        look, progress = outcome.look, outcome.progress
        if look.current is not None:
            work.snapshots.add(
                snapshot_of(
                    look.current,
                    snapshot_id=self.new_id("snap"),
                    reason=outcome.decision.because,
                    at=look.situation.now,
                    by=outcome.decision.actor.name,
                    deployment=outcome.deployment.id,
                )
            )
        added = work.routes.add(route)
        progress = replace(progress, published=added.revision, generation=work.routes.generation())
        if outcome.share_bp is None:
            return progress
        shares = Shares(added.id, outcome.share_bp, outcome.deployment.entered)
        return replace(progress, shares=(*progress.shares, shares))

    def _move_alias(self, work: Work, outcome: Outcome) -> None:
        deployment = outcome.deployment
        name = deployment.plan.alias
        if name is None:
            return
        there = work.aliases.find(deployment.model, name)
        work.aliases.save(
            Alias(
                model=deployment.model,
                name=there.name if there else name,
                version=SemVer.parse(deployment.version),
                changed_at=outcome.look.situation.now,
                changed_by=outcome.decision.actor.name,
                why=f"promoted by {deployment.id}",
                revision=there.revision if there else 0,
            )
        )

    def _roll(self, work: Work, outcome: Outcome, progress: Progress) -> Progress:
        """Write the rollback's own row."""
        look, deployment, undo = outcome.look, outcome.deployment, _undo(progress)
        now = look.situation.now
        published = outcome.target is not None and outcome.route is not None
        if outcome.rollback is None or not undo.rollback:
            if outcome.target is None or look.current is None:
                return progress
            row = rollback_of(
                outcome.target,
                rollback_id=self.new_id("rb"),
                current=look.current,
                published=progress.published,
                generation=progress.generation,
                actor=outcome.decision.actor,
                automatic=not isinstance(outcome.decision.act, GoBack)
                or outcome.decision.act.automatic,
                why=outcome.decision.because,
                at=now,
                deployment=deployment.id,
            )
            work.rollbacks.add(row)
            return replace(progress, undo=replace(undo, rollback=row.id))
        row = work.rollbacks.get(undo.rollback)
        state = outcome.rollback
        row = replace(
            row,
            state=state,
            finished_at=now if state is RollbackState.FINISHED else None,
            published=progress.published if published else row.published,
            generation=progress.generation if published else row.generation,
        )
        work.rollbacks.save(row)
        return progress

    def _asks(self, work: Work, outcome: Outcome) -> tuple[tuple[Message, ...], set[str]]:
        """Return the messages of the checks to be asked, and those with nothing to ask."""
        if not outcome.asks:
            return (), set()
        deployment, tried = outcome.deployment, outcome.progress.tried
        version = work.versions.get(deployment.model, SemVer.parse(deployment.version))
        messages: list[Message] = []
        passed = set()
        for name in outcome.asks:
            kind = self.checks.get(name)
            asked = kind.ask(version) if kind else {}
            if asked is None:
                passed.add(name)
                continue
            messages.append(
                Message(
                    key=check_key(deployment, name, tried),
                    kind="check",
                    payload={
                        "check": name,
                        "model": deployment.model,
                        "environment": deployment.environment,
                        "version": deployment.version,
                        "digest": deployment.digest,
                        **asked,
                    },
                    created_at=outcome.look.situation.now,
                    deployment=deployment.id,
                )
            )
        return tuple(messages), passed

    def _probes(self, work: Work, outcome: Outcome, progress: Progress) -> tuple[Message, ...]:
        undo = progress.undo
        if not outcome.probes or undo is None or undo.version is None:
            return ()
        deployment = outcome.deployment
        message = probe(
            work,
            key=probe_key(undo.rollback, undo.tried),
            owner=deployment.id,
            model=deployment.model,
            environment=deployment.environment,
            version=undo.version,
            at=outcome.look.situation.now,
        )
        return (message,)

    def _fold(self, work: Work, outcome: Outcome, progress: Progress) -> None:
        """Fold what is settled, so that a look stays cheap; forget units when it is over."""
        look = outcome.look
        now = look.situation.now
        if outcome.deployment.finished:
            work.evidence.forget_units(outcome.deployment.id)
        elif progress.folded_at == now:
            # A score is settled when it is due: its 72 hours keep no row from being folded.
            ages = {
                metric: of
                for metric, of in look.facts.ages.items()
                if kind_of(metric) is not Kind.SCORE
            }
            before = foldable_before(ages, now=now)
            for shares in progress.shares:
                work.evidence.fold(outcome.deployment.id, due_before=before, epoch=shares.epoch)


def check_key(deployment: Deployment, name: str, tried: int) -> str:
    return f"{deployment.id}:check:{deployment.entered}:{name}:{tried}"


def probe_key(rollback: str, tried: int) -> str:
    return f"{rollback}:probe:{tried}"


def probe(
    work: Work, *, key: str, owner: str, model: str, environment: str, version: str, at: int
) -> Message:
    """Return the message that asks a restored version for one answer."""
    found = work.versions.get(model, SemVer.parse(version))
    return Message(
        key=key,
        kind="probe",
        payload={
            "model": model,
            "environment": environment,
            "version": version,
            "digest": found.digest,
            "request": request_of(found),
        },
        created_at=at,
        deployment=owner,
    )


def snapshot_of(
    route: Route, *, snapshot_id: str, reason: str, at: int, by: str, deployment: str | None
) -> Snapshot:
    """Return the route kept by name, as it is before the change that is about to be made."""
    return Snapshot(
        id=snapshot_id,
        model=route.model,
        environment=route.environment,
        revision=route.revision,
        digest=route.digest,
        reason=f"before: {reason}",
        created_at=at,
        created_by=by,
        deployment=deployment,
    )


def rollback_of(
    target: Target,
    *,
    rollback_id: str,
    current: Route,
    published: int,
    generation: int,
    actor: Actor,
    automatic: bool,
    why: str,
    at: int,
    deployment: str | None,
) -> Rollback:
    return Rollback(
        id=rollback_id,
        model=current.model,
        environment=current.environment,
        state=RollbackState.COMMITTED,
        from_revision=current.revision,
        to_revision=published if target.to_revision is None else target.to_revision,
        published=published,
        generation=generation,
        automatic=automatic,
        actor=actor.name,
        why=why,
        created_at=at,
        deployment=deployment,
    )


def event_of(outcome: Outcome, deployment: Deployment, progress: Progress) -> Event:
    """Say what happened, with the verdict and the counters behind it."""
    look = outcome.look
    verdict = look.situation.verdict
    detail: dict[str, Json] = {
        "before": look.deployment.state,
        "after": deployment.remembered(),
        "route": progress.published if outcome.route is not None else None,
        "share_bp": outcome.share_bp,
        "verdict": None if verdict is None else verdict.text(),
    }
    return Event(
        kind=outcome.kind or "",
        subject=deployment.subject,
        at=look.situation.now,
        actor=outcome.decision.actor.name,
        actor_kind=outcome.decision.actor.kind,
        why=outcome.decision.because,
        detail=detail,
        deployment=deployment.id,
        model=deployment.model,
        environment=deployment.environment,
    )


def notices(deployment: Deployment, event: Event) -> tuple[Message, ...]:
    """Return the messages that tell the outside what happened, as the plan asks for."""
    return tuple(
        Message(
            key=f"{deployment.id}:webhook:{deployment.revision + 1}:{i}",
            kind="webhook",
            payload={
                "url": to.removeprefix("webhook:"),
                "body": {
                    "type": event.kind,
                    "timestamp": event.at,
                    "data": {
                        "deployment": deployment.id,
                        "model": deployment.model,
                        "environment": deployment.environment,
                        "version": deployment.version,
                        "state": deployment.state,
                        "step": deployment.entered,
                        "why": event.why,
                        "actor": event.actor,
                    },
                },
            },
            created_at=event.at,
            deployment=deployment.id,
        )
        for i, to in enumerate(deployment.plan.notify)
    )
