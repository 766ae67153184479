"""What people ask of snapshots: list them, see one, take one now."""

from collections.abc import Sequence
from dataclasses import dataclass

from headway.kernel.clock import Clock
from headway.kernel.ids import NewId
from headway.kernel.names import check_text
from headway.outbox.actor import Actor
from headway.outbox.event import Event
from headway.routing.route import Route
from headway.snapshots.ports import Begin, Work
from headway.snapshots.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class SnapshotService:
    begin: Begin
    clock: Clock
    new_id: NewId

    def listing(
        self, model: str, environment: str, *, before: str | None = None, limit: int = 100
    ) -> Sequence[Snapshot]:
        """Return snapshots of a route with ids below `before`, newest first.

        Raises `NotFound` if there is no such route.
        """
        with self.begin() as work:
            work.routes.current(model, environment)
            return work.snapshots.of(model, environment, before=before, limit=limit)

    def get(self, snapshot_id: str) -> Snapshot:
        """Return one, or raise `NotFound`."""
        with self.begin() as work:
            return work.snapshots.get(snapshot_id)

    def take(self, model: str, environment: str, *, actor: Actor, reason: str = "") -> Snapshot:
        """Keep the present revision by name. Raises `NotFound` if there is no such route."""
        words = check_text(reason, pointer="/reason") or "taken by hand"
        with self.begin() as work:
            route = work.routes.current(model, environment)
            now = self.clock()
            snapshot = Snapshot.of(
                route, snapshot_id=self.new_id("snap"), reason=words, at=now, by=actor.name
            )
            work.snapshots.add(snapshot)
            work.outbox.add(
                Event(
                    kind="snapshot.taken",
                    subject=f"route:{route.name}",
                    at=now,
                    actor=actor.name,
                    actor_kind=actor.kind,
                    why=words,
                    detail={
                        "snapshot": snapshot.id,
                        "revision": snapshot.revision,
                        "digest": snapshot.digest,
                    },
                    model=route.model,
                    environment=route.environment,
                )
            )
            work.commit()
        return snapshot

    def keep(self, work: Work, route: Route, why: str, now: int, by: str) -> Snapshot:
        """Keep a route that is about to be changed, in the transaction that changes it."""
        snapshot = Snapshot.before(route, snapshot_id=self.new_id("snap"), why=why, at=now, by=by)
        work.snapshots.add(snapshot)
        return snapshot
