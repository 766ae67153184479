"""Mixed traffic for a long time: a gateway must not grow, leak a connection or lose count.

A real `headway serve` before a scripted provider; callers ask for whole answers and streams, meet
providers that cut, refuse and fail, and leave in the middle; two versions share the traffic. Says
what it saw, and fails if one of these does not hold:

- each request came to the provider as often as its answer implies, and no other came;
- what the gateway counted, by outcome, is what callers and provider saw, to the request;
- no connection to the provider is left when nobody asks any more;
- the memory of the gateway and of the scribe is within 5 % of what it was after the warm-up.

    python benchmarks/soak.py [seconds]
"""

import asyncio
import itertools
import json
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from headway.demo.server import Api, headway
from headway.testing.provider import Reply, ScriptedProvider
from headway.testing.provider.reply import Ending, Received

SECONDS: Final = float(sys.argv[1]) if len(sys.argv) > 1 else 900.0
CALLERS: Final = 24
THINKS: Final = 0.05
"""Seconds between two requests of a caller, on average."""
GROWTH: Final = 1.05
WARM: Final = 0.2
"""The part of the run after which memory is looked at, but 60 s at least."""
SHORTEST: Final = 150.0
"""A run that is shorter says nothing of memory."""
SAMPLE: Final = 2.0
PATIENCE: Final = 60.0
HELLO: Final = "Where is my parcel? " * 20
OK, PROVIDER, REFUSED, GONE = "ok", "provider", "refused", "gone"


@dataclass
class Seen:
    """What callers and provider saw of one another."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)
    """Calls to the provider, by the name of the request; of requests that are over."""
    arrived: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """Compare, and forget what agrees: a long run must not fill our own memory."""
        for name in [name for name, n in self.expected.items() if self.arrived[name] == n]:
            del self.expected[name], self.arrived[name]


def script(seen: Seen) -> Callable[[Received], Reply]:
    """Answer each request as its name asks."""

    def answer(request: Received) -> Reply:
        name = request.json["messages"][-1]["content"].split("|")[0]
        kind = name.split("-")[0]
        seen.arrived[name] += 1
        if kind == "cut":
            return Reply(end=Ending.CUT)
        if kind == "leave":
            return Reply(text="word " * 60, gap_s=0.1)
        if kind == "early":
            return Reply(delay_s=5.0)
        if kind == "refused":
            return Reply(status=400, error="no such parameter")
        if kind == "retry" and seen.arrived[name] == 1:
            return Reply(status=500)
        return Reply()

    return answer


WEIGHTS: Final = {
    "whole": 40, "stream": 30, "cut": 6, "leave": 2, "early": 1, "refused": 5, "retry": 6,
}  # fmt: skip
STREAMS: Final = ("stream", "cut", "leave")


class Caller:
    """Asks again and again on a connection that it keeps for as long as it may."""

    def __init__(self, port: int, key: str, seen: Seen, numbers: "itertools.count[int]") -> None:
        self._port = port
        self._key = key.encode()
        self._seen = seen
        self._numbers = numbers
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, until: float) -> None:
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        while time.monotonic() < until:
            [kind] = random.choices(kinds, weights)
            name = f"{kind}-{next(self._numbers)}"
            self._seen.kinds[kind] += 1
            await asyncio.wait_for(self._ask(kind, name), PATIENCE)
            await asyncio.sleep(random.uniform(0, 2 * THINKS))
        self._hang_up()

    def _hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, kind: str, name: str) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._request(kind, name))
        seen = self._seen
        if kind == "early":
            while not seen.arrived[name]:  # noqa: ASYNC110 - a thread counts
                await asyncio.sleep(0.01)
            self._leave(name)
            return
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if kind == "leave" and status == 200:
            await reader.readuntil(b"data: ")
            self._leave(name)
            return
        body, whole = await self._body(reader, head.lower())
        if not whole or b"\r\nconnection: close" in head.lower():
            self._hang_up()
        self._judge(kind, name, status, body, whole=whole)

    def _leave(self, name: str) -> None:
        self._hang_up()
        self._seen.outcomes[GONE] += 1
        self._seen.expected[name] = 1

    def _judge(self, kind: str, name: str, status: int, body: bytes, *, whole: bool) -> None:
        seen = self._seen
        right = {
            "whole": status == 200 and whole and b"assist" in body,
            "stream": status == 200 and whole and body.endswith(b"data: [DONE]\n\n"),
            "cut": status == 200 and not whole and b"error" in body,
            "leave": False,
            "refused": status == 400 and whole,
            # The budget for retries may be spent: then the failure is told.
            "retry": status in (200, 502, 500) and whole,
        }[kind]
        if not right:
            seen.wrong.append(f"{name}: {status} {body[-200:]!r}")
        seen.expected[name] = 2 if kind == "retry" and status == 200 else 1
        if kind == "refused":
            seen.outcomes[REFUSED] += 1
        else:
            seen.outcomes[OK if status == 200 and whole else PROVIDER] += 1

    def _request(self, kind: str, name: str) -> bytes:
        body = json.dumps(
            {
                "model": "bot",
                "stream": kind in STREAMS,
                "messages": [{"role": "user", "content": f"{name}|{HELLO}"}],
            }
        ).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (self._key, len(body), body)
        )

    @staticmethod
    async def _body(reader: asyncio.StreamReader, head: bytes) -> tuple[bytes, bool]:
        """Return the body, and whether its framing came to its end."""
        at = head.find(b"content-length:")
        if at >= 0:
            return await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0])), True
        body = b""
        with suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            return body, True
        return body, False


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def resident(pid: int) -> int:
    """Return the resident memory of a process, KiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def connections_to(port: int) -> int:
    """Return how many connections to a port of this machine are open."""
    found = 0
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, _, remote, state, *_ = line.split()
        found += state == "01" and int(remote.split(":")[1], 16) == port
    return found


