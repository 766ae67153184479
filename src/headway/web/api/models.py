"""Models over HTTP."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from flask import Blueprint, g, url_for
from pydantic import Field

from headway.auth.role import Permission
from headway.kernel.canonical import Json
from headway.kernel.errors import Forbidden
from headway.registry.model import Model
from headway.registry.ports import ModelQuery
from headway.registry.release import tag_filter
from headway.routing.route import Route
from headway.web.operation import (
    JSON,
    MERGE_PATCH,
    Reply,
    allowed,
    caller,
    if_match,
    operation,
    see,
    services,
)
from headway.web.schemas import (
    Body,
    FreeText,
    Link,
    Links,
    ModelName,
    Page,
    PageQuery,
    Shown,
    Time,
)
from headway.web.schemas import rfc3339 as time_of

bp: Final = Blueprint("models", __name__, url_prefix="/api/v1/models")

Tags = dict[str, str]


class NewModel(Body):
    name: ModelName
    description: FreeText = ""
    tags: Tags = Field(default_factory=dict)
    alternative_ids: list[str] = Field(default_factory=list)


class ModelChanges(Body):
    """A JSON Merge Patch: null removes, what is not named stays."""

    description: str | None = None
    tags: dict[str, str | None] | None = None
    alternative_ids: list[str] | None = None
    archived: bool = False


class ModelsQuery(PageQuery):
    q: Annotated[str, Field(max_length=256)] = ""
    """Words, each of which is part of the name, the description or an alternative id."""
    tag: Annotated[str | None, Field(max_length=1200)] = None
    """A tag, as `team` or `team:search`."""
    archived: Literal["true", "false", "any"] = "false"
    order: Literal["name", "-name", "created", "-created"] = "name"


class LiveArm(Shown):
    version: str
    share_bp: int
    """Of 10,000."""


class ModelShown(Shown):
    name: str
    description: str
    tags: Tags
    alternative_ids: list[str]
    archived: bool
    latest: str | None
    """The highest active release; a pre-release if there is nothing else."""
    aliases: dict[str, str]
    live: dict[str, list[LiveArm]]
    """What answers in each environment."""
    created_at: Time
    created_by: str
    updated_at: Time
    revision: int
    links: Links


@bp.get("")
@operation(
    Permission.MODELS_READ, "List and search models", query=ModelsQuery, gives=Page[ModelShown]
)
def listing(query: ModelsQuery) -> Page[ModelShown]:
    archived = {"true": True, "false": False, "any": None}[query.archived]
    page = services().registry.models(
        ModelQuery(
            archived=archived,
            tag=tag_filter(query.tag, pointer="?tag") if query.tag is not None else None,
            q=query.q,
            order=query.order,
            limit=query.limit,
            after=query.after,
        )
    )
    return Page[ModelShown](
        items=[shown(model) for model in page.items if see(model=model.name)], next=page.next
    )


@bp.post("")
@operation(
    Permission.MODELS_WRITE,
    "Register a model",
    takes=NewModel,
    gives=ModelShown,
    status=201,
    repeatable=True,
)
def register(asked: NewModel) -> Reply:
    if not see(model=asked.name):
        raise Forbidden(f"your key does not reach a model {asked.name!r}: it could not see it")
    made = services().registry.register_model(
        asked.name,
        actor=caller().actor,
        description=asked.description,
        tags=asked.tags,
        alternative_ids=asked.alternative_ids,
    )
    where = url_for("models.show", model=made.name)
    return Reply(body=shown(made), revision=made.revision, location=where)


@bp.get("/<name:model>")
@operation(Permission.MODELS_READ, "Show a model", gives=ModelShown)
def show(model: str) -> Reply:
    found = services().registry.model(model)
    return Reply(body=shown(found), revision=found.revision)


@bp.patch("/<name:model>")
@operation(
    Permission.MODELS_WRITE,
    "Change description, tags, alternative ids, or archive",
    takes=ModelChanges,
    read_by_service=True,
    media=(MERGE_PATCH, JSON),
    gives=ModelShown,
    match="optional",
)
def change(model: str, asked: Mapping[str, Json]) -> Reply:
    found = services().registry.patch_model(
        model, asked, actor=caller().actor, if_match=if_match()
    )
    return Reply(body=shown(found), revision=found.revision)


@bp.delete("/<name:model>")
@operation(
    Permission.MODELS_WRITE,
    "Archive a model; refused while a route serves it",
    gives=ModelShown,
    match="optional",
)
def archive(model: str) -> Reply:
    found = services().registry.archive_model(model, actor=caller().actor, if_match=if_match())
    return Reply(body=shown(found), revision=found.revision)


def shown(model: Model) -> ModelShown:
    registry = services().registry
    latest = registry.latest(model.name)
    return ModelShown(
        name=model.name,
        description=model.description,
        tags=dict(model.tags),
        alternative_ids=list(model.alternative_ids),
        archived=model.archived,
        latest=None if latest is None else str(latest.number),
        aliases={a.name: str(a.version) for a in registry.aliases(model.name)},
        live=_live(model.name),
        created_at=time_of(model.created_at),
        created_by=model.created_by,
        updated_at=time_of(model.updated_at),
        revision=model.revision,
        links=_links(model),
    )


def _live(model: str) -> dict[str, list[LiveArm]]:
    """Return who answers where, of the environments that the caller may see."""
    if "routes" not in g:
        # Asked once, also for a page of a thousand models.
        g.routes = services().routing.routes()
    routes: list[Route] = [route for route in g.routes if route.model == model]
    return {
        route.environment: [
            LiveArm(version=arm.version, share_bp=share)
            for arm in route.rules[-1].arms
            if (share := route.rules[-1].share_bp(arm.key))
        ]
        for route in routes
        if route.enabled and see(environment=route.environment)
    }


def _links(model: Model) -> Links:
    here = url_for("models.show", model=model.name)
    found: Links = {"versions": Link(method="GET", href=f"{here}/versions")}
    if allowed(Permission.MODELS_WRITE, model=model.name):
        found["change"] = Link(method="PATCH", href=here)
        if not model.archived:
            found["register"] = Link(method="POST", href=f"{here}/versions")
            found["archive"] = Link(method="DELETE", href=here)
    return found
