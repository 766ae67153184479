"""Requests and answers that two readers could read in two ways, from the known attacks.

Each goes through a whole gateway, in one piece and byte by byte: it is refused, or exactly one
request is passed on, written anew, whose body is what we say it is. What follows the ambiguous
part asks for /smuggled; only where it plainly is a request of its own may anybody see it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import prepare

from headway.adapters.outbound import Outbound
from headway.testing.gateway import RunningGateway, document, key_entry, route_of

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST /a HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body


# Which must be refused, all of them: nothing of them may reach anybody.
REFUSED = {
    # Content-Length against Transfer-Encoding, and the reverse
    "CL.TE": post(b"Content-Length: 13\r\n" + TE, b"0\r\n\r\nSMUGGLED"),
    "TE.CL": post(TE + b"Content-Length: 4\r\n", b"5c\r\n" + SMUGGLED),
    "CL.0 with TE": post(b"Content-Length: 0\r\n" + TE, BODY),
    # Transfer-Encoding that one of two readers does not see
    "TE.TE xchunked": post(TE + b"Transfer-Encoding: x\r\n", BODY),
    "TE.TE cow": post(b"Transfer-Encoding: cow\r\n" + TE, BODY),
    "TE identity": post(b"Transfer-Encoding: identity\r\n", BODY),
    "TE identity, chunked": post(b"Transfer-Encoding: identity, chunked\r\n", BODY),
    "TE chunked, identity": post(b"Transfer-Encoding: chunked, identity\r\n", BODY),
    "TE quoted": post(b'Transfer-Encoding: "chunked"\r\n', BODY),
    "TE with a parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", BODY),
    "TE comma first": post(b"Transfer-Encoding: ,chunked\r\n", BODY),
    "TE comma last": post(b"Transfer-Encoding: chunked,\r\n", BODY),
    "TE empty": post(b"Transfer-Encoding:\r\n", BODY),
    "TE vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", BODY),
    "TE form feed": post(b"Transfer-Encoding: chunked\x0c\r\n", BODY),
    "TE NUL": post(b"Transfer-Encoding: chunked\x00\r\n", BODY),
    "TE high byte": post(b"Transfer-Encoding: chunked\xff\r\n", BODY),
    "TE blank before colon": post(b"Transfer-Encoding : chunked\r\n", BODY),
    "TE tab before colon": post(b"Transfer-Encoding\t: chunked\r\n", BODY),
    "TE blank before name": post(b" Transfer-Encoding: chunked\r\n", BODY),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked\r\n", BODY),
    "TE folded behind another": post(b"X-A: b\r\n\tTransfer-Encoding: chunked\r\n", BODY),
    "TE behind bare LF": post(b"X-A: b\nTransfer-Encoding: chunked\r\n", BODY),
    "TE behind bare CR": post(b"X-A: b\rTransfer-Encoding: chunked\r\n", BODY),
    "TE on 1.0": b"POST /a HTTP/1.0\r\nHost: a\r\n" + TE + b"\r\n" + BODY,
    # Content-Length in odd spellings
    "CL twice": post(b"Content-Length: 5\r\nContent-Length: 0\r\n", b"hello"),
    "CL twice the same": post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    "CL list": post(b"Content-Length: 5, 5\r\n", b"hello"),
    "CL comma": post(b"Content-Length: 5,\r\n", b"hello"),
    "CL plus": post(b"Content-Length: +5\r\n", b"hello"),
    "CL minus": post(b"Content-Length: -1\r\n", b"hello"),
    "CL hexadecimal": post(b"Content-Length: 0x5\r\n", b"hello"),
    "CL decimal point": post(b"Content-Length: 5.0\r\n", b"hello"),
    "CL underscore": post(b"Content-Length: 1_0\r\n", b"helloworld"),
    "CL inner blank": post(b"Content-Length: 1 0\r\n", b"helloworld"),
    "CL empty": post(b"Content-Length:\r\n", b"hello"),
    "CL blank": post(b"Content-Length:  \r\n", b"hello"),
    "CL arabic digits": post(b"Content-Length: \xd9\xa5\r\n", b"hello"),
    "CL endless": post(b"Content-Length: 18446744073709551621\r\n", b"hello"),
    "CL vertical tab": post(b"Content-Length: \x0b5\r\n", b"hello"),
    "CL blank before colon": post(b"Content-Length : 5\r\n", b"hello"),
    "CL folded": post(b"Content-Length:\r\n 5\r\n", b"hello"),
    # Chunks
    "chunk size minus": post(TE, b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size plus": post(TE, b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size 0x": post(TE, b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size underscore": post(TE, b"0_5\r\nhello\r\n0\r\n\r\n"),
    "chunk size empty": post(TE, b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size wraps": post(TE, b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk size blank before": post(TE, b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk size blank behind": post(TE, b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk size tab": post(TE, b"5\t\r\nhello\r\n0\r\n\r\n"),
    "chunk size bare LF": post(TE, b"5\nhello\r\n0\r\n\r\n"),
    "chunk size bare CR": post(TE, b"5\rhello\r\n0\r\n\r\n"),
    "chunk extension bare LF": post(TE, b"5;a\nhello\r\n0\r\n\r\n"),
    "chunk extension bare CR": post(TE, b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "chunk extension NUL": post(TE, b"5;a\x00\r\nhello\r\n0\r\n\r\n"),
    "chunk longer": post(TE, b"4\r\nhello\r\n0\r\n\r\n"),
    "chunk without its end": post(TE, b"5\r\nhello0\r\n\r\n"),
    "chunk ended by LF": post(TE, b"5\r\nhello\n0\r\n\r\n"),
    "last chunk bare LF": post(TE, b"5\r\nhello\r\n0\n\r\n"),
    "trailer bare LF": post(TE, b"5\r\nhello\r\n0\r\nX-A: b\n\r\n"),
    "length in a trailer": post(TE, b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"),
    "trailer folded": post(TE, b"5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n"),
    # Heads
    "two hosts": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "host list": b"GET /a HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "no host": b"GET /a HTTP/1.1\r\n\r\n",
    "host with a user": b"GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "absolute form": b"GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form of TLS": b"GET https://b/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority form": b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "line with bare LF": b"GET /a HTTP/1.1\nHost: a\r\n\r\n",
    "line with bare CR": b"GET /a HTTP/1.1\rHost: a\r\n\r\n",
    "line with a tab": b"GET\t/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "line with a blank behind": b"GET /a HTTP/1.1 \r\nHost: a\r\n\r\n",
    "blank in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "CR LF in the target": b"GET /a%0d%0aX:b\r\n HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the target": b"GET /a\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "escaped NUL": b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "escaped slash": b"GET /x/..%2fa HTTP/1.1\r\nHost: a\r\n\r\n",
    "dot segment": b"GET /x/../a HTTP/1.1\r\nHost: a\r\n\r\n",
    "escaped dot segment": b"GET /x/%2e%2e/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /a\r\n\r\n",
    "HTTP/1.10": b"GET /a HTTP/1.10\r\nHost: a\r\n\r\n",
    "HTTP/2": b"GET /a HTTP/2\r\nHost: a\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case": b"GET /a http/1.1\r\nHost: a\r\n\r\n",
    "name with a blank": b"GET /a HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n",
    "name empty": b"GET /a HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "name in brackets": b"GET /a HTTP/1.1\r\nHost: a\r\nX(A): b\r\n\r\n",
    "name not ASCII": b"GET /a HTTP/1.1\r\nHost: a\r\nX-\xc3\xa9: b\r\n\r\n",
    "first line folded": b"GET /a HTTP/1.1\r\n Host: a\r\n\r\n",
    "upgrade to h2c": b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "websocket": post(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
}
# Which are plain to every reader: what is passed on, and whether the next request is seen.
PASSED = {
    "CL": (post(b"Content-Length: 5\r\n", b"hello"), b"hello", True),
    "CL in any case": (post(b"CONTENT-length:5\r\n", b"hello"), b"hello", True),
    "CL between blanks": (post(b"Content-Length: \t5 \t\r\n", b"hello"), b"hello", True),
    "CL leading zeros": (post(b"Content-Length: 0005\r\n", b"hello"), b"hello", True),
    "CL 0": (post(b"Content-Length: 0\r\n"), b"", True),
    "neither": (post(b""), b"", True),
    "GET with a body": (
        b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "TE": (post(TE, BODY), b"hello", True),
    "TE in any case": (post(b"transfer-ENCODING: CHUNKED\r\n", BODY), b"hello", True),
    "TE between blanks": (post(b"Transfer-Encoding: \tchunked \r\n", BODY), b"hello", True),
    "chunk size leading zeros": (post(TE, b"0005\r\nhello\r\n000\r\n\r\n"), b"hello", True),
    "chunk extension": (post(TE, b'5;a="b"\r\nhello\r\n0;c\r\n\r\n'), b"hello", True),
    "trailers": (
        post(TE, b"5\r\nhello\r\n0\r\nHeadway-Hop: x\r\nHost: b\r\n\r\n"),
        b"hello",
        True,
    ),
    "body that is a request": (
        post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),
        SMUGGLED,
        True,
    ),
    "close": (post(b"Connection: close\r\nContent-Length: 5\r\n", b"hello"), b"hello", False),
    "1.0": (
        b"POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"hello",
        False,
    ),
    "underscores": (
        post(b"Content_Length: 50\r\nTransfer_Encoding: chunked\r\nHeadway_Hop: x\r\n"),
        b"",
        True,
    ),
    "named by Connection": (
        post(b"Connection: content-length, x-a\r\nX-A: b\r\nContent-Length: 5\r\n", b"hello"),
        b"hello",
        True,
    ),
    # One blank or two: the target is the same, and there is one blank on the next hop.
    "line with two blanks": (b"GET  /a HTTP/1.1\r\nHost: a\r\n\r\n", b"", True),
    "blank lines before": (b"\r\n" + post(b"Content-Length: 5\r\n", b"hello"), b"hello", True),
    "continue": (
        post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
        b"hello",
        True,
    ),
}


@dataclass
class Control:
    """The hop behind the gateway: keeps the bytes of each request as they came."""

    seen: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = b""
                low = head.lower()
                if b"\r\ntransfer-encoding: chunked\r\n" in low:
                    while size := int(await reader.readuntil(b"\r\n"), 16):
                        body += (await reader.readexactly(size + 2))[:-2]
                    assert await reader.readexactly(2) == b"\r\n"
                elif found := re.search(rb"\r\ncontent-length: (\d+)\r\n", low):
                    body = await reader.readexactly(int(found[1]))
                self.seen.append((head, body))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    path = tmp_path_factory.mktemp("control") / "s"
    with RunningGateway(
        prepare=prepare(), control=str(path), connect=Outbound(loopback_open=True).connect
    ) as running:
        running.adopt(
            document(keys=[key_entry(running.key, running.digest)], versions={}, routes=[])
        )
        yield running
        assert running.faults == []


@asynccontextmanager
async def control_of(gateway: RunningGateway) -> AsyncIterator[Control]:
    control = Control()
    path = Path(gateway._control)
    server = await asyncio.start_unix_server(control.serve, path)
    try:
        yield control
    finally:
        server.close()
        path.unlink()  # noqa: ASYNC240 - a name in a folder of our own


async def send(gateway: RunningGateway, data: bytes, way: str) -> bytes:
    """Send bytes; return everything that comes back until the gateway closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    pieces = [data] if way == "whole" else [data[i : i + 1] for i in range(len(data))]
    got = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        writer.write(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while part := await asyncio.wait_for(reader.read(65_536), 10):
            got += part
    except ConnectionError:
        pass
    finally:
        writer.close()
    return got


def ask(gateway: RunningGateway, data: bytes, way: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    async def story() -> tuple[bytes, list[tuple[bytes, bytes]]]:
        async with control_of(gateway) as control:
            return await send(gateway, data, way), control.seen

    return asyncio.run(story())


WAYS = ["whole", "byte by byte"]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("way", WAYS)
def test_what_could_be_read_in_two_ways_reaches_nobody(
    gateway: RunningGateway, name: str, way: str
) -> None:
    got, seen = ask(gateway, REFUSED[name] + SMUGGLED, way)

    bodies = [body for head, body in seen if head.startswith(b"POST /a ")]
    assert re.match(rb"HTTP/1\.1 (4\d\d|50[15]) ", got), got[:80]
    assert got.count(b"\r\ndate: ") == 1
    assert b"\r\nconnection: close\r\n" in got
    assert bodies == []
    assert seen == []


@pytest.mark.parametrize("name", PASSED)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_plain_is_passed_on_once_and_written_anew(
    gateway: RunningGateway, name: str, way: str
) -> None:
    data, body, goes_on = PASSED[name]
    got, seen = ask(gateway, data + SMUGGLED, way)

    paths = [head.split(b" ", 2)[1] for head, _ in seen]
    assert paths == [b"/a", b"/smuggled", b"/last"][: 3 if goes_on else 1]
    assert got.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").count(b"HTTP/1.1 200 ") == len(paths)
    head, arrived = seen[0]
    assert arrived == body
    names = [line.split(b":", 1)[0] for line in head.split(b"\r\n")[1:-2]]
    assert len(names) == len(set(names))
    assert len({b"content-length", b"transfer-encoding"} & set(names)) <= 1
    assert {b"connection", b"x-a", b"expect", b"upgrade"}.isdisjoint(names)
    assert all(re.fullmatch(rb"[a-z0-9-]+", each) for each in names)
    assert b"\n" not in head.replace(b"\r\n", b"")


# Answers of an upstream that two readers could read in two ways.
ANSWERS = {
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
    b"Upgrade: h2c\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "a bare line feed": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "a blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
    "an odd chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1\r\n{}\r\n0\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "204 with a body": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
    "304 with a body": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n{}",
    "informational for ever": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5_000,
}
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"
CHAT = b'{"model": "bot", "messages": [{"role": "user", "content": "hello"}]}'


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_not_plain_is_told_as_broken_and_ends_its_connection(
    gateway: RunningGateway, name: str
) -> None:
    opened = 0

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head.lower())
            assert found is not None
            await reader.readexactly(int(found[1]))
            writer.write(ANSWERS[name] + POISON)
            await reader.read(1)  # until the gateway ends it
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def story() -> list[bytes]:
        server = await asyncio.start_server(upstream, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target: dict[str, Any] = {
            "provider": "openai",
            "base_url": f"http://127.0.0.1:{port}/v1",
            "model": "up",
            "retries": 0,
            "timeouts": {"first": "2s", "idle": "2s", "total": "5s"},
        }
        found = document(
            keys=[key_entry(gateway.key, gateway.digest)],
            versions={("bot", "1.0.0"): target},
            routes=[route_of("bot", [("stable", "1.0.0", 10_000)])],
        )
        await asyncio.to_thread(gateway.adopt, found)
        request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (gateway.key.encode(), len(CHAT), CHAT)
        )
        answers = [await send(gateway, request, "whole") for _ in range(2)]
        server.close()
        return answers

    for got in asyncio.run(story()):
        assert re.match(rb"HTTP/1\.1 50[24] ", got), got[:200]
        assert got.count(b"HTTP/1.1 ") == 1
        assert b"poisoned" not in got
    assert opened == 2
