"""Models that run here, called by tritonclient; their runner is scripted and on a unix socket."""

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from headway.testing.gateway import RunningGateway, document, key_entry, route_of
from headway.testing.provider import Ending, Received, Reply, ScriptedProvider

from .conftest import prepare

HEX = "ab" * 32


def runner_script(request: Received) -> Reply:
    """Answer as the runner does: the name and version come from the gateway's headers."""
    if request.path.endswith("/infer"):
        document_ = {
            "model_name": request.headers["headway-model"],
            "model_version": request.headers["headway-model-version"],
            "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}],
        }
    else:
        document_ = {
            "name": "sha256:" + HEX,
            "versions": [""],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [],
        }
    return Reply(body=json.dumps(document_).encode())


class Local:
    def __init__(self, gateway: RunningGateway, runner: ScriptedProvider) -> None:
        self.gateway = gateway
        self.runner = runner
        gateway.adopt(
            document(
                keys=[key_entry(gateway.key, gateway.digest)],
                versions={
                    ("digits", number): {
                        "runtime": "onnx",
                        "artifact": f"sha256:{HEX}",
                        "timeouts": {"total": "1s"},
                    }
                    for number in ("1.0.0", "1.1.0")
                },
                routes=[route_of("digits", [("stable", "1.0.0", 10_000)])],
            )
        )

    def post(
        self, body: bytes, path: str = "/v2/models/digits/infer", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        return self.send("POST", path, body, **headers)

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=10)
        fields = {"authorization": f"Bearer {self.gateway.key}"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        found = {k.lower(): v for k, v in answer.getheaders()}
        text = answer.read()
        connection.close()
        return answer.status, found, json.loads(text)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    path = str(tmp_path / "runner.sock")
    with (
        ScriptedProvider(runner_script, path=path) as runner,
        RunningGateway(prepare=prepare(path), runner=path) as gateway,
    ):
        yield Local(gateway, runner)
        assert gateway.faults == []


BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
).encode()


def test_tritonclient_is_served(local: Local) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{local.gateway.port}")
    headers = {"Authorization": f"Bearer {local.gateway.key}"}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits", headers=dict(headers))
    assert not client.is_model_ready("nope", headers=dict(headers))
    described = client.get_model_metadata("digits", headers=dict(headers))
    assert described["name"] == "digits"
    assert described["versions"] == ["1.0.0", "1.1.0"]
    assert described["inputs"][0]["name"] == "x"
    tensor = triton.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2]], dtype=np.float32), binary_data=False)
    answer = client.infer("digits", [tensor], headers=dict(headers))
    assert answer.get_response()["model_name"] == "digits"
    assert answer.get_response()["model_version"] == "1.0.0"
    assert answer.as_numpy("label").tolist() == [7]
    with pytest.raises(InferenceServerException, match="there is no model"):
        client.infer("nope", [tensor], headers=dict(headers))
    client.close()


def test_bytes_reach_the_runner_as_they_were(local: Local) -> None:
    odd = BODY.replace(b":", b" :\t") + b"\n"
    status, fields, _ = local.post(odd)
    assert status == 200
    (received,) = local.runner.requests
    assert received.body == odd
    assert received.path == f"/v2/models/{HEX}/infer"
    assert "authorization" not in received.headers
    assert fields["headway-version"] == "1.0.0"
    assert local.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_version_may_stand_in_the_path(local: Local) -> None:
    for path in ("/v2/models/digits/versions/1.1.0/infer", "/v2/models/digits@1.1.0/infer"):
        status, fields, answer = local.post(BODY, path)
        assert (status, fields["headway-version"]) == (200, "1.1.0")
        assert answer["model_version"] == "1.1.0"
    assert local.post(BODY, "/v2/models/digits/versions/9.0.0/infer")[0] == 404


def test_sequence_is_the_unit(local: Local) -> None:
    def unit(body: bytes) -> int:
        _, fields, _ = local.post(body)
        stamp = local.gateway.stamper.read(fields["x-request-id"])
        assert stamp is not None
        return stamp.unit

    def with_sequence(value: object) -> bytes:
        return json.dumps({**json.loads(BODY), "parameters": {"sequence_id": value}}).encode()

    assert unit(with_sequence(7)) == unit(with_sequence(7)) != unit(with_sequence(8))
    assert unit(with_sequence("7")) == unit(with_sequence(7))
    assert unit(with_sequence(0)) == unit(with_sequence("")) == unit(BODY) == 0
    large = with_sequence(7)[:-1] + b" " * 300_000 + b"}"
    assert unit(large) == unit(with_sequence(7))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
