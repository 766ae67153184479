"""What an upstream may do to us, and what the receiver is told of it."""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.wire.peers import (
    Clock,
    Heard,
    Run,
    Script,
    Upstream,
    answering,
    read_request,
    silent,
    turns,
    until,
    upstream,
)

from headway.wire.framing import chunk
from headway.wire.origin import Connector, Origin, Route
from headway.wire.sending import Deadlines, FailureKind, Sending
from headway.wire.upstream import Pool
from headway.wire.upstream_connection import PoolLimits

GET = b"GET / HTTP/1.1\r\nhost: up\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: x\r\n\r\n"
)
WAITS = Deadlines(connect=5, first_byte=60, idle=30, total=600)


@asynccontextmanager
async def pool_of(
    limits: PoolLimits | None = None,
    connect: Connector | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Pool]:
    pool = Pool(limits, connect, clock=clock)
    try:
        yield pool
    finally:
        await pool.close()


def to(up: Upstream) -> Origin:
    return Origin("http", "127.0.0.1", up.port)


async def ask(pool: Pool, up: Upstream, head: bytes = GET) -> Heard:
    heard = Heard()
    pool.send(to(up), head, b"", heard, WAITS)
    await heard.over.wait()
    return heard


def saying(*pieces: bytes, end: bool = True) -> Script:
    """Answer the first request in pieces with pauses, then close or stay silent."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.001)
        if not end:
            await reader.read()

    return script


# Answers


@pytest.mark.parametrize("answer", [OK, CHUNKED], ids=["length", "chunks"])
@pytest.mark.parametrize("way", ["whole", "byte by byte"])
def test_an_answer_is_handed_over_however_it_is_cut(run: Run, answer: bytes, way: str) -> None:
    async def story() -> None:
        pieces = [answer] if way == "whole" else [answer[i : i + 1] for i in range(len(answer))]
        async with upstream(saying(*pieces, end=False)) as up, pool_of() as pool:
            heard = await ask(pool, up)
            assert (heard.status, heard.body, heard.by_close) == (200, b"hello", False)
            assert {b"t", b"x"}.isdisjoint(name for name, _ in heard.headers)
            assert pool.connections == 1

    run(story())


def test_a_request_is_written_once_with_its_body(run: Run) -> None:
    async def story() -> None:
        seen: list[tuple[bytes, bytes]] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await read_request(reader))
            writer.write(OK)

        head = b"POST /v1 HTTP/1.1\r\nhost: up\r\ncontent-length: 200000\r\n\r\n"
        async with upstream(script) as up, pool_of() as pool:
            heard = Heard()
            pool.send(to(up), head, b"y" * 200_000, heard, WAITS)
            await heard.over.wait()
        assert seen == [(head, b"y" * 200_000)]

    run(story())


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"HEAD / HTTP/1.1\r\nhost: up\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
def test_answers_without_body_end_with_their_head(run: Run, head: bytes, answer: bytes) -> None:
    async def story() -> None:
        async with upstream(answering(answer, answer, OK)) as up, pool_of() as pool:
            for _ in range(2):
                heard = await ask(pool, up, head)
                assert (heard.body, heard.by_close) == (b"", False)
            assert (await ask(pool, up)).body == b"hello"
            assert up.connections == 1

    run(story())


def test_interim_answers_are_skipped(run: Run) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"

    async def story() -> None:
        async with upstream(answering(interim + OK, interim + OK)) as up, pool_of() as pool:
            for _ in range(2):
                heard = await ask(pool, up)
                assert (heard.status, heard.body) == (200, b"hello")
                assert heard.headers == [(b"content-length", b"5")]
            assert up.connections == 1

    run(story())


def test_endless_interim_answers_end(run: Run) -> None:
    async def story() -> None:
        async with upstream(saying(b"HTTP/1.1 103 X\r\n\r\n" * 100)) as up, pool_of() as pool:
            heard = await ask(pool, up)
        assert heard.failure is not None
        assert heard.failure.kind is FailureKind.PROTOCOL

    run(story())


def test_a_body_that_ends_by_close_says_so(run: Run) -> None:
    async def story() -> None:
        async with upstream(saying(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")) as up, pool_of() as pool:
            heard = await ask(pool, up)
            assert (heard.body, heard.by_close) == (b"hello", True)
            assert pool.connections == 0

    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTPS/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\r\nRTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 70_000,
        b"\x16\x03\x01\x02\x00",
    ],
)
@pytest.mark.parametrize("way", ["whole", "byte by byte"])
def test_what_is_not_http_as_we_take_it_is_a_protocol_failure(
    run: Run, answer: bytes, way: str
) -> None:
    step = len(answer) if way == "whole" else max(1, len(answer) // 500)
    pieces = [answer[i : i + step] for i in range(0, len(answer), step)]

    async def story() -> None:
        async with upstream(saying(*pieces)) as up, pool_of() as pool:
            heard = await ask(pool, up)
            assert heard.failure is not None
            assert heard.failure.kind is FailureKind.PROTOCOL
            assert not heard.status
            assert pool.connections == 0 or await_gone(pool)

    def await_gone(pool: Pool) -> bool:
        return all(connection.closed for connection in pool._connections)

    run(story())


def test_an_odd_chunk_fails_an_answer_that_has_begun(run: Run) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n"

    async def story() -> None:
        async with upstream(saying(head, b"zz\r\n")) as up, pool_of() as pool:
            heard = await ask(pool, up)
        assert heard.body == b"he"
        assert heard.failure is not None
        assert (heard.failure.kind, heard.failure.answered) == (FailureKind.PROTOCOL, True)

    run(story())


@pytest.mark.parametrize(
    "endless",
    [
        b"5\r\nhello\r\n0\r\n" + b"X-A: b\r\n" * 50_000,
        b"0\r\nX-A: ",
        b"5;x=",
        b"0\r\nX",
        b"5\r\nhello\r\n0;x",
    ],
    ids=["trailers", "a trailer", "an extension", "a name", "the last extension"],
)
def test_framing_that_does_not_end_is_a_protocol_failure(run: Run, endless: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def story() -> None:
        pieces = [head, *(endless[i : i + 10_000] for i in range(0, len(endless), 10_000))]
        pieces += [b"a" * 10_000] * 50
        async with upstream(saying(*pieces, end=False)) as up, pool_of() as pool:
            heard = await ask(pool, up)
        assert heard.failure is not None
        assert heard.failure.kind is FailureKind.PROTOCOL

    run(story())


def test_a_stream_in_chunks_of_a_byte_may_be_as_long_as_it_likes(run: Run) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def story() -> None:
        pieces = [b"1\r\n", b"x", b"\r\n"] * 300
        limits = PoolLimits(head=64)
        async with upstream(saying(head, *pieces, b"0\r\n\r\n")) as up, pool_of(limits) as pool:
            heard = await ask(pool, up)
        assert heard.body == b"x" * 300
        assert heard.failure is None

    run(story())


# Cuts


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
    ids=["short of its length", "without last chunk", "within the last chunk"],
)
def test_an_answer_that_ends_politely_but_early_is_cut(run: Run, answer: bytes) -> None:
    async def story() -> None:
        async with upstream(saying(answer)) as up, pool_of() as pool:
            heard = await ask(pool, up)
        assert heard.by_close is None
        assert heard.failure is not None
        assert (heard.failure.kind, heard.failure.answered) == (FailureKind.CUT, True)

    run(story())


def test_a_head_cut_in_the_middle_is_a_cut_before_the_answer(run: Run) -> None:
    async def story() -> None:
        async with upstream(saying(b"HTTP/1.1 200 OK\r\nContent-")) as up, pool_of() as pool:
            heard = await ask(pool, up)
        assert heard.failure is not None
        assert (heard.failure.kind, heard.failure.answered) == (FailureKind.CUT, False)

    run(story())


def test_a_reset_within_a_body_by_close_is_a_cut(run: Run) -> None:
    heard = Heard()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await until(lambda: heard.body == b"hello")
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    async def story() -> None:
        async with upstream(reset) as up, pool_of() as pool:
            pool.send(to(up), GET, b"", heard, WAITS)
            await heard.over.wait()
        assert heard.by_close is None
        assert heard.failure is not None
        assert heard.failure.kind is FailureKind.CUT

    run(story())


def test_closing_without_a_word_on_a_new_connection_is_a_failure(run: Run) -> None:
    async def story() -> None:
        async with upstream(saying()) as up, pool_of() as pool:
            heard = await ask(pool, up)
            assert up.connections == 1
        assert heard.failure is not None
        assert heard.failure.kind is FailureKind.CLOSED_BEFORE_ANSWER

    run(story())


# Kept connections


def test_the_last_used_connection_is_used_first(run: Run) -> None:
    async def story() -> None:
        gates = [asyncio.Event(), asyncio.Event()]
        order: list[int] = []
        number = iter(range(2))

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            me = next(number)
            while True:
                await read_request(reader)
                order.append(me)
                await gates[me].wait()
                writer.write(OK)

        async with upstream(script) as up, pool_of() as pool:
            first, second = Heard(), Heard()
            pool.send(to(up), GET, b"", first, WAITS)
            await until(lambda: order == [0])
            pool.send(to(up), GET, b"", second, WAITS)
            await until(lambda: order == [0, 1])
            gates[1].set()
            await second.over.wait()
            gates[0].set()
            await first.over.wait()
            await ask(pool, up)
            assert order == [0, 1, 0]
            assert pool.connections == 2

    run(story())


def test_a_receiver_may_send_again_from_within_its_last_callback(run: Run) -> None:
    async def story() -> None:
        async with upstream(answering(OK, OK)) as up, pool_of() as pool:
            second = Heard()

            class Chain(Heard):
                def on_complete(self, *, by_close: bool) -> None:
                    super().on_complete(by_close=by_close)
                    pool.send(to(up), GET, b"", second, WAITS)

            pool.send(to(up), GET, b"", Chain(), WAITS)
            await second.over.wait()
            assert second.body == b"hello"
            assert up.connections == 1

    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        OK + b"HTTP/1.1 500 Evil\r\nContent-Length: 0\r\n\r\n",
        OK + b"evil",
        CHUNKED + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        b"HTTP/1.1 204 No Content\r\n\r\nevil",
    ],
    ids=[
        "close",
        "1.0",
        "a second answer",
        "an empty one",
        "stray bytes",
        "behind chunks",
        "behind 204",
    ],
)
def test_a_connection_that_may_not_go_on_is_not_used_again(run: Run, answer: bytes) -> None:
    async def story() -> None:
        async with upstream(saying(answer, end=False), answering(OK)) as up, pool_of() as pool:
            first = await ask(pool, up)
            assert first.failure is None
            assert first.status != 500
            assert b"evil" not in first.body
            assert (await ask(pool, up)).body == b"hello"
            assert up.connections == 2

    run(story())


def test_bytes_that_came_meanwhile_are_not_the_next_answer(run: Run) -> None:
    stray = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil"

    async def story() -> None:
        async with upstream(saying(OK, stray, end=False), answering(OK)) as up, pool_of() as pool:
            await ask(pool, up)
            await until(lambda: pool.connections == 0)
            assert (await ask(pool, up)).status == 200
            assert up.connections == 2

    run(story())


def test_bytes_that_wait_unread_are_not_the_next_answer(run: Run) -> None:
    """They came, but the loop has not looked yet when the connection is taken."""

    async def story() -> None:
        writers: list[asyncio.StreamWriter] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            while True:
                await read_request(reader)
                writer.write(OK)

        async with upstream(script) as up, pool_of() as pool:
            await ask(pool, up)
            sock = writers[0].get_extra_info("socket")
            other = socket.socket(fileno=socket.dup(sock.fileno()))
            with other:
                other.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            heard = await ask(pool, up)
            assert heard.body == b"hello"
            assert up.connections == 2

    run(story())


async def reset_on_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer once, take a second request, and close without a word."""
    await read_request(reader)
    writer.write(OK)
    await read_request(reader)


