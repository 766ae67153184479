"""What an upload left behind when the machine went down goes by itself."""

import os
import time
from pathlib import Path

import pytest
from tests.chaos.running import running, until

_TWO_DAYS_AGO = time.time() - 2 * 86_400


def test_files_that_nobody_knows_leave_the_disk_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "d" / "artifacts"
    old = [left(store, "incoming/half"), left(store, f"sha256/ab/{'c' * 62}")]
    young = left(store, "incoming/under-way", since=time.time())

    with running(tmp_path / "d", monkeypatch, gateways="1") as server:
        kept = server.api.upload(b"\x08\x09 a model")
        until(lambda: not any(map(Path.exists, old)), seconds=20, what="room")

    digest = kept.removeprefix("sha256:")
    assert (store / "sha256" / digest[:2] / digest[2:]).exists()
    assert young.exists()


def left(store: Path, name: str, *, since: float = _TWO_DAYS_AGO) -> Path:
    path = store / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(b"bytes")
    os.utime(path, (since, since))
    return path
