"""KServe's own client, through a gateway to our runner; `make clients` installs it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from tests.gateway.conftest import prepare
from tests.gateway.runners import RunningRunner, scaled

from headway.testing.gateway import RunningGateway, document, key_entry, route_of

X = np.array([[1, 2], [3, 4.5]], dtype=np.float32)
WORDS = np.array([["a", ""], ["grün", "x" * 300]], dtype=np.object_)
OK = np.array([[True, False], [False, True]])


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    path = str(tmp_path / "runner.sock")
    with (
        RunningRunner(path) as runner,
        RunningGateway(prepare=prepare(path), runner=path) as running,
    ):
        target = {"runtime": "onnx", "artifact": runner.add(scaled(2))}
        running.adopt(
            document(
                keys=[key_entry(running.key, running.digest)],
                versions={("double", "1.0.0"): target},
                routes=[route_of("double", [("stable", "1.0.0", 10_000)])],
            )
        )
        yield running
        assert running.faults == []


def asked(*, binary: bool, model: str = "double") -> InferRequest:
    inputs = []
    for name, kind, values in (("x", "FP32", X), ("words", "BYTES", WORDS), ("ok", "BOOL", OK)):
        one = InferInput(name, list(values.shape), kind)
        one.set_data_from_numpy(values, binary_data=binary)
        inputs.append(one)
    outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("y", "said", "fine")]
    return InferRequest(model, inputs, request_id="mine", request_outputs=outputs)


def ask(gateway: RunningGateway, what: str, *args: Any, key: str = "", **more: Any) -> Any:  # noqa: ANN401 - untyped
    async def story() -> Any:  # noqa: ANN401 - untyped
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        try:
            headers = {"Authorization": f"Bearer {key or gateway.key}"}
            return await getattr(client, what)(gateway.url, *args, headers=headers, **more)
        finally:
            await client.close()

    return asyncio.run(story())


@pytest.mark.parametrize("binary", [False, True])
def test_tensors_come_back_as_a_model_made_them(gateway: RunningGateway, *, binary: bool) -> None:
    answer = ask(gateway, "infer", asked(binary=binary), model_name="double")
    found: dict[str, InferOutput] = {output.name: output for output in answer.outputs}
    assert (answer.model_name, answer.id) == ("double", "mine")
    assert found["y"].as_numpy().tolist() == (X * 2).tolist()
    assert found["fine"].as_numpy().tolist() == OK.tolist()
    said = found["said"].as_numpy().ravel().tolist()
    assert said == WORDS.ravel().tolist()


def test_server_and_model_are_ready(gateway: RunningGateway) -> None:
    assert ask(gateway, "is_server_live") is True
    assert ask(gateway, "is_server_ready") is True
    assert ask(gateway, "is_model_ready", "double") is True


@pytest.mark.parametrize(("model", "key", "status"), [("none", "", 404), ("double", "wrong", 401)])
def test_refusal_is_told_as_one(
    gateway: RunningGateway, model: str, key: str, status: int
) -> None:
    with pytest.raises(httpx.HTTPStatusError) as raised:
        ask(gateway, "infer", asked(binary=False, model=model), model_name=model, key=key)
    assert raised.value.response.status_code == status
