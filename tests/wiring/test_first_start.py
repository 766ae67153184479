"""An installation's first start: the tables are made beside processes that want them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.persistence.engine import Database, open_database
from headway.persistence.schema import Schema, upgrade
from headway.wiring.database import await_schema


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path / 'headway.db'}", pool_size=1) as opened:
        yield opened


class Looks(threading.Event):
    """Nobody ends us: each pause between two looks is over at once, after `then` was called."""

    def __init__(self, then: object = None) -> None:
        super().__init__()
        self.paused = 0
        self._then = then

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        self.paused += 1
        if self.paused == 3 and callable(self._then):
            self._then()
        return False


def test_tables_that_are_being_made_are_waited_for(database: Database) -> None:
    looks = Looks(lambda: upgrade(database))

    assert await_schema(database, looks, seconds=60) is None
    assert looks.paused == 3


def test_tables_that_nobody_makes_are_not_waited_for_for_ever(database: Database) -> None:
    clock = iter([0.0, 10.0, 20.0, 30.0])

    still = await_schema(database, Looks(), seconds=30, monotonic=lambda: next(clock))

    assert still is Schema.FRESH


def test_a_database_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "headway.db").mkdir()
    looks = Looks()
    with open_database(f"sqlite:///{tmp_path / 'headway.db'}", pool_size=1) as broken:
        assert await_schema(broken, looks, seconds=60) is None
    assert looks.paused == 0


def test_a_process_that_is_told_to_end_waits_no_longer(database: Database) -> None:
    ended = threading.Event()
    ended.set()

    assert await_schema(database, ended, seconds=60) is None
