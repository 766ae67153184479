"""One transaction over all repositories."""

from collections.abc import Iterator
from contextlib import contextmanager

from headway.kernel.clock import Clock
from headway.testing.memory.aliases import MemoryAliases
from headway.testing.memory.answers import MemoryAnswers
from headway.testing.memory.artifacts import MemoryArtifacts
from headway.testing.memory.deployments import (
    MemoryDeployments,
    MemoryIntents,
    MemoryRollbacks,
    MemoryVetoes,
)
from headway.testing.memory.evidence import MemoryEvidence
from headway.testing.memory.gateways import MemoryGateways
from headway.testing.memory.keys import MemoryKeys, MemorySessions, MemorySpending
from headway.testing.memory.measurements import MemoryMeasurements
from headway.testing.memory.models import MemoryModels
from headway.testing.memory.outbox import MemoryOutbox
from headway.testing.memory.prices import MemoryPrices
from headway.testing.memory.routes import MemoryRoutes
from headway.testing.memory.scores import MemoryScores
from headway.testing.memory.settings import MemorySettings
from headway.testing.memory.snapshots import MemorySnapshots
from headway.testing.memory.source import MemorySource
from headway.testing.memory.store import Store
from headway.testing.memory.tables import Tables
from headway.testing.memory.versions import MemoryVersions


class MemoryWork:
    """One transaction over all repositories; it fits every `Work` of the domain."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._tables = tables = Tables(store, clock)
        self.settings = MemorySettings(tables)
        self.models = MemoryModels(tables)
        self.versions = MemoryVersions(tables)
        self.aliases = MemoryAliases(tables)
        self.artifacts = MemoryArtifacts(tables)
        self.keys = MemoryKeys(tables)
        self.sessions = MemorySessions(tables)
        self.spending = MemorySpending(tables)
        self.prices = MemoryPrices(tables)
        self.idempotency = MemoryAnswers(tables)
        self.routes = MemoryRoutes(tables)
        self.snapshots = MemorySnapshots(tables)
        self.deployments = MemoryDeployments(tables)
        self.intents = MemoryIntents(tables)
        self.rollbacks = MemoryRollbacks(tables)
        self.vetoes = MemoryVetoes(tables)
        self.outbox = MemoryOutbox(tables)
        self.gateways = MemoryGateways(tables)
        self.measurements = MemoryMeasurements(tables)
        self.evidence = MemoryEvidence(tables)
        self.scores = MemoryScores(tables)
        self.source = MemorySource(tables)

    def now(self) -> int:
        return self._tables.clock()

    def commit(self) -> None:
        """Make it last, or raise `Conflict` if somebody else wrote one of its rows meanwhile."""
        self._tables.commit()


@contextmanager
def begin(store: Store, clock: Clock) -> Iterator[MemoryWork]:
    """Open a work; what was not committed when it is left never happened."""
    yield MemoryWork(store, clock)
