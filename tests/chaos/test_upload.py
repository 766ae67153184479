"""A file far larger than memory should ever be goes through gateway and control in pieces."""

import hashlib
import json
import os
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.chaos.running import MIB, peak_memory, running

KILLS = int(os.environ.get("HEADWAY_CHAOS_KILLS", "20"))
SIZE = (2_048 if KILLS >= 200 else 300) * MIB
"""2 GB for `make chaos`."""


def blocks(digest: "hashlib._Hash") -> Iterator[bytes]:
    noise = os.urandom(MIB - 8)
    for number in range(SIZE // MIB):
        block = number.to_bytes(8, "big") + noise
        digest.update(block)
        yield block


def test_an_upload_costs_gateway_and_control_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256()
    with running(tmp_path / "d", monkeypatch, gateways="1") as served:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=120)
        connection.request(
            "POST",
            "/api/v1/artifacts",
            blocks(digest),
            {
                "authorization": f"Bearer {served.api.key}",
                "content-length": str(SIZE),
                "content-type": "application/octet-stream",
            },
        )
        answer = connection.getresponse()
        stored = json.loads(answer.read())
        connection.close()
        peaks = {
            kind: max(map(peak_memory, served.processes(kind))) / MIB
            for kind in ("gateway", "control")
        }
    print(f"{SIZE // MIB} MiB uploaded, most memory ever (MiB): {peaks}")  # noqa: T201 - figures

    assert answer.status == 201, stored
    assert stored["digest"] == f"sha256:{digest.hexdigest()}"
    assert max(peaks.values()) < 100
