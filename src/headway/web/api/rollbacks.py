"""Rollbacks over HTTP: go back, and see who went back."""

from typing import Annotated, Final, Literal

from flask import Blueprint, url_for
from pydantic import Field

from headway.auth.role import Permission
from headway.deployments.plan import PRODUCTION
from headway.deployments.rollback import Rollback
from headway.kernel.errors import NotFound
from headway.web.operation import Reply, caller, operation, see, services
from headway.web.schemas import (
    Body,
    FreeText,
    Link,
    Links,
    Name,
    Page,
    PageQuery,
    Ref,
    Shown,
    Time,
    cut,
    maybe_rfc3339,
    rfc3339,
)

bp: Final = Blueprint("rollbacks", __name__, url_prefix="/api/v1/rollbacks")


class RollbacksQuery(PageQuery):
    model: Name | None = None
    environment: Name | None = None


class NewRollback(Body):
    model: Name
    environment: Name = PRODUCTION
    to: Ref = "previous"
    """`previous`, a version, an alias, the id of a snapshot, or a time."""
    why: Annotated[FreeText, Field(min_length=1)]


class RollbackShown(Shown):
    id: str
    model: str
    environment: str
    state: Literal["committed", "finished", "failed"]
    """committed: published; finished: every gateway follows it, and the version answers."""
    from_revision: int
    to_revision: int
    """Whose text was published again."""
    published: int
    """The revision that it made."""
    automatic: bool
    actor: str
    why: str
    deployment: str | None
    created_at: Time
    finished_at: Time | None
    links: Links


@bp.get("")
@operation(
    Permission.DEPLOYMENTS_READ,
    "List rollbacks, automatic ones too, the newest first",
    query=RollbacksQuery,
    gives=Page[RollbackShown],
    refuses=(404,),
)
def listing(query: RollbacksQuery) -> Page[RollbackShown]:
    rows = services().rollbacks.list(
        model=query.model,
        environment=query.environment,
        before=query.after,
        limit=query.limit + 1,
    )
    page, after = cut(rows, query.limit, lambda row: row.id)
    return Page[RollbackShown](
        items=[_shown(row) for row in page if see(model=row.model, environment=row.environment)],
        next=after,
    )


@bp.post("")
@operation(
    Permission.ROLLBACKS_WRITE,
    "Go back; an active deployment goes back in the same transaction",
    takes=NewRollback,
    gives=RollbackShown,
    status=201,
    refuses=(404,),
    repeatable=True,
)
def start(asked: NewRollback) -> Reply:
    done = services().rollbacks.roll_back(
        model=asked.model,
        environment=asked.environment,
        to=asked.to,
        why=asked.why,
        actor=caller().actor,
    )
    return Reply(body=_shown(done), location=url_for("rollbacks.show", rollback_id=done.id))


@bp.get("/<rollback:rollback_id>")
@operation(Permission.DEPLOYMENTS_READ, "Show a rollback", gives=RollbackShown)
def show(rollback_id: str) -> RollbackShown:
    found = services().rollbacks.get(rollback_id)
    if not see(model=found.model, environment=found.environment):
        raise NotFound(f"no rollback has the id {rollback_id!r}")
    return _shown(found)


def _shown(rollback: Rollback) -> RollbackShown:
    links: Links = {
        "route": Link(method="GET", href=f"/api/v1/routes/{rollback.model}/{rollback.environment}")
    }
    if rollback.deployment is not None:
        where = url_for("deployments.show", deployment_id=rollback.deployment)
        links["deployment"] = Link(method="GET", href=where)
    return RollbackShown(
        id=rollback.id,
        model=rollback.model,
        environment=rollback.environment,
        state=rollback.state.value,
        from_revision=rollback.from_revision,
        to_revision=rollback.to_revision,
        published=rollback.published,
        automatic=rollback.automatic,
        actor=rollback.actor,
        why=rollback.why,
        deployment=rollback.deployment,
        created_at=rfc3339(rollback.created_at),
        finished_at=maybe_rfc3339(rollback.finished_at),
        links=links,
    )
