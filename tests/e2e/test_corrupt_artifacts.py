"""A byte that the disk flips: the load is refused, the version says so, its route falls back."""

import hashlib
import json
import os
import re
import signal
from pathlib import Path

import httpx2
import pytest
from tests.chaos.running import Running, running, until
from tests.gateway.runners import scaled

from headway.outbox.event import Event
from headway.persistence.engine import open_database
from headway.persistence.work import begin

pytest.importorskip("onnxruntime")

_BODY = {
    "inputs": [
        {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]},
        {"name": "words", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"]},
        {"name": "ok", "shape": [1, 2], "datatype": "BOOL", "data": [True, False]},
    ]
}


def test_a_flipped_byte_marks_the_version_and_the_right_bytes_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "d", monkeypatch, gateways="1") as server:
        serve(server, "1.0.0", "1.1.0", "1.2.0")
        assert scale(server) == ("1.0.0", 2)

        flip_a_byte(server, model_of("1.0.0"))
        flip_a_byte(server, model_of("1.2.0"))
        forget_what_is_loaded(server)

        until(lambda: scale(server) == ("1.1.0", 3), seconds=20, what="the fallback")
        until(lambda: corrupt(server, "1.0.0"), seconds=20, what="the mark")
        assert not corrupt(server, "1.1.0")
        (told,) = events(server, "version.corrupt")
        assert (told.subject, told.actor) == ("version:scale@1.0.0", "headway")
        assert "not those that were uploaded" in told.why

        seen = page(server)
        assert '>1.0.0 <span class="some">corrupt</span>' in seen
        assert "version scale@1.0.0 corrupt: the stored bytes" in seen

        # Nobody knows of this one yet: its check finds out, and does not ask for ten minutes.
        plan = {"model": "scale", "to": "1.2.0", "strategy": "direct"}
        deployment = server.api.post("/deployments", plan)["id"]
        until(
            lambda: server.api.get(f"/deployments/{deployment}")["state"] == "rolled_back",
            seconds=10,
            what="the end of a deployment of corrupt bytes",
        )
        because = server.api.get(f"/deployments/{deployment}")["because"]
        assert "check loads failed" in because
        assert "not those that were uploaded" in because
        assert corrupt(server, "1.2.0")
        refused = server.request("POST", "/api/v1/deployments", plan)
        assert (refused.status // 100, b"is corrupt" in refused.body) == (4, True)
        back = {"model": "scale", "environment": "production", "to": "1.2.0", "why": "try"}
        refused = server.request("POST", "/api/v1/rollbacks", back)
        assert (refused.status // 100, b"is corrupt" in refused.body) == (4, True)

        server.api.upload(model_of("1.0.0"))
        assert not corrupt(server, "1.0.0")
        until(lambda: scale(server) == ("1.0.0", 2), seconds=10, what="the version again")
        assert [e.subject for e in events(server, "version.mended")] == ["version:scale@1.0.0"]


def model_of(number: str) -> bytes:
    return scaled({"1.0.0": 2, "1.1.0": 3, "1.2.0": 4}[number])


def serve(server: Running, first: str, fallback: str, another: str) -> None:
    server.api.post("/models", {"name": "scale"})
    for number in (first, fallback, another):
        target = {"runtime": "onnx", "artifact": server.api.upload(model_of(number))}
        server.api.post("/models/scale/versions", {"version": number, "target": target})
    route = {
        "rules": [
            {"arms": [{"key": "stable", "version": first, "role": "stable", "share_bp": 10_000}]}
        ],
        "fallback": fallback,
    }
    put = server.request("PUT", "/api/v1/routes/scale/production", route)
    assert put.status in {200, 201}, put
    until(lambda: scale(server)[1] > 0, seconds=30, what="the first answer")


def scale(server: Running) -> tuple[str, float]:
    """Return which version answered, and by how much it multiplies; 0: none did."""
    answer = server.request("POST", "/v2/models/scale/infer", _BODY)
    if answer.status != 200:
        return answer.version, 0
    return answer.version, json.loads(answer.body)["outputs"][0]["data"][0]


def flip_a_byte(server: Running, model: bytes) -> None:
    digest = hashlib.sha256(model).hexdigest()
    path = server.data / "artifacts" / "sha256" / digest[:2] / digest[2:]
    path.chmod(0o600)
    at = model.index(b"scaled")
    path.write_bytes(model[:at] + bytes([model[at] ^ 1]) + model[at + 1 :])


def forget_what_is_loaded(server: Running) -> None:
    (before,) = server.processes("runner")
    os.kill(before, signal.SIGKILL)
    until(
        lambda: bool(server.processes("runner")) and server.processes("runner") != [before],
        seconds=20,
        what="another runner",
    )


def corrupt(server: Running, number: str) -> bool:
    return server.api.get(f"/models/scale/versions/{number}")["corrupt_at"] is not None


def events(server: Running, kind: str) -> list[Event]:
    with (
        open_database(f"sqlite:///{server.data}/headway.db") as database,
        begin(database, read_only=True) as work,
    ):
        return [event for event in work.outbox.latest(model="scale") if event.kind == kind]


def page(server: Running) -> str:
    with httpx2.Client(
        base_url=server.url, headers={"Origin": server.url}, follow_redirects=True
    ) as browser:
        hidden = re.findall(
            r'type="hidden" name="(\w+)" value="([^"]+)"', browser.get("/login").text
        )
        browser.post("/login", data={**dict(hidden), "key": server.api.key})
        return browser.get("/").text
