"""A disk that is full, does not sync, or holds garbage: traffic goes on, nothing is pretended."""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.chaos.faults import failing
from tests.chaos.running import Running, running, until

from headway.testing.provider import ScriptedProvider

GOOD = "1.0.0"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with (
        ScriptedProvider() as provider,
        running(tmp_path / "d", monkeypatch, gateways="1") as served,
    ):
        served.register(GOOD, base_url=provider.url)
        served.deploy(to=GOOD, strategy="direct", steps=[{"send": "100%"}])
        until(lambda: served.chat().status == 200, seconds=15, what="the first answer")
        yield served


def test_whatever_the_disk_does_traffic_goes_on_and_nothing_is_pretended(
    served: Running, tmp_path: Path
) -> None:
    _full(served, tmp_path)
    _does_not_sync(served, tmp_path)
    _measured_while_it_does_not_sync(served, tmp_path)
    _garbage(served)


def _full(served: Running, folder: Path) -> None:
    (control,) = served.processes("control")
    with failing([control], "pwrite64", error="ENOSPC", folder=folder):
        refused = served.request("POST", "/api/v1/models", {"name": "full"})
        _answers(served)
    assert refused.status == 503
    assert json.loads(refused.body)["type"].endswith("/storage-unavailable")
    assert not _has(served, "full")
    assert served.request("POST", "/api/v1/models", {"name": "full"}).status == 201
    assert served.processes("control") == [control]


def _does_not_sync(served: Running, folder: Path) -> None:
    (control,) = served.processes("control")
    with failing([control], "fsync", "fdatasync", error="EIO", folder=folder):
        refused = served.request("POST", "/api/v1/models", {"name": "unsynced"})
        _answers(served)
        until(lambda: "ended with code 74" in served.log(), seconds=10, what="the end of control")
    assert refused.status in {0, 503}
    again = until(lambda: _reads(served), seconds=20, what="a new control")
    print(f"{again:.2f} s until a fresh control read")  # noqa: T201 - figures
    assert served.processes("control") != [control]
    answer = served.request("POST", "/api/v1/models", {"name": "unsynced"})
    assert answer.status in {201, 409}  # what was not acknowledged may be there
    assert _has(served, "unsynced")


def _measured_while_it_does_not_sync(served: Running, folder: Path) -> None:
    processes = served.processes("gateway"), served.processes("scribe")
    before = _counted(served)
    with failing(processes[1], "fsync", "fdatasync", error="EIO", folder=folder):
        _answers(served)
        until(lambda: _database(served) == "down", seconds=10, what="word of it")
        _answers(served)
    until(lambda: _database(served) == "ok", seconds=10, what="a flush that is taken")
    until(lambda: _counted(served) >= before + 40, seconds=5, what="the sums")
    assert (served.processes("gateway"), served.processes("scribe")) == processes
    assert _counted(served) == before + 40


def _garbage(served: Running) -> None:
    """Overwrite the database; put a backup in its place later."""
    file = served.data / "headway.db"
    backup = served.data / "backup.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM INTO ?", (str(backup),))
    for harmed in (file, Path(f"{file}-wal")):
        with harmed.open("r+b") as stream:
            stream.write(os.urandom(harmed.stat().st_size))
    until(lambda: not _reads(served), seconds=10, what="an API that notices")
    _answers(served)
    assert served.request("POST", "/api/v1/models", {"name": "garbage"}).status in {0, 503}
    served.signal("gateway", signal.SIGKILL)
    until(lambda: served.chat().status == 200, seconds=10, what="a gateway with the kept routes")
    _answers(served)
    for left in ("-wal", "-shm"):
        Path(f"{file}{left}").unlink(missing_ok=True)
    shutil.move(backup, file)
    until(lambda: _reads(served), seconds=30, what="the backup")
    assert _has(served, "unsynced")
    _answers(served)


def _answers(served: Running) -> None:
    assert [served.chat().status for _ in range(20)] == [200] * 20


def _reads(served: Running) -> bool:
    return served.request("GET", "/api/v1/models").status == 200


def _has(served: Running, name: str) -> bool:
    return served.request("GET", f"/api/v1/models/{name}").status == 200


def _database(served: Running) -> str:
    found: str = json.loads(served.request("GET", "/readyz").body)["parts"]["database"]["state"]
    return found


def _counted(served: Running) -> int:
    for line in served.request("GET", "/metrics").body.decode().splitlines():
        if line.startswith("headway_requests_total{") and 'outcome="ok"' in line:
            return int(float(line.split()[-1]))
    raise AssertionError("nothing was counted")
