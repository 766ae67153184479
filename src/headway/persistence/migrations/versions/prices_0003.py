"""Prices that people set and that are published; what each key did since ever."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"

INT: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "prices",
        sa.Column("host", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("since", INT, nullable=False),
        sa.Column("rates", TEXT, nullable=False),
        sa.Column("set_at", INT, nullable=False),
        sa.Column("set_by", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("host", "model", "since", name="pk_prices"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "published_prices",
        sa.Column("base_url", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("edition", TEXT, nullable=False),
        sa.Column("dated", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("base_url", "model", name="pk_published_prices"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_totals",
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("n", INT, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "kind", "name", name="pk_key_totals"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
