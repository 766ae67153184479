"""Versions at a server that speaks Open Inference: a scripted one, and a runner of ours as one."""

import http.client
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from headway.gateway.dialects import OPEN_INFERENCE
from headway.gateway.formats.open_inference import Renamed
from headway.testing.gateway import route_of
from headway.testing.provider import Ending, Received, Reply

from .conftest import Traffic
from .runners import RunningRunner, scaled

PATH = "/v2/models/digits/infer"
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}], "id": "a-7"}
).encode()


class External:
    """A model `digits` whose version 1.0.0 is `mnist` version 3 at a server."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.provider = traffic.provider
        self.serve()

    def serve(self, **more: object) -> None:
        target = {
            "provider": "inference_v2",
            "base_url": self.provider.root,
            "model": "mnist",
            "model_version": "3",
            "credential": "test",
            "retries": 0,
            "timeouts": {"first": "1s", "idle": "1s", "total": "5s"},
            **more,
        }
        self.traffic.serve(
            route_of("digits", [("stable", "1.0.0", 10_000)]),
            versions={("digits", "1.0.0"): target},
        )

    def send(
        self, method: str = "POST", path: str = PATH, body: bytes = BODY, **fields: str
    ) -> tuple[int, dict[str, str], bytes]:
        gateway = self.traffic.gateway
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        headers = {"authorization": f"Bearer {gateway.key}"}
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body if method == "POST" else None, headers)
        answer = connection.getresponse()
        said = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return answer.status, found, said


@pytest.fixture
def external(traffic: Traffic) -> External:
    return External(traffic)


def test_bytes_go_up_as_they_came_to_the_servers_own_name(external: External) -> None:
    odd = BODY.replace(b":", b" :\t")
    status, fields, said = external.send(body=odd, cookie="a=b", x_api_key="none")
    assert status == 200
    (received,) = external.provider.requests
    assert received.path == "/v2/models/mnist/versions/3/infer"
    assert received.body == odd
    assert received.headers["authorization"] == "Bearer sk-canary-test"
    assert received.headers["content-type"] == "application/json"
    assert not {"cookie", "x-api-key"} & received.headers.keys()
    answer = json.loads(said)
    assert (answer["model_name"], answer["model_version"]) == ("digits", "1.0.0")
    assert answer["id"] == "a-7"
    assert answer["outputs"] == json.loads(BODY)["inputs"]
    assert b"mnist" not in said
    assert fields["headway-version"] == "1.0.0"
    batch = external.traffic.gateway.taken()
    (measurement,) = batch.measurements
    assert measurement.outcomes == {"ok": 1}
    assert list(measurement.served_by) == ["mnist 3"]


def test_base_url_may_end_in_v2_and_have_a_path(external: External) -> None:
    for more in ("/v2", "/serving/v2"):
        external.serve(base_url=external.provider.root + more)
        assert external.send()[0] == 200
    paths = [request.path for request in external.provider.requests]
    assert paths[-1] == "/serving/v2/models/mnist/versions/3/infer"
    assert paths[-2] == "/v2/models/mnist/versions/3/infer"


def binary(text: bytes, *tensors: bytes) -> Reply:
    return Reply(
        body=b"".join((text, *tensors)),
        content_type="application/octet-stream",
        headers={"inference-header-content-length": str(len(text))},
    )


def test_bytes_behind_the_json_pass_both_ways(external: External) -> None:
    raw = struct.pack("<2f", 1, 2)
    theirs = b'{"model_name":"mnist","model_version":"3","outputs":[{"name":"y","datatype":"FP32",'
    theirs += b'"shape":[2],"parameters":{"binary_data_size":8}}]}'
    external.provider.script = lambda _: binary(theirs, raw)
    status, fields, said = external.send(
        body=BODY + raw, inference_header_content_length=str(len(BODY))
    )
    assert status == 200
    (received,) = external.provider.requests
    assert received.body == BODY + raw
    assert received.headers["inference-header-content-length"] == str(len(BODY))
    assert received.headers["content-type"] == "application/octet-stream"
    length = int(fields["inference-header-content-length"])
    assert length == len(theirs) + len("digits1.0.0") - len("mnist3")
    assert json.loads(said[:length])["model_name"] == "digits"
    assert said[length:] == raw


@pytest.mark.parametrize("length", ["99999", "x", "-1", ""])
def test_an_answer_that_lies_of_its_length_is_none(external: External, length: str) -> None:
    external.provider.script = lambda _: Reply(
        body=b'{"model_name":"mnist"}', headers={"inference-header-content-length": length}
    )
    status, fields, said = external.send()
    assert (status, list(json.loads(said))) == (502, ["error"])
    assert "inference-header-content-length" not in fields
    assert external.traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}


@pytest.mark.parametrize(
    ("reply", "status", "outcome", "words"),
    [
        (
            Reply(status=400, error="unexpected shape for input 'x' for model 'mnist'"),
            400,
            "refused",
            "unexpected shape for input 'x' for model 'digits'",
        ),
        (Reply(status=422, body=b'{"detail": "no inputs"}'), 422, "refused", "no inputs"),
        (
            Reply(status=422, body=b'{"detail": [{"loc": ["x"], "msg": "field required"}]}'),
            422,
            "refused",
            "field required",
        ),
        (
            Reply(status=400, error="bad value\nTraceback: /opt/secret.py"),
            400,
            "refused",
            "bad value",
        ),
        (Reply(status=404, error="Model with name mnist does not exist."), 502, "version", None),
        (
            Reply(status=400, error="Request for unknown model: 'mnist' is not found"),
            502,
            "version",
            None,
        ),
        (Reply(status=404, body=b"<html>no such host</html>"), 502, "version", None),
        (Reply(status=404, body=b""), 502, "version", None),
        (Reply(status=401, error="Bearer sk-canary-test is wrong"), 502, "provider", None),
        (Reply(status=403, error="mnist is not for you"), 502, "provider", None),
        (Reply(status=500, error="Traceback: mnist"), 500, "provider", None),
        (Reply(status=501, error="mnist: versions are not done"), 501, "provider", None),
        (Reply(status=503, error="mnist is loading"), 503, "provider", None),
        (Reply(status=302, headers={"location": "/x"}, body=b""), 502, "provider", None),
        (Reply(body=b'{"error": "mnist, but 200"}'), 502, "provider", None),
        (Reply(body=b"<html>"), 502, "provider", None),
        (Reply(body=b""), 502, "provider", None),
        (Reply(body=b'{"outputs": [], "model_name": "mnist"'), 502, "provider", None),
        (Reply(body=b'{"outputs": [], "model": NaN}'), 502, "provider", None),
        (Reply(coding="gzip"), 502, "provider", None),
        (Reply(end=Ending.CUT), 502, "provider", None),
        (Reply(drop=True), 502, "provider", None),
        (Reply(delay_s=3), 504, "provider", None),
    ],
)
def test_what_a_server_says_no_with_is_told_as_what_it_is(
    external: External, reply: Reply, status: int, outcome: str, words: str | None
) -> None:
    external.provider.script = lambda _: reply
    found, fields, said = external.send()
    assert found == status
    assert b"mnist" not in said
    assert b"canary" not in said
    assert "location" not in fields
    if status != 200:
        assert list(json.loads(said)) == ["error"]
    if words is not None:
        assert json.loads(said)["error"] == words
    assert external.traffic.gateway.outcomes() == {"1.0.0": {outcome: 1}}


def test_what_may_be_better_the_next_time_is_tried_again(external: External) -> None:
    external.serve(retries=2)
    replies = [Reply(status=503, error="loading"), Reply(drop=True), Reply()]
    external.provider.script = lambda _: replies.pop(0)
    assert external.send()[0] == 200
    assert len(external.provider.requests) == 3
    assert len({request.body for request in external.provider.requests}) == 1


def test_its_tensors_are_described_by_the_server_and_named_by_us(external: External) -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    external.provider.script = lambda _: Reply(
        body=json.dumps(
            {
                "name": "mnist",
                "versions": ["3"],
                "platform": "onnx",
                "inputs": inputs,
                "outputs": [],
            }
        ).encode()
    )
    client = triton.InferenceServerClient(f"127.0.0.1:{external.traffic.gateway.port}")
    headers = {"Authorization": f"Bearer {external.traffic.gateway.key}"}
    assert client.get_model_metadata("digits", headers=dict(headers)) == {
        "name": "digits",
        "versions": ["1.0.0"],
        "platform": "onnx",
        "inputs": inputs,
        "outputs": [],
    }
    client.close()
    (received,) = external.provider.requests
    assert (received.method, received.path) == ("GET", "/v2/models/mnist/versions/3")
    assert received.headers["authorization"] == "Bearer sk-canary-test"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=404, error="mnist?"),
        Reply(status=500, error="mnist"),
        Reply(body=b"<html>mnist"),
        Reply(body=b"[]"),
        Reply(body=b'{"inputs": "mnist"}'),
        Reply(body=b'{"inputs": [], "x": "' + b"mnist" * 300_000 + b'"}'),
        Reply(drop=True),
        Reply(delay_s=3),
    ],
)
def test_a_server_that_describes_nothing_is_told_as_such(external: External, reply: Reply) -> None:
    external.provider.script = lambda _: reply
    status, _, said = external.send("GET", "/v2/models/digits")
    assert (status, list(json.loads(said))) == (502, ["error"])
    assert b"mnist" not in said


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(), 200),
        (Reply(body=b""), 200),
        (Reply(body=b" " * 1_100_000), 503),
        (Reply(body=b'{"name": "mnist", "ready": false}'), 503),
        (Reply(status=503, error="loading"), 503),
        (Reply(status=404, error="mnist?"), 503),
        (Reply(drop=True), 503),
        (Reply(delay_s=3), 503),
    ],
)
def test_it_is_ready_if_its_server_says_so(external: External, reply: Reply, status: int) -> None:
    external.provider.script = lambda _: reply
    found, _, said = external.send("GET", "/v2/models/digits/versions/1.0.0/ready")
    assert found == status
    assert json.loads(said) == {"name": "digits", "ready": status == 200}
    (received,) = external.provider.requests
    assert received.path == "/v2/models/mnist/versions/3/ready"


NAMES = (
    (b'{"model_name":"mnist","model_version":"3","outputs":[]}', "mnist 3"),
    (b'{"outputs":[], "model_version" : null,\n"model_name" : "mnist"}', "mnist"),
    (b'{"model_name":"mnist","outputs":[]}', "mnist"),
    (b'{"outputs":[]}', ""),
    (
        b'{"model_name":"mnist","outputs":[{"name":"y","data":["\\"model_name\\": \\"x\\""]}]}',
        "mnist",
    ),
    (b'{"parameters":{"model_name":"other"},"model_name":"mnist","outputs":[]}', "mnist"),
    (b'{"model_name":"mnist","outputs":[{"name":"y","data":["model_version"]}]}', "mnist"),
    (b'{"model\\u005fname":"mnist","parameters":{"model_name":"x"},"outputs":[]}', "mnist"),
    (b'{"model_name":{"mnist":1},"model_version":[3],"outputs":[]}', ""),
    (b'{"parameters":{"model_name":"x"},"model\\u005fname":"mnist","outputs":[]}', "mnist"),
    (b'{"model_name":"mnist","model_version":3,"outputs":[]}', "mnist 3"),
)


@pytest.mark.parametrize(("text", "served_by"), NAMES)
def test_only_the_names_of_an_answer_change(text: bytes, served_by: str) -> None:
    ask = OPEN_INFERENCE.read(BODY, {}, "digits")
    found = Renamed(model="digits", version="1.0.0", theirs="mnist").whole(ask, text, {})
    assert found.error is None
    assert found.body is not None
    ours = json.loads(found.body)
    theirs = json.loads(text)
    assert ours == theirs | {"model_name": "digits", "model_version": "1.0.0"}
    assert found.served_by == served_by


@pytest.mark.parametrize(
    ("body", "fields", "words"),
    [
        (b"", {}, "is empty"),
        (b"<html>", {}, "not a JSON object"),
        (b"[1, 2]", {}, "not a JSON object"),
        (b'{"model_name":"mnist","outputs":[', {}, "not a whole JSON object"),
        (b'{"model_name":"mnist","outputs":[}', {}, "not a whole JSON object"),
        (b'{"model_name":"mnist","error":"it fell over"}', {}, "answered with an error"),
        (b'{"model_name":"mnist","outputs":[],"error":"late"}', {}, "answered with an error"),
        (b'{"model_name":"mnist","outputs":null}', {}, "has no `outputs`"),
        (b'{"predictions":[1, 2]}', {}, "has no `outputs`"),
        (b'{"outputs":[7]}', {}, "no tensor"),
        (b'{"outputs":[{"name":"y","shape":[2],"datatype":"FP32"}]}', {}, "no tensor"),
        (b'{"outputs":[{"data":[1]}]}', {}, "no tensor"),
        (b'{"outputs":[{"name":"y","data":"AAAA"}]}', {}, "no tensor"),
        (
            b'{"outputs":[{"name":"y","parameters":{"binary_data_size":8}}]}1234',
            {"inference-header-content-length": "62"},
            "shorter than it says",
        ),
        (
            b'{"outputs":[{"name":"y","parameters":{"binary_data_size":8}}]}',
            {},
            "shorter than it says",
        ),
        (b'{"error":"' + b"x" * 2_000_000 + b'"}', {}, "answered with an error"),
    ],
)
def test_what_is_no_answer_of_the_protocol_is_never_taken_for_one(
    external: External, body: bytes, fields: dict[str, str], words: str
) -> None:
    """Whatever its status and its first bytes say."""
    external.provider.script = lambda _: Reply(body=body, headers=fields)
    status, _, said = external.send("POST", "/v2/models/digits/infer", BODY)
    assert status == 502
    assert words in json.loads(said)["error"]
    assert external.traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model_name":"mnist","outputs":[{"name":"y","shape":[2],"datatype":"FP32","data":[NaN,-Infinity]}]}',
        b'{"model_name":"mnist","outputs":[{"name":"y","parameters":{"shared_memory_region":"r"}}]}',
        b'{"model_name":"mnist","outputs":[],"error":null}',
        b'{"model_name":"mnist","outputs":[{"name":"y","data":[' + b"1.5," * 500_000 + b"2]}]}",
    ],
)
def test_what_servers_write_and_clients_read_passes(external: External, body: bytes) -> None:
    external.provider.script = lambda _: Reply(body=body)
    status, _, said = external.send("POST", "/v2/models/digits/infer", BODY)
    assert status == 200
    assert body.partition(b",")[2] in said


@pytest.fixture
def runner() -> Iterator[RunningRunner]:
    with RunningRunner() as found:
        yield found


def test_a_runner_of_ours_serves_as_a_server_elsewhere(
    external: External, runner: RunningRunner
) -> None:
    digest = runner.add(scaled(3))
    external.serve(base_url=runner.root, model=digest, model_version=None, credential=None)
    client = triton.InferenceServerClient(f"127.0.0.1:{external.traffic.gateway.port}")

    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {external.traffic.gateway.key}"}

    described = client.get_model_metadata("digits", headers=headers())
    assert [each["name"] for each in described["inputs"]] == ["x", "words", "ok"]
    assert client.is_model_ready("digits", "1.0.0", headers=headers())
    values: list[tuple[str, str, Any]] = [
        ("x", "FP32", np.array([[1, 2]], dtype=np.float32)),
        ("words", "BYTES", np.array([["a", "grün"]], dtype=np.object_)),
        ("ok", "BOOL", np.array([[True, False]])),
    ]
    inputs = [
        triton.InferInput(name, [1, 2], kind).set_data_from_numpy(value)
        for name, kind, value in values
    ]
    answer = client.infer("digits", inputs, headers=headers())
    assert answer.as_numpy("y").tolist() == [[3, 6]]
    assert [text.decode() for text in answer.as_numpy("said")[0]] == ["a", "grün"]
    response = answer.get_response()
    assert (response["model_name"], response["model_version"]) == ("digits", "1.0.0")
    assert digest not in json.dumps(response)
    client.close()


def test_a_description_needs_a_key(external: External) -> None:
    status, _, said = external.send("GET", "/v2/models/digits", authorization="Bearer no")
    assert (status, list(json.loads(said))) == (401, ["error"])
    asked: list[Received] = external.provider.requests
    assert asked == []
