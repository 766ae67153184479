"""Keys over HTTP. A key itself is in the answer of its making, and nowhere else ever."""

from decimal import Decimal
from typing import Annotated, Final, Literal

from flask import Blueprint, url_for
from pydantic import Field

from headway.auth.key import Key
from headway.auth.limits import MOST, Limits, Use, Window
from headway.auth.policy import Kind
from headway.auth.role import Permission, Role
from headway.auth.service import Change, Wish
from headway.kernel.money import MICRO_OF_DOLLAR, NANO_OF_DOLLAR
from headway.kernel.quantity import parse_time
from headway.web.operation import (
    JSON,
    MERGE_PATCH,
    Reply,
    allowed,
    caller,
    if_match,
    operation,
    services,
)
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


Paths = Annotated[list[str], Field(min_length=1, max_length=64)]
"""Paths of traffic, or `prefix*`; `*` stands for all."""
Number = Annotated[int, Field(ge=1, le=MOST)]
Dollars = Annotated[float, Field(ge=0.000001, le=1e9)]


class KeyLimits(Body):
    """Null: no such limit. Windows are those of UTC."""

    requests_per_minute: Number | None = None
    tokens_per_minute: Number | None = None
    """Input and output together."""
    concurrent_requests: Number | None = None
    usd_per_day: Dollars | None = None
    usd_per_month: Dollars | None = None


class NewKey(Body):
    name: Annotated[FreeText, Field(min_length=1, max_length=128)]
    role: RoleName
    models: Patterns = Field(default=["*"])
    environments: Patterns = Field(default=["*"])
    kind: KindName = "service"
    expires_at: When | None = None
    paths: Paths = Field(default=["*"])
    limits: KeyLimits = Field(default_factory=KeyLimits)


class KeyChanges(Body):
    """A JSON Merge Patch: a limit that is null is taken away, what is not named stays."""

    name: Annotated[FreeText, Field(min_length=1, max_length=128)] | None = None
    paths: Paths | None = None
    """Null: all."""
    limits: KeyLimits | None = None
    """Null: none."""


class UsedShown(Shown):
    """What all gateways together counted of one limit, up to a second or two ago."""

    used: float
    """Requests, tokens or dollars."""
    limit: float
    since: Time
    until: Time
    unpriced: int
    """Of money: requests that cost something, and nobody knows how much."""


class UseShown(Shown):
    requests_per_minute: UsedShown | None
    tokens_per_minute: UsedShown | None
    usd_per_day: UsedShown | None
    usd_per_month: UsedShown | None
    concurrent_requests: int
    """Under way at this moment."""


class KeyShown(Shown):
    id: str
    """The public part of the key itself."""
    name: str
    role: RoleName
    models: list[str]
    environments: list[str]
    paths: list[str]
    limits: KeyLimits
    kind: KindName
    created_at: Time
    created_by: str
    expires_at: Time | None
    revoked_at: Time | None
    last_used: Time | None
    """To the minute."""
    links: Links


class KeyWithUse(KeyShown):
    use: UseShown | None
    """Of the present windows; null: the key has no limits, and nothing is counted for them."""
    in_force: bool
    """Every living gateway follows all keys as they are now, this one included."""


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
            paths=tuple(asked.paths),
            limits=Limits(**_changes(asked.limits)),
        ),
        by=caller(),
    )
    shown = _shown(made.key)
    return Reply(
        body=KeyMade(**dict(shown), key=made.secret.text),
        revision=made.key.revision,
        location=url_for("keys.show", key_id=made.key.id),
    )


@bp.get("/<key:key_id>")
@operation(
    Permission.KEYS_READ,
    "Show a key, and what it used in the present windows of its limits",
    gives=KeyWithUse,
)
def show(key_id: str) -> Reply:
    keys, by = services().keys, caller()
    key = keys.get(key_id, by=by)
    use = keys.use(key_id, by=by)
    shown = KeyWithUse(
        **dict(_shown(key)),
        use=None if use is None else _use(key.limits, use),
        in_force=keys.in_force(),
    )
    return Reply(body=shown, revision=key.revision)