def test_a_kept_connection_that_closes_first_costs_one_silent_retry(run: Run) -> None:
    async def story() -> None:
        async with upstream(reset_on_second, answering(OK)) as up, pool_of() as pool:
            await ask(pool, up)
            heard = Heard()
            sending = pool.send(to(up), GET, b"", heard, WAITS)
            assert sending.reused
            await heard.over.wait()
            assert (heard.failure, heard.body) == (None, b"hello")
            assert up.connections == 2
            assert not sending.reused

    run(story())


def test_the_retry_happens_once_and_on_a_new_connection(run: Run) -> None:
    async def story() -> None:
        async with upstream(reset_on_second, saying()) as up, pool_of() as pool:
            await ask(pool, up)
            heard = await ask(pool, up)
            assert heard.failure is not None
            assert heard.failure.kind is FailureKind.CLOSED_BEFORE_ANSWER
            assert up.connections == 2

    run(story())


def test_no_retry_once_a_byte_of_the_answer_came(run: Run) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reset_on_second(reader, writer)
        writer.write(b"H")
        await writer.drain()

    async def story() -> None:
        async with upstream(script) as up, pool_of() as pool:
            await ask(pool, up)
            heard = await ask(pool, up)
            assert heard.failure is not None
            assert heard.failure.kind is FailureKind.CUT
            assert up.connections == 1

    run(story())


