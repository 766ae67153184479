"""Thousands of connections that do nothing, or little: others are served as if they were not."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest
from tests.gateway.conftest import prepare
from tests.gateway.test_fuzz import chat, request

from headway.adapters.outbound import Outbound
from headway.testing.gateway import RunningGateway, document, key_entry, route_of
from headway.testing.provider import ScriptedProvider
from headway.wire.server import room_for

LONG: Final = bool(os.environ.get("HEADWAY_FUZZ_INPUTS"))
IDLE, SLOW, SHORT = (2_000, 200, 10_000) if LONG else (300, 40, 400)
AT_ONCE: Final = 50
PATIENCE: Final = 300.0
PATH: Final = "/v1/chat/completions"


@pytest.fixture
def gateway() -> Iterator[RunningGateway]:
    room_for(2 * (IDLE + SLOW) + 500)  # both ends of a connection are of this process
    with (
        ScriptedProvider() as provider,
        RunningGateway(prepare=prepare(), connect=Outbound(loopback_open=True).connect) as running,
    ):
        target: dict[str, Any] = {
            "provider": "openai",
            "base_url": provider.url,
            "model": "up",
            "retries": 0,
        }
        running.adopt(
            document(
                keys=[key_entry(running.key, running.digest)],
                versions={("bot", "1.0.0"): target},
                routes=[route_of("bot", [("stable", "1.0.0", 10_000)])],
            )
        )
        yield running
        assert running.faults == []


async def one(gateway: RunningGateway, data: bytes) -> int:
    """Ask on a connection of its own; return the status, 0 without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(data)
        got = await reader.read()
        return int(got[9:12] or b"0")
    except ConnectionError:
        return 0
    finally:
        writer.close()


async def slowly(gateway: RunningGateway, data: bytes, over: asyncio.Event) -> None:
    """Send the head of a request byte by byte for as long as one is let."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for i in range(len(data)):
        if over.is_set() or writer.is_closing():
            break
        writer.write(data[i : i + 1])
        await asyncio.sleep(0.2)
    writer.close()


def test_a_crowd_that_idles_and_dawdles_keeps_nobody_from_being_served(
    gateway: RunningGateway,
) -> None:
    data = request(gateway.key, "POST", PATH, chat())

    async def story() -> Counter[int]:
        over = asyncio.Event()
        found: Counter[int] = Counter()
        idle = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(IDLE)]
        slow = [asyncio.create_task(slowly(gateway, data, over)) for _ in range(SLOW)]
        async with asyncio.timeout(PATIENCE):
            for _ in range(SHORT // AT_ONCE):
                found.update(await asyncio.gather(*(one(gateway, data) for _ in range(AT_ONCE))))
        over.set()
        await asyncio.gather(*slow)
        for _, writer in idle:
            writer.close()
        return found

    assert asyncio.run(story()) == {200: SHORT}
