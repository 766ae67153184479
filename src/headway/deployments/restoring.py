"""Rollbacks that no deployment waits for: published, and seen through until a version answers.

    committed ── every gateway follows, and the version answers ──> finished
        │ not within 60 s: people are paged
        ▼
      failed ── after a pause: on to the next version of the chain, by a rollback of its own
        └────── none is left: it holds, and the version is asked again, ever less often

Whoever changes the route meanwhile, by another rollback or by a deployment, ends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from headway.deployments import change
from headway.deployments.change import Target, serving
from headway.deployments.checks import Answer
from headway.deployments.decision import (
    ANSWER_WITHIN,
    GOOD_ANSWERS,
    PROBE_EVERY,
    SOON,
    retry_pause,
)
from headway.deployments.look import LIVING, chain_of, good_answers
from headway.deployments.notices import rollback_notices
from headway.deployments.ports import Begin, Work
from headway.deployments.rollback import Rollback, RollbackState
from headway.deployments.writing import probe, probe_key, rollback_of
from headway.kernel.clock import MINUTE
from headway.kernel.errors import Conflict
from headway.kernel.ids import NewId
from headway.outbox.actor import HEADWAY, Actor
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.routing.route import Route
from headway.snapshots.snapshot import Snapshot

_PART: Final = 10
"""A version that is back is noticed after a tenth of the time that it was gone, or sooner."""
_FURTHEST: Final = 50
"""How far a walk along the chain is looked back on."""


def publish_back(
    work: Work, target: Target, *, current: Route, because: str, actor: Actor, new_id: NewId
) -> Rollback:
    """Publish where a rollback leads, with its snapshot, its row, its event and its probe."""
    now = work.now()
    work.snapshots.add(
        Snapshot.before(current, snapshot_id=new_id("snap"), why=because, at=now, by=actor.name)
    )
    published = work.routes.add(
        change.again(target, current=current, at=now, because=because, by=actor.name)
    )
    rollback = rollback_of(
        target,
        rollback_id=new_id("rb"),
        current=current,
        published=published.revision,
        generation=work.routes.generation(),
        actor=actor,
        automatic=actor == HEADWAY,
        why=because,
        at=now,
        deployment=None,
    )
    work.rollbacks.add(rollback)
    event = Event(
        kind="route.rolled_back",
        subject=f"route:{current.name}",
        at=now,
        actor=actor.name,
        actor_kind=actor.kind,
        why=because,
        detail={
            "rollback": rollback.id,
            "from": current.revision,
            "to": rollback.to_revision,
            "published": published.revision,
            "digest": published.digest,
        },
        model=current.model,
        environment=current.environment,
    )
    work.outbox.add(event, *_asked(work, rollback, target.version, 1, now))
    return rollback


@dataclass(frozen=True, slots=True)
class Restorer:
    begin: Begin
    new_id: NewId
    pages: tuple[str, ...] = ()
    """Webhooks that are told of every failed rollback."""

    def see_through(self, rollback: Rollback) -> bool:
        """See how far a rollback has come; say whether anything moved."""
        try:
            with self.begin() as work:
                moved = self._settle(work, rollback)
                work.commit()
        except Conflict:  # another reconciler was faster
            return False
        return moved

    def _settle(self, work: Work, rollback: Rollback) -> bool:
        now = work.now()
        current = work.routes.current(rollback.model, rollback.environment)
        if current.revision != rollback.published:
            why = "the route was changed again since then"
            if rollback.state is RollbackState.FAILED:
                return self._tell(work, replace(rollback, finished_at=now), "rollback.ended", why)
            return self._finish(work, rollback, why)
        version = serving(current)
        behind = [
            row
            for row in work.gateways.living(within=LIVING)
            if row.applied_generation < rollback.generation
        ]
        probes = [one for one in work.outbox.messages_of(rollback.id) if one.kind == "probe"]
        if not behind and (how := _answered(work, rollback, version, probes)):
            return self._finish(work, rollback, how)
        late = now >= rollback.created_at + ANSWER_WITHIN
        if late and rollback.state is RollbackState.COMMITTED:
            missing = f"{len(behind)} gateways have not taken it over" if behind else ""
            why = missing or f"{version} does not answer"
            failed = replace(rollback, state=RollbackState.FAILED)
            return self._tell(work, failed, "rollback.failed", why)
        if late and not behind and self._goes_on(work, rollback, current, f"{version}"):
            return True
        asks_at = _asks_at(rollback, probes)
        if version is not None and asks_at is not None and now >= asks_at:
            asks_at = None
            event = _event(rollback, "rollback.probe", f"{version} is asked again", now)
            work.outbox.add(event, *_asked(work, rollback, version, len(probes) + 1, now))
        pause = _pause(work, rollback, now)
        work.rollbacks.save(rollback, wake_in=min(pause, asks_at - now) if asks_at else pause)
        return False

    def _goes_on(self, work: Work, failed: Rollback, current: Route, version: str) -> bool:
        """Go on to the next version of the chain, if its time has come and one is left."""
        now = work.now()
        walked = _walked(work, failed)
        if now < _goes_on_at(failed, walked):
            return False
        revisions = {row.published for row in walked} | {walked[-1].from_revision}
        tried = {
            serving(work.routes.get(failed.model, failed.environment, revision))
            for revision in revisions
        }
        chain = chain_of(work, current, tried, now)
        if not chain:
            return False
        because = f"{version} does not answer: on to {chain[0].words}"
        publish_back(
            work, chain[0], current=current, because=because, actor=HEADWAY, new_id=self.new_id
        )
        return self._tell(work, replace(failed, finished_at=now), "rollback.went_on", because)

    def _finish(self, work: Work, rollback: Rollback, why: str) -> bool:
        done = replace(rollback, state=RollbackState.FINISHED, finished_at=work.now())
        return self._tell(work, done, "rollback.finished", why)

    def _tell(self, work: Work, rollback: Rollback, kind: str, why: str) -> bool:
        """Write how the rollback is now, and tell people if they must know."""
        work.rollbacks.save(rollback)
        event = _event(rollback, kind, why, work.now())
        last = work.deployments.list(
            model=rollback.model,
            environment=rollback.environment,
            states=(),
            before=None,
            limit=1,
        )
        told = rollback_notices(rollback, event, last[0] if last else None, pages=self.pages)
        work.outbox.add(event, *told)
        return True


def _answered(
    work: Work, rollback: Rollback, version: str | None, probes: Sequence[Message]
) -> str | None:
    """Say how the restored version has shown that it answers; None: it has not."""
    now = work.now()
    if version is None:
        return "every gateway has switched off"
    if any(Answer.read(one.answer).ok for one in probes if one.answered_at is not None):
        return f"{version} answers"
    # From the next full minute on: what it answered before proves nothing.
    since = rollback.created_at - rollback.created_at % MINUTE + MINUTE
    good = good_answers(work, rollback.model, rollback.environment, version, since=since, now=now)
    if now >= since and good >= GOOD_ANSWERS:
        return f"{version} has given {good} good answers"
    return None


def _walked(work: Work, rollback: Rollback) -> Sequence[Rollback]:
    """Return the rollbacks by which it came here, the newest first, the person's last."""
    walked = [rollback]
    for row in work.rollbacks.list(
        model=rollback.model,
        environment=rollback.environment,
        before=rollback.id,
        limit=_FURTHEST,
    ):
        if not walked[-1].automatic or row.published != walked[-1].from_revision:
            break
        walked.append(row)
    return walked


