"""The rows of artifacts; their bytes are in a store."""

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from headway.artifacts.artifact import Artifact
from headway.kernel.errors import Conflict, NotFound
from headway.persistence.engine import Transaction
from headway.persistence.statements import insert_new
from headway.persistence.tables import artifacts, models, versions


class SqlArtifacts:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, artifact: Artifact) -> bool:
        insert = insert_new(self._transaction.dialect, artifacts)
        return self._transaction.run(insert, asdict(artifact)) == 1

    def get(self, digest: str) -> Artifact:
        if (found := self.find(digest)) is None:
            raise NotFound(f"there is no artifact {digest}")
        return found

    def find(self, digest: str) -> Artifact | None:
        row = self._transaction.row(sa.select(artifacts).where(artifacts.c.digest == digest))
        return None if row is None else Artifact(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it

    def pins(self, digest: str) -> Sequence[str]:
        query = (
            sa.select(models.c.name, versions.c.number)
            .join(versions, versions.c.model_id == models.c.id)
            .where(versions.c.artifact == digest)
            .order_by(versions.c.id)
        )
        return [f"{row.name}@{row.number}" for row in self._transaction.rows(query)]

    def mark(self, digest: str, corrupt_at: int | None) -> bool:
        column = artifacts.c.corrupt_at
        differs = column.is_not(None) if corrupt_at is None else column.is_(None)
        update = sa.update(artifacts).where(artifacts.c.digest == digest, differs)
        return self._transaction.run(update.values(corrupt_at=corrupt_at)) == 1

    def corrupt(self) -> Sequence[str]:
        query = (
            sa.select(artifacts.c.digest)
            .where(artifacts.c.corrupt_at.is_not(None))
            .order_by(artifacts.c.digest)
        )
        return [row.digest for row in self._transaction.rows(query)]

    def remove(self, digest: str) -> None:
        if pins := self.pins(digest):
            raise Conflict(f"{pins[0]} needs the artifact {digest}", stands_in_the_way=pins[0])
        # A version that comes meanwhile is the foreign key's to find.
        if self._transaction.run(sa.delete(artifacts).where(artifacts.c.digest == digest)) != 1:
            raise NotFound(f"there is no artifact {digest}")
