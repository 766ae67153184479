"""The scribe dies again and again: no request fails, and every request is counted once."""

import json
import signal
from functools import partial
from pathlib import Path

import pytest
from tests.chaos.running import Running, running, until

from headway.testing.provider import ScriptedProvider

GOOD = "1.0.0"


def test_whenever_the_scribe_dies_no_request_fails_and_each_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        ScriptedProvider() as provider,
        running(tmp_path / "d", monkeypatch, gateways="2") as served,
    ):
        served.register(GOOD, base_url=provider.url)
        served.deploy(to=GOOD, strategy="direct", steps=[{"send": "100%"}])
        statuses: list[int] = []

        def ask(calls: int) -> list[int]:
            found = [served.chat().status for _ in range(calls)]
            statuses.extend(found)
            return found

        until(lambda: ask(8) == [200] * 8, seconds=15, what="answers of both gateways")
        for _ in range(3):
            before = served.processes("scribe")
            assert set(ask(40)) == {200}
            served.signal("scribe", signal.SIGKILL)
            assert set(ask(40)) == {200}
            until(partial(_works, served, before), seconds=15, what="another scribe")
        answered = statuses.count(200)
        until(lambda: _counted(served) >= answered, seconds=15, what="the sums")
        assert _counted(served) == answered

        served.signal("gateway", signal.SIGKILL)
        served.signal("scribe", signal.SIGKILL)
        until(lambda: ask(1) == [200], seconds=10, what="an answer after all of them died")


def _works(served: Running, old: list[int]) -> bool:
    found = served.processes("scribe")
    told = json.loads(served.request("GET", "/readyz").body)
    return len(found) == 1 and found != old and told["parts"]["database"]["state"] == "ok"


def _counted(served: Running) -> int:
    shown = served.request("GET", "/metrics").body.decode()
    return sum(
        int(float(line.rsplit(" ", 1)[1]))
        for line in shown.splitlines()
        if line.startswith("headway_requests_total{") and 'outcome="ok"' in line
    )
