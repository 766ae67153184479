"""One application with one key is many units: a canary of 10 % gets a tenth of its requests."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from headway.adapters.outbound import Outbound, Secrets
from headway.adapters.providers.openai import OpenAI
from headway.gateway.exchange import Prepared, Release
from headway.gateway.ports import Around
from headway.testing.gateway import RunningGateway, document, key_entry, route_of

REQUESTS, CALLERS = 10_000, 16
BODY = b'{"model":"bot","messages":[{"role":"user","content":"hello"}]}'
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi"},
                "finish_reason": "stop",
            }
        ],
    }
).encode()
VERSION = re.compile(rb"(?i)\r\nheadway-version: ([^\r]+)\r\n")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")


class Upstream(asyncio.Protocol):
    """A provider that says the same to everybody, as fast as can be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, found, rest = self._seen.partition(b"\r\n\r\n")
        length = LENGTH.search(head + b"\r\n")
        if found and len(rest) >= int(length[1] if length else 0):
            self._seen = b""
            head = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            )
            self._transport.write(head % len(ANSWER) + ANSWER)


@contextmanager
def upstream() -> Iterator[str]:
    loop = asyncio.new_event_loop()
    ready = Event()
    ports: list[int] = []

    def run() -> None:
        server = loop.run_until_complete(loop.create_server(Upstream, "127.0.0.1", 0))
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        loop.run_forever()
        server.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = Thread(target=run, name="upstream", daemon=True)
    thread.start()
    ready.wait(10)
    yield f"http://127.0.0.1:{ports[0]}/v1"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


async def call(port: int, key: str, calls: int, seen: Counter[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    )
    for _ in range(calls):
        writer.write(head.encode() + BODY)
        answer = await reader.readuntil(b"\r\n\r\n")
        length, version = LENGTH.search(answer), VERSION.search(answer)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert length is not None
        assert version is not None
        await reader.readexactly(int(length[1]))
        seen[version[1]] += 1
    writer.close()
    await writer.wait_closed()


async def call_together(port: int, key: str) -> Counter[bytes]:
    seen: Counter[bytes] = Counter()
    await asyncio.gather(*(call(port, key, REQUESTS // CALLERS, seen) for _ in range(CALLERS)))
    return seen


def test_ten_percent_of_the_requests_of_one_key_without_conversations() -> None:
    provider, around = OpenAI(), Around(Secrets({}).value, "")

    def prepare(release: Release) -> Prepared:
        return provider.prepare(release, around)

    outbound = Outbound(loopback_open=True)
    with upstream() as url, RunningGateway(prepare=prepare, connect=outbound.connect) as gateway:
        target = {"provider": "openai", "base_url": url, "model": "m"}
        gateway.adopt(
            document(
                keys=[key_entry(gateway.key, gateway.digest)],
                versions={("bot", "1.0.0"): target, ("bot", "1.1.0"): target},
                routes=[
                    route_of("bot", [("stable", "1.0.0", 9_000), ("candidate", "1.1.0", 1_000)])
                ],
            )
        )
        seen = asyncio.run(call_together(gateway.port, gateway.key))

    assert seen.total() == REQUESTS
    assert 800 <= seen[b"1.1.0"] <= 1_200
