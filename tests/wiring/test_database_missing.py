"""What people read whose PostgreSQL cannot be spoken to, or does not answer."""

import importlib.machinery
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.e2e.processes import free_port

from headway.cli.main import main


def typed(data: Path, url: str, *words: str) -> Result:
    variables = {
        "HEADWAY_DATA": str(data),
        "HEADWAY_DATABASE_URL": url,
        "HEADWAY_ROOT_KEY": "ab" * 32,
    }
    return CliRunner().invoke(main, words, env=variables)


@pytest.mark.parametrize("words", [["db", "check"], ["db", "upgrade"], ["serve"], ["control"]])
def test_missing_driver_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    real = importlib.machinery.PathFinder.find_spec

    def without(name: str, path: object = None, target: object = None) -> object:
        return None if name == "psycopg" else real(name, path, target)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", without)

    answer = typed(tmp_path, "postgresql://ada:secret@db.internal/headway", *words)

    assert answer.exit_code == 78, answer.output
    assert "install headway[postgres]" in answer.output
    assert len(answer.output.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["db", "check"], ["db", "upgrade"], ["keys", "create", "me", "--here"]]
)
def test_database_that_does_not_answer_is_named_without_user_and_password(
    tmp_path: Path, words: list[str]
) -> None:
    port = free_port()

    answer = typed(tmp_path, f"postgresql://ada:secret@127.0.0.1:{port}/ships", *words)

    assert answer.exit_code == 75, answer.output
    assert f"127.0.0.1:{port}/ships" in answer.output
    assert len(answer.output.splitlines()) == 1
    assert "ada" not in answer.output
    assert "secret" not in answer.output
