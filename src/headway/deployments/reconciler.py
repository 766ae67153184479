"""Carrying deployments forward: claim, look, decide, commit.

Any number of reconcilers may run anywhere. The lease keeps them out of each other's way; the
fence and the revision keep the data right when a lease was not enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from headway.deployments.checks import CheckKind
from headway.deployments.decision import (
    SOON,
    Decision,
    Wait,
    decide,
)
from headway.deployments.deployment import Deployment, State
from headway.deployments.look import judged, see
from headway.deployments.outcome import Look, outcome_of
from headway.deployments.ports import Begin, Work
from headway.deployments.restoring import Restorer
from headway.deployments.rollback import Rollback
from headway.deployments.writing import Writer
from headway.kernel.clock import MINUTE, SECOND
from headway.kernel.errors import Conflict
from headway.kernel.ids import NewId, new_id

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
    pages: tuple[str, ...] = ()
    """Webhooks that are told of every failed rollback, beside those that plans name."""
    tell: Callable[[str], None] = lambda _: None
    """Takes what the log should say."""

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
                moved += self._restorer.see_through(rollback)
            except Exception as error:  # noqa: BLE001 - raised below
                wrong.append(error)
        if wrong:
            raise wrong[0]
        return moved

    @property
    def _restorer(self) -> Restorer:
        return Restorer(self.begin, self.new_id, self.pages)

    def _claim(self) -> tuple[Sequence[Deployment], Sequence[Rollback], bool]:
        with self.begin() as work:
            steady = self.pace.steady(work.now())
            claimed = work.deployments.claim(owner=self.owner, lease=LEASE)
            rollbacks = work.rollbacks.due()
            work.commit()
        if not steady:
            self.tell("the clock jumped: nothing advances at this look")
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
            Writer(self.checks, self.new_id, self.pages).write(work, outcome, save)
            work.commit()
        return outcome.kind is not None

    def _release(self, deployment: Deployment, wake_in: int) -> None:
        with self.begin() as work:
            work.deployments.release(deployment, wake_in=wake_in)
            work.commit()
