"""Rollbacks that no deployment waits for are looked at when their time has come."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"

INT: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ALONE: Final = sa.text("finished_at IS NULL AND deployment IS NULL")


def upgrade() -> None:
    """Add a column whose default is "at once"; the index on the state had no reader."""
    op.add_column("rollbacks", sa.Column("wake_at", INT, nullable=False, server_default="0"))
    op.drop_index("ix_rollbacks_state", "rollbacks")
    op.create_index(
        "ix_rollbacks_due",
        "rollbacks",
        ["wake_at"],
        sqlite_where=ALONE,
        postgresql_where=ALONE,
    )
