"""Fifty people deploy to one route in the same moment: one of them moves it."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

from headway.deployments.checks.smoke import smoke
from headway.deployments.deployment import ACTIVE
from headway.deployments.service import DeploymentService
from headway.deployments.strategies.direct import direct
from headway.kernel.clock import utc_now
from headway.kernel.errors import Busy, Conflict
from headway.outbox.actor import Actor
from headway.persistence import work as sql
from headway.persistence.engine import Database
from headway.registry.service import RegistryService

ADA = Actor("ada", "person")
TARGET = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}


def test_of_fifty_deployments_of_one_route_exactly_one_is_active(database: Database) -> None:
    begin = partial(sql.begin, database)
    registry = RegistryService(begin, utc_now)
    registry.register_model("bot", actor=ADA)
    release = registry.release({"version": "1.0.0", "target": TARGET})
    registry.register_version("bot", release, actor=ADA)
    service = DeploymentService(begin, {"direct": direct}, {"smoke": smoke})
    together = Barrier(50)

    def deploy(_: int) -> str | None:
        together.wait()
        while True:
            try:
                plan = {"model": "bot", "to": "1.0.0", "strategy": "direct"}
                return service.create(plan, actor=ADA).id
            except Conflict as refused:
                if refused.stands_in_the_way is not None:
                    return None
            except Busy:
                continue

    with ThreadPoolExecutor(50) as threads:
        made = [one for one in threads.map(deploy, range(50)) if one is not None]
    with begin() as work:
        stored = work.deployments.list(
            model="bot", environment=None, states=(), before=None, limit=100
        )
        told = work.outbox.history(limit=1_000)
    assert [one.id for one in stored if one.state in ACTIVE] == made
    assert len(stored) == len(made) == 1
    assert [one.deployment for one in told if one.kind == "deployment.created"] == made
