"""A real `headway serve` for a test, and what can be done to its processes."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from tests.e2e.processes import processes_of

from headway.demo.server import Api, headway

PORTS: Final = range(19_300, 19_400)
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller got; status 0: no answer at all."""

    status: int
    version: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Running:
    url: str
    data: Path
    api: Api

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def log(self) -> str:
        return (self.data / "headway.log").read_text("utf-8", "replace")

    def processes(self, kind: str) -> list[int]:
        return processes_of(self.data, kind)

    def signal(self, kind: str, number: signal.Signals) -> None:
        for process in self.processes(kind):
            os.kill(process, number)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, key: str = ""
    ) -> Answer:
        """Ask on a connection of its own, so that any gateway may take it."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {
                    "authorization": f"Bearer {key or self.api.key}",
                    "content-type": "application/json",
                },
            )
            answer = connection.getresponse()
            found = Answer(answer.status, answer.headers["headway-version"] or "", answer.read())
        except (OSError, HTTPException):
            return Answer(0)
        finally:
            connection.close()
        return found

    def chat(self, key: str = "") -> Answer:
        body = {"model": "bot", "messages": [{"role": "user", "content": "hello"}]}
        return self.request("POST", "/v1/chat/completions", body, key)

    def register(self, *numbers: str, base_url: str) -> None:
        """Register versions of `bot`; the upstream's model is called like the version."""
        with suppress(Exception):
            self.api.post("/models", {"name": "bot"})
        for number in numbers:
            target = {"provider": "openai", "base_url": base_url, "model": number, "retries": 0}
            self.api.post("/models/bot/versions", {"version": number, "target": target})

    def deploy(self, **plan: Any) -> Any:  # noqa: ANN401 - JSON
        return self.api.post("/deployments", {"model": "bot", **plan})


@contextmanager
def running(data: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Iterator[Running]:
    for name in [name for name in os.environ if name.startswith("HEADWAY_")]:
        monkeypatch.delenv(name)
    for name, value in {"drain_s": "1", **settings}.items():
        monkeypatch.setenv(f"HEADWAY_{name.upper()}", value)
    with headway(data=data, port=free_port()) as url:
        api = Api(url, (data / "admin.key").read_text().strip())
        try:
            yield Running(url, data, api)
        finally:
            api._http.close()
            # Whoever stands still could not be told to end.
            for kind in ("control", "scribe", "gateway", "runner"):
                for process in processes_of(data, kind):
                    os.kill(process, signal.SIGCONT)


def free_port() -> int:
    """Return a port that nobody listens on; each worker of a test run begins elsewhere."""
    start = os.getpid() % len(PORTS)
    port: int
    for port in [*PORTS[start:], *PORTS[:start]]:
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def until(true: Callable[[], bool], *, seconds: float, what: str) -> float:
    """Wait until it is true; return how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() < began + seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


def peak_memory(process: int) -> int:
    """Return the most that a process ever had resident, bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError(process)
