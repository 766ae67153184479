"""What fits a model's description runs; what does not is told before, in words that help."""

import json
import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.kernel.errors import Refused
from headway.runner import open_inference
from headway.runner.ports import CannotRun, Packed, Tensor, TensorSpec

IMAGE = TensorSpec("image", "FP32", (-1, 4))
COUNT = TensorSpec("count", "INT8", (1,))
LABEL = TensorSpec("label", "INT64", (-1,))
WORDS = TensorSpec("words", "BYTES", (-1,))
MASK = TensorSpec("mask", "BOOL", (2,))


def request(*inputs: dict[str, Any], **more: object) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def image(**changes: object) -> dict[str, Any]:
    whole = {"name": "image", "datatype": "FP32", "shape": [1, 4], "data": [0, 1, 2, 3.5]}
    return whole | changes


def test_flat_and_nested_data_are_the_same_request() -> None:
    flat = open_inference.read(request(image()), [IMAGE], [LABEL])
    nested = open_inference.read(request(image(data=[[0, 1, 2, 3.5]])), [IMAGE], [LABEL])

    assert flat == nested
    assert flat.inputs[0].data == [0, 1, 2, 3.5]


def test_the_answer_carries_the_name_the_version_and_the_callers_id() -> None:
    inference = open_inference.read(request(image(), id="call-7"), [IMAGE], [LABEL])
    answer, length = open_inference.answer(
        inference, "digits", "1.0.0", [Tensor("label", "INT64", (1,), [3])]
    )

    assert length is None
    assert json.loads(answer) == {
        "model_name": "digits",
        "model_version": "1.0.0",
        "id": "call-7",
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [3]}],
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "`inputs` must be a list"),
        (request({"name": "imgae"}), "did you mean 'image'"),
        (request(image(datatype="INT64")), "the model takes FP32"),
        (request(image(shape=[1, 5])), r"the model takes \[n, 4\]"),
        (request(image(shape=[-1, 4])), "`shape` must be a list of sizes"),
        (request(image(shape=[2, 4])), "4 values, the shape \\[2, 4\\] wants 8"),
        (request(image(data=[0, 1, 2, "x"])), "no FP32"),
        (request(image(data=[0, 1, 2, True])), "no FP32"),
        (request(image(), image()), "given twice"),
        (request(image(), outputs=[{"name": "labl"}]), "did you mean 'label'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(body: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        open_inference.read(body, [IMAGE], [LABEL])


@pytest.mark.parametrize(
    "odd", ["x" * 100_000, [[]] * 50_000, {"a": {"b": 1}}, list(range(100_000))]
)
@pytest.mark.parametrize("member", ["name", "datatype", "shape"])
def test_a_refusal_never_sends_a_large_value_back(member: str, odd: object) -> None:
    with pytest.raises(Refused) as refused:
        open_inference.read(request(image(**{member: odd})), [IMAGE], [LABEL])
    assert len(str(refused.value)) < 1_000


def test_what_is_nested_a_thousand_deep_is_refused_in_words() -> None:
    deep = b'{"inputs": [{"name": "image", "datatype": %b}]}' % (b"[" * 1_000 + b"]" * 1_000)
    with pytest.raises(Refused, match="the model takes FP32"):
        open_inference.read(deep, [IMAGE], [LABEL])


def test_a_missing_input_is_named() -> None:
    with pytest.raises(Refused, match="'count' is missing"):
        open_inference.read(request(image()), [IMAGE, COUNT], [LABEL])


def test_an_integer_that_its_type_cannot_hold_is_refused() -> None:
    count = {"name": "count", "datatype": "INT8", "shape": [1], "data": [200]}
    with pytest.raises(Refused, match="no INT8"):
        open_inference.read(request(count), [COUNT], [LABEL])


@pytest.mark.parametrize(
    ("datatype", "fits", "too_large"),
    [
        ("FP16", [65_504, -65_519], 65_520),
        ("BF16", [3.389e38, -3.39e38], 3.3962e38),
        ("FP32", [3.4028235e38, -(2**63)], 3.4028236e38),
        ("FP64", [1.7976931348623157e308, -1e308], None),
    ],
)
def test_a_number_that_would_become_infinite_is_refused(
    datatype: str, fits: list[float], too_large: float | None
) -> None:
    spec = TensorSpec("x", datatype, (2,))

    def given(*values: float) -> bytes:
        return request({"name": "x", "datatype": datatype, "shape": [2], "data": list(values)})

    assert open_inference.read(given(*fits), [spec], [LABEL]).inputs[0].data == fits
    for number in () if too_large is None else (too_large, -too_large):
        with pytest.raises(Refused, match=f"'x'.*too large for {datatype}"):
            open_inference.read(given(1, number), [spec], [LABEL])


NO_NUMBERS = [
    ("FP16", struct.pack("<2e", 1, math.nan)),
    ("BF16", b"\x80\x3f\x80\x7f"),
    ("FP32", struct.pack("<2f", 1, -math.inf)),
    ("FP64", struct.pack("<2d", math.inf, 1)),
]


@pytest.mark.parametrize(("datatype", "data"), NO_NUMBERS)
def test_nan_and_infinity_are_never_written_as_null(datatype: str, data: bytes) -> None:
    score = TensorSpec("score", datatype, (2,))
    asked = open_inference.read(request(image()), [IMAGE], [score])

    with pytest.raises(CannotRun, match=r"'score'.*NaN or an infinity.*`binary_data`"):
        open_inference.answer(
            asked, "digits", "1.0.0", [Tensor("score", datatype, (2,), Packed(data))]
        )


@pytest.mark.parametrize(("datatype", "data"), NO_NUMBERS)
def test_nan_and_infinity_come_as_they_are_in_bytes(datatype: str, data: bytes) -> None:
    score = TensorSpec("score", datatype, (2,))
    wanted = request(image(), parameters={"binary_data_output": True})
    asked = open_inference.read(wanted, [IMAGE], [score])
    answer, length = open_inference.answer(
        asked, "digits", "1.0.0", [Tensor("score", datatype, (2,), Packed(data))]
    )

    assert length is not None
    assert answer[length:] == data


FLOATS = struct.pack("<4f", 0, 1, 2, 3.5)


def packed(spec: TensorSpec, shape: list[int], size: object) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {
        "name": spec.name, "datatype": spec.datatype, "shape": shape, "parameters": parameters
    }  # fmt: skip


def read(
    text: bytes, behind: bytes, *inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (LABEL,)
) -> open_inference.Inference:
    return open_inference.read(text + behind, inputs, outputs, json_length=len(text))


def test_tensors_stand_behind_the_json_in_the_order_of_the_inputs() -> None:
    text = request(packed(MASK, [2], 2), image(), packed(WORDS, [2], 13))
    found = read(text, b"\1\0" + b"\5\0\0\0gr\xc3\xbcn\0\0\0\0", IMAGE, MASK, WORDS)
    assert [(tensor.name, tensor.data) for tensor in found.inputs] == [
        ("mask", Packed(b"\1\0")),
        ("image", [0, 1, 2, 3.5]),
        ("words", ["grün", ""]),
    ]


@pytest.mark.parametrize(
    ("spec", "shape", "size", "behind", "words"),
    [
        (IMAGE, [1, 4], 12, FLOATS[:12], r"12 bytes, the shape \[1, 4\] of FP32 wants 16"),
        (IMAGE, [2, 4], 16, FLOATS, r"wants 32"),
        (IMAGE, [1, 4], 16, FLOATS[:12], r"16, and 12 bytes are left"),
        (IMAGE, [1, 4], -1, FLOATS, "-1, and 16 bytes are left"),
        (IMAGE, [1, 4], True, FLOATS, "a bool, and"),
        (IMAGE, [1, 4], "16", FLOATS, "`binary_data_size` is 16, and"),
        (IMAGE, [1, 4], 16, FLOATS + b"x", "1 bytes follow the JSON"),
        (IMAGE, [1, 5], 20, FLOATS + b"1234", "the model takes"),
        (IMAGE, [2**40, 4], 16, FLOATS, "too many values"),
        (MASK, [2], 2, b"\1\2", "0 or 1"),
        (WORDS, [1], 6, b"\2\0\0\0\xff\xfe", "not UTF-8"),
        (WORDS, [1], 6, b"\3\0\0\0ab", "behind their end"),
        (WORDS, [1], 3, b"\0\0\0", "behind their end"),
        (WORDS, [2], 6, b"\2\0\0\0ab", "1 texts, its shape wants 2"),
    ],
)
def test_bytes_that_do_not_fit_are_refused_before_the_model_runs(
    spec: TensorSpec, shape: list[int], size: object, behind: bytes, words: str
) -> None:
    with pytest.raises(Refused, match=words):
        read(request(packed(spec, shape, size)), behind, spec)


def test_an_input_is_told_once() -> None:
    with pytest.raises(Refused, match="both `data` and `binary_data_size`"):
        read(request(image(parameters={"binary_data_size": 16})), FLOATS, IMAGE)
    with pytest.raises(Refused, match="`shared_memory_region` is an extension"):
        read(request(image(parameters={"shared_memory_region": "r"})), b"", IMAGE)
    with pytest.raises(Refused, match="`parameters` of input 'image' must be an object"):
        read(request(image(parameters=[])), b"", IMAGE)


@pytest.mark.parametrize("text", [b"", b"x", b"-1", b"+5", b"99", b"1e1", b"\xb2"])
def test_a_length_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="Inference-Header-Content-Length"):
        open_inference.json_length(text, b"{}")
    assert open_inference.json_length(None, b"{}") is None
    assert open_inference.json_length(b"2", b"{}") == 2


