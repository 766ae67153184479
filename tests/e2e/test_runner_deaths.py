"""A runner that dies while it works: whom it is blamed on."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.chaos.running import Running, running, until

onnx = pytest.importorskip("onnx")
import numpy as np  # noqa: E402 - comes with onnx
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - needs onnx

_SIDE = 900
_BODY = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0.001]}]}


def slow_model() -> bytes:
    """A model that multiplies large matrices: whoever kills the runner meets it at work."""
    nodes = [helper.make_node("Expand", ["x", "size"], ["y0"])]
    nodes += [helper.make_node("MatMul", ["y0", f"y{i}"], [f"y{i + 1}"]) for i in range(12)]
    nodes += [helper.make_node("ReduceMax", ["y12"], ["out"], keepdims=1)]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(np.array([_SIDE, _SIDE], dtype=np.int64), "size")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@contextmanager
def callers(server: Running) -> Iterator[None]:
    """Keep the model at work."""
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            ask(server)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def ask(server: Running) -> int:
    return server.request("POST", "/v2/models/slow/infer", _BODY).status


def serve_slow_model(server: Running) -> None:
    server.api.post("/models", {"name": "slow"})
    target = {"runtime": "onnx", "artifact": server.api.upload(slow_model())}
    server.api.post("/models/slow/versions", {"version": "1.0.0", "target": target})
    server.api.post("/deployments", {"model": "slow", "to": "1.0.0", "strategy": "direct"})
    until(lambda: ask(server) == 200, seconds=30, what="the first answer")


def end_the_runner(server: Running, number: signal.Signals, *, times: int) -> None:
    for _ in range(times):
        until(lambda: ask(server) == 200, seconds=30, what="the model is loaded")
        until(lambda: at_work(server), seconds=30, what="the model is at work")
        before = starts(server)
        os.kill(server.processes("runner")[0], number)
        until(partial(started_since, server, before), seconds=30, what="another runner")


def at_work(server: Running) -> bool:
    return bool((server.data / "run" / "runner-slots.bin").read_bytes().strip(b"\0"))


def starts(server: Running) -> int:
    """Return when the runner read last what the one before it left."""
    return (server.data / "run" / "runner-deaths.json").stat().st_mtime_ns


def started_since(server: Running, before: int) -> bool:
    return starts(server) > before


def test_a_busy_model_is_still_served_however_often_its_runner_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "d", monkeypatch) as server:
        serve_slow_model(server)
        with callers(server):
            end_the_runner(server, signal.SIGKILL, times=3)
        until(lambda: ask(server) == 200, seconds=30, what="an answer after three kills")


def test_a_model_that_crashes_its_runner_twice_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "d", monkeypatch) as server:
        serve_slow_model(server)
        with callers(server):
            end_the_runner(server, signal.SIGSEGV, times=2)
            until(lambda: b"killed the runner twice" in said(server), seconds=30, what="refusal")


def said(server: Running) -> bytes:
    return server.request("POST", "/v2/models/slow/infer", _BODY).body


def endless_step() -> bytes:
    """A model with one step that nothing can interrupt: 200,000 boxes, each compared to each."""
    many = 200_000
    left = np.arange(many, dtype=np.float32) * 2
    boxes = np.stack([left, np.zeros(many), left + 1, np.ones(many)], axis=1)[None]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["ones", "x"], ["scores"]),
            helper.make_node("NonMaxSuppression", ["boxes", "scores", "most"], ["kept"]),
            helper.make_node("Cast", ["kept"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["number"], ["out"], keepdims=1),
        ],
        "stuck",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1])],
        [
            numpy_helper.from_array(boxes.astype(np.float32), "boxes"),
            numpy_helper.from_array(np.ones((1, 1, many), np.float32), "ones"),
            numpy_helper.from_array(np.array([many], dtype=np.int64), "most"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def test_a_model_that_cannot_be_stopped_ends_the_runner_twice_and_is_alone_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "d", monkeypatch) as server:
        serve_slow_model(server)
        server.api.post("/models", {"name": "stuck"})
        target = {
            "runtime": "onnx",
            "artifact": server.api.upload(endless_step()),
            "timeouts": {"total": "1s"},
        }
        server.api.post("/models/stuck/versions", {"version": "1.0.0", "target": target})
        arm = {"key": "stable", "version": "1.0.0", "role": "stable", "share_bp": 10_000}
        server.request("PUT", "/api/v1/routes/stuck/production", {"rules": [{"arms": [arm]}]})
        until(lambda: stuck(server)[0] == 504, seconds=30, what="the first time-out")
        with callers(server):
            until(
                lambda: quarantined(stuck(server)), seconds=90, what="the end of its second runner"
            )
        until(lambda: ask(server) == 200, seconds=30, what="an answer of the model beside it")
        assert server.log().count("neither ended nor could be stopped") == 2


def stuck(server: Running) -> tuple[int, bytes]:
    answer = server.request("POST", "/v2/models/stuck/infer", _BODY)
    return answer.status, answer.body


def quarantined(answer: tuple[int, bytes]) -> bool:
    return answer[0] == 500 and b"killed the runner twice" in answer[1]
