"""Gateways are renewed one after the other, and nobody notices."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import pytest
from tests.chaos.running import Running, running, until

from headway.testing.provider import Reply, ScriptedProvider
from headway.testing.provider.reply import Received

_CALLERS: Final = 4
_WHOLE: Final = {"model": "bot", "messages": [{"role": "user", "content": "hello"}]}


def slowly(request: Received) -> Reply:
    """Answer, streams over half a second."""
    return Reply(text="a b c d e f g h", gap_s=0.06 if request.json.get("stream") else 0.0)


class Callers:
    """Threads that ask for as long as the block lasts."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._over = threading.Event()
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    def _connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self._server.port, timeout=20)

    def _ask(self, connection: HTTPConnection, kind: str, *, stream: bool) -> None:
        headers = {"authorization": f"Bearer {self._server.api.key}"}
        body = json.dumps(_WHOLE | {"stream": stream})
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, HTTPException) as error:
            self.wrong.append(f"{kind}: {error!r}")
            connection.close()
            return
        end = b"data: [DONE]\n\n" if stream else b"}"
        if answer.status != 200 or not said.rstrip(b" ").endswith(end):
            self.wrong.append(f"{kind}: {answer.status} {said[-200:]!r}")
        self.seen[kind] += 1

    def anew(self) -> None:
        """Open a connection for each request."""
        while not self._over.is_set():
            connection = self._connection()
            self._ask(connection, "new", stream=False)
            connection.close()

    def kept(self) -> None:
        """Use one connection for as long as it is offered."""
        connection = self._connection()
        while not self._over.is_set():
            self._ask(connection, "kept", stream=False)
        connection.close()

    def streams(self) -> None:
        connection = self._connection()
        while not self._over.is_set():
            self._ask(connection, "stream", stream=True)
        connection.close()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        kinds: list[Callable[[], None]] = [self.anew] * _CALLERS
        threads = [
            threading.Thread(target=kind)
            for kind in (*kinds, self.kept, self.streams, self.streams)
        ]
        for thread in threads:
            thread.start()
        try:
            until(lambda: len(self.seen) == 3, seconds=20, what="traffic")
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with (
        ScriptedProvider(slowly) as provider,
        running(tmp_path / "d", monkeypatch, gateways="2", drain_s="20") as found,
    ):
        found.register("1.0.0", "2.0.0", base_url=provider.url)
        deploy(found, "1.0.0")
        yield found


def deploy(server: Running, number: str) -> None:
    found = server.deploy(to=number, strategy="direct", steps=[{"send": "100%"}])

    def done() -> bool:
        return bool(server.api.get(f"/deployments/{found['id']}")["state"] == "succeeded")

    until(done, seconds=30, what=f"{number} is live")


def test_no_request_is_lost_while_the_gateways_are_renewed(server: Running) -> None:
    before, scribe = set(server.processes("gateway")), server.processes("scribe")
    callers = Callers(server)

    with callers.at_work():
        [supervisor] = server.processes("headway.supervisor")
        os.kill(supervisor, signal.SIGUSR1)
        until(lambda: renewed(server, before), seconds=60, what="two new gateways")
        seen = callers.seen.copy()
        until(lambda: callers.seen["new"] > seen["new"] + 50, seconds=30, what="traffic after it")

    assert callers.wrong == []
    assert server.processes("scribe") != scribe
    assert "gateway 1 was renewed" in server.log()
    assert "gateway 2 was renewed" in server.log()


def renewed(server: Running, before: set[int]) -> bool:
    now = set(server.processes("gateway"))
    return len(now) == len(before) and not now & before


def test_no_request_is_lost_while_traffic_moves_to_another_version(server: Running) -> None:
    callers = Callers(server)

    with callers.at_work():
        for number in ("2.0.0", "1.0.0", "2.0.0"):
            deploy(server, number)
            assert server.chat().version == number

    assert callers.wrong == []


def test_gateways_stay_if_their_successors_do_not_come_up(server: Running) -> None:
    before = set(server.processes("gateway"))
    [supervisor] = server.processes("headway.supervisor")
    (server.data / "root.key").write_text("this is no key")

    os.kill(supervisor, signal.SIGUSR1)
    until(lambda: "does not come up" in server.log(), seconds=60, what="the supervisor's word")

    assert set(server.processes("gateway")) == before
    assert server.chat().status == 200
