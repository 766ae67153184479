"""A snapshot: a route revision kept by name, so that it can be gone back to."""

from dataclasses import dataclass
from typing import Final, Self

from headway.routing.route import Route

PREVIOUS: Final = "previous"
"""What `rollback to` may say for: the snapshot that the last change left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    id: str
    """`snap_…`"""
    model: str
    environment: str
    revision: int
    """The route's revision; its text and digest stand in that row."""
    digest: str
    """Of the route's text: a rollback publishes a revision with this very digest."""
    reason: str
    created_at: int
    created_by: str
    deployment: str | None = None
    """The deployment before whose change it was taken."""

    @classmethod
    def of(
        cls,
        route: Route,
        *,
        snapshot_id: str,
        reason: str,
        at: int,
        by: str,
        deployment: str | None = None,
    ) -> Self:
        """Return the present revision of a route, kept by name."""
        return cls(
            id=snapshot_id,
            model=route.model,
            environment=route.environment,
            revision=route.revision,
            digest=route.digest,
            reason=reason,
            created_at=at,
            created_by=by,
            deployment=deployment,
        )

    @classmethod
    def before(
        cls,
        route: Route,
        *,
        snapshot_id: str,
        why: str,
        at: int,
        by: str,
        deployment: str | None = None,
    ) -> Self:
        """Return the route as it is before a change that is about to be made, and why it is."""
        return cls.of(
            route,
            snapshot_id=snapshot_id,
            reason=f"before: {why}",
            at=at,
            by=by,
            deployment=deployment,
        )
