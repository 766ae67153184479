"""The digits of the story, run by onnxruntime from bytes."""

import json
import math
import struct
import threading
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from headway.adapters.runtimes.onnx import OnnxRuntime
from headway.demo import digits
from headway.runner import open_inference, packing
from headway.runner.ports import CannotLoad, CannotRun, OutOfTime, Packed, Stop, Tensor

IMAGES = digits.load()
VERSIONS = {trained.number: trained for trained in digits.train(IMAGES)}


def share_right(number: str) -> tuple[float, float]:
    """Return which part of the held-out digits is right, and which part fails."""
    session = OnnxRuntime().load(VERSIONS[number].onnx)
    right = failed = 0
    for image, label in zip(IMAGES.held_out_images, IMAGES.held_out_labels, strict=True):
        tensor = Tensor("image", "FP32", (1, 64), image.tolist())
        try:
            right += packing.unpack(session.run([tensor], ["label"], Stop())[0])[0] == label
        except CannotRun:
            failed += 1
    return right / len(IMAGES.held_out_labels), failed / len(IMAGES.held_out_labels)


@pytest.mark.parametrize(
    ("number", "right", "failing"),
    [("1.0.0", 0.94, 0.0), ("1.1.0", 0.97, 0.0), ("1.2.0", 0.86, 0.0), ("2.0.0", 0.5, 0.49)],
)
def test_each_version_is_as_good_as_the_story_says(
    number: str, right: float, failing: float
) -> None:
    seen = share_right(number)

    assert seen[0] == pytest.approx(right, abs=0.01)
    assert seen[1] == pytest.approx(failing, abs=0.01)


def test_the_one_that_loses_in_production_looks_best_in_its_own_figures() -> None:
    assert max(VERSIONS.values(), key=lambda v: v.own_accuracy).number == "1.2.0"


def test_the_description_comes_from_the_file() -> None:
    session = OnnxRuntime().load(VERSIONS["1.1.0"].onnx)

    assert [(spec.name, spec.datatype, spec.shape) for spec in session.inputs] == [
        ("image", "FP32", (-1, 64))
    ]
    assert [spec.name for spec in session.outputs] == ["label", "probabilities"]


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(CannotLoad):
        OnnxRuntime().load(b"not a model")


def test_external_data_is_refused() -> None:
    weights = onnx.TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL
    )
    weights.external_data.add(key="location", value="../../secret")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [weights],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)

    with pytest.raises(CannotLoad):
        OnnxRuntime().load(model.SerializeToString())


def endless() -> bytes:
    """Return a model that loops for ever."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Add", ["v", "v"], ["w"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("yes", TensorProto.BOOL, [], [True])],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    return bytes(model.SerializeToString())


def test_a_model_that_never_ends_is_stopped_when_asked() -> None:
    session = OnnxRuntime().load(endless())
    stop = Stop()
    threading.Timer(0.2, stop.ask).start()

    with pytest.raises(OutOfTime):
        session.run([Tensor("x", "FP32", (1,), [1.0])], [], stop)


def echo(kind: int) -> bytes:
    """Return a model that gives back what it takes, of a kind of `TensorProto`."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", kind, [None, 2])],
        [helper.make_tensor_value_info("y", kind, [None, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


KINDS = [
    ("FP16", TensorProto.FLOAT16, [1.5, -2.0], struct.pack("<2e", 1.5, -2.0)),
    ("BF16", TensorProto.BFLOAT16, [1.5, -2.0], b"\xc0\x3f\x00\xc0"),
    ("FP32", TensorProto.FLOAT, [1.5, -2.0], struct.pack("<2f", 1.5, -2.0)),
    ("FP64", TensorProto.DOUBLE, [1.5, -2.0], struct.pack("<2d", 1.5, -2.0)),
    ("INT8", TensorProto.INT8, [-1, 127], b"\xff\x7f"),
    ("UINT16", TensorProto.UINT16, [1, 65_535], b"\x01\x00\xff\xff"),
    ("INT64", TensorProto.INT64, [-1, 2**62], struct.pack("<2q", -1, 2**62)),
    ("UINT64", TensorProto.UINT64, [0, 2**64 - 1], struct.pack("<2Q", 0, 2**64 - 1)),
    ("BOOL", TensorProto.BOOL, [True, False], b"\x01\x00"),
]


@pytest.mark.parametrize(("datatype", "kind", "values", "packed"), KINDS)
def test_every_datatype_passes_a_model_listed_and_packed(
    datatype: str, kind: int, values: list[Any], packed: bytes
) -> None:
    session = OnnxRuntime().load(echo(kind))
    assert session.inputs[0].datatype == datatype
    # At an odd address, as bytes behind JSON may stand.
    for data in (values, Packed(packed), Packed(memoryview(b"x" + packed)[1:])):
        (given,) = session.run([Tensor("x", datatype, (1, 2), data)], [], Stop())
        assert (given.datatype, given.shape) == (datatype, (1, 2))
        assert packing.pack(given) == packed
        assert list(packing.unpack(given)) == values


@pytest.mark.parametrize(
    ("datatype", "kind", "largest"),
    [
        ("FP16", TensorProto.FLOAT16, math.nextafter(65_520, 0)),
        ("BF16", TensorProto.BFLOAT16, math.nextafter(float.fromhex("0x1.FEFFFFp127"), 0)),
        ("FP32", TensorProto.FLOAT, math.nextafter(float.fromhex("0x1.FFFFFFp127"), 0)),
        ("FP64", TensorProto.DOUBLE, 1.7976931348623157e308),
    ],
)
def test_the_largest_number_that_is_taken_does_not_become_infinite(
    datatype: str, kind: int, largest: float
) -> None:
    session = OnnxRuntime().load(echo(kind))
    tensor = {"name": "x", "datatype": datatype, "shape": [1, 2], "data": [largest, -largest]}
    body = json.dumps({"inputs": [tensor]}).encode()
    asked = open_inference.read(body, session.inputs, session.outputs)

    (given,) = session.run(asked.inputs, [], Stop())

    assert not {math.inf, -math.inf} & set(packing.unpack(given))


def test_texts_pass_a_model_as_texts() -> None:
    session = OnnxRuntime().load(echo(TensorProto.STRING))
    (given,) = session.run([Tensor("x", "BYTES", (1, 2), ["", "grün"])], [], Stop())
    assert packing.unpack(given) == ["", "grün"]
    assert packing.pack(given) == b"\0\0\0\0\x05\0\0\0gr\xc3\xbcn"


def test_numbers_too_fine_for_bf16_are_rounded_to_the_nearest_and_to_even() -> None:
    session = OnnxRuntime().load(echo(TensorProto.BFLOAT16))
    fine = [1.00390625, 1.01171875]  # 1 + 1/256, 1 + 3/256: between two that there are
    (given,) = session.run([Tensor("x", "BF16", (1, 2), fine)], [], Stop())
    assert list(packing.unpack(given)) == [1.0, 1.015625]


def test_a_tensor_without_values_passes() -> None:
    for kind, datatype in ((TensorProto.FLOAT, "FP32"), (TensorProto.BFLOAT16, "BF16")):
        session = OnnxRuntime().load(echo(kind))
        nothing: list[list[Any] | Packed] = [[], Packed(b"")]
        for data in nothing:
            (given,) = session.run([Tensor("x", datatype, (0, 2), data)], [], Stop())
            assert (given.shape, packing.pack(given), list(packing.unpack(given))) == (
                (0, 2),
                b"",
                [],
            )
