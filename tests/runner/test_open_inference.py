"""What fits a model's description runs; what does not is told before, in words that help."""

import json
from typing import Any

import pytest

from headway.kernel.errors import Refused
from headway.runner import open_inference
from headway.runner.ports import Tensor, TensorSpec

IMAGE = TensorSpec("image", "FP32", (-1, 4))
COUNT = TensorSpec("count", "INT8", (1,))
LABEL = TensorSpec("label", "INT64", (-1,))


def request(*inputs: dict[str, Any], **more: object) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def image(**changes: object) -> dict[str, Any]:
    whole = {"name": "image", "datatype": "FP32", "shape": [1, 4], "data": [0, 1, 2, 3.5]}
    return whole | changes


def test_flat_and_nested_data_are_the_same_request() -> None:
    flat = open_inference.read(request(image()), [IMAGE], [LABEL])
    nested = open_inference.read(request(image(data=[[0, 1, 2, 3.5]])), [IMAGE], [LABEL])

    assert flat == nested
    assert list(flat.inputs[0].data) == [0, 1, 2, 3.5]


def test_the_answer_carries_the_name_the_version_and_the_callers_id() -> None:
    inference = open_inference.read(request(image(), id="call-7"), [IMAGE], [LABEL])
    answer = open_inference.answer(
        inference.id, "digits", "1.0.0", [Tensor("label", "INT64", (1,), [3])]
    )

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
