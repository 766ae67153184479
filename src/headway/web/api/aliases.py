"""Aliases over HTTP: movable names for versions, with their history."""

from typing import Final

from flask import Blueprint, request, url_for

from headway.auth.role import Permission
from headway.kernel.errors import NotFound, PreconditionFailed
from headway.kernel.quantity import parse_time
from headway.registry.model import Alias
from headway.web.operation import Reply, allowed, caller, if_match, operation, services
from headway.web.schemas import (
    Body,
    FreeText,
    Link,
    Links,
    Page,
    Query,
    Ref,
    Shown,
    Time,
    When,
    rfc3339,
)

bp: Final = Blueprint("aliases", __name__, url_prefix="/api/v1/models/<name:model>/aliases")


class AliasTarget(Body):
    version: Ref
    """A number, another alias, `latest`, or a range: kept is the exact version."""
    why: FreeText = ""


class AliasQuery(Query):
    at: When | None = None
    """What it pointed to at that time."""


class AliasChangeShown(Shown):
    version: str | None
    at: Time
    by: str
    why: str
    revision: int


class AliasShown(Shown):
    model: str
    alias: str
    version: str
    changed_at: Time
    changed_by: str
    why: str
    revision: int
    history: list[AliasChangeShown]
    """Every change, the newest first."""
    links: Links


@bp.get("")
@operation(Permission.MODELS_READ, "List aliases", gives=Page[AliasShown])
def listing(model: str) -> Page[AliasShown]:
    found = services().registry.aliases(model)
    return Page[AliasShown](items=[_shown(alias) for alias in found], next=None)


@bp.get("/<name:alias>")
@operation(
    Permission.MODELS_READ,
    "Show what an alias points to, or pointed to",
    query=AliasQuery,
    gives=AliasShown,
)
def show(model: str, alias: str, query: AliasQuery) -> Reply:
    registry = services().registry
    if query.at is None:
        found = registry.alias(model, alias)
        return Reply(body=_shown(found), revision=found.revision)
    past = registry.alias_at(model, alias, parse_time(query.at, pointer="?at"))
    return Reply(
        body=_shown(
            Alias(
                model=past.model,
                name=past.name,
                version=past.version,
                changed_at=past.at,
                changed_by=past.by,
                why=past.why,
                revision=past.revision,
            )
        )
    )


@bp.put("/<name:alias>")
@operation(
    Permission.MODELS_WRITE,
    "Point an alias to a version",
    takes=AliasTarget,
    gives=AliasShown,
    also={201: "A new alias"},
    match="optional",
    refuses=(428,),
)
def put(model: str, alias: str, asked: AliasTarget) -> Reply:
    present = _present(model, alias)
    if present is not None and request.headers.get("If-None-Match", "").strip() == "*":
        raise PreconditionFailed(f"there is an alias {present.name!r} already")
    stored = services().registry.put_alias(
        model,
        alias,
        asked.version,
        actor=caller().actor,
        if_match=_revision(present),
        why=asked.why,
    )
    where = url_for("aliases.show", model=stored.model, alias=stored.name)
    return Reply(
        body=_shown(stored),
        status=201 if present is None else 200,
        revision=stored.revision,
        location=where if present is None else None,
    )


@bp.delete("/<name:alias>")
@operation(Permission.MODELS_WRITE, "Remove an alias", status=204, match="required")
def remove(model: str, alias: str) -> Reply:
    present = services().registry.alias(model, alias)
    services().registry.remove_alias(
        model, alias, actor=caller().actor, if_match=_revision(present)
    )
    return Reply()


def _present(model: str, alias: str) -> Alias | None:
    try:
        return services().registry.alias(model, alias)
    except NotFound:
        return None


def _revision(present: Alias | None) -> int | None:
    """Return the revision that the caller names; `*` is whatever there is now."""
    if present is not None and request.headers.get("If-Match", "").strip() == "*":
        return present.revision
    return if_match()


def _shown(alias: Alias) -> AliasShown:
    history = services().registry.alias_history(alias.model, alias.name)
    return AliasShown(
        model=alias.model,
        alias=alias.name,
        version=str(alias.version),
        changed_at=rfc3339(alias.changed_at),
        changed_by=alias.changed_by,
        why=alias.why,
        revision=alias.revision,
        history=[
            AliasChangeShown(
                version=None if change.version is None else str(change.version),
                at=rfc3339(change.at),
                by=change.by,
                why=change.why,
                revision=change.revision,
            )
            for change in history
        ],
        links=_links(alias),
    )


def _links(alias: Alias) -> Links:
    here = url_for("aliases.show", model=alias.model, alias=alias.name)
    found: Links = {
        "version": Link(
            method="GET",
            href=url_for("versions.show", model=alias.model, ref=str(alias.version)),
        )
    }
    if allowed(Permission.MODELS_WRITE, model=alias.model):
        found["move"] = Link(method="PUT", href=here)
        found["remove"] = Link(method="DELETE", href=here)
    return found
