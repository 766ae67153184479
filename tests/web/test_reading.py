"""Bodies are read strictly, and what is wrong with one is said so that it can be put right."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from headway.kernel.errors import Invalid, TooLarge
from headway.web.reading import Unreadable, read_json, read_yaml

scalars: SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
documents = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.recursive(scalars, lambda v: st.lists(v) | st.dictionaries(st.text('ab\\"'), v)),
    max_size=5,
)


@given(documents)
def test_every_ordinary_object_is_read_as_it_was_written(document: dict[str, object]) -> None:
    assert read_json(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' stands twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "too large a number"),
        (b'{"a": 9007199254740993}', "beyond 2.53"),
        (b'{"a": ' + b"9" * 5000 + b"}", "beyond 2.53"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'{"a": [["\\udfff"]]}', "surrogate"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": 1} {"b": 2}', "Extra data"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "more than 64 deep"),
        (b"[" * 900_000, "more than"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "more than 64 deep"),
        (b'{"a": [' + b"0," * 100_000 + b"0]}", "more than 100,000 values"),
        (b"\x80\x03}q\x00.", "not"),
        (b'{"a": "\n"}', "not JSON"),
    ],
)
def test_unreadable_json_is_refused_with_the_reason(text: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_json(text)


def test_brackets_inside_strings_are_no_depth() -> None:
    deep = "[" * 500 + '\\"' + "{" * 500
    assert read_json(b'{"a": "' + deep.encode() + b'"}') == {"a": "[" * 500 + '"' + "{" * 500}


def test_two_escapes_that_make_one_character_are_taken() -> None:
    assert read_json(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_the_largest_bodies_are_measured_quickly() -> None:
    worst = [
        b'{"a": "' + b"\\\\" * 500_000,  # a string that never ends
        b'"' * 1_000_000,
        b"[" * 1_000_000,
        b"]" * 1_000_000,
        b'{"a":' * 200_000,
    ]
    began = time.process_time()
    for text in worst:
        with pytest.raises(Unreadable):
            read_json(text)
    assert time.process_time() - began < 2


def test_every_scalar_of_a_plan_is_text() -> None:
    plan = read_yaml(b"to: 1.10\nno: no\nat: 12:30:45\nnull: ~\nempty:\nlist: [1, true, 0x1f]\n")

    assert plan.document == {
        "to": "1.10",
        "no": "no",
        "at": "12:30:45",
        "null": "~",
        "empty": "",
        "list": ["1", "true", "0x1f"],
    }


def test_a_plan_knows_on_which_line_each_part_stands() -> None:
    plan = read_yaml(
        b"# two lines\nmodel: bot\n\nsteps:\n  - send: 1%\n    until: x\n  - send: 2%\n"
    )
    error = plan.placed(Invalid.at("/steps/1/send", "is wrong"))

    assert [fault.detail for fault in error.faults] == ["line 7: is wrong"]
    assert (
        plan.placed(Invalid.at("/steps/0/sned", "is unknown"))
        .faults[0]
        .detail.startswith("line 5: ")
    )
    assert plan.placed(Invalid.at("/steps", "is wrong")).faults[0].detail.startswith("line 4: ")
    assert plan.placed(Invalid.at("/to", "is missing")).faults[0].detail == "is missing"


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n".encode()
    for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "empty"),
        (b"# nothing\n", "empty"),
        (b"- a\n- b\n", "is a mapping"),
        (b"just text", "is a mapping"),
        (BOMB, "line 1: &a is an anchor"),
        (b"a: 1\nb: *x\n", "line 2: \\*x refers to an anchor"),
        (b"a: !!python/object/apply:os.system [ls]\n", "line 1: .* is a tag"),
        (b"a: ! x\n", "is a tag"),
        (b"a: !!str 5\n", "is a tag"),
        (b"a:\n  b: 1\n  <<: {c: 2}\n", "line 3: << would merge"),
        (b"a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands here and on line 1"),
        (b"s:\n- x: 1\n  x: 2\n", "line 3: the key 'x' stands here and on line 2"),
        (b"a: [1, 2\n", "line 2, column 1: this is not YAML"),
        (b"a: b: c\n", "line 1, column 5: this is not YAML"),
        (b"a:\n\t- b\n", "line 2"),
        (b"a: 1\n---\nb: 2\n", "second document"),
        (b"? [a, b]\n: 1\n", "a key is one word"),
        (b"a: " + b"[" * 33 + b"]" * 33, "nested more than 32|nesting"),
        (b"a: " + b"[" * 100_000, "nested more than 32|nesting"),
        (b"{" * 100_000, "nested more than 32|nesting"),
        (b"a: \xff\n", "not UTF-8"),
        (b"a: \x00\n", "not YAML|forbids"),
        (b"a: [" + b",".join([b"x"] * 100_001) + b"]", "more than 100,000 values"),
    ],
)
def test_yaml_that_is_no_plan_is_refused_with_its_line(text: bytes, said: str) -> None:
    began = time.process_time()
    with pytest.raises(Unreadable, match=said):
        read_yaml(text)
    assert time.process_time() - began < 2


def test_a_plan_of_more_than_256_kib_is_too_large() -> None:
    with pytest.raises(TooLarge, match="256 KiB"):
        read_yaml(b"a: " + b"x" * 262_144)


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    assert read_yaml(b'"<<": x\n').document == {"<<": "x"}


@given(st.binary(max_size=300))
def test_any_bytes_give_a_plan_or_a_lesson(data: bytes) -> None:
    with suppress(Unreadable):
        assert isinstance(read_yaml(data).document, dict)


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_any_bytes_give_an_object_or_a_lesson(data: bytes) -> None:
    with suppress(Unreadable):
        assert isinstance(read_json(data), dict)