def test_a_connection_closed_while_kept_is_not_even_tried(run: Run) -> None:
    async def story() -> None:
        async with upstream(answering(OK)) as up, pool_of() as pool:
            await ask(pool, up)
            await until(lambda: up.closed == 1)
            heard = Heard()
            sending = pool.send(to(up), GET, b"", heard, WAITS)
            assert not sending.reused
            await heard.over.wait()
            assert heard.body == b"hello"

    run(story())


def test_unused_connections_are_closed_after_a_while(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        script = answering(OK, OK)
        async with (
            upstream(script) as up,
            pool_of(PoolLimits(idle_seconds=20), clock=clock) as pool,
        ):
            await ask(pool, up)
            pool.sweep(clock.now + 19)
            assert pool.connections == 1
            pool.sweep(clock.now + 21)
            await until(lambda: pool.connections == 0)
            await ask(pool, up)
            assert up.connections == 2

    run(story())


def test_connections_to_an_origin_are_capped_and_the_cap_recovers(run: Run) -> None:
    async def story() -> None:
        async with upstream(silent) as up, pool_of(PoolLimits(connections=2)) as pool:
            for _ in range(3):
                running = [Heard(), Heard()]
                sendings = [pool.send(to(up), GET, b"", heard, WAITS) for heard in running]
                refused = await ask(pool, up)
                assert refused.failure is not None
                assert refused.failure.kind is FailureKind.BUSY
                await until(lambda: len([c for c in pool._connections if c._sending]) == 2)
                for sending in sendings:
                    sending.cancel()
                await until(lambda: pool.connections == 0)

    run(story())


def test_only_so_many_unused_connections_are_kept(run: Run) -> None:
    async def story() -> None:
        async with upstream(answering(OK, OK)) as up, pool_of(PoolLimits(idle=1)) as pool:
            heard = [Heard(), Heard(), Heard()]
            for each in heard:
                pool.send(to(up), GET, b"", each, WAITS)
            for each in heard:
                await each.over.wait()
            await until(lambda: pool.connections == 1)

    run(story())


# Deadlines, by a clock of the test's own


def test_each_wait_has_its_own_end(run: Run) -> None:
    waits = Deadlines(connect=5, first_byte=60, idle=30, total=100)
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"

    async def story() -> None:
        clock = Clock()
        async with upstream(silent) as up, pool_of(clock=clock) as pool:
            heard = Heard()
            sending = pool.send(to(up), GET, b"", heard, waits)
            await until(lambda: up.connections == 1 and sending.writable)
            pool.sweep(clock.now + 59)
            assert heard.failure is None
            pool.sweep(clock.now + 61)
            assert heard.failure is not None
            assert heard.failure.kind is FailureKind.TIMEOUT_FIRST

        async with upstream(saying(begun, end=False)) as up, pool_of(clock=clock) as pool:
            heard = Heard()
            pool.send(to(up), GET, b"", heard, waits)
            await until(lambda: heard.body)
            pool.sweep(clock.now + 29)
            assert heard.failure is None
            pool.sweep(clock.now + 31)
            assert heard.failure is not None
            assert (heard.failure.kind, heard.failure.answered) == (FailureKind.TIMEOUT_IDLE, True)

    run(story())


def test_an_answer_that_trickles_for_ever_ends_with_the_total(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        start = clock.now

        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\nx\r\n")
                await asyncio.sleep(0.001)

        async with upstream(drip) as up, pool_of(clock=clock) as pool:
            heard = Heard()
            pool.send(to(up), GET, b"", heard, Deadlines(idle=30, total=100))
            while not heard.over.is_set():
                size = len(heard.body)
                await until(lambda size=size: len(heard.body) > size)  # type: ignore[misc]
                clock.now += 10
                pool.sweep(clock.now)
                assert clock.now - start < 120
            assert heard.failure is not None
            assert heard.failure.kind is FailureKind.TIMEOUT_TOTAL
            assert clock.now - start > 100

    run(story())


def test_connecting_has_an_end(run: Run) -> None:
    async def story() -> None:
        async def never(_origin: Origin) -> Route:
            await asyncio.Event().wait()
            raise AssertionError

        clock = Clock()
        async with pool_of(connect=never, clock=clock) as pool:
            heard = Heard()
            pool.send(Origin("http", "x", 1), GET, b"", heard, WAITS)
            await asyncio.sleep(0)
            pool.sweep(clock.now + 4)
            assert heard.failure is None
            pool.sweep(clock.now + 6)
            assert heard.failure is not None
            assert heard.failure.kind is FailureKind.TIMEOUT_CONNECT
            await asyncio.sleep(0)
            assert [bucket.open for bucket in pool._buckets.values()] == [0]

    run(story())


def test_time_in_which_we_do_not_read_is_not_the_upstreams(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        begun = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx"
        async with upstream(saying(begun, end=False)) as up, pool_of(clock=clock) as pool:
            heard = Heard()
            sending = pool.send(to(up), GET, b"", heard, WAITS)
            await until(lambda: heard.body)
            sending.pause()
            clock.now += 300
            pool.sweep(clock.now)
            assert heard.failure is None
            sending.resume()
            pool.sweep(clock.now + 31)
            assert heard.failure is not None
            assert heard.failure.kind is FailureKind.TIMEOUT_IDLE

    run(story())


# Connecting


def test_no_connection_is_a_failure_that_comes_after_send_has_returned(run: Run) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        async with pool_of() as pool:
            heard = Heard()
            pool.send(Origin("http", "127.0.0.1", port), GET, b"", heard, WAITS)
            assert heard.failure is None
            await heard.over.wait()
            assert heard.failure is not None
            assert heard.failure.kind is FailureKind.CONNECT

    run(story())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError("169.254.169.254 is not allowed"), FailureKind.FORBIDDEN),
        (socket.gaierror(-2, "unknown"), FailureKind.CONNECT),
        (ValueError("odd"), FailureKind.CONNECT),
    ],
)
def test_what_the_connector_raises_reaches_the_receiver(
    run: Run, error: Exception, kind: FailureKind
) -> None:
    async def story() -> None:
        async def guard(_origin: Origin) -> Route:
            raise error

        async with pool_of(connect=guard) as pool:
            heard = Heard()
            pool.send(Origin("http", "x", 1), GET, b"", heard, WAITS)
            await heard.over.wait()
            assert heard.failure is not None
            assert heard.failure.kind is kind

    run(story())


