"""What callers and applications see of the server."""

import asyncio
import resource
import socket
import tempfile
from pathlib import Path

import pytest
from tests.wire.peers import App, Clock, Run, Served, echo, serving, turns, until

from headway.wire.call import Call
from headway.wire.connection import ServerLimits
from headway.wire.framing import write_fields
from headway.wire.server import room_for

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TEXT = write_fields([(b"content-type", b"text/plain")])


class Gather:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.ended = False

    def data(self, data: bytes) -> None:
        assert not self.ended
        self.body += data

    def end(self) -> None:
        self.ended = True


def ignore(_call: Call, _body: bytes) -> None:
    """Never answer."""


def never(call: Call) -> None:
    call.collect(1_000_000, ignore)


async def pass_time(served: Served, clock: Clock, seconds: float) -> None:
    """Let `seconds` go by in steps of a sweep, and the loop turn."""
    for _ in range(round(seconds * 4)):
        clock.now += 0.25
        served.server.sweep()
    await turns(20)


# Answers


def test_an_answer_carries_date_length_and_fields(run: Run) -> None:
    async def story() -> None:
        app = App(lambda call: call.respond(201, TEXT, b"made"))
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(GET)
            status, fields, body = await caller.answer()
        assert status == 201
        assert body == b"made"
        assert set(fields) == {"date", "content-type", "content-length"}
        assert fields["date"].endswith("gmt")

    run(story())


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_answers_without_body_have_none(run: Run, method: bytes, status: int) -> None:
    async def story() -> None:
        async with serving(App(lambda call: call.respond(status, (), b"body"))) as served:
            caller = await served.caller()
            await caller.send(method + b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            got = await caller.rest()
        assert got.endswith(b"\r\n\r\n")
        assert (b"content-length: 4" in got) == (method == b"HEAD")

    run(story())


def test_an_answer_comes_in_pieces_of_unknown_number_as_chunks(run: Run) -> None:
    async def story() -> None:
        def stream(call: Call) -> None:
            call.start(200, TEXT)
            for piece in (b"one", b"", b"two"):
                call.write(piece)
            call.finish()

        app = App(stream)
        async with serving(app) as served:
            caller = await served.caller()
            for _ in range(2):
                await caller.send(GET)
                status, fields, body = await caller.answer()
                assert (status, body) == (200, b"onetwo")
                assert fields["transfer-encoding"] == "chunked"
        assert app.done == app.calls

    run(story())


def test_an_old_caller_gets_no_chunks_but_the_end(run: Run) -> None:
    async def story() -> None:
        def stream(call: Call) -> None:
            call.start(200, TEXT)
            call.write(b"one")
            call.finish()

        async with serving(App(stream)) as served:
            caller = await served.caller()
            await caller.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            got = await caller.rest()
        assert got.endswith(b"\r\n\r\none")
        assert b"chunked" not in got

    run(story())


def test_an_old_caller_may_keep_its_connection(run: Run) -> None:
    async def story() -> None:
        async with serving(App(echo)) as served:
            caller = await served.caller()
            for _ in range(2):
                await caller.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                status, fields, _ = await caller.answer()
                assert (status, fields["connection"]) == (200, "keep-alive")
            await caller.send(b"GET / HTTP/1.0\r\n\r\n")
            assert b"connection: close" in await caller.rest()

    run(story())


@pytest.mark.parametrize("length", [None, 10])
def test_an_aborted_answer_never_looks_complete(run: Run, length: int | None) -> None:
    async def story() -> None:
        def stream(call: Call) -> None:
            call.start(200, TEXT, length)
            call.write(b"half")
            call.abort()

        app = App(stream)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(GET)
            await caller.head()
            got = await caller.rest()
        assert got == (b"4\r\nhalf\r\n" if length is None else b"half")
        assert app.done == app.gone == []

    run(story())


def test_an_aborted_answer_to_an_old_caller_is_a_reset(run: Run) -> None:
    async def story() -> None:
        def stream(call: Call) -> None:
            call.start(200, TEXT)
            call.write(b"half")
            asyncio.get_running_loop().call_later(0.05, call.abort)

        async with serving(App(stream)) as served:
            caller = await served.caller()
            await caller.send(b"GET / HTTP/1.0\r\n\r\n")
            await caller.head()
            with pytest.raises(ConnectionResetError):
                while await caller.reader.read(100):
                    pass

    run(story())


def test_an_answer_of_the_wrong_length_is_cut(run: Run) -> None:
    async def story() -> None:
        errors: list[str] = []

        def short(call: Call) -> None:
            call.start(200, TEXT, 10)
            call.write(b"half")
            with pytest.raises(RuntimeError, match="shorter"):
                call.finish()
            errors.append("short")

        def long(call: Call) -> None:
            call.start(200, TEXT, 3)
            with pytest.raises(RuntimeError, match="longer"):
                call.write(b"half")
            errors.append("long")

        for app in (short, long):
            async with serving(App(app)) as served:
                caller = await served.caller()
                await caller.send(GET + GET)
                assert (await caller.rest()).count(b"HTTP/1.1") == 1
        assert errors == ["short", "long"]

    run(story())


def test_an_application_that_breaks_is_a_500_and_ends_nothing_else(run: Run) -> None:
    async def story() -> None:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: reported.append(context["exception"])
        )

        def fail(call: Call) -> None:
            if call.path == "/later":
                call.collect(10, lambda _call, _body: 1 / 0)  # type: ignore[arg-type]
            elif call.path == "/head":
                raise ZeroDivisionError
            else:
                call.respond(200)

        async with serving(App(fail)) as served:
            for path in (b"/head", b"/later"):
                caller = await served.caller()
                await caller.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                status, _, body = await caller.answer()
                assert status == 500
                assert b"Zero" not in body
            caller = await served.caller()
            await caller.send(GET)
            assert (await caller.answer())[0] == 200
        assert [type(error) for error in reported] == [ZeroDivisionError, ZeroDivisionError]

    run(story())


