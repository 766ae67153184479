"""The field `model` of a form is found as it comes, in whatever pieces."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.exchange import NotAnswered
from headway.gateway.form import Field, Form, boundary_of

Part = tuple[bytes, bytes]

FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav'
MODEL = b'Content-Disposition: form-data; name="model"'


def field(name: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="%b"' % name


def written(parts: list[Part], boundary: bytes = b"b0") -> bytes:
    inside = b"".join(
        b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, head, content) for head, content in parts
    )
    return b"%b--%b--\r\n" % (inside, boundary)


def renamed(body: bytes, cuts: list[int], boundary: bytes = b"b0", name: bytes = b"ours") -> bytes:
    form = Form(boundary)
    marks = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [piece for start, end in pairwise(marks) for piece in form.feed(body[start:end])]
    pieces += form.end()
    said = b"".join(name if piece is Field.MODEL else piece for piece in pieces)
    assert len(said) == len(body) + (0 if form.model is None else len(name) - form.left_out)
    return said


NASTY = (
    st.lists(
        st.sampled_from(
            [b"\r", b"\n", b"-", b"b", b"0", b"\r\n--b", b"\r\n--b1", b"\r\n--b0x", b"x", b"--b0"]
        ),
        max_size=12,
    )
    .map(b"".join)
    .filter(lambda text: re.search(rb"\n--b0(?!x)", text) is None)
)
"""Contents that look like borders; none holds one."""


@given(
    st.lists(st.tuples(st.sampled_from([FILE, field(b"prompt")]), NASTY), max_size=4),
    st.binary(max_size=20),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.integers(0, 4),
)
def test_only_the_models_name_changes_however_a_form_is_cut(
    parts: list[Part], content: bytes, cuts: list[int], place: int
) -> None:
    # A prefix keeps what only looks like a border from becoming one.
    parts = [(head, b"_" + text) for head, text in parts]
    model = content.hex().encode()
    theirs = [*parts[:place], (MODEL, model), *parts[place:]]
    ours = [*parts[:place], (MODEL, b"ours"), *parts[place:]]
    assert renamed(written(theirs), cuts) == written(ours)
    assert renamed(written(parts), cuts) == written(parts)


@pytest.mark.parametrize(
    "head",
    [
        b"content-disposition: form-data; name=model",
        b'CONTENT-DISPOSITION:form-data;name="model"',
        b'Content-Type: text/plain\r\nContent-Disposition: form-data; x=";"; name="model"',
        b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain',
    ],
)
def test_field_is_known_however_its_head_is_written(head: bytes) -> None:
    assert renamed(written([(head, b"bot")]), []) == written([(head, b"ours")])


def test_length_that_the_part_tells_of_itself_is_left_out() -> None:
    body = written([(MODEL + b"\r\nContent-Length: 3", b"bot"), (FILE, b"abc")])
    assert renamed(body, []) == written([(MODEL, b"ours"), (FILE, b"abc")])


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="model"; filename="model"',
        b'Content-Disposition: form-data; name="my model"',
        b'Content-Disposition: form-data; name="models"',
        b'X: form-data; name="model"',
        b'Content-Disposition: attachment; name="mine"',
    ],
)
def test_other_parts_are_not_the_model(head: bytes) -> None:
    body = written([(head, b"bot")])
    assert renamed(body, []) == body


def test_preamble_and_epilogue_pass() -> None:
    body = b"before\r\n" + written([(MODEL, b"bot")]) + b"\r\n--b0\r\n" + MODEL + b"\r\n\r\nx"
    ours = b"before\r\n" + written([(MODEL, b"ours")]) + b"\r\n--b0\r\n" + MODEL + b"\r\n\r\nx"
    assert renamed(body, []) == ours


def test_empty_part_without_a_line_of_its_own_hides_no_model() -> None:
    hidden = b"--b0\r\n%b\r\n\r\n--b0\r\n%b\r\n\r\n%b\r\n--b0--\r\n"
    assert renamed(hidden % (field(b"x"), MODEL, b"bot"), []) == hidden % (
        field(b"x"), MODEL, b"ours",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (written([(MODEL, b"a"), (MODEL, b"b")]), "twice"),
        (written([(MODEL, b"a" * 600)]), "too long"),
        (written([(MODEL, b"\xff")]), "no UTF-8"),
        (b"--b0\r\n" + MODEL + b"\r\n\r\nbot", "ends within"),
        (b"--b0\r\n" + MODEL, "ends within the head"),
        (b"--b0\r\nX: " + b"x" * 9_000, "too large"),
        (b"--b0 " + b" " * 9_000, "no end"),
    ],
)
def test_what_is_wrong_is_told(body: bytes, words: str) -> None:
    form = Form(b"b0")
    with pytest.raises(NotAnswered, match=words):
        form.feed(body)
        form.end()


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Content-Disposition: form-data; name*=utf-8''model", "plainly"),
        (b"Content-Disposition: form-data; name*0=mod; name*1=el", "plainly"),
        (b'Content-Disposition: form-data; name="mod\\el"', "plainly"),
        (b'Content-Disposition: form-data; name="x"; name="model"', "twice"),
        (b'Content-Disposition: form-data; name="model"; NAME="x"', "twice"),
        (b'Content-Disposition: form-data; x="; name="model"', "cannot be read"),
        (b"Content-Disposition: form-data; name model", "cannot be read"),
        (b'Content-Disposition: form-data;\r\n name="model"', "folded"),
        (b'Content-Disposition: form-data;\n name="model"', "CRLF"),
        (b'X: y\rContent-Disposition: form-data; name="model"', "CRLF"),
        (field(b"x") + b"\r\n" + MODEL, "two lines"),
        (b'Content-Disposition: attachment; name="model"', "must be form-data"),
    ],
)
def test_part_whose_name_two_readers_could_read_differently_is_refused(
    head: bytes, words: str
) -> None:
    with pytest.raises(NotAnswered, match=re.escape(words)):
        renamed(written([(head, b"bot")]), [])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (written([(MODEL, b"bot")]).replace(b"\r\n", b"\n"), "CRLF"),
        (b"before\n--b0\n" + MODEL + b"\n\nbot\n" + written([(FILE, b"x")]), "CRLF"),
        (b"--b1\r\n" + MODEL + b"\r\n\r\nbot\r\n--b1--\r\n", "no part"),
        (b"--b0--x\r\n" + written([(MODEL, b"bot")]), "does not end there"),
    ],
)
def test_border_that_two_readers_could_read_differently_is_refused(
    body: bytes, words: str
) -> None:
    for cuts in ([], list(range(len(body)))):
        with pytest.raises(NotAnswered, match=words):
            renamed(body, cuts)


ALIKE = b"\r\n--b0y"


def test_what_only_looks_like_borders_passes_uncut() -> None:
    form = Form(b"b0")
    form.feed(b"--b0\r\n" + FILE + b"\r\n\r\n")
    assert len(form.feed(ALIKE * 10_000)) == 1


def test_what_only_looks_like_borders_costs_as_much_as_it_is_long() -> None:
    def cost(times: int) -> float:
        form = Form(b"b0")
        form.feed(b"--b0\r\n" + FILE + b"\r\n\r\n")
        began = time.process_time()
        form.feed(ALIKE * times)
        return time.process_time() - began

    # 32 times as much: what grew with the square would take 1,024 times as long.
    assert min(cost(128_000) for _ in range(3)) < 200 * min(cost(4_000) for _ in range(3))


def test_parts_are_counted() -> None:
    Form(b"b0").feed(b"--b0\r\n\r\n" * 1_000 + b"--b0--\r\n")
    with pytest.raises(NotAnswered, match="more than 1,000 parts"):
        Form(b"b0").feed(b"--b0\r\n\r\n" * 1_001)


def test_what_waits_is_bounded_while_a_file_passes() -> None:
    form = Form(b"b0")
    form.feed(b"--b0\r\n" + FILE + b"\r\n\r\n")
    for _ in range(100):
        passed = sum(len(piece) for piece in form.feed(b"\r" * 65_536) if piece is not Field.MODEL)
        assert passed > 65_000


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data;charset=x; boundary="a b;c"', b"a b;c"),
        (b"application/json", None),
        (b"", None),
    ],
)
def test_boundary(kind: bytes, boundary: bytes | None) -> None:
    assert boundary_of(kind) == boundary


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (b"multipart/form-data", "must say a boundary"),
        (b"multipart/form-data; boundary=", "must say a boundary"),
        (b"multipart/form-data; boundary=" + b"a" * 71, "must say a boundary"),
        (b'multipart/form-data; boundary="a\\b"', "must say a boundary"),
        (b"multipart/form-data; boundary*=utf-8''a; boundary=b", "must say a boundary"),
        (b"multipart/form-data; boundary=a; boundary=b", "twice"),
        (b"multipart/form-data; boundary=a b", "cannot be read"),
        (b"multipart/mixed; boundary=abc", "multipart/form-data"),
    ],
)
def test_form_whose_boundary_is_not_plain_is_refused(kind: bytes, words: str) -> None:
    with pytest.raises(NotAnswered, match=words):
        boundary_of(kind)
