"""Tensors as bytes, from tritonclient through a gateway to our own runner, and back."""

import http.client
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from headway.testing.gateway import RunningGateway, document, key_entry, route_of

from .conftest import prepare
from .runners import RunningRunner, scaled

X = np.array([[1, 2], [3, 4.5]], dtype=np.float32)
WORDS = np.array([["a", ""], ["grün", "x" * 300]], dtype=np.object_)
OK = np.array([[True, False], [False, True]])


class Triton:
    """The official client, as it is used: a client's headers are written into, so they are new."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.client = triton.InferenceServerClient(f"127.0.0.1:{gateway.port}")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.gateway.key}"}

    def infer(self, inputs: list[Any], **more: Any) -> Any:  # noqa: ANN401 - untyped
        return self.client.infer("double", inputs, headers=self.headers, **more)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Triton]:
    path = str(tmp_path / "runner.sock")
    with (
        RunningRunner(path) as runner,
        RunningGateway(prepare=prepare(path), runner=path) as gateway,
    ):
        gateway.adopt(
            document(
                keys=[key_entry(gateway.key, gateway.digest)],
                versions={
                    ("double", number): {"runtime": "onnx", "artifact": runner.add(scaled(factor))}
                    for number, factor in (("1.0.0", 2), ("1.1.0", 10))
                },
                routes=[route_of("double", [("stable", "1.0.0", 10_000)])],
            )
        )
        found = Triton(gateway)
        yield found
        found.client.close()
        assert gateway.faults == []


def inputs(*, binary: bool) -> list[Any]:
    found = []
    for name, kind, value in (("x", "FP32", X), ("words", "BYTES", WORDS), ("ok", "BOOL", OK)):
        tensor = triton.InferInput(name, list(value.shape), kind)
        tensor.set_data_from_numpy(value, binary_data=binary)
        found.append(tensor)
    return found


def asked(name: str, *, binary: bool) -> Any:  # noqa: ANN401 - untyped
    return triton.InferRequestedOutput(name, binary_data=binary)


@pytest.mark.parametrize("binary_out", [None, False, True])
@pytest.mark.parametrize("binary_in", [False, True])
def test_tensors_pass_as_json_and_as_bytes(
    client: Triton, *, binary_in: bool, binary_out: bool | None
) -> None:
    outputs = (
        None
        if binary_out is None
        else [asked(name, binary=binary_out) for name in ("fine", "said", "y")]
    )
    answer = client.infer(inputs(binary=binary_in), outputs=outputs, request_id="call-7")

    assert answer.as_numpy("y").tolist() == [[2, 4], [6, 9]]
    assert answer.as_numpy("fine").tolist() == OK.tolist()
    said = answer.as_numpy("said").reshape(-1)
    assert [each.decode() if isinstance(each, bytes) else each for each in said] == [
        "a", "", "grün", "x" * 300,
    ]  # fmt: skip
    response = answer.get_response()
    assert (response["model_name"], response["model_version"]) == ("double", "1.0.0")
    assert response["id"] == "call-7"
    # By default this client asks for bytes.
    kinds = {"data" in output for output in response["outputs"]}
    assert kinds == {binary_out is False}
    assert client.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_outputs_come_as_they_are_asked_for(client: Triton) -> None:
    answer = client.infer(
        inputs(binary=True), outputs=[asked("said", binary=False), asked("y", binary=True)]
    )
    response = answer.get_response()
    assert [output["name"] for output in response["outputs"]] == ["said", "y"]
    assert response["outputs"][0]["data"][2] == "grün"
    assert response["outputs"][1]["parameters"] == {"binary_data_size": 16}
    assert answer.as_numpy("fine") is None
    assert answer.as_numpy("y").tolist() == [[2, 4], [6, 9]]


def test_a_version_may_be_named(client: Triton) -> None:
    answer = client.infer(inputs(binary=True), model_version="1.1.0")
    assert answer.get_response()["model_version"] == "1.1.0"
    assert answer.as_numpy("y").tolist() == [[10, 20], [30, 45]]
    assert client.client.is_model_ready("double", "1.1.0", headers=client.headers)
    assert not client.client.is_model_ready("double", "9.0.0", headers=client.headers)
    described = client.client.get_model_metadata("double", "1.1.0", headers=client.headers)
    assert described == {
        "name": "double",
        "versions": ["1.1.0"],
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "words", "datatype": "BYTES", "shape": [-1, 2]},
            {"name": "ok", "datatype": "BOOL", "shape": [-1, 2]},
        ],
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "said", "datatype": "BYTES", "shape": [-1, 2]},
            {"name": "fine", "datatype": "BOOL", "shape": [-1, 2]},
        ],
    }


def test_the_server_says_what_it_speaks(client: Triton) -> None:
    found = client.client.get_server_metadata()
    assert found["name"] == "headway"
    assert found["extensions"] == ["binary_tensor_data"]


def test_bytes_that_do_not_fit_the_signature_are_the_callers_fault(client: Triton) -> None:
    given = inputs(binary=True)
    given[0].set_shape([2, 3])
    with pytest.raises(InferenceServerException, match="the model takes") as raised:
        client.infer(given)
    assert raised.value.status() == "400"
    assert client.gateway.outcomes() == {"1.0.0": {"refused": 1}}


def test_an_infinite_output_is_the_versions_fault_in_json_and_comes_as_it_is_in_bytes(
    client: Triton,
) -> None:
    given = inputs(binary=True)
    given[0].set_data_from_numpy(np.array([[3e38, 1], [1, 1]], dtype=np.float32))

    with pytest.raises(InferenceServerException, match=r"'y'.*NaN or an infinity") as raised:
        client.infer(given, outputs=[asked("y", binary=False)])
    assert raised.value.status() == "500"
    assert client.gateway.outcomes() == {"1.0.0": {"version": 1}}

    answer = client.infer(given, outputs=[asked("y", binary=True)])
    assert answer.as_numpy("y").tolist() == [[np.inf, 2], [2, 2]]
    assert client.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_a_number_too_large_for_its_type_is_the_callers_fault(client: Triton) -> None:
    given = inputs(binary=False)
    given[0]._data[0] = 1e39  # the client itself would have made it infinite
    with pytest.raises(InferenceServerException, match="too large for FP32") as raised:
        client.infer(given)
    assert raised.value.status() == "400"
    assert client.gateway.outcomes() == {"1.0.0": {"refused": 1}}


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_requests_are_refused_in_words_and_packed_answers_are_not_sent(
    client: Triton, coding: str
) -> None:
    with pytest.raises(InferenceServerException, match="Content-Encoding") as raised:
        client.infer(inputs(binary=True), request_compression_algorithm=coding)
    assert raised.value.status() == "415"
    answer = client.infer(inputs(binary=True), response_compression_algorithm=coding)
    assert answer.as_numpy("y").tolist() == [[2, 4], [6, 9]]


def test_a_tensor_of_many_megabytes_passes_as_bytes(client: Triton) -> None:
    rows = 2_500_000
    large = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    tensor = triton.InferInput("x", [rows, 2], "FP32").set_data_from_numpy(large)
    others = inputs(binary=True)[1:]
    answer = client.infer([tensor, *others], outputs=[asked("y", binary=True)])
    assert (answer.as_numpy("y") == 2 * large).all()


def test_answer_says_its_lengths_on_the_wire(client: Triton) -> None:
    inputs_ = [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
        {"name": "words", "datatype": "BYTES", "shape": [1, 2], "data": ["a", "b"]},
        {"name": "ok", "datatype": "BOOL", "shape": [1, 2], "data": [True, False]},
    ]
    outputs = [{"name": "y", "parameters": {"binary_data": True}}]
    text = json.dumps({"inputs": inputs_, "outputs": outputs}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", client.gateway.port)
    headers = client.headers | {"Inference-Header-Content-Length": str(len(text))}
    body = text + struct.pack("<2f", 1, 2)
    connection.request("POST", "/v2/models/double/infer", body, headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(said[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert said[length:] == struct.pack("<2f", 2, 4)
