"""A whole Headway in memory behind a real port, and a shell that speaks to it."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cheroot.wsgi import Server
from click.testing import CliRunner, Result
from flask import request
from tests.web.world import World

from headway.app import create_app
from headway.cli.main import main


@dataclass(frozen=True)
class Shell:
    """Types commands, as the owner of one key."""

    url: str
    key: str

    @property
    def variables(self) -> dict[str, str]:
        return {"HEADWAY_URL": self.url, "HEADWAY_KEY": self.key}

    def __call__(self, words: str, **variables: str) -> Result:
        return CliRunner().invoke(main, words.split(), env=self.variables | variables)

    def done(self, words: str) -> str:
        answer = self(words)
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    def on_a_screen(self, words: str, *, columns: int, **variables: str) -> str:
        """Run it at a terminal of that width; return what stands there."""
        here, there = os.openpty()
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "headway.cli", *words.split()],
            os.environ
            | self.variables
            | {"COLUMNS": str(columns), "TERM": "xterm-256color"}
            | variables,
            file_actions=[(os.POSIX_SPAWN_DUP2, there, fd) for fd in (0, 1, 2)],
        )
        os.close(there)
        said = b""
        try:
            while piece := os.read(here, 4096):
                said += piece
        except OSError:  # Linux says so when nobody holds the other end any more
            pass
        finally:
            os.close(here)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
        return said.decode().replace("\r\n", "\n")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "artifacts")


@pytest.fixture
def asked() -> list[Callable[[str], None]]:
    """Hold who is told of each request (`GET /api/v1/keys`) before it is answered."""
    return []


@pytest.fixture
def url(world: World, asked: list[Callable[[str], None]]) -> Iterator[str]:
    app = create_app(world.services)

    def tell() -> None:
        for told in asked:
            told(f"{request.method} {request.path}")

    app.before_request(tell)
    server = Server(("127.0.0.1", 0), app, numthreads=2)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield f"http://127.0.0.1:{server.bind_addr[1]}"
    server.stop()
    thread.join()


@pytest.fixture
def types(world: World, url: str) -> Callable[[str], Shell]:
    """Give a shell to somebody of that role."""
    return lambda role: Shell(url, world.key(role))


@pytest.fixture
def shell(types: Callable[[str], Shell]) -> Shell:
    return types("admin")
