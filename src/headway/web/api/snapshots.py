"""Snapshots over HTTP: routes as they were."""

from typing import Final

from flask import Blueprint, url_for

from headway.auth.role import Permission
from headway.deployments.plan import PRODUCTION
from headway.kernel.errors import NotFound
from headway.snapshots.snapshot import Snapshot
from headway.web.operation import Reply, allowed, caller, operation, see, services
from headway.web.schemas import (
    Body,
    FreeText,
    Link,
    Links,
    Name,
    Page,
    PageQuery,
    Shown,
    Time,
    cut,
    rfc3339,
)

bp: Final = Blueprint("snapshots", __name__, url_prefix="/api/v1/snapshots")


class SnapshotsQuery(PageQuery):
    model: Name
    environment: Name = PRODUCTION


class NewSnapshot(Body):
    model: Name
    environment: Name = PRODUCTION
    reason: FreeText = ""


class SnapshotShown(Shown):
    id: str
    model: str
    environment: str
    revision: int
    """The route's revision."""
    digest: str
    """Of the route's text: going back publishes that very text."""
    reason: str
    created_at: Time
    created_by: str
    deployment: str | None
    """Before whose change it was taken."""
    links: Links


@bp.get("")
@operation(
    Permission.ROUTES_READ,
    "List snapshots of a route, the newest first",
    query=SnapshotsQuery,
    gives=Page[SnapshotShown],
    refuses=(404,),
)
def listing(query: SnapshotsQuery) -> Page[SnapshotShown]:
    model = services().registry.model(query.model).name
    rows = services().snapshots.listing(
        model, query.environment, before=query.after, limit=query.limit + 1
    )
    page, after = cut(rows, query.limit, lambda row: row.id)
    return Page[SnapshotShown](items=[_shown(row) for row in page], next=after)


@bp.post("")
@operation(
    Permission.SNAPSHOTS_WRITE,
    "Keep the present route by name",
    takes=NewSnapshot,
    gives=SnapshotShown,
    status=201,
    refuses=(404,),
    repeatable=True,
)
def take(asked: NewSnapshot) -> Reply:
    taken = services().snapshots.take(
        asked.model, asked.environment, actor=caller().actor, reason=asked.reason
    )
    return Reply(body=_shown(taken), location=url_for("snapshots.show", snapshot_id=taken.id))


@bp.get("/<snapshot:snapshot_id>")
@operation(Permission.ROUTES_READ, "Show a snapshot", gives=SnapshotShown)
def show(snapshot_id: str) -> SnapshotShown:
    found = services().snapshots.get(snapshot_id)
    if not see(model=found.model, environment=found.environment):
        raise NotFound(f"no snapshot has the id {snapshot_id!r}")
    return _shown(found)


def _shown(snapshot: Snapshot) -> SnapshotShown:
    links: Links = {
        "route": Link(
            method="GET",
            href=(
                f"/api/v1/routes/{snapshot.model}/{snapshot.environment}"
                f"/revisions/{snapshot.revision}"
            ),
        )
    }
    if allowed(Permission.ROLLBACKS_WRITE, model=snapshot.model, environment=snapshot.environment):
        links["rollback"] = Link(method="POST", href="/api/v1/rollbacks")
    return SnapshotShown(
        id=snapshot.id,
        model=snapshot.model,
        environment=snapshot.environment,
        revision=snapshot.revision,
        digest=snapshot.digest,
        reason=snapshot.reason,
        created_at=rfc3339(snapshot.created_at),
        created_by=snapshot.created_by,
        deployment=snapshot.deployment,
        links=links,
    )
