"""CPU per request of a gateway beside nginx's proxy_pass: same upstream, same load, one run.

Prints ratios and gates nothing. Needs nginx; both proxies are held to one core, the upstream and
the callers to the other. CPU is what the operating system charged the proxy's process, and for
ours also the scribe, which speaks to the database for it. Beside the CPU: how much later an answer
comes than through nginx at 20 requests a second, what a thousand streams at once hold in memory,
and what a control plane that is kept busy does to the traffic.

    python benchmarks/gateway.py [seconds per measurement] [--json FILE] [--litellm PROGRAM]

`--json` keeps every single measurement; `--litellm` measures LiteLLM's proxy too, by its program
in an environment of its own (`pip install 'litellm[proxy]'`: its pins are not ours).
"""

import argparse
import asyncio
import itertools
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final, cast

from headway.demo.server import Api, headway
from headway.wire.loop import loop_factory

ROUNDS: Final = 3
CONNECTIONS: Final = 32
UPSTREAM: Final = 18_431
NGINX: Final = 18_432
HEADWAY: Final = 18_433
LITELLM: Final = 18_434
PACE: Final = 20.0
"""Requests a second, where it is measured how much later an answer comes."""
STREAMS: Final = 1_000
CHAT_PATH: Final = "/v1/chat/completions"
PROXY_CORE: Final = {0}
OTHER_CORE: Final = {1} if (os.cpu_count() or 1) > 1 else {0}
TICK: Final = os.sysconf("SC_CLK_TCK")


def whole(document: dict[str, Any]) -> bytes:
    body = json.dumps(document).encode()
    return b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def answer(sentences: int) -> bytes:
    return whole(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "bench",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "It is on its way. " * sentences},
                }
            ],
            "usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350},
        }
    )


def message(sentences: int) -> bytes:
    return whole(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "bench",
            "content": [{"type": "text", "text": "It is on its way. " * sentences}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 200, "output_tokens": 150},
        }
    )


ANSWERS: Final = [answer(sentences) for sentences in range(27, 34)]
"""No two in a row are of one length: in life neither are requests nor answers."""
MESSAGES: Final = [message(sentences) for sentences in range(27, 34)]
"""The same in Anthropic's words."""
_CHUNK: Final = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "bench"}


def _event(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % json.dumps(_CHUNK | {"choices": [choice]}).encode()


EVENTS: Final = [
    *(_event({"content": f"word {number} "}, None) for number in range(48)),
    _event({}, "stop"),
    b"data: [DONE]\n\n",
]
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def chat(model: str, *, size: int, stream: bool = False) -> bytes:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "x" * size}],
    }
    if stream:
        # The caller asks for usage, so that a stream, too, changes only the model's name.
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


