"""Killed at any point of create, reconcile and rollback, Headway is as if it had stopped there.

`HEADWAY_CHAOS_KILLS` says how often to kill on each database (20); `HEADWAY_CHAOS_SEED` repeats a
run that failed.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.chaos import mutants
from tests.chaos.harness import Kill, storm

from headway.persistence.engine import open_database
from headway.persistence.schema import upgrade
from headway.testing.postgres import Postgres

pytestmark = pytest.mark.chaos
KILLS = int(os.environ.get("HEADWAY_CHAOS_KILLS", "20"))
SEED = int(os.environ.get("HEADWAY_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1 << 30)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    shutil.copyfile(sqlite_template, tmp_path / "headway.db")
    return f"sqlite:///{tmp_path}/headway.db"


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    url = postgres_server.create_database("chaos")
    with open_database(url) as database:
        upgrade(database)
    yield url
    postgres_server.drop_database("chaos")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_whatever_is_killed_nothing_is_done_by_halves_and_everything_ends(
    database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{database}_url")
    print(f"{KILLS} kills on {database}, HEADWAY_CHAOS_SEED={SEED}")  # noqa: T201 - to repeat it
    assert storm(url, seed=SEED, kills=KILLS) == []


def at(place: str, most: int) -> Callable[[random.Random], Kill]:
    return lambda chance: Kill(place, chance.randint(1, most))


@pytest.mark.parametrize(
    ("mutant", "kill", "told"),
    [
        (mutants.TWO_TRANSACTIONS, at("after routes.add", 8), "the history tells of"),
        (mutants.NO_FENCE, at("before commit", 300), "the history of|entered its steps"),
        (mutants.ANSWER_BEFORE_COMMIT, at("after answer", 4), "was answered, and is not stored"),
        (mutants.FALSE_SUCCESS, at("before commit", 300), "without any evidence"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_headway_that_is_built_wrongly_is_found_out(
    mutant: str, kill: Callable[[random.Random], Kill], told: str, sqlite_url: str
) -> None:
    found = storm(sqlite_url, seed=SEED, kills=20, mutant=mutant, kill=kill)
    print(SEED, found)  # noqa: T201 - to repeat it
    assert any(words in one for one in found for words in told.split("|"))
