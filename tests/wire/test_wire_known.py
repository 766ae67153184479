"""A head that comes again is read as the parser reads it, or not at all."""

import httptools
from hypothesis import assume, example, given
from hypothesis import strategies as st

from headway.wire.framing import Headers
from headway.wire.known import KnownHead

FIELD = st.sampled_from(
    [
        b"Host: a\r\n",
        b"X-Request-ID: 7\r\n",
        b"Accept:application/json \r\n",
        b"x-content-length: 5\r\n",
        b"Cookie: content-length: 9\r\n",
        b"X-Empty:\r\n",
        b"Traceparent: 00-1-1-01\r\n",
    ]
)
LENGTH = st.sampled_from(
    [b"Content-Length: %d\r\n", b"content-length:%d\r\n", b"CONTENT-LENGTH: \t%d\r\n"]
)
BODY = st.sampled_from(
    [b"", b"x", b"hello", b'{"a": 1}\r\n\r\n', b"GET / HTTP/1.1\r\n\r\n", b"y" * 999]
)


class Parsed:
    """What the parser itself makes of the bytes of one message."""

    def __init__(self, data: bytes) -> None:
        self.headers = Headers()
        self.body = b""
        self.messages = 0
        self.refused = False
        try:
            httptools.HttpRequestParser(self).feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.refused = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip()))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.messages += 1


def message(before: list[bytes], length: bytes, after: list[bytes], body: bytes) -> bytes:
    fields = b"".join([*before, length % len(body), *after])
    return b"POST /v1 HTTP/1.1\r\n%b\r\n%b" % (fields, body)


def knowing(data: bytes) -> KnownHead[str]:
    parsed = Parsed(data)
    known: KnownHead[str] = KnownHead()
    known.learn(data, len(parsed.body), parsed.headers, "said")
    return known


@given(st.lists(FIELD, max_size=4), LENGTH, st.lists(FIELD, max_size=4), BODY, BODY)
def test_the_same_head_with_another_body_is_read_without_the_parser(
    before: list[bytes], length: bytes, after: list[bytes], first: bytes, second: bytes
) -> None:
    again = message(before, length, after, second)
    found = knowing(message(before, length, after, first)).read(again)
    assert found is not None
    assert found == (Parsed(again).headers, second, "said")
    assert found[0].get(b"content-length") == b"%d" % len(second)


@given(
    st.lists(FIELD, max_size=3),
    LENGTH,
    st.lists(FIELD, max_size=3),
    BODY,
    BODY,
    st.integers(0, 250),
    st.integers(0, 3),
    st.sampled_from(
        [b"", b"\r\n", b"\n", b" ", b"1", b"-", b"+", b"0", b":", b"\r\n\r\n", b"x", b"\x00"]
    ),
)
@example([], b"Content-Length: %d\r\n", [], b"hello", b"hello", 36, 0, b"+")
@example([], b"Content-Length: %d\r\n", [], b"hello", b"hello", 36, 0, b"0")
@example([], b"Content-Length: %d\r\n", [], b"hello", b"hello", 37, 0, b"\n")
def test_what_is_read_without_the_parser_is_what_the_parser_reads(
    before: list[bytes],
    length: bytes,
    after: list[bytes],
    first: bytes,
    second: bytes,
    at: int,
    cut: int,
    put: bytes,
) -> None:
    again = message(before, length, after, second)
    again = again[:at] + put + again[at + cut :]
    found = knowing(message(before, length, after, first)).read(again)
    assume(found)
    assert found is not None
    parsed = Parsed(again)
    assert not parsed.refused
    assert parsed.messages == 1
    assert found[:2] == (parsed.headers, parsed.body)


def test_nothing_is_known_before_and_after_heads_that_are_not_simple() -> None:
    simple = message([b"Host: a\r\n"], b"Content-Length: %d\r\n", [], b"hello")
    assert KnownHead[str]().read(simple) is None
    assert KnownHead[str]().read(b"") is None
    known = knowing(simple)
    known.learn(simple + simple, 5, Headers(), "two in one read")
    assert known.read(simple) is None


def test_part_of_a_body_more_than_a_body_and_another_head_are_for_the_parser() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    known = knowing(head + b"hello")
    assert known.read(head + b"hello") is not None
    assert known.read(head + b"hell") is None
    assert known.read(head + b"hello!") is None
    assert known.read(head[:-2]) is None
    assert known.read(head.replace(b"Host: a", b"Host: b") + b"hello") is None
    assert (
        known.read(head.replace(b"5\r\n", b"5\r\nTransfer-Encoding: chunked\r\n") + b"hello")
        is None
    )


def test_a_connection_whose_heads_never_come_again_is_not_learned_for_ever() -> None:
    known: KnownHead[str] = KnownHead()
    messages = [
        b"POST / HTTP/1.1\r\nX-ID: %d\r\nContent-Length: 0\r\n\r\n" % number for number in range(9)
    ]
    for data in messages:
        known.learn(data, 0, Parsed(data).headers, "said")
    assert known.read(messages[7]) is not None
    assert known.read(messages[8]) is None


def test_a_head_that_came_again_may_be_followed_by_another() -> None:
    known: KnownHead[str] = KnownHead()
    for number in range(20):
        data = b"POST / HTTP/1.1\r\nX-ID: %d\r\nContent-Length: 0\r\n\r\n" % number
        known.learn(data, 0, Parsed(data).headers, "said")
        assert known.read(data) is not None
