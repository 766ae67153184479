"""A database that is gone is never replaced by an empty one in silence."""

from pathlib import Path

import pytest

from headway.kernel.errors import Unavailable
from headway.persistence.engine import open_database
from headway.persistence.schema import Schema, check_schema
from headway.settings import Settings
from headway.wiring.database import upgrade_apart


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HEADWAY_DATA", str(tmp_path))
    return Settings()


def schema(settings: Settings) -> Schema:
    with open_database(settings.database) as database:
        return check_schema(database)


def test_fresh_folder_gets_a_database(settings: Settings) -> None:
    upgrade_apart(settings)
    assert schema(settings) is Schema.CURRENT


def test_folder_that_has_served_gets_no_empty_one(settings: Settings) -> None:
    upgrade_apart(settings)
    settings.run_folder.mkdir(parents=True, exist_ok=True)
    settings.view_file.write_text("a gateway's", "utf-8")
    for file in settings.data.glob("headway.db*"):
        file.unlink()

    with pytest.raises(Unavailable, match=r"put it back, or remove view\.json"):
        upgrade_apart(settings)

    assert schema(settings) is Schema.FRESH
    settings.view_file.unlink()
    upgrade_apart(settings)
    assert schema(settings) is Schema.CURRENT