SCORES = TensorSpec("scores", "FP32", (-1,))


@pytest.mark.parametrize(
    ("asked", "binary"),
    [
        ({}, set()),
        ({"parameters": {"binary_data_output": False}}, set()),
        ({"parameters": {"binary_data_output": True}}, {"label", "scores"}),
        ({"outputs": [{"name": "scores"}]}, set()),
        ({"outputs": [{"name": "scores", "parameters": {"binary_data": True}}]}, {"scores"}),
        (
            {
                "outputs": [
                    {"name": "label", "parameters": {"binary_data": False}},
                    {"name": "scores"},
                ],
                "parameters": {"binary_data_output": True},
            },
            {"scores"},
        ),
    ],
)
def test_outputs_come_as_bytes_if_they_are_asked_for_so(
    asked: dict[str, Any], binary: set[str]
) -> None:
    found = open_inference.read(request(image(), **asked), [IMAGE], [LABEL, SCORES])
    assert found.outputs == tuple(each["name"] for each in asked.get("outputs", ()))
    outputs = [
        Tensor("label", "INT64", (1,), [3]),
        Tensor("scores", "FP32", (4,), Packed(FLOATS)),
    ]
    body, length = open_inference.answer(found, "digits", "1.0.0", outputs)
    document = json.loads(body[:length])
    behind = b"" if length is None else body[length:]
    assert [each["name"] for each in document["outputs"]] == ["label", "scores"]
    for each, raw, values in zip(
        document["outputs"],
        (struct.pack("<q", 3), FLOATS),
        ([3], [0.0, 1.0, 2.0, 3.5]),
        strict=True,
    ):
        if each["name"] in binary:
            assert each["parameters"] == {"binary_data_size": len(raw)}
            assert behind.startswith(raw)
            behind = behind.removeprefix(raw)
        else:
            assert each["data"] == values
    assert behind == b""


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"outputs": [{"name": "label"}, {"name": "label"}]}, "asked for twice"),
        (
            {"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]},
            "`binary_data` must be true or false",
        ),
        ({"parameters": {"binary_data_output": "yes"}}, "`binary_data_output` must be"),
        (
            {"outputs": [{"name": "label", "parameters": {"classification": 3}}]},
            "`classification` is an extension",
        ),
    ],
)
def test_what_is_asked_of_outputs_is_checked(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        open_inference.read(request(image(), **asked), [IMAGE], [LABEL])


@given(st.binary(max_size=200), st.integers(0, 40), st.integers(0, 8))
def test_whatever_stands_behind_the_json_it_is_read_or_refused(
    behind: bytes, size: int, count: int
) -> None:
    text = request(packed(WORDS, [count], size))
    with suppress(Refused):
        found = read(text, behind, WORDS).inputs[0].data
        assert isinstance(found, list)
        said = b"".join(len(w.encode()).to_bytes(4, "little") + w.encode() for w in found)
        assert (said, len(found)) == (behind, count)
