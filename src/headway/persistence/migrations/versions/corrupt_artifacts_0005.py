"""Artifacts whose stored bytes were found to be others are marked."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"

INT: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the mark; nothing that is there is known to be corrupt."""
    op.add_column("artifacts", sa.Column("corrupt_at", INT, nullable=True))
