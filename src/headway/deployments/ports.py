"""What deployments need from the outside; `persistence` and `testing` provide it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from headway.deployments.deployment import Deployment
from headway.deployments.intent import Intent
from headway.deployments.rollback import Rollback
from headway.outbox.ports import Outbox
from headway.registry.ports import Aliases, Models, Versions
from headway.routing.ports import Routes
from headway.snapshots.ports import Snapshots
from headway.tracking.measurement import Veto
from headway.tracking.ports import Evidence, Gateways, Measurements, Scores


class Deployments(Protocol):
    def add(self, deployment: Deployment) -> None:
        """Store a new one.

        `Conflict` (naming it in `stands_in_the_way`) if the route has an active one already:
        running, paused, rolling_back or rollback_failed.
        """

    def get(self, deployment_id: str) -> Deployment:
        """Return it, or raise `NotFound`."""

    def active(self, model: str, environment: str) -> Deployment | None: ...

    def list(
        self,
        *,
        model: str | None,
        environment: str | None,
        states: Sequence[str],
        before: str | None,
        limit: int,
    ) -> Sequence[Deployment]:
        """Return deployments with ids below `before`, newest first; no states: all of them."""

    def claim(self, *, owner: str, lease: int) -> Sequence[Deployment]:
        """Lease every unfinished one that is due and that nobody holds; `fence` + 1.

        All on the store's clock, milliseconds. A lease further ahead than twice `lease` counts
        as expired.
        """

    def save(self, deployment: Deployment, *, wake_in: int) -> Deployment:
        """Write what was claimed, give the lease back, be due again in `wake_in` ms.

        `Conflict` if revision, fence and owner are not the stored ones: somebody took over.
        Also `Conflict` if it would become the second active one of its route.
        """

    def release(self, deployment: Deployment, *, wake_in: int) -> None:
        """Give the lease back if it is still one's own; nothing else changes."""

    def update(self, deployment: Deployment) -> Deployment:
        """Write without a claim; due at once. `Conflict` if the revision is not the stored one."""


class Intents(Protocol):
    def add(self, intent: Intent) -> None:
        """Store it and make its deployment due at once."""

    def waiting(self, deployment_id: str) -> Sequence[Intent]:
        """Return those not yet settled, oldest first."""

    def settle(self, intents: Sequence[Intent]) -> None: ...


class Rollbacks(Protocol):
    def add(self, rollback: Rollback) -> None: ...

    def get(self, rollback_id: str) -> Rollback:
        """Return it, or raise `NotFound`."""

    def save(self, rollback: Rollback, *, wake_in: int = 0) -> Rollback:
        """`Conflict` if the revision is not the stored one, or an answer came meanwhile.

        `wake_in`: in how many ms it is due again; an answer to one of its messages makes it due
        at once.
        """

    def due(self) -> Sequence[Rollback]:
        """Return those that no deployment sees to, are not over, and are to be looked at now."""

    def list(
        self, *, model: str | None, environment: str | None, before: str | None, limit: int
    ) -> Sequence[Rollback]:
        """Return rollbacks with ids below `before`, newest first."""


class Vetoes(Protocol):
    def of(self, deployment: str) -> Sequence[Veto]:
        """Return the vetoes of a deployment, oldest first. Flushes add them."""


class Work(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def deployments(self) -> Deployments: ...
    @property
    def intents(self) -> Intents: ...
    @property
    def rollbacks(self) -> Rollbacks: ...
    @property
    def vetoes(self) -> Vetoes: ...
    @property
    def routes(self) -> Routes: ...
    @property
    def snapshots(self) -> Snapshots: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def evidence(self) -> Evidence: ...
    @property
    def gateways(self) -> Gateways: ...
    @property
    def measurements(self) -> Measurements: ...
    @property
    def scores(self) -> Scores: ...
    @property
    def models(self) -> Models: ...
    @property
    def versions(self) -> Versions: ...
    @property
    def aliases(self) -> Aliases: ...

    def now(self) -> int:
        """Return the time on the store's clock, milliseconds UTC."""

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]
