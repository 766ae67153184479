"""Gateways are renewed while new connections come: how many of these fail.

Two gateways of a real `headway serve` on one socket; so many connections a second, each new and
with one chat call on it, come on time whether the others were answered or not. After a while the
supervisor is told to renew its gateways, twice. Fails if a single call does.

    python benchmarks/renewal.py [connections per second] [seconds]
"""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headway.demo.server import Api, headway
from headway.wire.loop import loop_factory

RATE: Final = float(sys.argv[1]) if len(sys.argv) > 1 else 500.0
SECONDS: Final = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
PORT: Final = 18_461
UPSTREAM: Final = 18_431
PATIENCE: Final = 30.0
BODY: Final = b'{"model": "bot", "messages": [{"role": "user", "content": "hello"}]}'


@dataclass
class Seen:
    answers: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)


async def call(request: bytes, seen: Seen) -> None:
    """Open a connection, ask once, and say how it ended."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(request)
            got = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as error:
        seen.answers[type(error).__name__] += 1
        return
    whole = got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"}")
    seen.answers["answered" if whole else got[:12].decode("latin-1") or "nothing"] += 1
    seen.milliseconds.append((time.monotonic() - began) * 1000)


async def load(request: bytes, seen: Seen, supervisor: int) -> None:
    """Start calls on time; tell the supervisor at a quarter and at a half of it."""
    began = time.monotonic()
    tasks: set[asyncio.Task[None]] = set()
    told = [SECONDS / 4, SECONDS / 2]
    started = 0
    while (now := time.monotonic() - began) < SECONDS:
        if told and now >= told[0]:
            del told[0]
            os.kill(supervisor, signal.SIGUSR1)
        while started < now * RATE:
            started += 1
            task = asyncio.create_task(call(request, seen))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)


def processes_of(data: Path, word: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes()
            if word.encode() in words and f"HEADWAY_DATA={data}".encode() in environment:
                found.append(int(entry.name))
    return found


def prepare(api: Api) -> None:
    target = {"provider": "openai", "base_url": f"http://127.0.0.1:{UPSTREAM}/v1", "model": "up"}
    api.post("/models", {"name": "bot"})
    api.post("/models/bot/versions", {"version": "1.0.0", "target": target})
    made = api.post_plan("model: bot\nto: 1.0.0\nstrategy: direct\nsteps: [{send: 100%}]\n")
    for _ in range(300):
        if api.get(f"/deployments/{made['id']}")["state"] == "succeeded":
            return
        time.sleep(0.1)
    raise SystemExit("the version does not serve")


def main() -> int:
    seen = Seen()
    upstream = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("gateway.py")), "--upstream"]
    )
    try:
        with tempfile.TemporaryDirectory(prefix="hw-renewal-") as name:
            data = Path(name) / "data"
            os.environ |= {"HEADWAY_GATEWAYS": "2"}
            with headway(data=data, port=PORT) as url:
                api = Api(url, (data / "admin.key").read_text("ascii").strip())
                prepare(api)
                [supervisor] = processes_of(data, "headway.supervisor")
                before = processes_of(data, "gateway")
                request = (
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
                    b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
                    % (api.key.encode(), len(BODY), BODY)
                )
                with asyncio.Runner(loop_factory=loop_factory()) as runner:
                    runner.run(load(request, seen, supervisor))
                log = (data / "headway.log").read_text("utf-8", "replace")
                renewed = log.count("was renewed")
                left = set(before) & set(processes_of(data, "gateway"))
    finally:
        upstream.terminate()
        upstream.wait(10)
    failed = seen.answers.total() - seen.answers["answered"]
    cuts = statistics.quantiles(seen.milliseconds, n=100)
    print(f"{seen.answers.total():,} new connections in {SECONDS:g} s, {failed} failed")
    print(f"{renewed} renewals of 2 gateways; {dict(seen.answers)}")
    print(f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, longest {max(seen.milliseconds):.0f} ms")
    return 1 if failed or left or renewed < len(before) else 0


if __name__ == "__main__":
    sys.exit(main())