def test_the_next_address_is_tried_when_one_refuses(run: Run) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            dead = closed.getsockname()[1]
        async with upstream(answering(OK)) as up:

            async def two(_origin: Origin) -> Route:
                return Route((("127.0.0.1", dead), ("127.0.0.1", up.port)))

            async with pool_of(connect=two) as pool:
                heard = Heard()
                pool.send(Origin("http", "name.example", 80), GET, b"", heard, WAITS)
                await heard.over.wait()
                assert heard.body == b"hello"

    run(story())


def test_the_next_address_is_tried_beside_one_that_does_not_answer(run: Run) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        with ExitStack() as sockets:
            deaf = sockets.enter_context(socket.socket())
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            for _ in range(4):  # its queue is full: whoever comes now hears nothing
                filler = sockets.enter_context(socket.socket())
                filler.setblocking(False)  # noqa: FBT003 -- the socket module's own shape
                filler.connect_ex(deaf.getsockname())
            async with upstream(answering(OK)) as up:

                async def two(_origin: Origin) -> Route:
                    return Route((deaf.getsockname(), ("127.0.0.1", up.port)))

                async with pool_of(connect=two) as pool:
                    heard = Heard()
                    began = loop.time()
                    pool.send(Origin("http", "name.example", 80), GET, b"", heard, WAITS)
                    await heard.over.wait()
                    assert heard.body == b"hello"
                    assert loop.time() - began < WAITS.connect
                    assert [bucket.open for bucket in pool._buckets.values()] == [1]

    run(story())