@bp.patch("/<key:key_id>")
@operation(
    Permission.KEYS_WRITE,
    "Change name, paths or limits of a key: every gateway follows within 2 s",
    takes=KeyChanges,
    media=(MERGE_PATCH, JSON),
    gives=KeyShown,
    match="optional",
)
def change(key_id: str, asked: KeyChanges) -> Reply:
    named = asked.model_fields_set
    paths = asked.paths or ["*"] if "paths" in named else None
    limits = dict.fromkeys(_LIMITS.values()) if "limits" in named and not asked.limits else {}
    changed = services().keys.change(
        key_id,
        Change(
            name=asked.name,
            paths=None if paths is None else tuple(paths),
            limits=limits if asked.limits is None else _changes(asked.limits),
        ),
        by=caller(),
        if_match=if_match(),
    )
    return Reply(body=_shown(changed), revision=changed.revision)


@bp.delete("/<key:key_id>")
@operation(
    Permission.KEYS_WRITE, "Revoke a key: every gateway refuses it within 2 s", gives=KeyShown
)
def revoke(key_id: str) -> KeyShown:
    return _shown(services().keys.revoke(key_id, by=caller()))


def _shown(key: Key) -> KeyShown:
    links: Links = {}
    if key.revoked_at is None and allowed(Permission.KEYS_WRITE):
        href = url_for("keys.show", key_id=key.id)
        links["revoke"] = Link(method="DELETE", href=href)
        links["change"] = Link(method="PATCH", href=href)
    return KeyShown(
        id=key.id,
        name=key.name,
        role=key.role.value,
        models=list(key.models),
        environments=list(key.environments),
        paths=list(key.paths),
        limits=_limits(key.limits),
        kind=key.kind.value,
        created_at=rfc3339(key.created_at),
        created_by=key.created_by,
        expires_at=maybe_rfc3339(key.expires_at),
        revoked_at=maybe_rfc3339(key.revoked_at),
        # Its minute may have begun before it was made.
        last_used=maybe_rfc3339(key.last_used and max(key.last_used, key.created_at)),
        links=links,
    )


_LIMITS: Final = {
    "requests_per_minute": "requests",
    "tokens_per_minute": "tokens",
    "concurrent_requests": "concurrent",
    "usd_per_day": "day",
    "usd_per_month": "month",
}
"""What the domain calls them."""


def _changes(asked: KeyLimits) -> dict[str, int | None]:
    """Return the limits that are named, as the domain calls them and in its units."""
    return {
        _LIMITS[name]: _micro(value) if name.startswith("usd") and value is not None else value
        for name in asked.model_fields_set
        for value in (getattr(asked, name),)
    }


def _micro(dollars: float) -> int:
    return round(Decimal(str(dollars)) * MICRO_OF_DOLLAR)


def _limits(limits: Limits) -> KeyLimits:
    return KeyLimits(
        requests_per_minute=limits.requests,
        tokens_per_minute=limits.tokens,
        concurrent_requests=limits.concurrent,
        usd_per_day=None if limits.day is None else limits.day / MICRO_OF_DOLLAR,
        usd_per_month=None if limits.month is None else limits.month / MICRO_OF_DOLLAR,
    )


def _use(limits: Limits, use: Use) -> UseShown:
    def used(
        limit: int | None, window: Window, unpriced: Window | None = None
    ) -> UsedShown | None:
        if limit is None:
            return None
        n = use.windows.get(window, 0)
        return UsedShown(
            used=n if unpriced is None else n / NANO_OF_DOLLAR,
            limit=limit if unpriced is None else limit / MICRO_OF_DOLLAR,
            since=rfc3339(use.starts.of(window)),
            until=rfc3339(use.starts.end(window)),
            unpriced=0 if unpriced is None else use.windows.get(unpriced, 0),
        )

    return UseShown(
        requests_per_minute=used(limits.requests, Window.REQUESTS),
        tokens_per_minute=used(limits.tokens, Window.TOKENS),
        usd_per_day=used(limits.day, Window.DAY, Window.UNPRICED_DAY),
        usd_per_month=used(limits.month, Window.MONTH, Window.UNPRICED_MONTH),
        concurrent_requests=use.under_way,
    )
