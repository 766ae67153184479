"""One work fits every `Work` that the domain names; mypy is the one that checks it."""

from functools import partial

from headway.artifacts.ports import Begin as ForArtifacts
from headway.auth.ports import Begin as ForKeys
from headway.deployments.ports import Begin as ForDeployments
from headway.gateway.store import Begin as ForGateways
from headway.outbox.answer import Begin as ForAnswers
from headway.persistence import work as sql
from headway.persistence.engine import Database
from headway.registry.ports import Begin as ForRegistry
from headway.routing.ports import Begin as ForRoutes
from headway.testing import memory
from headway.tracking.ports import Begin as ForTracking
from headway.tracking.price_service import Begin as ForPrices


def test_the_work_of_a_database_fits_every_port(sqlite_database: Database) -> None:
    begin = partial(sql.begin, sqlite_database)
    fits: tuple[
        ForArtifacts,
        ForKeys,
        ForDeployments,
        ForGateways,
        ForAnswers,
        ForRegistry,
        ForRoutes,
        ForTracking,
        ForPrices,
    ] = (begin, begin, begin, begin, begin, begin, begin, begin, begin)
    assert all(fits)


def test_the_work_in_memory_fits_every_port() -> None:
    begin = partial(memory.begin, memory.Store(), lambda: 0)
    fits: tuple[
        ForArtifacts,
        ForKeys,
        ForDeployments,
        ForGateways,
        ForAnswers,
        ForRegistry,
        ForRoutes,
        ForTracking,
        ForPrices,
    ] = (begin, begin, begin, begin, begin, begin, begin, begin, begin)
    assert all(fits)
