"""The tables: what must never be true at once is a constraint here, not a check in code.

SQLite keeps them STRICT. Times are integers (milliseconds UTC). Text is compared bytewise on both
databases, so that keys and ids sort as they do in Python. Columns called `folded` or `route` hold
names without regard to case; the name as it was registered stands beside them.

The migrations make the tables. What they say to PostgreSQL alone (the condition of a partial
index) is not said again here: it would load that dialect, 0.1 s and 2 MB in every process.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from headway.kernel.names import folded

Int: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # STRICT refuses BIGINT
Text: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Blob: Final = sa.LargeBinary()


class Json(sa.TypeDecorator[Any]):
    """A JSON value as text; None is SQL's NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ANN401, ARG002 - the base class says so
        return None if value is None else dumps(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002 - the base class says so
        return None if value is None else json.loads(value)


class Bool(sa.TypeDecorator[bool]):
    """A yes or no as 1 or 0."""

    impl = Int
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> int | None:  # noqa: ARG002, FBT001 - the base class says so
        return None if value is None else int(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:  # noqa: ANN401, ARG002 - the base class says so
        return None if value is None else bool(value)


def dumps(value: object) -> str:
    """Write JSON; other mappings than `dict` are objects too. ASCII only: every store takes it."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


class now(FunctionElement[int]):  # noqa: N801 - reads as the function of SQL that it is
    """The time on the database's clock, milliseconds UTC."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(_element: now, _compiler: SQLCompiler, **_options: object) -> str:
    # `unixepoch('subsec')` would need SQLite 3.42.
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


@compiles(now, "postgresql")
def _postgresql_now(_element: now, _compiler: SQLCompiler, **_options: object) -> str:
    # Not `now()`: that one stands still within a transaction.
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


metadata: Final = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _key(name: str, type_: Any = Text) -> sa.Column[Any]:  # noqa: ANN401 - SQLAlchemy takes a type or an instance of one
    """Part of the primary key."""
    return sa.Column(name, type_, primary_key=True, nullable=False, autoincrement=False)


def _id() -> sa.Column[int]:
    """Return a number that the database gives; rises, and is never given twice."""
    return sa.Column("id", Int, primary_key=True, autoincrement=True)


def _text(name: str, *more: SchemaItem, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, Text, *more, nullable=False, default=default)


def _text_or_null(name: str, *more: SchemaItem) -> sa.Column[str | None]:
    return sa.Column(name, Text, *more, nullable=True)


def _int(name: str, *more: SchemaItem, default: int | None = None) -> sa.Column[int]:
    return sa.Column(name, Int, *more, nullable=False, default=default)


def _int_or_null(name: str) -> sa.Column[int | None]:
    return sa.Column(name, Int, nullable=True)


def _json(name: str, *, server_default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, Json, nullable=False, server_default=server_default)


def _json_or_null(name: str) -> sa.Column[Any]:
    return sa.Column(name, Json, nullable=True)


def _bool(name: str, *, default: bool = False) -> sa.Column[bool]:
    check = sa.CheckConstraint(f"{name} IN (0, 1)", name=name)
    return sa.Column(name, Bool, check, nullable=False, default=default)


def _table(name: str, *items: SchemaItem, rowid: bool = True) -> sa.Table:
    return sa.Table(name, metadata, *items, sqlite_strict=True, sqlite_with_rowid=rowid)


# What the installation is.

settings: Final = _table("settings", _key("name"), _text("value"), rowid=False)

counters: Final = _table("counters", _key("name"), _int("number"), rowid=False)
GENERATION: Final = "generation"
"""The counter that gateways poll: it rises with every transaction that changes what they read."""
GATEWAY: Final = "gateway"
"""The counter of starts of gateways."""

# Models, versions, aliases, artifacts, keys.

models: Final = _table(
    "models",
    _id(),
    _text("name"),
    _text("folded"),
    _text("description"),
    _json("tags"),
    _json("alternative_ids"),
    _bool("archived"),
    _int("created_at"),
    _text("created_by"),
    _int("updated_at"),
    _int("revision"),
    _text("search"),
    sa.UniqueConstraint("folded"),
    sa.Index("ix_models_created_at", "created_at", "folded"),
)

model_names: Final = _table(
    "model_names",
    _key("folded"),
    _int("model_id", sa.ForeignKey("models.id"), default=0),
    sa.Index(None, "model_id"),
    rowid=False,
)
"""Every name and alternative id: one namespace."""

artifacts: Final = _table(
    "artifacts",
    _key("digest"),
    _int("size"),
    _int("created_at"),
    _text("created_by"),
    _int_or_null("corrupt_at"),
)

versions: Final = _table(
    "versions",
    _id(),
    _int("model_id", sa.ForeignKey("models.id")),
    _text("number"),
    _text("precedence"),
    _bool("release"),
    _json("target"),
    _text_or_null("artifact", sa.ForeignKey("artifacts.digest")),
    _json("signature"),
    _json("components"),
    _text("digest"),
    _json("metadata"),
    _int("created_at"),
    _text("created_by"),
    _text("description"),
    _json("tags"),
    _text("state"),
    _int_or_null("sunset"),
    _text_or_null("successor"),
    _text("reason"),
    _int("updated_at"),
    _int("revision"),
    _text("search"),
    sa.UniqueConstraint("model_id", "precedence"),
    sa.Index(None, "model_id", "state", "release", "precedence"),
    sa.Index(None, "model_id", "created_at", "id"),
    sa.Index(None, "artifact"),
    # Words are found in it without a look at the rows, which are wide. PostgreSQL keeps what is
    # wide apart anyway, and has no index for text of any length.
    sa.Index("ix_versions_search", "model_id", "search", info={"only": "sqlite"}),
)
"""What decides an answer never changes, and no row is deleted: a trigger sees to it."""

aliases: Final = _table(
    "aliases",
    _id(),
    _int("model_id", sa.ForeignKey("models.id")),
    _text("name"),
    _text("folded"),
    _text_or_null("version"),
    _int("changed_at"),
    _text("changed_by"),
    _text("why"),
    _int("revision"),
    sa.UniqueConstraint("model_id", "folded"),
)

alias_changes: Final = _table(
    "alias_changes",
    sa.Column("alias_id", Int, sa.ForeignKey("aliases.id"), primary_key=True),
    _key("revision", Int),
    _text_or_null("version"),
    _int("at"),
    _text("by"),
    _text("why"),
    rowid=False,
)

keys: Final = _table(
    "keys",
    _key("id"),
    _text("name"),
    _text("role"),
    _text("digest"),
    _json("models"),
    _json("environments"),
    _json("paths", server_default='["*"]'),
    _json("limits", server_default="{}"),
    _text("kind"),
    _int("created_at"),
    _text("created_by"),
    _int_or_null("expires_at"),
    _int_or_null("revoked_at"),
    _int_or_null("last_used"),
    _int("revision"),
    sa.UniqueConstraint("digest"),
    sa.Index(None, "created_at", "id"),
)

sessions: Final = _table(
    "sessions",
    _key("digest"),
    _text("key_id", sa.ForeignKey("keys.id")),
    _int("created_at"),
    _int("seen_at"),
    _int_or_null("revoked_at"),
    sa.Index(None, "key_id"),
)

idempotency: Final = _table(
    "idempotency",
    _key("key_id"),
    _key("method"),
    _key("path"),
    _key("key"),
    _text("digest"),
    _int("status"),
    _json("headers"),
    sa.Column("body", Blob, nullable=False),
    _int("created_at"),
    sa.Index(None, "created_at"),
)

# Routes.

route_revisions: Final = _table(
    "route_revisions",
    _id(),
    _text("route"),
    _text("model"),
    _text("environment"),
    _int("revision"),
    _text("declared"),
    _text("digest"),
    _json_or_null("epoch"),
    _json("guards"),
    _text("because"),
    _int("created_at"),
    _text("created_by"),
    sa.UniqueConstraint("route", "revision"),
    sa.CheckConstraint("id > 0 AND id < 4294967296", name="id"),
)
"""Rows are added, never changed, never deleted: a trigger sees to it."""

routes: Final = _table(
    "routes",
    _key("route"),
    _text("model"),
    _int("revision"),
    _int("revision_id", sa.ForeignKey("route_revisions.id")),
    sa.Index(None, "model"),
    rowid=False,
)
"""Which revision is the current one; `model` without regard to case."""

snapshots: Final = _table(
    "snapshots",
    _key("id"),
    _text("route"),
    _text("model"),
    _text("environment"),
    _int("revision"),
    _text("digest"),
    _text("reason"),
    _int("created_at"),
    _text("created_by"),
    _text_or_null("deployment"),
    sa.Index(None, "route", "id"),
)

# Deployments.

ACTIVE: Final = ("running", "paused", "rolling_back", "rollback_failed")
FINISHED: Final = ("succeeded", "rolled_back", "cancelled", "abandoned")
_active: Final = sa.text(f"state IN ({', '.join(map(repr, ACTIVE))})")
_alone: Final = sa.text("finished_at IS NULL AND deployment IS NULL")
_unfinished: Final = sa.text(f"state NOT IN ({', '.join(map(repr, FINISHED))})")

deployments: Final = _table(
    "deployments",
    _key("id"),
    _text("route"),
    _text("model"),
    _text("environment"),
    _text("version"),
    _text("digest"),
    _text("plan"),
    _int("created_at"),
    _text("created_by"),
    _text("state"),
    _int("entered"),
    _int("since"),
    _text("because"),
    _int_or_null("held_since"),
    _text_or_null("held_because"),
    _int_or_null("started_at"),
    _int_or_null("finished_at"),
    _int_or_null("before"),
    _json_or_null("facts"),
    _json_or_null("progress"),
    _int("revision"),
    _int("fence"),
    _text("lease_owner"),
    _int("lease_until"),
    _int("wake_at"),
    sa.Index("uq_deployments_active", "route", unique=True, sqlite_where=_active),
    sa.Index("ix_deployments_due", "wake_at", sqlite_where=_unfinished),
    sa.Index(None, "route", "id"),
)

intents: Final = _table(
    "intents",
    _id(),
    _text("deployment"),
    _text("verb"),
    _text("actor"),
    _text("actor_kind"),
    _text("why"),
    _int("at"),
    _json_or_null("detail"),
    _bool("settled"),
    sa.Index(None, "deployment", "id"),
)

rollbacks: Final = _table(
    "rollbacks",
    _key("id"),
    _text("route"),
    _text("model"),
    _text("environment"),
    _text("state"),
    _int("from_revision"),
    _int("to_revision"),
    _int("published"),
    _int("generation"),
    _bool("automatic"),
    _text("actor"),
    _text("why"),
    _int("created_at"),
    _text_or_null("deployment"),
    _int_or_null("finished_at"),
    _int("revision"),
    sa.Column("wake_at", Int, nullable=False, server_default="0"),
    sa.Index(None, "route", "id"),
    sa.Index("ix_rollbacks_due", "wake_at", sqlite_where=_alone),
)

vetoes: Final = _table(
    "vetoes",
    _id(),
    _text("deployment"),
    _int("epoch"),
    _text("arm"),
    _text("metric"),
    _int("at"),
    _json_or_null("detail"),
    sa.Index(None, "deployment", "id"),
)

# The history and the messages.

events: Final = _table(
    "events",
    sa.Column("seq", Int, primary_key=True, autoincrement=True),
    _text("kind"),
    _text("subject"),
    _int("at"),
    _text("actor"),
    _text("actor_kind"),
    _text("why"),
    _json_or_null("detail"),
    _text_or_null("deployment"),
    _text_or_null("model"),
    _text_or_null("environment"),
    sa.Index(None, "subject", "seq"),
    sa.Index(None, "deployment", "seq"),
    sa.Index(None, "model", "seq"),
)

_waiting: Final = sa.text("answered_at IS NULL AND dead = 0")

messages: Final = _table(
    "messages",
    _id(),
    _text("key"),
    _text("kind"),
    _json_or_null("payload"),
    _int("created_at"),
    _text_or_null("deployment"),
    _int("attempts"),
    _int("due_at"),
    _text("lease_owner"),
    _int("lease_until"),
    _json_or_null("answer"),
    _int_or_null("answered_at"),
    _bool("dead"),
    _text("failure"),
    sa.UniqueConstraint("key"),
    sa.Index(None, "deployment", "id"),
    sa.Index("ix_messages_due", "due_at", sqlite_where=_waiting),
)

# What gateways hand over.

gateways: Final = _table(
    "gateways",
    _key("boot"),
    _int("number"),
    _text("host"),
    _int("pid"),
    _int("started_at"),
    _int("seen_at"),
    _int("seq"),
    _int("applied_generation"),
    _int("dropped"),
    _int_or_null("stopped_at"),
    _json("under_way", server_default="{}"),
    sa.UniqueConstraint("number"),
)
"""`under_way`: requests at the moment of the last flush, by key, of keys with limits."""

measurements: Final = _table(
    "measurements",
    _id(),
    _text("route"),
    _text("model"),
    _text("environment"),
    _text("version"),
    _text("arm"),
    _int("minute"),
    _json("outcomes"),
    _json("latency"),
    _json("bad"),
    _json("first"),
    _json("tokens"),
    _json("served_by"),
    _bool("merged"),
    sa.Index(None, "route", "minute"),
    sa.Index(None, "merged", "minute"),
)
"""One row per gateway and flush until the minute is merged, one per minute afterwards."""

totals: Final = _table(
    "totals",
    _key("model"),
    _key("environment"),
    _key("version"),
    _key("kind"),
    _key("name"),
    _int("n"),
    rowid=False,
)
"""Sums since ever: never fall, whatever is pruned."""

key_windows: Final = _table(
    "key_windows",
    _key("kind"),
    _key("at", Int),
    _key("key_id"),
    _key("spender"),
    _int("n"),
    rowid=False,
)
"""What keys with limits used in each window, by the process that answered: each leaves its own
rows out when it asks what the others used, so that nothing counts twice."""

key_totals: Final = _table(
    "key_totals",
    _key("key_id"),
    _key("kind"),
    _key("name"),
    _int("n"),
    rowid=False,
)
"""What each key did since ever: outcomes, tokens, nano-dollars, requests without a price."""

prices: Final = _table(
    "prices",
    _key("host"),
    _key("model"),
    _key("since", Int),
    _json("rates"),
    _int("set_at"),
    _text("set_by"),
    rowid=False,
)
"""What people set; `model` is what the upstream calls it."""

published_prices: Final = _table(
    "published_prices",
    _key("base_url"),
    _key("model"),
    _text("edition"),
    _json("dated"),
    rowid=False,
)
"""What the published prices say of each upstream that a version calls; empty: nothing."""

evidence: Final = _table(
    "evidence",
    _key("deployment"),
    _key("epoch", Int),
    _key("arm"),
    _key("metric"),
    _key("bin", Int),
    _key("due", Int),
    _key("late", Bool),
    _int("n"),
    sa.CheckConstraint("late IN (0, 1)", name="late"),
    rowid=False,
)

unit_sets: Final = _table(
    "unit_sets",
    _id(),
    _text("deployment"),
    _int("units"),
    _bool("frozen"),
    _bool("forgotten"),
    sa.UniqueConstraint("deployment"),
)
"""How many units of a deployment are known, and a short number that stands for it."""

first_events: Final = _table(
    "first_events",
    _key("unit_set", Int),
    _key("unit", Int),
    _int("mask"),
    rowid=False,
)
"""Which events a unit had already, a bit each."""

scores: Final = _table(
    "scores",
    _key("request_id"),
    _key("name"),
    sa.Column("value", sa.REAL().with_variant(sa.Double(), "postgresql"), nullable=False),
    _int("at"),
    _int("age"),
    _text("route"),
    _text("model"),
    _text("environment"),
    _text("version"),
    _text("comment"),
    sa.Index(None, "route", "name", "at"),
    sa.Index(None, "at"),
)


def fold_text(text: str) -> str:
    """Return free text without regard to case, to be searched."""
    return text.casefold()


def route_key(model: str, environment: str) -> str:
    """Return what stands for a route in columns called `route`; names never hold a slash."""
    return folded(f"{model}/{environment}")
