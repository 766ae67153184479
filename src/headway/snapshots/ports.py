"""What snapshots need from the outside; `persistence` and `testing` provide it."""

from collections.abc import Sequence
from typing import Protocol

from headway.snapshots.snapshot import Snapshot


class Snapshots(Protocol):
    def add(self, snapshot: Snapshot) -> None: ...

    def get(self, snapshot_id: str) -> Snapshot:
        """Return it, or raise `NotFound`."""

    def of(
        self, model: str, environment: str, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        """Return snapshots of a route with ids below `before`, newest first."""

    def pinned_versions(self, *, since: int) -> Sequence[tuple[str, str]]:
        """Return (model, version) whose artifacts must not be deleted.

        Those of every route revision that a snapshot since then keeps, and of every current route.
        """
