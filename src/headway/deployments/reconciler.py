"""Carrying deployments forward: claim, look, decide, commit.

Any number of reconcilers may run anywhere. The lease keeps them out of each other's way; the
fence and the revision keep the data right when a lease was not enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from headway.deployments.change import serving
from headway.deployments.checks import Answer, CheckKind
from headway.deployments.decision import (
    ANSWER_WITHIN,
    GOOD_ANSWERS,
    PROBE_EVERY,
    SOON,
    Decision,
    Wait,
    decide,
)
from headway.deployments.deployment import Deployment, State
from headway.deployments.look import LIVING, good_answers, judged, see
from headway.deployments.outcome import Look, Writer, outcome_of, probe, probe_key
from headway.deployments.ports import Begin, Work
from headway.deployments.rollback import Rollback, RollbackState
from headway.kernel.clock import MINUTE, SECOND
from headway.kernel.errors import Conflict
from headway.kernel.ids import NewId, new_id
from headway.outbox.event import Event
from headway.outbox.message import Message

LEASE: Final = 30 * SECOND
_JUMP: Final = MINUTE
_JUDGED: Final = frozenset({State.RUNNING, State.PAUSED})


class Pace:
    """Notices that the wall clock jumped: it went otherwise than the monotonic one since last."""

    def __init__(self, elapsed: Callable[[], float] = monotonic) -> None:
        """`elapsed` gives seconds that never jump."""
        self._elapsed = elapsed
        self._last: tuple[int, float] | None = None

    def steady(self, wall: int) -> bool:
        """Say whether both clocks agree to a minute since the last call; `wall` in ms."""
        elapsed = self._elapsed()
        last, self._last = self._last, (wall, elapsed)
        if last is None:
            return True
        return abs((wall - last[0]) - (elapsed - last[1]) * SECOND) <= _JUMP


@dataclass(frozen=True, slots=True)
class Reconciler:
    owner: str
    begin: Begin
    checks: Mapping[str, CheckKind]
    new_id: NewId = new_id
    pace: Pace = field(default_factory=Pace)
    read: Begin | None = None
    """Opens what only reads; a store may know a cheaper way for that."""

    def tick(self) -> int:
        """Take one decision for each deployment that nobody holds; return how many moved.

        What goes wrong with one of them keeps no other from moving, and is raised at the end; its
        lease runs out meanwhile, and so it is tried again later.
        """
        claimed, rollbacks, steady = self._claim()
        moved = 0
        wrong: list[Exception] = []
        for deployment in claimed:
            try:
                moved += self._advance(deployment, steady=steady)
            except Exception as error:  # noqa: BLE001 - raised below
                wrong.append(error)
        for rollback in rollbacks:
            try:
                moved += self._finish(rollback)
            except Exception as error:  # noqa: BLE001 - raised below
                wrong.append(error)
        if wrong:
            raise wrong[0]
        return moved

    def _claim(self) -> tuple[Sequence[Deployment], Sequence[Rollback], bool]:
        with self.begin() as work:
            steady = self.pace.steady(work.now())
            claimed = work.deployments.claim(owner=self.owner, lease=LEASE)
            rollbacks = [one for one in work.rollbacks.unfinished() if one.deployment is None]
            work.commit()
        return claimed, rollbacks, steady

    def _advance(self, deployment: Deployment, *, steady: bool) -> bool:
        try:
            with (self.read or self.begin)() as work:
                seen = see(work, deployment, self.checks, steady=steady)
            # On its way back nothing is asked of the judge any more.
            look = judged(seen) if deployment.state in _JUDGED else seen.look
            return self._carry_out(look, decide(look.situation))
        except Conflict:  # somebody else took over, or changed the route: stop, and look again
            self._release(deployment, SOON)
            return False

    def _carry_out(self, look: Look, decision: Decision) -> bool:
        outcome = outcome_of(look, decision)
        before = look.deployment
        wake_in = decision.act.wake_in if isinstance(decision.act, Wait) else 0
        unchanged = (
            outcome.kind is None
            and not decision.settles
            and outcome.progress.document() == (before.progress or None)
        )
        if unchanged:
            self._release(before, wake_in)
            return False

        def save(work: Work, deployment: Deployment) -> None:
            work.deployments.save(deployment, wake_in=wake_in)

        with self.begin() as work:
            Writer(self.checks, self.new_id).write(work, outcome, save)
            work.commit()
        return outcome.kind is not None

    def _release(self, deployment: Deployment, wake_in: int) -> None:
        with self.begin() as work:
            work.deployments.release(deployment, wake_in=wake_in)
            work.commit()

    # Rollbacks that no deployment waits for

    def _finish(self, rollback: Rollback) -> bool:
        """See whether a rollback that a person made has arrived."""
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
            return self._end(work, rollback, now, "the route was changed again since then")
        version = serving(current)
        behind = [
            row
            for row in work.gateways.living(within=LIVING)
            if row.applied_generation < rollback.generation
        ]
        probes = [one for one in work.outbox.messages_of(rollback.id) if one.kind == "probe"]
        if not behind and version is None:
            return self._end(work, rollback, now, "every gateway has switched off")
        if not behind and version is not None:
            if any(Answer.read(one.answer).ok for one in probes if one.answered_at is not None):
                return self._end(work, rollback, now, f"{version} answers")
            # From the next full minute on: what it answered before proves nothing.
            since = rollback.created_at - rollback.created_at % MINUTE + MINUTE
            good = good_answers(
                work, rollback.model, rollback.environment, version, since=since, now=now
            )
            if now >= since and good >= GOOD_ANSWERS:
                return self._end(work, rollback, now, f"{version} has given {good} good answers")
        late = now >= rollback.created_at + ANSWER_WITHIN
        if late and rollback.state is RollbackState.COMMITTED:
            missing = f"{len(behind)} gateways have not taken it over" if behind else ""
            why = missing or f"{version} does not answer"
            work.rollbacks.save(replace(rollback, state=RollbackState.FAILED))
            work.outbox.add(_rollback_event(rollback, "rollback.failed", why, now))
            return True
        if version is not None and probes and _again(probes, now, late=late):
            message = probe(
                work,
                key=probe_key(rollback.id, len(probes) + 1),
                owner=rollback.id,
                model=rollback.model,
                environment=rollback.environment,
                version=version,
                at=now,
            )
            event = _rollback_event(rollback, "rollback.probe", f"{version} is asked again", now)
            work.outbox.add(event, message)
        return False

    def _end(self, work: Work, rollback: Rollback, now: int, why: str) -> bool:
        work.rollbacks.save(replace(rollback, state=RollbackState.FINISHED, finished_at=now))
        work.outbox.add(_rollback_event(rollback, "rollback.finished", why, now))
        return True


def _again(probes: Sequence[Message], now: int, *, late: bool) -> bool:
    """Say whether the last probe came back in vain, long enough ago."""
    last = probes[-1]
    return last.answered_at is not None and now >= last.answered_at + (
        MINUTE if late else PROBE_EVERY
    )


def _rollback_event(rollback: Rollback, kind: str, why: str, at: int) -> Event:
    return Event(
        kind=kind,
        subject=f"rollback:{rollback.id}",
        at=at,
        actor="headway",
        why=why,
        detail={"rollback": rollback.id, "published": rollback.published},
        model=rollback.model,
        environment=rollback.environment,
    )
