"""What the installation itself must remember: the check value of its root key."""

import sqlalchemy as sa

from headway.persistence.engine import Transaction
from headway.persistence.statements import insert_new
from headway.persistence.tables import settings


class SqlSettings:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def get(self, name: str) -> str | None:
        query = sa.select(settings.c.value).where(settings.c.name == name)
        found: str | None = self._transaction.scalar(query)
        return found

    def keep(self, name: str, value: str) -> str:
        """Store a value unless there is one; return the one that is stored."""
        row = {"name": name, "value": value}
        self._transaction.run(insert_new(self._transaction.dialect, settings), row)
        return self.get(name) or value
