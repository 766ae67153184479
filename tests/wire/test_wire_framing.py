"""The rules of framing, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.wire.framing import (
    Headers,
    Refusal,
    check_answer,
    check_request,
    chunk,
    end_to_end,
    has_no_body,
    is_host,
    request_head,
    split_target,
    write_fields,
)

HOST = (b"host", b"a")


def refused(method: bytes, version: str, *fields: tuple[bytes, bytes]) -> int:
    with pytest.raises(Refusal) as caught:
        check_request(method, version, Headers(fields))
    return caught.value.status


def test_a_body_is_framed_by_length_or_by_chunks_or_there_is_none() -> None:
    by_length = check_request(b"POST", "1.1", Headers([HOST, (b"content-length", b"12")]))
    assert (by_length.content_length, by_length.chunked) == (12, False)
    chunked = check_request(b"POST", "1.1", Headers([HOST, (b"transfer-encoding", b"Chunked")]))
    assert (chunked.content_length, chunked.chunked) == (None, True)
    none = check_request(b"GET", "1.0", Headers())
    assert (none.content_length, none.chunked) == (None, False)


@pytest.mark.parametrize("value", [b"-1", b"+1", b"1,1", b"0x10", b"", b" ", b"1" * 19])
def test_a_length_is_digits_and_no_more_than_eighteen(value: bytes) -> None:
    assert refused(b"POST", "1.1", HOST, (b"content-length", value)) == 400


@pytest.mark.parametrize(
    ("value", "status"),
    [(b"gzip, chunked", 501), (b"identity", 501), (b"chunked, chunked", 501), (b"", 501)],
)
def test_the_only_transfer_coding_is_chunked(value: bytes, status: int) -> None:
    assert refused(b"POST", "1.1", HOST, (b"transfer-encoding", value)) == status


def test_transfer_coding_stands_once_alone_and_on_1_1() -> None:
    coding = (b"transfer-encoding", b"chunked")
    assert refused(b"POST", "1.0", HOST, coding) == 400
    assert refused(b"POST", "1.1", HOST, coding, coding) == 400
    assert refused(b"POST", "1.1", HOST, coding, (b"content-length", b"3")) == 400


def test_lengths_that_agree_are_still_two() -> None:
    assert (
        refused(b"POST", "1.1", HOST, (b"content-length", b"3"), (b"content-length", b"3")) == 400
    )


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"PROPFIND", b"M-SEARCH", b"get", b""])
def test_unknown_methods_are_not_implemented(method: bytes) -> None:
    assert refused(method, "1.1", HOST) == 501


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2", "9.9"])
def test_other_versions_are_not_spoken(version: str) -> None:
    assert refused(b"GET", version, HOST) == 505


def test_a_host_is_named_once_on_1_1_and_at_most_once_on_1_0() -> None:
    assert refused(b"GET", "1.1") == 400
    assert refused(b"GET", "1.1", HOST, HOST) == 400
    assert refused(b"GET", "1.0", HOST, HOST) == 400
    check_request(b"GET", "1.0", Headers())


@pytest.mark.parametrize(
    "host",
    [b"a", b"example.com:80", b"127.0.0.1:65535", b"[::1]", b"[2001:db8::1]:8000", b"a_b.x"],
)
def test_names_and_addresses_are_hosts(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a b",
        b"a,b",
        b"a/b",
        b"u@a",
        b"a:",
        b"a:0",
        b"a:65536",
        b"a:x",
        b"[::1",
        b"a\x00",
        b"-",
    ],
)
def test_other_things_are_no_hosts(host: bytes) -> None:
    assert not is_host(host)
    assert refused(b"GET", "1.1", (b"host", host)) == 400


def test_the_only_expectation_is_100_continue() -> None:
    length = (b"content-length", b"3")
    met = check_request(b"POST", "1.1", Headers([HOST, length, (b"expect", b"100-Continue")]))
    assert met.expects_continue
    assert refused(b"POST", "1.1", HOST, length, (b"expect", b"200-ok")) == 417
    old = check_request(b"POST", "1.0", Headers([HOST, length, (b"expect", b"100-continue")]))
    assert not old.expects_continue


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/v1/models?a=1&b=%2F", "/v1/models", b"a=1&b=%2F"),
        (b"/a%20b/%C3%A4", "/a b/ä", b""),
        (b"/..a/b..", "/..a/b..", b""),
        (b"/a//b", "/a//b", b""),
        (b"/a?b?c", "/a", b"b?c"),
        (b"/%252e", "/%2e", b""),
    ],
)
def test_a_target_is_a_path_and_a_query(target: bytes, path: str, query: bytes) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"*",
        b"http://a/b",
        b"a:443",
        b"/a#b",
        b"/a b",
        b"/\xc3\xa4",
        b"/a\\b",
        b"/a%2fb",
        b"/a%2Fb",
        b"/a%5Cb",
        b"/%00",
        b"/%0d%0a",
        b"/%7f",
        b"/%C2%85",
        b"/%ff",
        b"/%c0%ae",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/.",
        b"/..",
        b"/a/../b",
        b"/a/./b",
        b"/%2e%2e/b",
        b"/a/.%2E",
        b"/a?%00",
        b"//a",
    ],
)
def test_targets_that_two_readers_could_read_differently_are_refused(target: bytes) -> None:
    for padded in (target, target + b"?" + b"x" * 300 if b"?" not in target else target):
        with pytest.raises(Refusal) as caught:
            split_target(padded)
        assert caught.value.status == 400


@given(st.binary(max_size=40))
def test_no_accepted_path_holds_a_control_or_a_dot_segment(tail: bytes) -> None:
    try:
        path, _ = split_target(b"/" + tail)
    except Refusal:
        return
    assert path.startswith("/")
    assert not {".", ".."} & set(path.split("/"))
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or char == "\\" for char in path)


@pytest.mark.parametrize(
    ("status", "version", "fields"),
    [
        (101, "1.1", []),
        (199, "1.1", []),
        (600, "1.1", []),
        (999, "1.1", []),
        (200, "2.0", []),
        (200, "1.1", [(b"transfer-encoding", b"gzip, chunked")]),
        (200, "1.1", [(b"transfer-encoding", b"identity")]),
        (200, "1.1", [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")]),
        (200, "1.0", [(b"transfer-encoding", b"chunked")]),
        (200, "1.1", [(b"transfer-encoding", b"chunked"), (b"content-length", b"1")]),
        (200, "1.1", [(b"content-length", b"1"), (b"content-length", b"1")]),
        (200, "1.1", [(b"content-length", b"1, 1")]),
    ],
)
def test_an_odd_answer_is_a_bad_gateway(
    status: int, version: str, fields: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(Refusal) as caught:
        check_answer(status, version, Headers(fields))
    assert caught.value.status == 502


def test_what_speaks_of_one_connection_is_not_passed_on() -> None:
    fields = Headers(
        [
            (b"host", b"a"),
            (b"connection", b"close, X-Mine"),
            (b"x-mine", b"1"),
            (b"keep-alive", b"5"),
            (b"te", b"trailers"),
            (b"upgrade", b"h2c"),
            (b"transfer-encoding", b"chunked"),
            (b"proxy-authorization", b"x"),
            (b"x_headway_key", b"forged"),
            (b"accept", b"*/*"),
        ]
    )
    assert end_to_end(fields) == [(b"host", b"a"), (b"accept", b"*/*")]


@pytest.mark.parametrize(
    "field",
    [
        (b"a", b"b\r\nc: d"),
        (b"a", b"b\n"),
        (b"a", b"b\x00"),
        (b"a", b"\x7f"),
        (b"a\r\n", b"b"),
        (b"a:", b"b"),
        (b"", b"b"),
        (b"a b", b"c"),
    ],
)
def test_a_field_that_would_leave_its_line_is_not_written(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        write_fields([(b"fine", b"too"), field])


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_written_fields_are_one_line_each(name: bytes, value: bytes) -> None:
    try:
        written = bytes(write_fields([(name, value)]))
    except ValueError:
        return
    assert written.count(b"\r") == written.count(b"\n") == 1
    assert written.endswith(b"\r\n")
    assert written.count(b"\x00") == 0


@pytest.mark.parametrize(
    ("method", "target"),
    [(b"GET /x", b"/"), (b"GET", b"/ HTTP/1.1\r\nx: y"), (b"GET", b""), (b"", b"/")],
)
def test_a_request_line_is_one_line(method: bytes, target: bytes) -> None:
    with pytest.raises(ValueError, match="request line"):
        request_head(method, target, write_fields([]))


def test_a_request_head_is_line_and_fields() -> None:
    head = request_head(b"POST", b"/v1?x=1", write_fields([(b"host", b"a")]))
    assert head == b"POST /v1?x=1 HTTP/1.1\r\nhost: a\r\n"


def test_no_bytes_are_no_chunk_since_that_would_be_the_end() -> None:
    assert chunk(b"") == b""
    assert chunk(b"0123456789abcdef!") == b"11\r\n0123456789abcdef!\r\n"


def test_the_first_of_equal_fields_is_got_and_all_are_listed() -> None:
    fields = Headers([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert fields.get(b"a") == b"1"
    assert fields.get(b"c") is None
    assert fields.all(b"a") == [b"1", b"3"]


def test_heads_of_answers_without_body_are_known() -> None:
    assert has_no_body("HEAD", 200)
    assert has_no_body("GET", 204)
    assert has_no_body("GET", 304)
    assert has_no_body("GET", 100)
    assert not has_no_body("GET", 200)
