"""While the database is locked, and when a gateway dies: what is counted, and what may miss."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa
from tests.chaos.test_flush_unanswered import Gateway

from headway.persistence import work as sql
from headway.persistence.engine import Database


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Let nobody write, as a writer of another process would."""
    if database.library is not None:
        connect = database.library.module.connect
        with closing(connect(str(database.file), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    with database.engine.begin() as other:
        other.execute(sa.text("LOCK TABLE gateways IN ACCESS EXCLUSIVE MODE"))
        yield


def gateway_on(database: Database, boot: str = "gw_1") -> Gateway:
    begin: Any = partial(sql.begin, database)
    return Gateway(begin, partial(sql.begin, database, read_only=True), boot)


def counted(database: Database) -> tuple[int, int]:
    """Return the good answers that are counted, and the evidence of requests."""
    with sql.begin(database, read_only=True) as work:
        good = sum(outcomes.get("ok", 0) for *_, outcomes, _ in work.measurements.totals())
        measured = [one.n for one in work.evidence.of("dep_1") if one.metric == "measured"]
    return good, sum(measured)


def test_ten_seconds_of_a_locked_database_cost_nothing_and_count_nothing_twice(
    database: Database,
) -> None:
    gateway = gateway_on(database)
    gateway.answer()
    gateway.second()
    with locked(database):
        for _ in range(10):
            gateway.answer()
            gateway.second()
    before = counted(database)
    gateway.answer()
    gateway.second()
    gateway.second()
    assert before == (1, 2)
    assert counted(database) == (12, 24)


def test_a_gateway_that_dies_takes_at_most_its_last_second_with_it(database: Database) -> None:
    dies = gateway_on(database)
    for _ in range(3):
        dies.answer()
        dies.second()
    dies.answer()
    del dies
    lives = gateway_on(database, "gw_2")
    lives.answer()
    lives.second()
    assert counted(database) == (4, 8)