def test_a_connection_is_used_for_so_long_and_then_its_name_is_looked_up_again(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        async with upstream(answering(*[OK] * 4)) as old, upstream(answering(OK)) as new:
            named = [old.port]

            async def by_name(_origin: Origin) -> Route:
                return Route((("127.0.0.1", named[-1]),))

            limits = PoolLimits(idle_seconds=1_000, age_seconds=60)
            async with pool_of(limits, by_name, clock) as pool:

                async def asked() -> None:
                    heard = Heard()
                    pool.send(Origin("http", "name.example", 80), GET, b"", heard, WAITS)
                    await heard.over.wait()
                    assert heard.body == b"hello"

                await asked()
                named.append(new.port)  # the name has moved
                pool.sweep(clock.now + 40)
                await asked()  # its old home answers on what is kept
                assert (old.connections, new.connections) == (1, 0)
                pool.sweep(clock.now + 61)
                await asked()  # still, but for the last time
                await asked()
                assert (old.connections, new.connections) == (1, 1)

    run(story())


def test_a_name_is_resolved_by_the_plain_connector(run: Run) -> None:
    async def story() -> None:
        async with upstream(answering(OK)) as up, pool_of() as pool:
            heard = Heard()
            pool.send(Origin("http", "localhost", up.port), GET, b"", heard, WAITS)
            await heard.over.wait()
            assert heard.body == b"hello"

    run(story())


def test_a_plain_port_that_should_speak_tls_is_a_tls_failure(run: Run) -> None:
    async def story() -> None:
        async with upstream(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as up:

            async def tls(_origin: Origin) -> Route:
                context = ssl.create_default_context()
                return Route((("127.0.0.1", up.port),), server_hostname="a", context=context)

            async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read(10)
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            async with upstream(talk) as other, pool_of(connect=tls) as pool:
                up.port = other.port
                heard = Heard()
                pool.send(Origin("https", "a", 443), GET, b"", heard, WAITS)
                await heard.over.wait()
                assert heard.failure is not None
                assert heard.failure.kind is FailureKind.TLS

    run(story())


def test_a_unix_socket_is_an_origin_too(run: Run) -> None:
    async def story() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "s")

            async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await answering(OK)(reader, writer)
                writer.close()
                await writer.wait_closed()
                played.set()

            played = asyncio.Event()
            server = await asyncio.start_unix_server(play, path)
            async with pool_of() as pool:
                for origin, good in ((Origin("unix", path), True), (Origin("unix", "/x"), False)):
                    heard = Heard()
                    pool.send(origin, GET, b"", heard, WAITS)
                    await heard.over.wait()
                    assert (heard.failure is None) == good
            server.close()
            await played.wait()

    run(story())


# Cancelling, back-pressure, uploads


def test_a_cancelled_sending_says_nothing_more(run: Run) -> None:
    async def story() -> None:
        begun = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx"
        async with upstream(saying(begun, b"y")) as up, pool_of() as pool:
            early, late = Heard(), Heard()
            pool.send(to(up), GET, b"", early, WAITS).cancel()
            sending = pool.send(to(up), GET, b"", late, WAITS)
            late.on_answer = sending.cancel
            await until(lambda: late.status)
            await until(lambda: pool.connections == 0)
            assert late.body == b""
            assert not early.over.is_set()
            assert not late.over.is_set()
            assert [bucket.open for bucket in pool._buckets.values()] == [0]

    run(story())


def test_a_paused_answer_stays_with_the_upstream(run: Run) -> None:
    async def story() -> None:
        sent = 0
        size = 60_000_000

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            while sent < size:
                writer.write(b"x" * 100_000)
                await writer.drain()
                sent += 100_000
            await reader.read()

        class Count(Heard):
            size = 0

            def on_data(self, data: bytes) -> None:
                self.size += len(data)

        async with upstream(flood) as up, pool_of() as pool:
            heard = Count()
            sending = pool.send(to(up), GET, b"", heard, WAITS)
            heard.on_answer = sending.pause
            await until(lambda: heard.status)
            await turns()
            assert sent < size
            assert heard.size < 1_000_000
            sending.resume()
            await heard.over.wait()
            assert heard.size == size
            # The connection is whole and reads again.
            assert pool.connections == 1

    run(story())


def test_an_open_request_sends_its_body_as_it_comes(run: Run) -> None:
    async def story() -> None:
        got: list[bytes] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.append(await reader.readuntil(b"0\r\n\r\n"))
            writer.write(OK)
            got.append((await read_request(reader))[0])
            writer.write(OK)

        head = b"POST / HTTP/1.1\r\nhost: up\r\ntransfer-encoding: chunked\r\n\r\n"
        async with upstream(script) as up, pool_of() as pool:
            heard = Heard()
            said: list[str] = []
            sending = pool.open(to(up), head, heard, WAITS)
            sending.on_writable = lambda: said.append("writable")
            assert not sending.writable
            sending.write(chunk(b"early"))
            await until(lambda: said)
            assert sending.writable
            sending.write(chunk(b"late"))
            sending.write(b"0\r\n\r\n")
            sending.end()
            await heard.over.wait()
            assert got == [head + b"5\r\nearly\r\n4\r\nlate\r\n0\r\n\r\n"]
            assert (await ask(pool, up)).body == b"hello"
            assert up.connections == 1

    run(story())


def test_an_upload_that_is_answered_early_spoils_its_connection(run: Run) -> None:
    async def story() -> None:
        early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
        async with upstream(saying(early, end=False), answering(OK)) as up, pool_of() as pool:
            heard = Heard()
            head = b"POST / HTTP/1.1\r\nhost: up\r\n\r\n"
            sending = pool.open(to(up), head, heard, WAITS)
            await heard.over.wait()
            assert heard.status == 413
            sending.write(b"ignored")
            sending.end()
            assert (await ask(pool, up)).body == b"hello"
            assert up.connections == 2

    run(story())


def test_an_upload_waits_for_an_upstream_that_reads_slowly(run: Run) -> None:
    async def story() -> None:
        gate = asyncio.Event()
        got = 0

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            await reader.readuntil(b"\r\n\r\n")
            await gate.wait()
            while got < 30_000_000:
                got += len(await reader.read(1_000_000))
            writer.write(OK)

        head = b"POST / HTTP/1.1\r\nhost: up\r\ncontent-length: 30000000\r\n\r\n"
        async with upstream(slow) as up, pool_of() as pool:
            heard = Heard()
            sending = pool.open(to(up), head, heard, WAITS)
            said: list[str] = []
            sending.on_unwritable = lambda: said.append("unwritable")
            sending.on_writable = lambda: said.append("writable")
            await until(lambda: said == ["writable"])
            left = 30_000_000
            while sending.writable and left:
                sending.write(b"x" * 100_000)
                left -= 100_000
                await asyncio.sleep(0)
            assert left > 10_000_000
            gate.set()
            await until(lambda: said == ["writable", "unwritable", "writable"])
            sending.write(b"x" * left)
            sending.end()
            await heard.over.wait()
            assert (heard.body, got) == (b"hello", 30_000_000)

    run(story())


@pytest.mark.parametrize(("size", "retried"), [(1_000, True), (200_000, False)])
def test_an_upload_is_repeated_only_as_long_as_it_is_remembered(
    run: Run, size: int, *, retried: bool
) -> None:
    async def story() -> None:
        head = b"POST / HTTP/1.1\r\nhost: up\r\ncontent-length: %d\r\n\r\n" % size
        async with upstream(reset_on_second, answering(OK)) as up, pool_of() as pool:
            await ask(pool, up)
            heard = Heard()
            sending: Sending = pool.open(to(up), head, heard, WAITS)
            assert sending.reused
            sending.write(b"x" * size)
            sending.end()
            await heard.over.wait()
            assert (heard.failure is None) == retried

    run(story())


def test_closing_the_pool_fails_what_runs(run: Run) -> None:
    async def story() -> None:
        async with upstream(silent) as up:
            pool = Pool()
            running, connecting = Heard(), Heard()
            sending = pool.send(to(up), GET, b"", running, WAITS)
            await until(lambda: sending.writable)
            pool.send(to(up), GET, b"", connecting, WAITS)
            await pool.close()
            later = Heard()
            pool.send(to(up), GET, b"", later, WAITS)
            await later.over.wait()
            for heard in (running, connecting, later):
                assert heard.failure is not None
                assert heard.failure.kind is FailureKind.CLOSED

    run(story())
