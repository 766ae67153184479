"""The log at level debug holds a line per request, and by default none."""

import json
from pathlib import Path

import pytest
from tests.chaos.running import running, until

from headway.testing.provider import ScriptedProvider


@pytest.mark.parametrize(("level", "logged"), [("debug", 1), ("info", 0)])
def test_a_line_per_request_is_written_for_who_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, logged: int
) -> None:
    with (
        ScriptedProvider() as provider,
        running(tmp_path / "d", monkeypatch, log_level=level, gateways="1") as server,
    ):
        server.register("1.0.0", base_url=provider.url)
        server.deploy(to="1.0.0", strategy="direct")
        until(lambda: server.chat().status == 200, seconds=30, what="the first answer")
        until(lambda: lines(server.log()) >= logged, seconds=10, what="a line")

        assert bool(lines(server.log())) is bool(logged)
        assert server.api.key not in server.log()


def lines(log: str) -> int:
    """Count the lines of answers that were ok."""
    found = [json.loads(line) for line in log.splitlines() if '"event": "request"' in line]
    return len([line for line in found if line["outcome"] == "ok" and line["key"]])
