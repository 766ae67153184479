"""The first tables."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None

INT: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
REAL: Final[sa.types.TypeEngine[float]] = sa.REAL().with_variant(sa.Double(), "postgresql")

_CONTENT: Final = (
    "id, model_id, number, precedence, release, target, artifact, signature, components, digest, "
    "metadata, created_at, created_by"
)
_REFUSALS: Final = (
    ("versions", f"UPDATE OF {_CONTENT}", "a version never changes"),
    ("versions", "DELETE", "a version is never deleted"),
    ("route_revisions", "UPDATE", "a revision of a route never changes"),
    ("route_revisions", "DELETE", "a revision of a route is never deleted"),
)


def upgrade() -> None:
    _tables()
    _triggers()
    counters = sa.table("counters", sa.column("name"), sa.column("number"))
    op.bulk_insert(counters, [{"name": name, "number": 0} for name in ("generation", "gateway")])


def _triggers() -> None:
    """Let the database itself refuse what must never happen."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation'; END $$"
        )
    for table, when, why in _REFUSALS:
        name = f"{table}_{when.split()[0].lower()}_refused"
        action = (
            f"EXECUTE FUNCTION refuse('{why}')"
            if postgresql
            else f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
        )
        op.execute(f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW {action}")


def _tables() -> None:
    op.create_table(
        "artifacts",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("size", INT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_artifacts"),
        sqlite_strict=True,
    )
    op.create_table(
        "counters",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deployments",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("plan", TEXT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("entered", INT, nullable=False),
        sa.Column("since", INT, nullable=False),
        sa.Column("because", TEXT, nullable=False),
        sa.Column("held_since", INT, nullable=True),
        sa.Column("held_because", TEXT, nullable=True),
        sa.Column("started_at", INT, nullable=True),
        sa.Column("finished_at", INT, nullable=True),
        sa.Column("before", INT, nullable=True),
        sa.Column("facts", TEXT, nullable=True),
        sa.Column("progress", TEXT, nullable=True),
        sa.Column("revision", INT, nullable=False),
        sa.Column("fence", INT, nullable=False),
        sa.Column("lease_owner", TEXT, nullable=False),
        sa.Column("lease_until", INT, nullable=False),
        sa.Column("wake_at", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_deployments_due",
        "deployments",
        ["wake_at"],
        sqlite_where=sa.text(
            "state NOT IN ('succeeded', 'rolled_back', 'cancelled', 'abandoned')"
        ),
        postgresql_where=sa.text(
            "state NOT IN ('succeeded', 'rolled_back', 'cancelled', 'abandoned')"
        ),
    )
    op.create_index("ix_deployments_route_id", "deployments", ["route", "id"])
    op.create_index(
        "uq_deployments_active",
        "deployments",
        ["route"],
        unique=True,
        sqlite_where=sa.text("state IN ('running', 'paused', 'rolling_back', 'rollback_failed')"),
        postgresql_where=sa.text(
            "state IN ('running', 'paused', 'rolling_back', 'rollback_failed')"
        ),
    )
    op.create_table(
        "events",
        sa.Column("seq", INT, autoincrement=True, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("actor_kind", TEXT, nullable=False),
        sa.Column("why", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=True),
        sa.Column("deployment", TEXT, nullable=True),
        sa.Column("model", TEXT, nullable=True),
        sa.Column("environment", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sqlite_strict=True,
    )
    op.create_index("ix_events_deployment_seq", "events", ["deployment", "seq"])
    op.create_index("ix_events_model_seq", "events", ["model", "seq"])
    op.create_index("ix_events_subject_seq", "events", ["subject", "seq"])
    op.create_table(
        "evidence",
        sa.Column("deployment", TEXT, nullable=False),
        sa.Column("epoch", INT, nullable=False),
        sa.Column("arm", TEXT, nullable=False),
        sa.Column("metric", TEXT, nullable=False),
        sa.Column("bin", INT, nullable=False),
        sa.Column("due", INT, nullable=False),
        sa.Column("late", INT, nullable=False),
        sa.Column("n", INT, nullable=False),
        sa.CheckConstraint("late IN (0, 1)", name="ck_evidence_late"),
        sa.PrimaryKeyConstraint(
            "deployment", "epoch", "arm", "metric", "bin", "due", "late", name="pk_evidence"
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "first_events",
        sa.Column("unit_set", INT, nullable=False),
        sa.Column("unit", INT, nullable=False),
        sa.Column("mask", INT, nullable=False),
        sa.PrimaryKeyConstraint("unit_set", "unit", name="pk_first_events"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "gateways",
        sa.Column("boot", TEXT, nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("pid", INT, nullable=False),
        sa.Column("started_at", INT, nullable=False),
        sa.Column("seen_at", INT, nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("applied_generation", INT, nullable=False),
        sa.Column("dropped", INT, nullable=False),
        sa.Column("stopped_at", INT, nullable=True),
        sa.PrimaryKeyConstraint("boot", name="pk_gateways"),
        sa.UniqueConstraint("number", name="uq_gateways_number"),
        sqlite_strict=True,
    )
    op.create_table(
        "idempotency",
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("status", INT, nullable=False),
        sa.Column("headers", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "method", "path", "key", name="pk_idempotency"),
        sqlite_strict=True,
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "intents",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("deployment", TEXT, nullable=False),
        sa.Column("verb", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("actor_kind", TEXT, nullable=False),
        sa.Column("why", TEXT, nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.Column("detail", TEXT, nullable=True),
        sa.Column("settled", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_intents"),
        sqlite_strict=True,
    )
    op.create_index("ix_intents_deployment_id", "intents", ["deployment", "id"])
    op.create_table(
        "keys",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("models", TEXT, nullable=False),
        sa.Column("environments", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("expires_at", INT, nullable=True),
        sa.Column("revoked_at", INT, nullable=True),
        sa.Column("last_used", INT, nullable=True),
        sa.Column("revision", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("digest", name="uq_keys_digest"),
        sqlite_strict=True,
    )
    op.create_index("ix_keys_created_at_id", "keys", ["created_at", "id"])
    op.create_table(
        "measurements",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("arm", TEXT, nullable=False),
        sa.Column("minute", INT, nullable=False),
        sa.Column("outcomes", TEXT, nullable=False),
        sa.Column("latency", TEXT, nullable=False),
        sa.Column("bad", TEXT, nullable=False),
        sa.Column("first", TEXT, nullable=False),
        sa.Column("tokens", TEXT, nullable=False),
        sa.Column("served_by", TEXT, nullable=False),
        sa.Column("merged", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
        sqlite_strict=True,
    )
    op.create_index("ix_measurements_merged_minute", "measurements", ["merged", "minute"])
    op.create_index("ix_measurements_route_minute", "measurements", ["route", "minute"])
    op.create_table(
        "messages",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("payload", TEXT, nullable=True),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("deployment", TEXT, nullable=True),
        sa.Column("attempts", INT, nullable=False),
        sa.Column("due_at", INT, nullable=False),
        sa.Column("lease_owner", TEXT, nullable=False),
        sa.Column("lease_until", INT, nullable=False),
        sa.Column("answer", TEXT, nullable=True),
        sa.Column("answered_at", INT, nullable=True),
        sa.Column("dead", INT, nullable=False),
        sa.Column("failure", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("key", name="uq_messages_key"),
        sqlite_strict=True,
    )
    op.create_index("ix_messages_deployment_id", "messages", ["deployment", "id"])
    op.create_index(
        "ix_messages_due",
        "messages",
        ["due_at"],
        sqlite_where=sa.text("answered_at IS NULL AND dead = 0"),
        postgresql_where=sa.text("answered_at IS NULL AND dead = 0"),
    )
    op.create_table(
        "models",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("folded", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("tags", TEXT, nullable=False),
        sa.Column("alternative_ids", TEXT, nullable=False),
        sa.Column("archived", INT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.Column("revision", INT, nullable=False),
        sa.Column("search", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("folded", name="uq_models_folded"),
        sqlite_strict=True,
    )
    op.create_index("ix_models_created_at", "models", ["created_at", "folded"])
    op.create_table(
        "rollbacks",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("from_revision", INT, nullable=False),
        sa.Column("to_revision", INT, nullable=False),
        sa.Column("published", INT, nullable=False),
        sa.Column("generation", INT, nullable=False),
        sa.Column("automatic", INT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("why", TEXT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("deployment", TEXT, nullable=True),
        sa.Column("finished_at", INT, nullable=True),
        sa.Column("revision", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rollbacks"),
        sqlite_strict=True,
    )
    op.create_index("ix_rollbacks_route_id", "rollbacks", ["route", "id"])
    op.create_index("ix_rollbacks_state", "rollbacks", ["state"])
    op.create_table(
        "route_revisions",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("revision", INT, nullable=False),
        sa.Column("declared", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("epoch", TEXT, nullable=True),
        sa.Column("guards", TEXT, nullable=False),
        sa.Column("because", TEXT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.CheckConstraint("id > 0 AND id < 4294967296", name="ck_route_revisions_id"),
        sa.PrimaryKeyConstraint("id", name="pk_route_revisions"),
        sa.UniqueConstraint("route", "revision", name="uq_route_revisions_route_revision"),
        sqlite_strict=True,
    )
    op.create_table(
        "scores",
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", REAL, nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.Column("age", INT, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("comment", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "name", name="pk_scores"),
        sqlite_strict=True,
    )
    op.create_index("ix_scores_at", "scores", ["at"])
    op.create_index("ix_scores_route_name_at", "scores", ["route", "name", "at"])
    op.create_table(
        "settings",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "snapshots",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("revision", INT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("deployment", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sqlite_strict=True,
    )
    op.create_index("ix_snapshots_route_id", "snapshots", ["route", "id"])
    op.create_table(
        "totals",
        sa.Column("model", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("n", INT, nullable=False),
        sa.PrimaryKeyConstraint(
            "model", "environment", "version", "kind", "name", name="pk_totals"
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "unit_sets",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("deployment", TEXT, nullable=False),
        sa.Column("units", INT, nullable=False),
        sa.Column("frozen", INT, nullable=False),
        sa.Column("forgotten", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_unit_sets"),
        sa.UniqueConstraint("deployment", name="uq_unit_sets_deployment"),
        sqlite_strict=True,
    )
    op.create_table(
        "vetoes",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("deployment", TEXT, nullable=False),
        sa.Column("epoch", INT, nullable=False),
        sa.Column("arm", TEXT, nullable=False),
        sa.Column("metric", TEXT, nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.Column("detail", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_vetoes"),
        sqlite_strict=True,
    )
    op.create_index("ix_vetoes_deployment_id", "vetoes", ["deployment", "id"])
    op.create_table(
        "aliases",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("model_id", INT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("folded", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=True),
        sa.Column("changed_at", INT, nullable=False),
        sa.Column("changed_by", TEXT, nullable=False),
        sa.Column("why", TEXT, nullable=False),
        sa.Column("revision", INT, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_aliases_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_aliases"),
        sa.UniqueConstraint("model_id", "folded", name="uq_aliases_model_id_folded"),
        sqlite_strict=True,
    )
    op.create_table(
        "model_names",
        sa.Column("folded", TEXT, nullable=False),
        sa.Column("model_id", INT, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_model_names_model_id"),
        sa.PrimaryKeyConstraint("folded", name="pk_model_names"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_model_names_model_id", "model_names", ["model_id"])
    op.create_table(
        "routes",
        sa.Column("route", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("revision", INT, nullable=False),
        sa.Column("revision_id", INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["route_revisions.id"], name="fk_routes_revision_id"
        ),
        sa.PrimaryKeyConstraint("route", name="pk_routes"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_routes_model", "routes", ["model"])
    op.create_table(
        "sessions",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("seen_at", INT, nullable=False),
        sa.Column("revoked_at", INT, nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_sessions_key_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
        sqlite_strict=True,
    )
    op.create_index("ix_sessions_key_id", "sessions", ["key_id"])
    op.create_table(
        "versions",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("model_id", INT, nullable=False),
        sa.Column("number", TEXT, nullable=False),
        sa.Column("precedence", TEXT, nullable=False),
        sa.Column("release", INT, nullable=False),
        sa.Column("target", TEXT, nullable=False),
        sa.Column("artifact", TEXT, nullable=True),
        sa.Column("signature", TEXT, nullable=False),
        sa.Column("components", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("metadata", TEXT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("tags", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("sunset", INT, nullable=True),
        sa.Column("successor", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.Column("revision", INT, nullable=False),
        sa.Column("search", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["artifact"], ["artifacts.digest"], name="fk_versions_artifact"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_versions_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("model_id", "precedence", name="uq_versions_model_id_precedence"),
        sqlite_strict=True,
    )
    op.create_index("ix_versions_artifact", "versions", ["artifact"])
    op.create_index(
        "ix_versions_model_id_created_at_id", "versions", ["model_id", "created_at", "id"]
    )
    op.create_index(
        "ix_versions_model_id_state_release_precedence",
        "versions",
        ["model_id", "state", "release", "precedence"],
    )
    op.create_table(
        "alias_changes",
        sa.Column("alias_id", INT, nullable=False),
        sa.Column("revision", INT, nullable=False),
        sa.Column("version", TEXT, nullable=True),
        sa.Column("at", INT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("why", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["alias_id"], ["aliases.id"], name="fk_alias_changes_alias_id"),
        sa.PrimaryKeyConstraint("alias_id", "revision", name="pk_alias_changes"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    # ### end Alembic commands ###
