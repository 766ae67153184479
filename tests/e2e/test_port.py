"""Who holds the public port open, and for how long."""

import json
import os
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.chaos.running import Running, running, until

from headway.testing.provider import Reply, ScriptedProvider
from headway.testing.provider.reply import Received


def slowly(_request: Received) -> Reply:
    return Reply(text="a b c d e f g h", gap_s=0.2)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with (
        ScriptedProvider(slowly) as provider,
        running(tmp_path / "d", monkeypatch, gateways="2", drain_s="20") as found,
    ):
        found.register("1.0.0", base_url=provider.url)
        deployment = found.deploy(to="1.0.0", strategy="direct", steps=[{"send": "100%"}])["id"]

        def done() -> bool:
            return bool(found.api.get(f"/deployments/{deployment}")["state"] == "succeeded")

        until(done, seconds=30, what="1.0.0 is live")
        yield found


def listening(pid: int, port: int) -> int:
    """Count the descriptors of a process that listen on that port."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    here = {row[9] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    targets = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(target[len("socket:[") : -1] in here for target in targets)


def test_only_those_who_answer_the_port_hold_it(server: Running) -> None:
    """Else it would stay taken, and callers would hang, for as long as the others take to die."""
    for kind, each in (("gateway", [1, 1]), ("scribe", [0]), ("control", [0]), ("runner", [0])):
        held = [listening(pid, server.port) for pid in server.processes(kind)]
        assert held == each, kind


def test_while_streams_are_finished_new_callers_are_refused_at_once(server: Running) -> None:
    body = {"model": "bot", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    open_stream = HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"authorization": f"Bearer {server.api.key}"}
    open_stream.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = open_stream.getresponse()
    [supervisor] = server.processes("headway.supervisor")

    os.kill(supervisor, signal.SIGTERM)

    def refused() -> bool:
        newcomer = HTTPConnection("127.0.0.1", server.port, timeout=5)
        try:
            newcomer.connect()
        except ConnectionRefusedError:
            return True
        finally:
            newcomer.close()
        return False

    until(refused, seconds=10, what="a refusal")
    assert server.processes("gateway"), "nobody was at work any more"
    assert answer.read().endswith(b"data: [DONE]\n\n")
    open_stream.close()
