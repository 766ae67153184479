"""Server and pool together, as the gateway joins them: nothing is lost, nothing piles up."""

import asyncio
import hashlib
import resource

import pytest
from tests.wire.peers import (
    App,
    Run,
    answering,
    read_request,
    serving,
    turns,
    until,
    upstream,
)

from headway.wire.call import Call
from headway.wire.framing import Headers, chunk, end_to_end, request_head, write_fields
from headway.wire.origin import Origin
from headway.wire.sending import Deadlines, Failure, Sending
from headway.wire.upstream import Pool

WAITS = Deadlines()


class Passing:
    """One call passed on, both ways at once, with back-pressure both ways."""

    def __init__(self, pool: Pool, origin: Origin, call: Call) -> None:
        self.call = call
        call.on_gone = lambda _call: self.sending.cancel()
        call.on_unwritable = lambda _call: self.sending.pause()
        call.on_writable = lambda _call: self.sending.resume()
        fields = end_to_end(call.headers)
        if call.chunked:
            fields.append((b"transfer-encoding", b"chunked"))
        head = request_head(call.method.encode(), call.target, write_fields(fields)) + b"\r\n"
        self.sending: Sending = pool.open(origin, head, self, WAITS)
        self.sending.on_unwritable = call.pause_reading
        self.sending.on_writable = call.resume_reading
        if not self.sending.writable:
            call.pause_reading()
        call.stream(self, idle_seconds=60)

    def data(self, data: bytes) -> None:
        self.sending.write(chunk(data) if self.call.chunked else data)

    def end(self) -> None:
        if self.call.chunked:
            self.sending.write(b"0\r\n\r\n")
        self.sending.end()

    def on_head(self, status: int, headers: Headers) -> None:
        length = headers.get(b"content-length")
        self.call.start(status, (), None if length is None else int(length))

    def on_data(self, data: bytes) -> None:
        self.call.write(data)

    def on_complete(self, *, by_close: bool) -> None:  # noqa: ARG002 - a port
        self.call.finish()

    def on_failure(self, failure: Failure) -> None:
        if failure.answered:
            self.call.abort()
        else:
            self.call.respond(502, (), failure.kind.encode())


class Proxy(App):
    def __init__(self, origin: Origin) -> None:
        super().__init__(self._pass)
        self.pool = Pool()
        self.origin = origin

    def _pass(self, call: Call) -> None:
        Passing(self.pool, self.origin, call)


BIG = 40_000_000


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_passes_both_ways_in_bounded_memory(run: Run, *, chunked: bool) -> None:
    piece = bytes(range(256)) * 400
    expected = hashlib.sha256(piece * (BIG // len(piece))).hexdigest()
    size = BIG // len(piece) * len(piece)

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send back what comes, as it comes."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            if chunked
            else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        )
        left = size
        while left:
            if chunked:
                length = int(await reader.readline(), 16)
                data = await reader.readexactly(length)
                await reader.readexactly(2)
                left -= length
                writer.write(b"%x\r\n%b\r\n" % (length, data))
            else:
                data = await reader.read(100_000)
                left -= len(data)
                writer.write(data)
            await writer.drain()
        if chunked:
            await reader.readexactly(5)
            writer.write(b"0\r\n\r\n")
        await reader.read()

    async def story() -> None:
        async with upstream(back) as up:
            app = Proxy(Origin("http", "127.0.0.1", up.port))
            async with serving(app) as served:
                caller = await served.caller()
                framing = (
                    b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
                )
                await caller.send(b"POST /x HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing)
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

                async def push() -> None:
                    for _ in range(size // len(piece)):
                        await caller.send(chunk(piece) if chunked else piece)
                    if chunked:
                        await caller.send(b"0\r\n\r\n")

                pushing = asyncio.create_task(push())
                # A caller that waits at first: what comes back must not pile up with us.
                await turns()
                await caller.head()
                digest = hashlib.sha256()
                got = 0
                while got < size:
                    if chunked:
                        length = int(await caller.reader.readline(), 16)
                        data = await caller.reader.readexactly(length)
                        await caller.reader.readexactly(2)
                    else:
                        data = await caller.reader.read(1_000_000)
                    got += len(data)
                    digest.update(data)
                await pushing
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                assert digest.hexdigest() == expected
                assert grown < 30_000
                if chunked:
                    assert await caller.reader.readexactly(5) == b"0\r\n\r\n"
                await until(lambda: app.calls[0].last_byte_at)
            await app.pool.close()

    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_a_cut_upstream_is_a_cut_caller(run: Run, answer: bytes) -> None:
    async def story() -> None:
        async with upstream(answering(answer)) as up:
            app = Proxy(Origin("http", "127.0.0.1", up.port))
            async with serving(app) as served:
                caller = await served.caller()
                await caller.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                with pytest.raises((asyncio.IncompleteReadError, ValueError)):
                    await caller.answer()
                assert app.done == []
            await app.pool.close()

    run(story())


def test_a_caller_that_leaves_ends_the_upstreams_work(run: Run) -> None:
    async def story() -> None:
        left = asyncio.Event()

        async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
            await reader.read()
            left.set()

        async with upstream(work) as up:
            app = Proxy(Origin("http", "127.0.0.1", up.port))
            async with serving(app) as served:
                caller = await served.caller()
                await caller.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await caller.head()
                await caller.close()
                await left.wait()
            await app.pool.close()

    run(story())


def test_many_callers_share_few_connections_and_get_their_own_answers(run: Run) -> None:
    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            path = head.split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async def story() -> None:
        async with upstream(back) as up:
            app = Proxy(Origin("http", "127.0.0.1", up.port))
            async with serving(app) as served:

                async def calling(number: int) -> None:
                    caller = await served.caller()
                    for i in range(20):
                        path = b"/%d/%d" % (number, i)
                        await caller.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                        assert (await caller.answer())[2] == path

                await asyncio.gather(*(calling(number) for number in range(20)))
            assert up.connections <= 20
            await app.pool.close()

    run(story())