class Upstream(asyncio.Protocol):
    """A provider that answers at once: whole, or as 50 events in writes of their own."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._answers = itertools.cycle(ANSWERS)
        self._messages = itertools.cycle(MESSAGES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        while (end := self._bytes.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._bytes[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._bytes) < end + 4 + length:
                return
            body = bytes(self._bytes[end + 4 : end + 4 + length])
            del self._bytes[: end + 4 + length]
            if b'"stream": true' in body or b'"stream":true' in body:
                gap = 0.5 if b"slowly" in body else 0.0
                asyncio.get_running_loop().create_task(self._stream(gap))
            else:
                date = formatdate(usegmt=True).encode()
                start = b"HTTP/1.1 200 OK\r\ndate: %b\r\nserver: bench\r\n" % date
                line = head.split(b"\r\n", 1)[0]
                said = self._messages if b"/v1/messages" in line else self._answers
                self.transport.write(start + next(said))

    async def _stream(self, gap: float) -> None:
        self.transport.write(STREAM_HEAD)
        for event in EVENTS:
            if self.transport.is_closing():
                return
            self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(gap)
        self.transport.write(b"0\r\n\r\n")


@dataclass
class Load:
    """So many callers on kept connections, each asking again as soon as it was answered."""

    port: int
    requests: list[bytes]
    callers: int = CONNECTIONS
    pause: float = 0.0
    """Seconds of a caller between two requests."""
    done: int = 0
    failed: int = 0
    milliseconds: list[float] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._caller(end) for _ in range(self.callers)))

    async def _caller(self, end: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        requests = itertools.cycle(self.requests)
        while time.monotonic() < end:
            began = time.monotonic()
            writer.write(next(requests))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                self.failed += 1
            at = head.find(b"content-length:")
            if at >= 0:
                await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
            else:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readline()
            self.done += 1
            self.milliseconds.append((time.monotonic() - began) * 1000)
            if self.pause:
                await asyncio.sleep(self.pause)
        writer.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def posts(path: str, model: str, key: str, *, size: int, stream: bool = False) -> list[bytes]:
    """Return requests of about one size, as one client writes them."""
    bodies = [chat(model, size=size + more, stream=stream) for more in range(-21, 22, 7)]
    return [post(path, body, key) for body in bodies]


def traced(requests: list[bytes]) -> list[bytes]:
    """Return the same requests with a head that is another one each time, as tracers make them."""
    line = b"host: 127.0.0.1\r\n"
    return [
        request.replace(line, b"%btraceparent: 00-%032x-%016x-01\r\n" % (line, n, n), 1)
        for n, request in zip(range(1, 1_000), itertools.cycle(requests), strict=False)
    ]


def post(path: str, body: bytes, key: str) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (path.encode(), key.encode(), len(body), body)
    )


def put_load(load: Load, seconds: float) -> Load:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(load.run(seconds))
    if load.failed:
        raise SystemExit(f"{load.failed} of {load.done} requests failed at port {load.port}")
    return load


def measure(port: int, pids: Sequence[int], requests: list[bytes], seconds: float) -> float:
    """Return CPU microseconds of the processes per request."""
    put_load(Load(port, requests), 0.5)  # warm
    before = sum(map(cpu_seconds, pids))
    load = put_load(Load(port, requests), seconds)
    return (sum(map(cpu_seconds, pids)) - before) / load.done * 1e6


def resident(pid: int) -> float:
    """Return the resident memory of a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


