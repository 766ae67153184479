"""An installation's first start: the tables are made beside processes that want them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.kernel.errors import Refused
from headway.persistence.engine import Database, open_database
from headway.persistence.schema import upgrade
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


def no_word(words: str) -> None:
    raise AssertionError(words)


def test_tables_that_are_being_made_are_waited_for_without_a_word(database: Database) -> None:
    looks = Looks(lambda: upgrade(database))

    assert await_schema(database, looks, report=no_word, seconds=60)
    assert looks.paused == 3


def test_tables_that_nobody_makes_are_told_once_and_waited_for(database: Database) -> None:
    clock, said = iter([0.0, 10.0, 30.0]), list[str]()
    looks = Looks(lambda: upgrade(database))

    assert await_schema(
        database, looks, report=said.append, seconds=30, monotonic=lambda: next(clock)
    )

    assert said == ["schema: fresh"]
    assert looks.paused == 3


def test_nothing_is_done_before_a_database_answers_what_its_tables_are(tmp_path: Path) -> None:
    file = tmp_path / "headway.db"
    file.mkdir()
    with open_database(f"sqlite:///{file}", pool_size=1) as database:

        def there() -> None:
            file.rmdir()
            upgrade(database)

        assert await_schema(database, looks := Looks(there), report=no_word, seconds=60)
    assert looks.paused == 3


def test_tables_of_a_newer_version_are_refused_at_once(database: Database) -> None:
    upgrade(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    looks = Looks()
    with pytest.raises(Refused, match="a newer version of Headway has been here"):
        await_schema(database, looks, report=no_word, seconds=60)
    assert looks.paused == 0


def test_a_process_that_is_told_to_end_waits_no_longer(database: Database) -> None:
    ended = threading.Event()
    ended.set()

    assert not await_schema(database, ended, report=no_word, seconds=60)
