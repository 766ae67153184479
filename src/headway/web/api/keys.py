"""Keys over HTTP. A key itself is in the answer of its making, and nowhere else ever."""

from typing import Annotated, Final, Literal

from flask import Blueprint, url_for
from pydantic import Field

from headway.auth.key import Key
from headway.auth.policy import Kind
from headway.auth.role import Permission, Role
from headway.auth.service import Wish
from headway.kernel.quantity import parse_time
from headway.web.operation import Reply, allowed, caller, operation, services
from headway.web.schemas import (
    Body,
    FreeText,
    Link,
    Links,
    Page,
    PageQuery,
    Shown,
    Time,
    When,
    cut,
    maybe_rfc3339,
    rfc3339,
)

bp: Final = Blueprint("keys", __name__, url_prefix="/api/v1/keys")

RoleName = Literal["viewer", "caller", "deployer", "admin"]
KindName = Literal["person", "service", "agent"]
Patterns = Annotated[list[str], Field(min_length=1, max_length=64)]
"""Names, or `prefix*`; `*` stands for all."""


class NewKey(Body):
    name: Annotated[FreeText, Field(min_length=1, max_length=128)]
    role: RoleName
    models: Patterns = Field(default=["*"])
    environments: Patterns = Field(default=["*"])
    kind: KindName = "service"
    expires_at: When | None = None


class KeyShown(Shown):
    id: str
    """The public part of the key itself."""
    name: str
    role: RoleName
    models: list[str]
    environments: list[str]
    kind: KindName
    created_at: Time
    created_by: str
    expires_at: Time | None
    revoked_at: Time | None
    last_used: Time | None
    """To the minute."""
    links: Links


class KeyMade(KeyShown):
    key: str
    """Shown this once: nobody can read it again."""


@bp.get("")
@operation(
    Permission.KEYS_READ,
    "List keys, revoked ones too",
    query=PageQuery,
    gives=Page[KeyShown],
    refuses=(404,),
)
def listing(query: PageQuery) -> Page[KeyShown]:
    rows = services().keys.list(by=caller(), limit=query.limit + 1, after=query.after)
    page, after = cut(rows, query.limit, lambda key: key.id)
    return Page[KeyShown](items=[_shown(key) for key in page], next=after)


@bp.post("")
@operation(
    Permission.KEYS_WRITE,
    "Make a key; it may do no more than its maker's",
    takes=NewKey,
    gives=KeyMade,
    status=201,
)
def make(asked: NewKey) -> Reply:
    made = services().keys.create(
        Wish(
            name=asked.name,
            role=Role(asked.role),
            models=tuple(asked.models),
            environments=tuple(asked.environments),
            kind=Kind(asked.kind),
            expires_at=(
                parse_time(asked.expires_at, pointer="/expires_at") if asked.expires_at else None
            ),
        ),
        by=caller(),
    )
    shown = _shown(made.key)
    return Reply(
        body=KeyMade(**dict(shown), key=made.secret.text),
        location=url_for("keys.show", key_id=made.key.id),
    )


@bp.get("/<key:key_id>")
@operation(Permission.KEYS_READ, "Show a key", gives=KeyShown)
def show(key_id: str) -> KeyShown:
    return _shown(services().keys.get(key_id, by=caller()))


@bp.delete("/<key:key_id>")
@operation(
    Permission.KEYS_WRITE, "Revoke a key: every gateway refuses it within 2 s", gives=KeyShown
)
def revoke(key_id: str) -> KeyShown:
    return _shown(services().keys.revoke(key_id, by=caller()))


def _shown(key: Key) -> KeyShown:
    links: Links = {}
    if key.revoked_at is None and allowed(Permission.KEYS_WRITE):
        links["revoke"] = Link(method="DELETE", href=url_for("keys.show", key_id=key.id))
    return KeyShown(
        id=key.id,
        name=key.name,
        role=key.role.value,
        models=list(key.models),
        environments=list(key.environments),
        kind=key.kind.value,
        created_at=rfc3339(key.created_at),
        created_by=key.created_by,
        expires_at=maybe_rfc3339(key.expires_at),
        revoked_at=maybe_rfc3339(key.revoked_at),
        last_used=maybe_rfc3339(key.last_used),
        links=links,
    )
