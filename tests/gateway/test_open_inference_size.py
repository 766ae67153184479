"""How deep and how full a body of the Open Inference Protocol may be."""

import json
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.exchange import NotAnswered
from headway.gateway.formats.open_inference import OpenInference
from headway.gateway.numbers import MOST_LISTS

LIMIT = 32 << 20


def request(data: str, **more: object) -> bytes:
    """Return a body whose one input has that text as data."""
    rest = json.dumps(more)[1:-1]
    comma = ", " if rest else ""
    return (
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1], "data": '
        f"{data}}}]{comma}{rest}}}"
    ).encode()


def read(body: bytes) -> None:
    OpenInference().read(body, {}, "digits")


def refusal(body: bytes) -> str:
    with pytest.raises(NotAnswered) as refused:
        read(body)
    assert (refused.value.problem.status, refused.value.problem.outcome.value) == (400, "caller")
    return refused.value.problem.detail


def nested(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


# `inputs`, its object and the body itself are three levels.
DEEPEST_DATA = 61


@pytest.mark.parametrize("fill", ["", " " * 300_000])
def test_data_may_be_nested_to_level_64_and_no_deeper(fill: str) -> None:
    read(request(nested(DEEPEST_DATA), note=fill))
    assert "nested more than 64 deep" in refusal(request(nested(DEEPEST_DATA + 1), note=fill))
    assert "nested more than 64 deep" in refusal(request(nested(5_000), note=fill))
    objects = '{"a": [' * 31 + "1" + "]}" * 31
    assert "nested more than 64 deep" in refusal(request(objects, note=fill))


def test_a_level_too_deep_is_found_among_a_hundred_thousand_that_are_not() -> None:
    rows = ",".join("[1, 2]" for _ in range(100_000))
    read(request(f"[{rows}]"))
    assert "64 deep" in refusal(request(f"[{rows}, {nested(DEEPEST_DATA)}, {rows}]"))


def test_brackets_within_texts_are_no_levels() -> None:
    words = ["[" * 500, '\\"[{' * 50, "\\" * 7, 'a"[[[', "]}"]
    read(request(json.dumps(words * 50)))
    read(request(json.dumps(words * 5_000)))


def test_a_tensor_as_large_as_a_body_may_be_is_taken() -> None:
    numbers = ("0.25," * (LIMIT // 5 - 100))[:-1]
    flat = request(f"[{numbers}]")
    assert LIMIT * 0.99 < len(flat) < LIMIT
    read(flat)
    row = "[0.125, 0.25, 0.5, 0.75],"
    table = request("[" + (row * 900_000)[:-1] + "]")
    assert len(table) > LIMIT / 2
    read(table)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('["a"' + ',"a"' * 100_001 + "]", "100,000 texts"),
        (r'["\\"' + r',"\\"' * 200_001 + "]", "100,000 texts"),
        ("[{}" + ",{}" * 100_001 + "]", "100,000 objects"),
        ("[[]" + ",[]" * MOST_LISTS + "]", "1,000,000 lists"),
    ],
)
def test_more_of_anything_but_numbers_is_refused(data: str, words: str) -> None:
    assert words in refusal(request(data))


def test_many_texts_and_objects_are_taken_up_to_the_limit() -> None:
    read(request(json.dumps(['a"b'] * 99_990)))
    read(request(json.dumps([{}] * 99_990)))


def depth_of(value: Any) -> int:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(st.integers(1, 140), st.integers(0, 2**32))
def test_depth_is_told_right_of_any_shape(deepest: int, seed: int) -> None:
    chance = random.Random(seed)

    def grow(room: int) -> Any:  # noqa: ANN401 - JSON
        if room <= 0:
            return chance.choice([1, 'a"]', None, "\\", "[["])
        kept = [grow(room - 1)]
        kept += [chance.choice([1, "}", [], {}, [[1]]]) for _ in range(chance.randrange(3))]
        chance.shuffle(kept)
        if chance.random() < 0.5:
            return kept
        return {f'k{i}"{{': value for i, value in enumerate(kept)}

    body = {"inputs": grow(deepest)}
    text = json.dumps(body).encode()
    if depth_of(body) > 64:
        assert "64 deep" in refusal(text)
    else:
        read(text)


@given(st.binary(max_size=300) | st.text('[]{}",\\:1', max_size=300).map(str.encode))
def test_whatever_a_body_holds_it_is_read_or_refused(body: bytes) -> None:
    with suppress(NotAnswered):
        read(body)