def _asked(
    work: Work, rollback: Rollback, version: str | None, times: int, now: int
) -> tuple[Message, ...]:
    """Return the message that asks the restored version; none is to answer: none."""
    if version is None:
        return ()
    message = probe(
        work,
        key=probe_key(rollback.id, times),
        owner=rollback.id,
        model=rollback.model,
        environment=rollback.environment,
        version=version,
        at=now,
    )
    return (message,)


def _asks_at(rollback: Rollback, probes: Sequence[Message]) -> int | None:
    """Return when to ask again, after an answer in vain; None: the answer is waited for.

    Every 5 s at first, then after a tenth of the time that it has failed, a minute at most.
    """
    answered_at = probes[-1].answered_at if probes else None
    if answered_at is None:
        return None
    failed_for = answered_at - rollback.created_at - ANSWER_WITHIN
    return answered_at + min(max(failed_for // _PART, PROBE_EVERY), MINUTE)


def _goes_on_at(failed: Rollback, walked: Sequence[Rollback]) -> int:
    return failed.created_at + ANSWER_WITHIN + retry_pause(len(walked))


def _pause(work: Work, rollback: Rollback, now: int) -> int:
    """Return when to look again, ms; an answer to a probe does not wait for it.

    A failed one is looked at ever less often: what may still come of it (a gateway that follows,
    good answers, another change of the route) hurries nobody, and it may last for days.
    """
    if rollback.state is RollbackState.COMMITTED:
        return SOON
    failed_for = now - rollback.created_at - ANSWER_WITHIN
    pause = min(max(failed_for, SOON), MINUTE)
    goes_on_in = _goes_on_at(rollback, _walked(work, rollback)) - now
    return min(pause, goes_on_in) if goes_on_in > 0 else pause


def _event(rollback: Rollback, kind: str, why: str, at: int) -> Event:
    return Event(
        kind=kind,
        subject=f"rollback:{rollback.id}",
        at=at,
        actor=HEADWAY.name,
        why=why,
        detail={"rollback": rollback.id, "published": rollback.published},
        model=rollback.model,
        environment=rollback.environment,
    )
