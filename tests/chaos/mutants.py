"""Ways to build Headway wrongly, each of which the harness must notice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from headway.deployments import reconciler
from headway.deployments.deployment import Deployment
from headway.deployments.look import Seen, judged
from headway.deployments.outcome import Look
from headway.judge.verdict import Finding
from headway.persistence.engine import Transaction
from headway.persistence.tables import deployments
from headway.persistence.work import SqlWork
from headway.routing.route import Route

TWO_TRANSACTIONS: Final = "state and route in two transactions"
NO_FENCE: Final = "no fence"
ANSWER_BEFORE_COMMIT: Final = "answer before commit"
FALSE_SUCCESS: Final = "false success"


def infect(work: SqlWork, transaction: Transaction, mutant: str) -> None:
    """Make a work behave as that mutant does; any other name leaves it as it is."""
    found: Any = work  # the methods of a mutant stand in for those of the real repositories
    if mutant == TWO_TRANSACTIONS:
        found.routes.add = _published_at_once(found.routes.add, transaction)
    if mutant == NO_FENCE:
        found.deployments.save = _whoever_holds_it(found.deployments.save, transaction)


def _published_at_once(
    add: Callable[[Route], Route], transaction: Transaction
) -> Callable[[Route], Route]:
    def add_and_commit(route: Route) -> Route:
        added = add(route)
        transaction.commit()
        return added

    return add_and_commit


def _whoever_holds_it(
    save: Callable[..., Deployment], transaction: Transaction
) -> Callable[..., Deployment]:
    """Let a save find its own claim in the row, whoever took it over."""

    def save_anyway(deployment: Deployment, *, wake_in: int) -> Deployment:
        mine = {
            "fence": deployment.fence,
            "lease_owner": deployment.lease_owner,
            "revision": deployment.revision,
        }
        row = deployments.c.id == deployment.id
        transaction.run(sa.update(deployments).where(row).values(mine))
        return save(deployment, wake_in=wake_in)

    return save_anyway


class Lateness:
    """Commits a transaction when the next one begins: after its caller was answered."""

    def __init__(self) -> None:
        self._open: ExitStack | None = None
        self._commit: Callable[[], None] | None = None

    @contextmanager
    def begin(self, open_work: Callable[[], AbstractContextManager[SqlWork]]) -> Iterator[SqlWork]:
        self.settle()
        with ExitStack() as stack:
            work: Any = stack.enter_context(open_work())
            wanted: list[Callable[[], None]] = []
            commit = work.commit
            work.commit = lambda: wanted.append(commit)
            yield work
            if wanted:
                self._commit = wanted[0]
                self._open = stack.pop_all()

    def settle(self) -> None:
        """Commit what somebody was told is committed."""
        if self._open is not None and self._commit is not None:
            open_work, self._open = self._open, None
            with open_work:
                self._commit()


def prove_everything() -> None:
    """Let the judge find every candidate not worse, whatever it has seen."""

    def found_not_worse(seen: Seen) -> Look:
        look = judged(seen)
        situation = look.situation
        if situation.verdict is None:
            return look
        verdict = replace(situation.verdict, finding=Finding.NOT_WORSE)
        return replace(look, situation=replace(situation, verdict=verdict))

    vars(reconciler)["judged"] = found_not_worse
