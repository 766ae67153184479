"""Writing what a decision comes to into an open transaction, all of it or nothing.

State, traffic, history and messages change together, because the gateways read their routes from
the same database: the deployment's row, the snapshot of what was, the route's next revision (with
its epoch and guards, and the generation that gateways poll), the move of an alias, the rollback's
row, the event with the verdict and the counters behind it, and the messages about it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headway.deployments.change import Target
from headway.deployments.checks import CheckKind
from headway.deployments.checks.smoke import question_of
from headway.deployments.decision import GoBack
from headway.deployments.deployment import Deployment, Progress, Shares, State
from headway.deployments.notices import notices
from headway.deployments.outcome import Outcome
from headway.deployments.ports import Work
from headway.deployments.rollback import Rollback, RollbackState
from headway.judge.evidence import Kind, foldable_before, kind_of
from headway.kernel.canonical import Json
from headway.kernel.ids import NewId
from headway.outbox.actor import Actor
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.registry.model import Alias
from headway.registry.version import SemVer
from headway.routing.route import Route
from headway.snapshots.snapshot import Snapshot

Save = Callable[[Work, Deployment], object]
"""Writes the row: with a claim (`save`) or without one (`update`)."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes an outcome into an open transaction; the caller commits it."""

    checks: Mapping[str, CheckKind]
    new_id: NewId
    pages: tuple[str, ...] = ()
    """Webhooks that are told of every failed rollback."""

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
            work.outbox.add(event, *messages, *notices(deployment, event, pages=self.pages))
        self._fold(work, outcome, progress)
        return deployment

    def _publish(self, work: Work, outcome: Outcome, route: Route) -> Progress:
        """Publish the route; what was before stays as a snapshot, in the same transaction."""
        look, progress = outcome.look, outcome.progress
        if look.current is not None:
            work.snapshots.add(
                Snapshot.before(
                    look.current,
                    snapshot_id=self.new_id("snap"),
                    why=outcome.decision.because,
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
        look, deployment, undo = outcome.look, outcome.deployment, progress.way_back
        now = look.situation.now
        target = outcome.target if outcome.route is not None else None
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
            finished_at=now if state is RollbackState.FINISHED or deployment.finished else None,
        )
        if target is not None:  # on to the next one of the chain
            row = replace(
                row,
                to_revision=to_revision_of(target, published=progress.published),
                published=progress.published,
                generation=progress.generation,
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
            **question_of(found),
        },
        created_at=at,
        deployment=owner,
    )


def to_revision_of(target: Target, *, published: int) -> int:
    """Return whose text a rollback publishes: an earlier revision's, or that of its own."""
    return published if target.to_revision is None else target.to_revision


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
        to_revision=to_revision_of(target, published=published),
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
    if isinstance(outcome.decision.act, GoBack) and (vetoes := look.situation.vetoes):
        detail["veto"] = {"metric": vetoes[0].metric, "at": vetoes[0].at, "of": vetoes[0].detail}
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
