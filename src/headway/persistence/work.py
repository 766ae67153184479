"""One transaction over all repositories; it fits every `Work` that the domain names."""

from collections.abc import Iterator
from contextlib import contextmanager

from headway.persistence.aliases import SqlAliases
from headway.persistence.answers import SqlAnswers
from headway.persistence.artifacts import SqlArtifacts
from headway.persistence.deployments import SqlDeployments, SqlIntents, SqlRollbacks, SqlVetoes
from headway.persistence.engine import Database, Transaction
from headway.persistence.evidence import SqlEvidence
from headway.persistence.gateways import SqlGateways
from headway.persistence.keys import SqlKeys, SqlSessions, SqlSpending
from headway.persistence.measurements import SqlMeasurements
from headway.persistence.models import SqlModels
from headway.persistence.outbox import SqlOutbox
from headway.persistence.prices import SqlPrices
from headway.persistence.routes import SqlRoutes
from headway.persistence.scores import SqlScores
from headway.persistence.settings import SqlSettings
from headway.persistence.snapshots import SqlSnapshots
from headway.persistence.source import SqlSource
from headway.persistence.versions import SqlVersions
from headway.tracking.measurement import MOST_UNITS


class SqlWork:
    """The repositories of one transaction."""

    def __init__(self, transaction: Transaction, *, unit_cap: int = MOST_UNITS) -> None:
        self._transaction = transaction
        self.settings = SqlSettings(transaction)
        self.models = SqlModels(transaction)
        self.versions = SqlVersions(transaction)
        self.aliases = SqlAliases(transaction)
        self.artifacts = SqlArtifacts(transaction)
        self.keys = SqlKeys(transaction)
        self.sessions = SqlSessions(transaction)
        self.spending = SqlSpending(transaction)
        self.prices = SqlPrices(transaction)
        self.idempotency = SqlAnswers(transaction)
        self.routes = SqlRoutes(transaction)
        self.snapshots = SqlSnapshots(transaction)
        self.outbox = SqlOutbox(transaction)
        self.deployments = SqlDeployments(transaction)
        self.intents = SqlIntents(transaction)
        self.rollbacks = SqlRollbacks(transaction)
        self.vetoes = SqlVetoes(transaction)
        self.evidence = SqlEvidence(transaction, unit_cap=unit_cap)
        self.gateways = SqlGateways(transaction, evidence=self.evidence)
        self.measurements = SqlMeasurements(transaction)
        self.scores = SqlScores(transaction)
        self.source = SqlSource(transaction)

    def now(self) -> int:
        """Return the time on the database's clock, milliseconds UTC."""
        return self._transaction.now()

    def commit(self) -> None:
        """Make it last; the errors are those of `headway.persistence.engine`."""
        self._transaction.commit()


@contextmanager
def begin(
    database: Database, *, read_only: bool = False, unit_cap: int = MOST_UNITS
) -> Iterator[SqlWork]:
    """Open a transaction, begun at its first statement; leaving it undoes what is not committed.

    `read_only` sees one moment and waits for no writer. After a `Conflict` leave the transaction:
    on PostgreSQL it may be over.
    """
    with Transaction(database, read_only=read_only) as transaction:
        yield SqlWork(transaction, unit_cap=unit_cap)
