"""Names are looked up anew for each connection, and nobody waits for another one's name."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from headway.adapters.resolver import DAWDLES, MOST_AT_ONCE, REMEMBERED, Resolver


class Names:
    """A resolver of the system that does what a test says."""

    def __init__(self) -> None:
        self.addresses = {"a.example": ["192.0.2.1"], "b.example": ["192.0.2.2"]}
        self.stuck: dict[str, threading.Event] = {}
        self.asked: list[str] = []
        self.now = 0.0
        self.resolver = Resolver(look=self.look, clock=lambda: self.now)

    def look(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        if host in self.stuck:
            self.stuck[host].wait(20)
        if host not in self.addresses:
            raise OSError("Name or service not known")
        return self.addresses[host]

    async def of(self, host: str) -> list[str]:
        return await asyncio.wait_for(self.resolver.addresses(host, 443), 10)


def run(story: Callable[[Names], object]) -> None:
    names = Names()
    try:
        asyncio.run(story(names))  # type: ignore[arg-type]
    finally:
        for event in names.stuck.values():
            event.set()


def test_a_name_that_moves_is_followed_by_the_next_connection() -> None:
    async def story(names: Names) -> None:
        assert await names.of("a.example") == ["192.0.2.1"]
        names.addresses["a.example"] = ["192.0.2.9"]
        assert await names.of("a.example") == ["192.0.2.9"]

    run(story)


def test_those_who_want_one_name_at_the_same_time_share_a_look_up() -> None:
    async def story(names: Names) -> None:
        names.stuck["a.example"] = threading.Event()
        waiting = [asyncio.create_task(names.of("a.example")) for _ in range(50)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        names.stuck["a.example"].set()
        found = await asyncio.gather(*waiting[1:])
        assert set(map(tuple, found)) == {("192.0.2.1",)}
        assert names.asked == ["a.example"]

    run(story)


def test_names_whose_resolver_hangs_keep_nobody_from_another() -> None:
    async def story(names: Names) -> None:
        stuck = [f"stuck-{n}.example" for n in range(MOST_AT_ONCE - 1)]
        names.stuck |= {host: threading.Event() for host in stuck}
        waiting = [asyncio.create_task(names.of(host)) for host in stuck]
        await asyncio.sleep(0)
        assert await names.of("b.example") == ["192.0.2.2"]
        names.stuck["last.example"] = threading.Event()
        waiting.append(asyncio.create_task(names.of("last.example")))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="too many names"):
            await names.of("b.example-too")
        for task in waiting:
            task.cancel()

    run(story)


def test_what_was_found_last_answers_while_the_resolver_fails_or_dawdles() -> None:
    async def story(names: Names) -> None:
        await names.of("a.example")
        del names.addresses["a.example"]
        assert await names.of("a.example") == ["192.0.2.1"]

        names.stuck["a.example"] = threading.Event()
        began = asyncio.get_running_loop().time()
        assert await names.of("a.example") == ["192.0.2.1"]
        assert asyncio.get_running_loop().time() - began < DAWDLES + 5
        names.stuck["a.example"].set()

        names.now = REMEMBERED + 1
        with pytest.raises(OSError, match="not known"):
            await names.of("a.example")

    run(story)


def test_a_name_that_never_was_is_a_failure() -> None:
    async def story(names: Names) -> None:
        with pytest.raises(OSError, match="not known"):
            await names.of("c.example")

    run(story)
