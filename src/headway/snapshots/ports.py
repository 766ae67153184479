"""What snapshots need from the outside; `persistence` and `testing` provide it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from headway.outbox.event import Event
from headway.routing.ports import Routes
from headway.snapshots.snapshot import Snapshot


class Snapshots(Protocol):
    def add(self, snapshot: Snapshot) -> None: ...

    def get(self, snapshot_id: str) -> Snapshot:
        """Return it, or raise `NotFound`."""

    def of(
        self, model: str, environment: str, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        """Return snapshots of a route with ids below `before`, newest first."""

    def warm_versions(self, *, now: int) -> Sequence[tuple[str, str]]:
        """Return (model, version) that runners keep in memory.

        Those of every current route, and the one that it falls back to; and of each route revision
        that a snapshot keeps, for as long after that as the plan of the deployment says that took
        it (24 hours if none did).
        """


class Outbox(Protocol):
    def add(self, event: Event) -> None:
        """Write down what happened, to what, by whom."""


class Work(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def snapshots(self) -> Snapshots: ...
    @property
    def routes(self) -> Routes: ...
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]
