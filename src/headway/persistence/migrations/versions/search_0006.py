"""SQLite finds words of versions in an index: their rows are wide, and a list reads them all."""

from typing import Final

from alembic import op

revision: Final = "0006"
down_revision: Final = "0005"


def upgrade() -> None:
    """Index the words. PostgreSQL keeps what is wide apart, and takes no text of any length."""
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_versions_search", "versions", ["model_id", "search"])