def process_of(data: Path, kind: str) -> int:
    """Find the one process of a kind that works on this data."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes()
            if kind.encode() in words and f"HEADWAY_DATA={data}".encode() in environment:
                return int(entry.name)
    raise SystemExit(f"no {kind} is running")


def prepare(api: Api, base_url: str) -> None:
    """Have two versions share the traffic under a deployment for as long as it takes."""
    api.post("/models", {"name": "bot"})
    for number in ("1.0.0", "2.0.0"):
        target = {"provider": "openai", "base_url": base_url, "model": number, "retries": 2}
        api.post("/models/bot/versions", {"version": number, "target": target})
    first = api.post_plan("model: bot\nto: 1.0.0\nstrategy: direct\nsteps: [{send: 100%}]\n")
    wait(lambda: api.get(f"/deployments/{first['id']}")["state"] == "succeeded", "1.0.0 serves")
    second = api.post_plan(
        "model: bot\nto: 2.0.0\nsteps: [{send: 50%, at_least: 5h}, {send: 100%}]\n"
    )
    wait(lambda: "50" in json.dumps(api.get("/routes/bot/production")), f"{second['id']} sends")


def wait(true: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:g} s: {what}")
        time.sleep(0.25)


Memory: TypeAlias = dict[str, list[tuple[float, int]]]
"""What each process has resident, KiB, over time."""


async def traffic(port: int, key: str, seen: Seen, pids: Mapping[str, int]) -> Memory:
    """Let callers ask for so long; return over time what the processes have in memory."""
    began = time.monotonic()
    until = began + SECONDS
    numbers = itertools.count()
    tasks = [
        asyncio.create_task(Caller(port, key, seen, numbers).run(until)) for _ in range(CALLERS)
    ]
    memory: Memory = {kind: [] for kind in pids}
    while not all(task.done() for task in tasks):
        await asyncio.sleep(SAMPLE)
        seen.settle()
        for kind, pid in pids.items():
            memory[kind].append((time.monotonic() - began, resident(pid)))
    await asyncio.gather(*tasks)
    return memory


def counted(api: Api) -> Counter[str]:
    found: Counter[str] = Counter()
    for point in api.get("/measurements?model=bot")["items"]:
        found.update(point["outcomes"])
    return +found


def growth(memory: list[tuple[float, int]]) -> tuple[float, float] | None:
    """Return the median memory after the warm-up and at the end, MiB."""
    if SECONDS < SHORTEST:
        return None
    warm = max(SECONDS * WARM, 60.0)
    kept = [size for at, size in memory if at >= warm]
    part = len(kept) // 4
    return statistics.median(kept[:part]) / 1024, statistics.median(kept[-part:]) / 1024


def report(seen: Seen, memory: Memory, told: Counter[str], left: int) -> int:
    """Print what was seen; return how many promises were broken."""
    broken = []
    print(f"{sum(seen.kinds.values()):,} requests in {SECONDS:g} s: {dict(seen.kinds)}")
    if seen.wrong:
        broken.append(f"{len(seen.wrong)} wrong answers: {seen.wrong[:5]}")
    seen.settle()
    if seen.expected or +seen.arrived:
        odd = [(name, n, seen.arrived[name]) for name, n in seen.expected.items()][:10]
        broken.append(f"the provider's log differs (expected, arrived): {odd}")
    print(f"callers saw {dict(seen.outcomes)}, the gateway counted {dict(told)}")
    if told != seen.outcomes:
        broken.append("the counts differ")
    print(f"{left} connections to the provider are left")
    if left:
        broken.append("connections to the provider are left")
    for kind, sizes in memory.items():
        found = growth(sizes)
        if found is None:
            last = sizes[-1][1] / 1024
            print(f"memory of the {kind}: {last:.1f} MiB at the end (too short to say more)")
        else:
            begin, end = found
            print(f"memory of the {kind}: {begin:.1f} MiB after the warm-up, {end:.1f} at the end")
            if end > begin * GROWTH:
                broken.append(f"the memory of the {kind} grows")
    for words in broken:
        print(f"BROKEN: {words}")
    return len(broken)


def main() -> int:
    seen = Seen()
    with (
        tempfile.TemporaryDirectory(prefix="hw-soak-") as name,
        ScriptedProvider(script(seen)) as provider,
    ):
        data = Path(name) / "data"
        os.environ["HEADWAY_GATEWAYS"] = "1"
        port = free_port()
        with headway(data=data, port=port) as url:
            api = Api(url, (data / "admin.key").read_text("ascii").strip())
            prepare(api, provider.url)
            warm = counted(api)
            seen.arrived.clear()
            pids = {kind: process_of(data, kind) for kind in ("gateway", "scribe")}
            memory = asyncio.run(traffic(port, api.key, seen, pids))
            with suppress(SystemExit):
                wait(lambda: counted(api) - warm == seen.outcomes, "the counts", 20)
            with suppress(SystemExit):
                wait(lambda: not connections_to(provider.port), "no connections", 90)
            return report(seen, memory, counted(api) - warm, connections_to(provider.port))


if __name__ == "__main__":
    sys.exit(min(main(), 1))
