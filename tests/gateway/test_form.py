"""The field `model` of a form is found as it comes, in whatever pieces."""

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


NASTY = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"b", b"0", b"\r\n--b", b"\r\n--b1", b"x", b"--b0"]),
    max_size=12,
).map(b"".join)
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
    parts = [(head, b"_" + text.replace(b"\r\n--b0", b"")) for head, text in parts]
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
        b'Content-Disposition: attachment; name="model"',
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
        (b"--b0\r\nX: " + b"x" * 9_000, "too large"),
        (b"--b0 " + b" " * 9_000, "no end"),
    ],
)
def test_what_is_wrong_is_told(body: bytes, words: str) -> None:
    form = Form(b"b0")
    with pytest.raises(NotAnswered, match=words):
        form.feed(body)
        form.end()


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
        (b"multipart/form-data", None),
        (b"multipart/form-data; boundary=", None),
        (b"multipart/form-data; boundary=" + b"a" * 71, None),
        (b"multipart/mixed; boundary=abc", None),
        (b"application/json", None),
    ],
)
def test_boundary(kind: bytes, boundary: bytes | None) -> None:
    assert boundary_of(kind) == boundary