NGINX_CONF: Final = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000; client_max_body_size 64m; client_body_buffer_size 1m;
  upstream u {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def start_nginx(folder: Path) -> tuple["subprocess.Popen[bytes]", int]:
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    conf = folder / "nginx.conf"
    conf.write_text(NGINX_CONF.format(folder=folder, upstream=UPSTREAM, port=NGINX), "ascii")
    master = subprocess.Popen([binary, "-c", str(conf), "-p", str(folder)])
    for _ in range(100):
        time.sleep(0.05)
        for worker in children_of(master.pid):
            os.sched_setaffinity(worker, PROXY_CORE)
            return master, worker
    raise SystemExit("nginx did not start")


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [int(child) for child in found]


def process_of(data: Path, kind: str) -> int:
    """Find the one process of a kind that works on this data."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes()
            if kind.encode() in words and f"HEADWAY_DATA={data}".encode() in environment:
                return int(entry.name)
    raise SystemExit(f"no {kind} is running")


def prepare(api: Api) -> None:
    """Register and deploy three chat models: for splice, for merge, and for translation."""
    base = f"http://127.0.0.1:{UPSTREAM}"
    plain = {"provider": "openai", "base_url": f"{base}/v1", "model": "bench-upstream"}
    merged = plain | {
        "prompt": {"system": "You are the support desk of Acme."},
        "parameters": {"temperature": 0.2, "max_tokens": 300},
    }
    other: dict[str, Any] = {"provider": "anthropic", "base_url": base, "model": "bench-upstream"}
    other |= {"parameters": {"max_tokens": 300}}
    for name, target in (("splice", plain), ("merge", merged), ("translate", other)):
        api.post("/models", {"name": name})
        api.post(f"/models/{name}/versions", {"version": "1.0.0", "target": target})
        plan = f"model: {name}\nto: 1.0.0\nstrategy: direct\nsteps:\n  - send: 100%\n"
        deployment = api.post_plan(plan)
        for _ in range(100):
            if api.get(f"/deployments/{deployment['id']}")["state"] == "succeeded":
                break
            time.sleep(0.1)
    time.sleep(1.0)


@dataclass
class Report:
    """Prints what was measured, and keeps all of it."""

    seconds: float
    raw: dict[str, Any] = field(default_factory=dict)

    def ratio(self, name: str, own: list[float], peer: list[float], budget: float | None) -> None:
        self.raw[name] = {"headway_us": own, "nginx_us": peer, "budget": budget}
        mine, other = statistics.median(own), statistics.median(peer)
        ratios = sorted(a / b for a, b in zip(own, peer, strict=True))
        spread = f"{ratios[0]:.2f} - {ratios[-1]:.2f}"
        told = "" if budget is None else f"{budget:.1f}"
        print(
            f"{name:32}{mine:12.1f}{other:12.1f}{mine / other:8.2f}{spread:>14}{told:>8}",
            flush=True,
        )

    def value(self, name: str, values: Sequence[float], unit: str, budget: float | None) -> None:
        self.raw[name] = {"values": list(values), "unit": unit, "budget": budget}
        low, middle, high = min(values), statistics.median(values), max(values)
        told = "" if budget is None else f"   budget {budget:g} {unit}"
        print(f"{name:48}{middle:9.2f} {unit} ({low:.2f} - {high:.2f}){told}", flush=True)


def cpu_of_calls(report: Report, key: str, pids: Sequence[int], worker: int) -> None:
    print(f"{'':32}{'headway µs':>12}{'nginx µs':>12}{'ratio':>8}{'min - max':>14}{'budget':>8}")
    cases: list[tuple[str, list[bytes], float | None]] = [
        ("1 KB chat call, splice", posts(CHAT_PATH, "splice", key, size=900), 4.0),
        ("the same, every head new", traced(posts(CHAT_PATH, "splice", key, size=900)), None),
        ("1 KB chat call, merge", posts(CHAT_PATH, "merge", key, size=900), 6.0),
        ("1 KB chat call, translate", posts(CHAT_PATH, "translate", key, size=900), 10.0),
        ("34 KB prompt, splice", posts(CHAT_PATH, "splice", key, size=34_000), 6.0),
        ("stream of 50 events", posts(CHAT_PATH, "splice", key, size=900, stream=True), 2.5),
    ]
    for name, requests, budget in cases:
        own, peer = [], []
        for _ in range(ROUNDS):  # interleaved: a noisy minute hits both
            own.append(measure(HEADWAY, pids, requests, report.seconds))
            peer.append(measure(NGINX, [worker], requests, report.seconds))
        report.ratio(name, own, peer, budget)


def paced(port: int, requests: list[bytes], seconds: float, rate: float = PACE) -> list[float]:
    """Return how long answers took, ms, at so many requests a second."""
    callers = 4
    load = Load(port, requests, callers=callers, pause=callers / rate)
    return put_load(load, seconds).milliseconds


def added_latency(report: Report, key: str) -> None:
    requests = posts(CHAT_PATH, "splice", key, size=900)
    added = []
    for _ in range(ROUNDS):
        own = statistics.median(paced(HEADWAY, requests, report.seconds * 2))
        peer = statistics.median(paced(NGINX, requests, report.seconds * 2))
        added.append(own - peer)
    report.value(f"added p50 at {PACE:g} requests/s over nginx", added, "ms", 0.4)


async def _hold_streams(request: bytes, pid: int) -> float:
    """Return what the gateway holds while so many streams are under way, MB."""

    async def one() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", HEADWAY)
        writer.write(request)
        await reader.readuntil(b"data: ")
        return writer

    writers = []
    for _ in range(STREAMS // 100):
        writers += await asyncio.gather(*(one() for _ in range(100)))
    await asyncio.sleep(2)
    held = resident(pid)
    for writer in writers:
        writer.close()
    return held


def memory_of_streams(report: Report, key: str, pid: int) -> None:
    request = post(
        CHAT_PATH, chat("splice", size=900, stream=True).replace(b"xxxxxx", b"slowly", 1), key
    )
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        held = runner.run(_hold_streams(request, pid))
    report.value(f"resident with {STREAMS:,} streams at once", [held], "MB", 60.0)


@contextmanager
def busy_control(key: str) -> Iterator[None]:
    """Keep the control plane as busy as eight callers can, from a process of their own."""
    callers = subprocess.Popen([sys.executable, __file__, "--busy"], env=os.environ | {"KEY": key})
    try:
        time.sleep(2.0)
        yield
    finally:
        callers.terminate()
        callers.wait(10)


def keep_control_busy() -> None:
    """Ask for a list of models, by eight callers at once, until somebody ends this process."""
    request = (
        b"GET /api/v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %b\r\n\r\n"
        % os.environ["KEY"].encode()
    )
    while True:
        with suppress(SystemExit), asyncio.Runner() as runner:
            runner.run(Load(HEADWAY, [request], callers=8).run(60))


def beside_a_busy_control(report: Report, key: str, upstream: int) -> None:
    """Stand on the gateway's core with the upstream: control and its callers use up the other."""
    requests = posts(CHAT_PATH, "splice", key, size=900)
    found: dict[str, list[float]] = {"p50": [], "p99": []}
    os.sched_setaffinity(upstream, PROXY_CORE)
    os.sched_setaffinity(0, PROXY_CORE)
    for _ in range(ROUNDS):
        idle = statistics.quantiles(paced(HEADWAY, requests, report.seconds * 2, 100.0), n=100)
        os.sched_setaffinity(0, OTHER_CORE)
        with busy_control(key):
            os.sched_setaffinity(0, PROXY_CORE)
            busy = statistics.quantiles(paced(HEADWAY, requests, report.seconds * 2, 100.0), n=100)
        found["p50"].append(busy[49] / idle[49])
        found["p99"].append(busy[98] / idle[98])
    os.sched_setaffinity(0, OTHER_CORE)
    os.sched_setaffinity(upstream, OTHER_CORE)
    report.value("p50 beside a busy control, times idle", found["p50"], "x", None)
    report.value("p99 beside a busy control, times idle", found["p99"], "x", 2.0)


def litellm(report: Report, folder: Path, program: Path, worker: int) -> None:
    """Measure LiteLLM's proxy as it comes: one worker, the same call, the same upstream."""
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: splice\n    litellm_params:\n"
        f"      model: openai/bench\n      api_base: http://127.0.0.1:{UPSTREAM}/v1\n"
        "      api_key: none\n",
        "ascii",
    )
    words = [str(program), "--config", str(config), "--port", str(LITELLM), "--host", "127.0.0.1"]
    key = "sk-" + secrets.token_hex(24)
    local = os.environ | {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    process = subprocess.Popen(
        words, env=local, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        os.sched_setaffinity(process.pid, PROXY_CORE)
        requests = posts(CHAT_PATH, "splice", key, size=900)
        for _ in range(120):
            time.sleep(0.5)
            with suppress(OSError, SystemExit, asyncio.IncompleteReadError):
                put_load(Load(LITELLM, requests, callers=1), 0.2)
                break
        pids = [process.pid, *children_of(process.pid)]
        own, peer = [], []
        for _ in range(ROUNDS):
            own.append(measure(LITELLM, pids, requests, report.seconds))
            peer.append(measure(NGINX, [worker], requests, report.seconds))
        report.ratio("LiteLLM, 1 KB chat call", own, peer, None)
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    reader = argparse.ArgumentParser()
    reader.add_argument("seconds", nargs="?", type=float, default=4.0)
    reader.add_argument("--json", type=Path)
    reader.add_argument("--litellm", type=Path, metavar="PROGRAM")
    wanted = reader.parse_args()
    report = Report(wanted.seconds)
    os.sched_setaffinity(0, OTHER_CORE)
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        upstream = subprocess.Popen([sys.executable, __file__, "--upstream"])
        nginx, worker = start_nginx(folder)
        os.environ |= {"HEADWAY_GATEWAYS": "1"}
        try:
            with headway(data=folder / "data", port=HEADWAY) as url:
                api = Api(url, (folder / "data" / "admin.key").read_text("ascii").strip())
                prepare(api)
                pid, scribe = (process_of(folder / "data", k) for k in ("gateway", "scribe"))
                for each in (pid, scribe):
                    os.sched_setaffinity(each, PROXY_CORE)
                cpu_of_calls(report, api.key, [pid, scribe], worker)
                added_latency(report, api.key)
                memory_of_streams(report, api.key, pid)
                report.value(
                    "resident of the scribe, for all gateways", [resident(scribe)], "MB", None
                )
                beside_a_busy_control(report, api.key, upstream.pid)
            if wanted.litellm is not None:
                litellm(report, folder, wanted.litellm, worker)
        finally:
            nginx.terminate()
            upstream.terminate()
            nginx.wait(10)
            upstream.wait(10)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(report.raw, indent=1), "utf-8")


async def _upstream() -> None:
    server = await asyncio.get_running_loop().create_server(
        Upstream, "127.0.0.1", UPSTREAM, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    if "--upstream" in sys.argv:
        os.sched_setaffinity(0, OTHER_CORE)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_upstream())
    elif "--busy" in sys.argv:
        keep_control_busy()
    else:
        main()
