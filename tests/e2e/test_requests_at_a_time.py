"""A key's requests at a time, at the gateways of one host."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.chaos.running import Answer, Running, running, until

from headway.testing.provider import Reply, ScriptedProvider
from headway.testing.provider.reply import Received


class Door:
    """Answers come at once, or after so many seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.came = 0

    def script(self, _: Received) -> Reply:
        self.came += 1
        return Reply(text="hello", delay_s=self.seconds)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: Door) -> Iterator[Running]:
    with (
        ScriptedProvider(door.script) as provider,
        running(tmp_path / "d", monkeypatch, gateways="3") as found,
    ):
        found.register("1.0.0", base_url=provider.url)
        found.deploy(to="1.0.0", strategy="direct", steps=[{"send": "100%"}])
        until(lambda: found.chat().status == 200, seconds=30, what="an answer")
        yield found


def key(server: Running, most: int) -> str:
    wish = {"name": "x", "role": "caller", "limits": {"concurrent_requests": most}}
    secret: str = json.loads(server.request("POST", "/api/v1/keys", wish).body)["key"]
    until(lambda: known_to_all(server, secret), seconds=10, what="the key")
    return secret


def known_to_all(server: Running, secret: str) -> bool:
    return all(server.request("GET", "/v1/models", key=secret).status == 200 for _ in range(20))


@contextmanager
def held(server: Running, secret: str, door: Door, n: int) -> Iterator[list[Future[Answer]]]:
    """Have so many requests under way for some seconds."""
    door.seconds, before = 4.0, door.came
    with ThreadPoolExecutor(n) as pool:
        asked = [pool.submit(server.chat, secret) for _ in range(n)]
        until(lambda: door.came == before + n, seconds=10, what="requests under way")
        door.seconds = 0.0
        yield asked


def test_who_asks_one_thing_after_the_other_is_never_refused(server: Running) -> None:
    secret = key(server, 1)

    assert [server.chat(secret).status for _ in range(300)] == [200] * 300


def test_one_more_than_allowed_is_refused_at_whichever_gateway(
    server: Running, door: Door
) -> None:
    secret = key(server, 3)
    with held(server, secret, door, 3) as asked:
        refused = {server.chat(secret).status for _ in range(30)}
        assert not any(each.done() for each in asked)

    assert refused == {429}
    assert [each.result().status for each in asked] == [200] * 3
    assert server.chat(secret).status == 200


def test_requests_of_a_gateway_that_was_killed_are_under_way_no_more(
    server: Running, door: Door
) -> None:
    secret = key(server, 2)
    with held(server, secret, door, 2) as asked:
        for process in server.processes("gateway"):
            os.kill(process, signal.SIGKILL)
        assert [each.result().status for each in asked] == [0, 0]
    until(lambda: server.chat().status == 200, seconds=20, what="a gateway")

    assert [server.chat(secret).status for _ in range(20)] == [200] * 20