def test_fields_with_line_breaks_are_never_written(run: Run) -> None:
    async def story() -> None:
        def split(call: Call) -> None:
            with pytest.raises(ValueError, match="cannot be written"):
                call.respond(200, [(b"x-echo", b"a\r\nset-cookie: b")])
            call.respond(204)

        async with serving(App(split)) as served:
            caller = await served.caller()
            await caller.send(GET)
            status, fields = await caller.head()
        assert status == 204
        assert "set-cookie" not in fields

    run(story())


# Bodies


def test_a_body_is_collected_from_many_reads(run: Run) -> None:
    async def story() -> None:
        body = bytes(range(256)) * 3_000
        async with serving(App(echo)) as served:
            caller = await served.caller()
            await caller.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            for i in range(0, len(body), 100_000):
                await caller.send(body[i : i + 100_000])
            assert (await caller.answer())[2] == body

    run(story())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_is_refused(run: Run, *, chunked: bool) -> None:
    async def story() -> None:
        bodies: list[bytes] = []
        app = App(lambda call: call.collect(10, lambda _call, body: bodies.append(body)))
        async with serving(app) as served:
            caller = await served.caller()
            framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 11"
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
            if chunked:
                await caller.send(b"b\r\nhello world\r\n")
            status, fields, _ = await caller.answer()
            assert (status, fields["connection"]) == (413, "close")
        assert bodies == []
        assert [call.refused for call in app.gone] == [413]

    run(story())


def test_a_body_is_streamed_and_reading_can_pause(run: Run) -> None:
    async def story() -> None:
        sink = Gather()
        app = App(lambda call: call.stream(sink))
        async with serving(app) as served:
            caller = await served.caller()
            size = 40_000_000
            caller.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            caller.writer.write(b"x" * 100_000)
            await until(lambda: len(sink.body) == 100_000)
            app.calls[0].pause_reading()
            caller.writer.write(b"x" * (size - 100_000))
            await turns()
            # What the engine had in hand may still come, the rest stays with the caller.
            assert len(sink.body) < 1_000_000
            assert caller.writer.transport.get_write_buffer_size() > 1_000_000
            app.calls[0].resume_reading()
            await until(lambda: sink.ended)
            assert len(sink.body) == size
            app.calls[0].respond(200)
            assert (await caller.answer())[0] == 200

    run(story())


def test_a_stream_that_stays_open_for_ever_still_ends_with_its_limit(run: Run) -> None:
    async def story() -> None:
        sink = Gather()
        app = App(lambda call: call.stream(sink, limit=10))
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            await caller.send(b"5\r\nhello\r\n")
            await until(lambda: sink.body)
            await caller.send(b"6\r\n world\r\n")
            assert (await caller.answer())[0] == 413
        assert not sink.ended

    run(story())