def test_malformed_bodies_are_refused_before_the_runner_sees_them(
    local: Local, body: bytes
) -> None:
    status, _, answer = local.post(body)
    assert status == 400
    assert list(answer) == ["error"]
    assert local.runner.requests == []


def test_binary_tensors_pass_behind_their_json(local: Local) -> None:
    status, _, _ = local.post(
        BODY + b"\x00\x01\xff", inference_header_content_length=str(len(BODY))
    )
    assert status == 200
    (received,) = local.runner.requests
    assert received.body == BODY + b"\x00\x01\xff"
    assert received.headers["inference-header-content-length"] == str(len(BODY))
    assert local.post(BODY, inference_header_content_length="99999")[0] == 400


@pytest.mark.parametrize(
    ("reply", "status", "outcome"),
    [
        (Reply(status=400, body=b'{"error": "shape"}'), 400, "refused"),
        (
            Reply(status=500, body=b'{"error": "index"}', headers={"headway-outcome": "version"}),
            500,
            "version",
        ),
        (
            Reply(status=404, body=b'{"error": "no"}', headers={"headway-outcome": "version"}),
            404,
            "version",
        ),
        (
            Reply(status=503, body=b'{"error": "busy"}', headers={"retry-after": "1"}),
            503,
            "gateway",
        ),
        (Reply(status=500, body=b"oops"), 503, "gateway"),
        (Reply(body=b'{"error": "but 200"}'), 502, "version"),
        (Reply(body=b'{"x": 1}', end=Ending.CUT), 503, "gateway"),
        (Reply(drop=True), 503, "gateway"),
        (Reply(delay_s=3), 504, "version"),
    ],
)
def test_runner_tells_whose_fault_it_is(
    local: Local, reply: Reply, status: int, outcome: str
) -> None:
    local.runner.script = lambda _: reply
    found, fields, answer = local.post(BODY)
    assert found == status
    assert list(answer) == ["error"]
    assert "headway-outcome" not in fields
    if status == 503:
        assert fields["retry-after"] == "1"
    assert local.gateway.outcomes() == {"1.0.0": {outcome: 1}}


def test_runner_that_is_gone_is_our_fault_and_answered_at_once(tmp_path: Path) -> None:
    with RunningGateway(prepare=prepare(str(tmp_path / "none.sock"))) as gateway:
        local = Local(gateway, ScriptedProvider())
        began = time.monotonic()
        status, fields, _ = local.post(BODY)
        assert (status, fields["retry-after"]) == (503, "1")
        assert time.monotonic() - began < 1
        assert gateway.outcomes() == {"1.0.0": {"gateway": 1}}


def test_chat_with_a_model_of_another_protocol_names_the_right_path(local: Local) -> None:
    body = json.dumps({"model": "digits", "messages": []}).encode()
    status, _, answer = local.post(body, "/v1/chat/completions")
    assert status == 400
    assert "POST /v2/models/digits/infer" in answer["error"]["message"]


def test_unknown_paths_and_methods_are_told_in_the_protocols_shape(local: Local) -> None:
    status, _, answer = local.send("GET", "/v2/nothing")
    assert (status, list(answer)) == (404, ["error"])
    status, fields, answer = local.send("GET", "/v2/models/digits/infer")
    assert (status, fields["allow"], list(answer)) == (405, "POST", ["error"])
    status, _, answer = local.send("GET", "/v2/models/digits", authorization="Bearer no")
    assert (status, list(answer)) == (401, ["error"])


def test_readiness_tells_each_part_and_stays_200_while_traffic_is_answered(local: Local) -> None:
    status, _, answer = local.send("GET", "/readyz")
    assert status == 200
    assert answer["status"] == "degraded"
    assert answer["parts"]["control"] == {"state": "down"}
    assert answer["parts"]["runner"] == {"state": "ok"}
    assert answer["parts"]["routes"]["generation"] == 1
    assert local.send("GET", "/livez")[2] == {"status": "ok"}


@pytest.mark.parametrize(("mib", "state"), [(256, "ok"), (255, "low"), (0, "low")])
def test_readiness_tells_when_the_disk_is_nearly_full(local: Local, mib: int, state: str) -> None:
    local.gateway.free_bytes = mib << 20
    status, _, answer = local.send("GET", "/readyz")
    assert status == 200
    assert answer["parts"]["disk"] == {"state": state, "free_bytes": mib << 20}


def test_gateway_without_routes_is_not_ready() -> None:
    with RunningGateway(prepare=prepare()) as gateway:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        for path, status in (("/readyz", 503), ("/livez", 200), ("/v2/health/ready", 503)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        connection.close()
