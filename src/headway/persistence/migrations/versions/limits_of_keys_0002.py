"""Keys have paths and limits; what they used is counted in windows."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"

INT: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add columns whose defaults are what earlier rows, and an earlier program, mean."""
    op.add_column("keys", sa.Column("paths", TEXT, nullable=False, server_default='["*"]'))
    op.add_column("keys", sa.Column("limits", TEXT, nullable=False, server_default="{}"))
    op.add_column("gateways", sa.Column("under_way", TEXT, nullable=False, server_default="{}"))
    op.create_table(
        "key_windows",
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("spender", TEXT, nullable=False),
        sa.Column("n", INT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "at", "key_id", "spender", name="pk_key_windows"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
