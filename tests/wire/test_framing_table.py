"""The framing table of the security documentation: each row, whole, byte by byte, split."""

import asyncio
import socket
from pathlib import Path

import pytest
from tests.wire.peers import App, Run, echo, serving

import headway
from headway.wire.call import Call
from headway.wire.connection import ServerLimits, ServerProtocol
from headway.wire.server import Server, problem

HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# name, bytes, status. Bytes behind the fault ask for /smuggled: nobody may ever see that call.
REFUSED = [
    ("a coding before chunked", b"Transfer-Encoding: gzip, chunked\r\n", 501),
    ("chunked twice in a field", b"Transfer-Encoding: chunked, chunked\r\n", 400),
    ("two coding fields", CHUNKED + CHUNKED, 400),
    ("an unknown coding", b"Transfer-Encoding: xchunked\r\n", 501),
    ("coding and length", CHUNKED + b"Content-Length: 5\r\n", 400),
    ("length and coding", b"Content-Length: 5\r\n" + CHUNKED, 400),
    ("two lengths", b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
    ("two equal lengths", b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
    ("a list of lengths", b"Content-Length: 5, 5\r\n", 400),
    ("a signed length", b"Content-Length: +5\r\n", 400),
    ("a negative length", b"Content-Length: -5\r\n", 400),
    ("a hexadecimal length", b"Content-Length: 0x5\r\n", 400),
    ("an endless length", b"Content-Length: 99999999999999999999999\r\n", 400),
    ("two hosts", b"Host: b\r\n", 400),
    ("space before the colon", b"X-A : b\r\n", 400),
    ("a folded line", b"X-A: b\r\n c\r\n", 400),
    ("a bare line feed", b"X-A: b\nX-C: d\r\n", 400),
    ("a bare carriage return", b"X-A: b\rX-C: d\r\n", 400),
    ("a NUL in a value", b"X-A: b\x00c\r\n", 400),
    ("a control in a value", b"X-A: b\x01c\r\n", 400),
    ("a control in a name", b"X-\x01A: b\r\n", 400),
    ("a line without colon", b"X-A\r\n", 400),
    ("another expectation", b"Expect: 200-ok\r\n", 417),
    ("an upgrade", b"Connection: upgrade\r\nUpgrade: h2c\r\n", 400),
    ("a websocket", b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", 400),
    ("too many fields", b"".join(b"x-%d: 1\r\n" % i for i in range(100)), 431),
]
ROWS = [
    *((name, b"POST / HTTP/1.1\r\n" + HOST + fields + b"\r\n", status)
      for name, fields, status in REFUSED),
    ("no host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("an empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("a host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("coding on 1.0", b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n", 400),
    ("HTTP/0.9", b"GET /\r\n" + HOST + b"\r\n", 505),
    ("RTSP", b"GET / RTSP/1.0\r\n" + HOST + b"\r\n", 505),
    ("RTSP by another number", b"OPTIONS /a RTSP/1.1\r\n" + HOST + b"X-A: b\r\n\r\n", 505),
    ("ICE", b"GET / ICE/1.0\r\n" + HOST + b"\r\n", 505),
    ("ICE with its own method", b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n", 501),
    ("no HTTP", b"POST / HTTPS/1.1\r\n" + HOST + b"\r\n", 505),
    ("HTTP/0.9 by number", b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 505),
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    ("TRACE", b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    ("PROPFIND", b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    ("an unheard-of method", b"FETCH / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    ("absolute form", b"GET http://a/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("asterisk form", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a fragment", b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("an escaped slash", b"GET /a%2fb HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a dot segment", b"GET /a/../b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a target too long", b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    ("a head too large", b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"b" * 32_768), 431),
    ("a head without end", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"b" * 40_000, 431),
    ("a name without end", b"GET / HTTP/1.1\r\n" + HOST + b"x" * 40_000, 431),
    ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
]  # fmt: skip
BODIES = [
    ("no hexadecimal size", b"xyz\r\n"),
    ("a negative size", b"-1\r\n"),
    ("a prefixed size", b"0x5\r\nhello\r\n"),
    ("a space before the size", b" 5\r\nhello\r\n"),
    ("a space behind the size", b"5 \r\nhello\r\n"),
    ("a bare line feed behind the size", b"5\nhello\r\n"),
    ("a chunk longer than its size", b"5\r\nhello!\r\n"),
    ("a chunk ended by line feed", b"5\r\nhello\n0\r\n\r\n"),
    ("a size beyond 64 bits", b"ffffffffffffffffff\r\n"),
]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


class Pipe(asyncio.Transport):
    """A transport that keeps what is written, so that splits are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


def engine(app: App) -> Server:
    loop = asyncio.get_running_loop()
    return Server(app, ServerLimits(), error_body=problem, clock=lambda: 1.0, loop=loop)


async def feed(server: Server, *pieces: bytes) -> Pipe:
    pipe = Pipe()
    protocol = ServerProtocol(server)
    protocol.connection_made(pipe)
    for piece in pieces:
        protocol.data_received(piece)
    await asyncio.sleep(0)
    protocol.connection_lost(None)
    return pipe


@pytest.mark.parametrize(("name", "head", "status"), ROWS, ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("way", ["whole", "byte by byte"])
def test_a_head_out_of_frame_gets_one_refusal_and_the_end(
    run: Run, way: str, name: str, head: bytes, status: int
) -> None:
    del name

    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            if way == "whole":
                await caller.send(head + b"hello" + SMUGGLED)
            elif len(head) < 4_000:
                await caller.trickle(head + b"hello" + SMUGGLED)
            else:
                for i in range(0, len(head), 1000):
                    caller.writer.write(head[i : i + 1000])
                    await asyncio.sleep(0)
            got = await caller.rest()
        statuses = {b"%d" % status}
        if head.startswith(b"\x16"):
            statuses.add(b"501")
        assert got[:12].split(b" ")[1] in statuses
        assert got.count(b"\r\ndate: ") == 1
        assert b"\r\nconnection: close\r\n" in got
        assert app.calls == []

    run(story())


@pytest.mark.parametrize(
    ("name", "head", "status"),
    [row for row in ROWS if len(row[1]) < 400],
    ids=[row[0] for row in ROWS if len(row[1]) < 400],
)
def test_where_a_refused_head_is_split_makes_no_difference(
    name: str, head: bytes, status: int
) -> None:
    del name

    async def story() -> None:
        app = App(echo)
        server = engine(app)
        data = head + b"hello" + SMUGGLED
        for i in range(1, len(data)):
            pipe = await feed(server, data[:i], data[i:])
            assert pipe.written.startswith(b"HTTP/1.1 %d " % status), i
            assert pipe.written.count(b"\r\ndate: ") == 1
            assert pipe.closed
        assert app.calls == []
        await server.close()

    asyncio.run(story())


@pytest.mark.parametrize(("name", "body"), BODIES, ids=[row[0] for row in BODIES])
def test_an_odd_chunk_ends_the_call_with_one_refusal(run: Run, name: str, body: bytes) -> None:
    del name
    data = b"POST /a HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n" + body + SMUGGLED

    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            for send in ("whole", "byte by byte"):
                caller = await served.caller()
                await (caller.send(data) if send == "whole" else caller.trickle(data))
                got = await caller.rest()
                assert got.startswith(b"HTTP/1.1 400 ")
                assert got.count(b"\r\ndate: ") == 1
        assert {call.path for call in app.calls} <= {"/a"}
        assert app.done == []
        assert all(call.refused == 400 for call in app.gone)

    run(story())


def test_the_parsers_leniencies_are_never_asked_for() -> None:
    for path in Path(headway.__file__).parent.rglob("*.py"):
        assert "leniencies" not in path.read_text("utf-8"), path


def test_where_a_good_request_is_split_makes_no_difference() -> None:
    first = (
        b"POST /a?q=1 HTTP/1.1\r\nHost: a\r\nX-A:  b \r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: no\r\n\r\n"
    )
    data = first + b"\r\nPUT /b HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi" + SMUGGLED

    async def story() -> None:
        server = engine(App(echo))
        whole = (await feed(server, data)).written
        assert whole.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert b"x-path: /a\r\ncontent-length: 6\r\n\r\nhello!" in whole
        assert b"x-path: /b\r\ncontent-length: 2\r\n\r\nhi" in whole
        for i in range(1, len(data)):
            assert (await feed(server, data[:i], data[i:])).written == whole, i
        assert (await feed(server, *(data[i : i + 1] for i in range(len(data))))).written == whole
        await server.close()

    asyncio.run(story())


def test_trailers_never_become_fields(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
                b"Authorization: Bearer no\r\nHost: b\r\n\r\n"
            )
            assert (await caller.answer())[0] == 200
        assert [name for name, _ in app.calls[0].headers] == [b"host", b"transfer-encoding"]

    run(story())


def test_names_with_underscores_and_a_lone_upgrade_do_no_harm(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(
                b"GET / HTTP/1.1\r\nHost: a\r\nX_Headway_Key: forged\r\n"
                b"X-Headway-Key: real\r\nUpgrade: h2c\r\n\r\n"
            )
            assert (await caller.answer())[0] == 200
        headers = app.calls[0].headers
        assert headers.all(b"x-headway-key") == [b"real"]
        assert headers.get(b"x_headway_key") is None

    run(story())


def test_bytes_behind_a_request_that_closes_are_not_parsed(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(
                b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + SMUGGLED
            )
            got = await caller.rest()
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert got.count(b"\r\ndate: ") == 1
        assert [call.path for call in app.calls] == ["/a"]

    run(story())


def test_another_protocol_is_refused_behind_a_good_request_too(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(
                b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / RTSP/1"
                b"GET /b RTSP/1.0\r\nHost: a\r\n\r\n" + SMUGGLED
            )
            assert (await caller.answer())[0] == 200
            assert (await caller.answer())[0] == 505
            assert await caller.rest() == b""
        assert [call.path for call in app.calls] == ["/a"]

    run(story())


def test_a_request_before_a_broken_one_is_answered_first(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(
                b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n" + SMUGGLED
            )
            assert (await caller.answer())[0] == 200
            assert (await caller.answer())[0] == 400
            assert await caller.rest() == b""
        assert [call.path for call in app.calls] == ["/a"]

    run(story())


def test_a_body_that_is_mostly_chunk_extensions_is_refused(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            caller.writer.write(b"1;" + b"x" * 1_000_000 + b"\r\na\r\n0\r\n\r\n")
            got = await caller.rest()
        assert got.startswith(b"HTTP/1.1 400 ")
        assert app.done == []

    run(story())


def test_a_body_in_chunks_of_one_byte_is_taken(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                + b"1\r\nx\r\n" * 50_000
                + b"0\r\n\r\n"
            )
            status, _, body = await caller.answer()
        assert status == 200
        assert body == b"x" * 50_000

    run(story())


def test_the_exact_limits_are_allowed(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 8191))
            assert (await caller.answer())[0] == 200
            start, end = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b"\r\n\r\n"
            for extra, status in ((0, 200), (1, 431)):
                fill = b"b" * (32 * 1024 - len(start) - len(end) + extra)
                caller = await served.caller()
                await caller.send(start + fill + end)
                assert (await caller.answer())[0] == status

    run(story())


def test_the_default_page_of_an_error_is_a_problem(run: Run) -> None:
    async def story() -> None:
        async with serving(App(echo)) as served:
            caller = await served.caller()
            await caller.send(b"GET / HTTP/1.1\r\n\r\n")
            status, fields, body = await caller.answer()
        assert status == 400
        assert fields["content-type"] == "application/problem+json"
        assert b'"status": 400' in body
        assert b"Host" in body

    run(story())


def test_an_error_reaches_a_caller_who_still_sends(run: Run) -> None:
    """Closing with bytes unread would reset the connection and lose the answer."""

    async def story() -> None:
        def refuse(call: Call) -> None:
            call.collect(10, lambda _call, _body: None)

        async with serving(App(refuse)) as served:
            assert isinstance(served.address, tuple)
            with socket.create_connection(served.address) as sock:
                sock.setblocking(False)  # noqa: FBT003 -- the socket module's own shape
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(
                    sock, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n"
                )
                await loop.sock_sendall(sock, b"x" * 5_000_000)
                got = await loop.sock_recv(sock, 65_536)
        assert got.startswith(b"HTTP/1.1 413 ")

    run(story())
