"""What the command line says to somebody who is new to it: one line, and what to do."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from headway.cli.main import main


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    for name in ("HEADWAY_KEY", "HEADWAY_URL", "HEADWAY_DATA", "HEADWAY_PORT"):
        monkeypatch.delenv(name, raising=False)
    return CliRunner()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deploy", "statr"], "did you mean 'start'"),
        (["models", "list", "--mst", "3"], "did you mean '--most'"),
        (["rollback", "start", "bot"], "missing option '--why'"),
        (["keys", "create", "ci", "--role", "admn"], "'viewer', 'caller', 'deployer', 'admin'"),
        (["versions", "show", "bot"], "missing argument 'ref'"),
    ],
)
def test_wrong_words_are_told_in_one_line_with_where_to_look(
    shell: CliRunner, words: list[str], said: str
) -> None:
    answer = shell.invoke(main, words)

    assert answer.exit_code == 2
    assert len(answer.output.splitlines()) == 1
    assert said in answer.output.lower()
    assert " --help`" in answer.output


def test_without_a_key_it_says_where_one_comes_from(shell: CliRunner) -> None:
    answer = shell.invoke(main, ["models", "list"])

    assert answer.exit_code == 2
    assert len(answer.output.splitlines()) == 1
    assert "HEADWAY_KEY" in answer.output
    assert "headway keys create me --role admin --here" in answer.output
    assert "data/admin.key is not there" in answer.output


def test_the_key_that_serve_wrote_without_a_terminal_is_found(
    shell: CliRunner, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin.key").write_text("hw_any\n")

    answer = shell.invoke(main, ["models", "list"], env={"HEADWAY_URL": "http://127.0.0.1:1"})

    assert answer.exit_code == 3


def test_an_address_that_is_none_is_told(shell: CliRunner) -> None:
    answer = shell.invoke(
        main, ["models", "list"], env={"HEADWAY_KEY": "hw_any", "HEADWAY_URL": "somewhere"}
    )

    assert answer.exit_code == 2
    assert "http://" in answer.output


def test_where_nobody_answers_it_says_so(shell: CliRunner) -> None:
    answer = shell.invoke(
        main,
        ["models", "list"],
        env={"HEADWAY_KEY": "hw_any", "HEADWAY_URL": "http://127.0.0.1:1"},
    )

    assert answer.exit_code == 3
    assert "is `headway serve` running" in answer.output


@pytest.mark.parametrize("words", [[], ["deploy"], ["--help"], ["deploy", "why", "--help"]])
def test_help_is_help(shell: CliRunner, words: list[str]) -> None:
    answer = shell.invoke(main, words)

    assert answer.exit_code == (0 if words and words[-1] == "--help" else 2)
    assert "Usage: headway" in answer.output.replace("main", "headway")
    assert "-h, --help" in answer.output