def test_the_application_may_decide_about_the_body_later(run: Run) -> None:
    async def story() -> None:
        app = App(lambda _call: None)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            await until(lambda: app.calls)
            echo(app.calls[0])
            assert (await caller.answer())[2] == b"hello"

    run(story())


def test_an_early_answer_gives_up_the_connection(run: Run) -> None:
    async def story() -> None:
        async with serving(App(lambda call: call.respond(401, (), b"no"))) as served:
            caller = await served.caller()
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello")
            status, fields, _ = await caller.answer()
            assert (status, fields["connection"]) == (401, "close")
            assert await caller.rest() == b""

    run(story())


# Expect


def test_100_continue_is_said_once_the_body_is_wanted(run: Run) -> None:
    async def story() -> None:
        app = App(lambda _call: None)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            await until(lambda: app.calls)
            await turns()
            assert not caller.reader._buffer  # type: ignore[attr-defined]
            echo(app.calls[0])
            got = await caller.reader.readuntil(b"\r\n\r\n")
            assert got == b"HTTP/1.1 100 Continue\r\n\r\n"
            await caller.send(b"hello")
            assert (await caller.answer())[2] == b"hello"

    run(story())


@pytest.mark.parametrize("length", [5, 5_000_000])
def test_a_refused_call_hears_no_100_continue(run: Run, length: int) -> None:
    async def story() -> None:
        def decide(call: Call) -> None:
            if call.content_length == 5:
                call.respond(401)
            else:
                echo(call)

        async with serving(App(decide)) as served:
            caller = await served.caller()
            await caller.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n"
                b"Expect: 100-continue\r\n\r\n" % length
            )
            got = await caller.rest()
        assert got.startswith(b"HTTP/1.1 401 " if length == 5 else b"HTTP/1.1 413 ")

    run(story())


# Pipelines and keep-alive


def test_pipelined_calls_are_answered_in_order_one_at_a_time(run: Run) -> None:
    async def story() -> None:
        app = App(never)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(
                b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(9))
            )
            for i in range(9):
                await until(lambda i=i: len(app.calls) == i + 1)  # type: ignore[misc]
                await asyncio.sleep(0)
                assert len(app.calls) == i + 1
                app.calls[i].respond(200, [(b"x-path", app.calls[i].path.encode())])
            for i in range(9):
                _, fields, _ = await caller.answer()
                assert fields["x-path"] == f"/{i}"
            await caller.send(GET)
            await until(lambda: len(app.calls) == 10)

    run(story())


@pytest.mark.parametrize("extra", [0, 300_000])
def test_heads_behind_long_bodies_have_the_whole_limit_and_no_more(run: Run, extra: int) -> None:
    """Sent at once, so that reads hold the end of a body and the beginning of a head."""
    body = b"\r\n\r\n" + b"b" * 40_000 + b"\r\n\r\n"
    post = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
    start, end = b"GET /3 HTTP/1.1\r\nHost: a\r\nX-A: ", b"\r\n\r\n"
    last = start + b"b" * (32 * 1024 - len(start) - len(end) + extra) + end

    async def story() -> None:
        async with serving(App(echo)) as served:
            caller = await served.caller()
            sent = b"".join(post % (i, len(body), body) for i in range(3))
            task = asyncio.create_task(caller.send(sent + last))
            for i in range(3):
                status, fields, got = await caller.answer()
                assert (status, fields["x-path"]) == (200, f"/{i}")
                assert got == body
            status, _, _ = await caller.answer()
            assert status == (431 if extra else 200)
            await task

    run(story())


