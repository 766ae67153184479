"""A second story is not told on a server that somebody uses."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
import numpy as np
import pytest
from tests.e2e.processes import free_port

from headway.demo import narrator
from headway.demo.caller import Caller, Seen
from headway.demo.server import admin_key
from headway.wiring.folders import claim


@contextmanager
def somebody_listens() -> Iterator[int]:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def demo(data: Path, port: int) -> "subprocess.CompletedProcess[str]":
    words = ["demo", "--exit", "--data", str(data), "--port", str(port)]
    command = [sys.executable, "-m", "headway.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_where_somebody_listens_no_story_is_told(tmp_path: Path) -> None:
    with somebody_listens() as port:
        told = demo(tmp_path / "data", port)

    assert told.returncode == 75
    assert told.stdout == ""
    assert len(told.stderr.splitlines()) == 1
    assert f"http://127.0.0.1:{port}" in told.stderr
    assert "end it first" in told.stderr
    assert not (tmp_path / "data").exists()


def test_on_the_data_of_another_no_story_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    claim(tmp_path / "run")

    told = demo(tmp_path, free_port())

    assert told.returncode == 75
    assert told.stdout == ""
    assert f"a Headway works on {tmp_path} already" in told.stderr


def test_a_key_that_was_shown_at_a_terminal_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADWAY_KEY", raising=False)
    with pytest.raises(click.ClickException, match="set HEADWAY_KEY"):
        admin_key(tmp_path)
    monkeypatch.setenv("HEADWAY_KEY", "hw_shown")
    assert admin_key(tmp_path) == ("hw_shown", None)
    (tmp_path / "admin.key").write_text("hw_written\n")
    assert admin_key(tmp_path) == ("hw_written", tmp_path / "admin.key")


def test_of_a_version_that_failed_only_the_answers_that_came_are_called_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    none = np.zeros((0, 64), dtype=np.int64)
    caller = Caller(url="", key="", images=none, labels=none[:, 0], rate=1)
    caller.seen["2.0.0"] = Seen(answered=14, failed=14, right=14)

    narrator.Narrator().story([], [], caller)

    said = capsys.readouterr().out
    assert "28 requests, 14 failed; of the answers that came 100.0% were right" in said