def test_two_thousand_pipelined_calls_cost_nine_answers_and_the_connection(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as served:
            caller = await served.caller()
            caller.writer.write(GET * 2_000)
            got = await caller.rest()
        assert len(app.calls) == 9
        assert got.count(b"HTTP/1.1 200 OK\r\n") == 9
        assert got.count(b"connection: close") == 1

    run(story())


def test_a_caller_that_waits_for_answers_sends_two_thousand(run: Run) -> None:
    async def story() -> None:
        async with serving(App(echo)) as served:
            caller = await served.caller()
            for _ in range(250):
                await caller.send(GET * 8)
                for _ in range(8):
                    assert (await caller.answer())[0] == 200

    run(story())


def test_nothing_is_read_while_calls_wait(run: Run) -> None:
    async def story() -> None:
        app = App(never)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(GET + GET)
            await until(lambda: app.calls)
            caller.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
            caller.writer.write(b"x" * 20_000_000)
            await turns()
            assert caller.writer.transport.get_write_buffer_size() > 1_000_000
            caller.writer.transport.abort()

    run(story())


def test_the_last_allowed_request_says_close(run: Run) -> None:
    async def story() -> None:
        async with serving(App(echo), ServerLimits(requests=3)) as served:
            caller = await served.caller()
            await caller.send(GET * 4)
            closes = ["connection" in (await caller.answer())[1] for _ in range(3)]
            assert closes == [False, False, True]
            assert await caller.rest() == b""

    run(story())


def test_connections_above_the_limit_are_told_to_come_again(run: Run) -> None:
    async def story() -> None:
        async with serving(App(echo), ServerLimits(connections=2)) as served:
            kept = [await served.caller(), await served.caller()]
            for caller in kept:
                await caller.send(GET)
                assert (await caller.answer())[0] == 200
            status, fields, _ = await (await served.caller()).answer()
            assert (status, fields["retry-after"]) == (503, "1")
            await kept[0].send(GET)
            assert (await kept[0].answer())[0] == 200

    run(story())


def test_there_are_never_more_connections_than_descriptors() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert room_for(100) == 100
        raised, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised >= 328
        if hard != resource.RLIM_INFINITY:
            assert room_for(hard) <= hard // 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_small_answers_are_not_held_back(run: Run) -> None:
    """On plain asyncio an inherited socket has Nagle's delay, 40 ms a call, unless we say no."""

    async def story() -> None:
        async with serving(App(echo)) as served:
            await served.caller()
            await until(lambda: served.server.connections)
            (connection,) = served.server.connections
            sock = connection.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(story())


# Slow callers, by a clock of the test's own


def test_a_head_must_be_complete_in_ten_seconds(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        async with serving(App(echo), clock=clock) as served:
            caller = await served.caller()
            await caller.send(b"GET / HTTP/1.1\r\n")
            await until(lambda: [c for c in served.server.connections if c._begun])
            for _ in range(9):
                await pass_time(served, clock, 1)
                await caller.send(b"X-A: b\r\n")
                await turns()
            assert served.server.connections
            await pass_time(served, clock, 2)
            assert (await caller.answer())[0] == 408
            assert await caller.rest() == b""

    run(story())


def test_an_idle_connection_is_closed_without_a_word(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        async with serving(App(echo), clock=clock) as served:
            new, used = await served.caller(), await served.caller()
            await used.send(GET)
            await used.answer()
            await until(lambda: len(served.server.connections) == 2)
            await pass_time(served, clock, 74)
            assert len(served.server.connections) == 2
            await pass_time(served, clock, 2)
            assert await new.rest() == await used.rest() == b""

    run(story())


@pytest.mark.parametrize("way", ["collect", "stream"])
def test_a_body_slower_than_a_kilobyte_a_second_is_a_408(run: Run, way: str) -> None:
    async def story() -> None:
        clock = Clock()
        app = App(never if way == "collect" else lambda call: call.stream(Gather()))
        async with serving(app, clock=clock) as served:
            caller = await served.caller()
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
            await until(lambda: app.calls)
            for size, rounds in ((1100, 25), (900, 25)):
                for _ in range(rounds):
                    if not app.gone:
                        await caller.send(b"x" * size)
                        await pass_time(served, clock, 1)
                if size == 1100:
                    assert not app.gone
            assert [call.refused for call in app.gone] == [408]
            assert (await caller.answer())[0] == 408

    run(story())


def test_a_passed_on_body_may_be_slow_but_not_silent(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        app = App(lambda call: call.stream(Gather(), idle_seconds=60))
        async with serving(app, clock=clock) as served:
            caller = await served.caller()
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n")
            await until(lambda: app.calls)
            for _ in range(5):
                await caller.send(b"x")
                await pass_time(served, clock, 50)
            assert not app.gone
            await pass_time(served, clock, 121)
            assert [call.refused for call in app.gone] == [408]

    run(story())


def test_time_in_which_we_do_not_read_is_not_the_callers(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        app = App(lambda call: call.stream(Gather()))
        async with serving(app, clock=clock) as served:
            caller = await served.caller()
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\nx")
            await until(lambda: app.calls)
            app.calls[0].pause_reading()
            await pass_time(served, clock, 100)
            assert not app.gone
            app.calls[0].resume_reading()
            await pass_time(served, clock, 9)
            assert not app.gone
            await pass_time(served, clock, 2)
            assert [call.refused for call in app.gone] == [408]

    run(story())


def test_an_application_may_take_its_time(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        app = App(never)
        async with serving(app, clock=clock) as served:
            caller = await served.caller()
            await caller.send(GET)
            await until(lambda: app.calls)
            await pass_time(served, clock, 500)
            app.calls[0].respond(200)
            assert (await caller.answer())[0] == 200

    run(story())


def test_a_caller_that_fetches_nothing_is_told_of_and_dropped(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        said: list[str] = []

        def flood(call: Call) -> None:
            call.on_unwritable = lambda _call: said.append("unwritable")
            call.on_writable = lambda _call: said.append("writable")
            call.start(200)

        app = App(flood)
        async with serving(app, clock=clock) as served:
            assert isinstance(served.address, tuple)
            with socket.create_connection(served.address) as sock:
                sock.sendall(GET)
                await until(lambda: app.calls)
                written = 0
                while not said:
                    app.calls[0].write(b"x" * 100_000)
                    written += 100_000
                    await asyncio.sleep(0)
                assert written > 1024 * 1024
                await pass_time(served, clock, 29)
                assert not app.gone
                await pass_time(served, clock, 2)
                await until(lambda: app.gone)
                assert app.gone[0].refused is None
        assert said == ["unwritable"]

    run(story())


def test_a_caller_that_fetches_slowly_is_waited_for(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        said: list[str] = []

        def flood(call: Call) -> None:
            call.on_unwritable = lambda _call: said.append("unwritable")
            call.on_writable = lambda _call: said.append("writable")
            call.start(200)
            call.write(b"x" * 12_000_000)

        app = App(flood)
        async with serving(app, clock=clock) as served:
            caller = await served.caller()
            await caller.send(GET)
            await caller.head()
            size = 0
            for _ in range(4):
                await pass_time(served, clock, 12)
                size += len(await caller.reader.readexactly(2_500_000))
            assert clock.now > 1_030
            assert not app.gone
            app.calls[0].finish()
            while size < 12_000_000:
                size += len(await caller.reader.read(1_000_000))
            await until(lambda: "writable" in said)
            assert app.done == app.calls
        assert said == ["unwritable", "writable"]

    run(story())


# Leaving


def test_the_application_hears_that_the_caller_has_left(run: Run) -> None:
    async def story() -> None:
        app = App(never)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(GET)
            await until(lambda: app.calls)
            await caller.close()
            await until(lambda: app.gone)
            call = app.calls[0]
            assert call.refused is None
            call.respond(200)
            call.write(b"x")
            call.finish()
            call.abort()
        assert app.done == []

    run(story())


def test_draining_finishes_what_runs_and_closes_the_rest(run: Run) -> None:
    async def story() -> None:
        app = App(never)
        clock = Clock()
        async with serving(app, clock=clock) as served:
            idle, busy = await served.caller(), await served.caller()
            await busy.send(GET)
            await until(lambda: app.calls and len(served.server.connections) == 2)
            draining = asyncio.create_task(served.server.drain(10))
            await until(lambda: not is_served(served))
            await pass_time(served, clock, 2)
            assert await idle.rest() == b""
            assert isinstance(served.address, tuple)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*served.address)
            app.calls[0].respond(200, (), b"late")
            status, fields, body = await busy.answer()
            assert (status, fields["connection"], body) == (200, "close", b"late")
            await draining
            assert not served.server.connections

    run(story())


def is_served(served: Served) -> bool:
    listener = served.server._listener
    assert listener is not None
    return listener.is_serving()


@pytest.mark.parametrize("before", [0, 1])
def test_a_request_that_is_on_its_way_when_draining_begins_is_answered(
    run: Run, before: int
) -> None:
    async def story() -> None:
        async with serving(App(echo), clock=Clock()) as served:
            caller = await served.caller()
            for _ in range(before):
                await caller.send(GET)
                assert (await caller.answer())[0] == 200
            await until(lambda: served.server.connections)
            draining = asyncio.create_task(served.server.drain(10))
            await until(lambda: not is_served(served))
            await caller.send(GET)
            status, fields, _ = await caller.answer()
            assert (status, fields["connection"]) == (200, "close")
            assert await caller.rest() == b""
            await draining

    run(story())


def test_a_connection_that_was_accepted_just_before_draining_is_served(run: Run) -> None:
    async def story() -> None:
        async with serving(App(echo)) as served:
            assert isinstance(served.address, tuple)
            with socket.create_connection(served.address, timeout=10) as caller:
                caller.sendall(GET)
                await asyncio.sleep(0)  # the kernel has it; its protocol may know nothing yet
                await served.server.drain(10)
                assert caller.recv(100).startswith(b"HTTP/1.1 200 ")

    run(story())


def test_a_connection_that_was_promised_is_kept_for_one_more_request(run: Run) -> None:
    async def story() -> None:
        app = App(never)
        async with serving(app, clock=Clock()) as served:
            caller = await served.caller()
            await caller.send(GET)
            await until(lambda: app.calls)
            app.calls[0].start(200, length=2)
            draining = asyncio.create_task(served.server.drain(10))
            await until(lambda: not is_served(served))
            app.calls[0].write(b"ok")
            app.calls[0].finish()
            _, fields, body = await caller.answer()
            assert (fields.get("connection"), body) == (None, b"ok")
            await caller.send(GET)
            await until(lambda: len(app.calls) == 2)
            app.calls[1].respond(200)
            assert (await caller.answer())[1]["connection"] == "close"
            await draining

    run(story())


def test_draining_ends_in_time_even_if_calls_do_not(run: Run) -> None:
    async def story() -> None:
        app = App(never)
        async with serving(app) as served:
            caller = await served.caller()
            await caller.send(GET)
            await until(lambda: app.calls)
            await served.server.drain(0.05)
            assert await caller.rest() == b""
            await until(lambda: app.gone)

    run(story())


def test_sisters_share_a_listening_socket_and_one_may_leave(run: Run) -> None:
    async def story() -> None:
        app = App(echo)
        async with serving(app) as first:
            listener = first.server._listener
            assert listener is not None
            inherited = socket.socket(fileno=socket.dup(listener.sockets[0].fileno()))
            sisters = App(echo)
            from headway.wire.server import serve  # noqa: PLC0415 - for this one test

            sister = await serve(inherited, sisters)
            await first.server.drain(1)
            caller = await first.caller()
            await caller.send(GET)
            assert (await caller.answer())[0] == 200
            assert len(sisters.calls) == 1
            await sister.close()

    run(story())


def test_a_unix_socket_is_served_too_and_not_unlinked(run: Run) -> None:
    async def story() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "s"
            app = App(echo)
            async with serving(app, path=path) as served:
                caller = await served.caller()
                await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
                assert (await caller.answer())[2] == b"hi"
            assert app.calls[0].peer == ""
            assert path.exists()

    run(story())


# What a call knows


def test_a_call_knows_its_request(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        peers: list[str] = []

        def look(call: Call) -> None:
            peers.append(call.peer)
            call.collect(100, lambda call, _body: call.respond(200))

        app = App(look)
        async with serving(app, clock=clock) as served:
            caller = await served.caller()
            await caller.send(
                b"PUT /a%20b?x=%31 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nX-Y: Z \r\n\r\n"
            )
            await until(lambda: app.calls)
            clock.now += 3
            await caller.send(b"hi")
            await caller.answer()
        call = app.calls[0]
        assert (call.method, call.target, call.path, call.query) == (
            "PUT",
            b"/a%20b?x=%31",
            "/a b",
            b"x=%31",
        )
        assert call.headers.get(b"x-y") == b"Z"
        assert (call.content_length, call.chunked, call.has_body) == (2, False, True)
        assert (call.received_at, call.last_byte_at) == (1_000.0, 1_003.0)
        assert peers == ["127.0.0.1"]

    run(story())


def test_each_sweep_reaches_the_applications_own_deadlines(run: Run) -> None:
    async def story() -> None:
        clock = Clock()
        seen: list[float] = []
        async with serving(App(echo), clock=clock) as served:
            served.server.on_sweep(seen.append)
            await pass_time(served, clock, 0.5)
        assert seen[:2] == [1_000.25, 1_000.5]

    run(story())
