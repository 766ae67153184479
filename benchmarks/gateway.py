"""CPU per request of a gateway beside nginx's proxy_pass: same upstream, same load, one run.

Prints ratios and gates nothing. Needs nginx; both proxies are held to one core, the upstream and
the callers to the other. CPU is what the operating system charged the proxy's process.

    python benchmarks/gateway.py [seconds per measurement]
"""

import asyncio
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final, cast

from headway.demo.server import Api, headway
from headway.wire.loop import loop_factory

SECONDS: Final = float(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1][0] != "-" else 4.0
ROUNDS: Final = 3
CONNECTIONS: Final = 32
UPSTREAM: Final = 18_431
NGINX: Final = 18_432
HEADWAY: Final = 18_433
PROXY_CORE: Final = {0}
OTHER_CORE: Final = {1} if (os.cpu_count() or 1) > 1 else {0}
TICK: Final = os.sysconf("SC_CLK_TCK")


def answer(sentences: int) -> bytes:
    body = json.dumps(
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
    ).encode()
    return b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


ANSWERS: Final = [answer(sentences) for sentences in range(27, 34)]
"""No two in a row are of one length: in life neither are requests nor answers."""
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
                asyncio.get_running_loop().create_task(self._stream())
            else:
                date = formatdate(usegmt=True).encode()
                head = b"HTTP/1.1 200 OK\r\ndate: %b\r\nserver: bench\r\n" % date
                self.transport.write(head + next(self._answers))

    async def _stream(self) -> None:
        self.transport.write(STREAM_HEAD)
        for event in EVENTS:
            self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(0)
        self.transport.write(b"0\r\n\r\n")


@dataclass
class Load:
    """So many callers on kept connections, each asking again as soon as it was answered."""

    port: int
    requests: list[bytes]
    done: int = 0
    failed: int = 0
    milliseconds: list[float] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._caller(end) for _ in range(CONNECTIONS)))

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
        writer.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def posts(path: str, model: str, key: str, *, size: int, stream: bool = False) -> list[bytes]:
    """Return requests of about one size, as one client writes them."""
    bodies = [chat(model, size=size + more, stream=stream) for more in range(-21, 22, 7)]
    return [post(path, body, key) for body in bodies]


def post(path: str, body: bytes, key: str) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (path.encode(), key.encode(), len(body), body)
    )


def measure(port: int, pid: int, requests: list[bytes]) -> tuple[float, float]:
    """Return CPU microseconds of the process per request, and the median latency in ms."""
    load = Load(port, requests)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(Load(port, requests).run(0.5))  # warm
        before = cpu_seconds(pid)
        runner.run(load.run(SECONDS))
    if load.failed:
        raise SystemExit(f"{load.failed} of {load.done} requests failed at port {port}")
    used = cpu_seconds(pid) - before
    return used / load.done * 1e6, statistics.median(load.milliseconds)


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


def gateway_of(data: Path) -> int:
    """Find the one gateway process that works on this data."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes()
            if b"gateway" in words and f"HEADWAY_DATA={data}".encode() in environment:
                return int(entry.name)
    raise SystemExit("no gateway is running")


def prepare(api: Api) -> None:
    """Register and deploy two chat models: one for splice, one for merge."""
    base = f"http://127.0.0.1:{UPSTREAM}/v1"
    plain = {"provider": "openai", "base_url": base, "model": "bench-upstream"}
    merged = plain | {
        "prompt": {"system": "You are the support desk of Acme."},
        "parameters": {"temperature": 0.2, "max_tokens": 300},
    }
    for name, target in (("splice", plain), ("merge", merged)):
        api.post("/models", {"name": name})
        api.post(f"/models/{name}/versions", {"version": "1.0.0", "target": target})
        plan = f"model: {name}\nto: 1.0.0\nstrategy: direct\nsteps:\n  - send: 100%\n"
        deployment = api.post_plan(plan)
        for _ in range(100):
            if api.get(f"/deployments/{deployment['id']}")["state"] == "succeeded":
                break
            time.sleep(0.1)
    time.sleep(1.0)


def main() -> None:
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
                pid = gateway_of(folder / "data")
                os.sched_setaffinity(pid, PROXY_CORE)
                report(api.key, pid, worker)
        finally:
            nginx.terminate()
            upstream.terminate()
            nginx.wait(10)
            upstream.wait(10)


def report(key: str, pid: int, worker: int) -> None:
    path = "/v1/chat/completions"
    cases = [
        ("1 KB chat call, splice", "splice", 900, False, 4.0),
        ("1 KB chat call, merge", "merge", 900, False, 6.0),
        ("34 KB prompt, splice", "splice", 34_000, False, 6.0),
        ("stream of 50 events", "splice", 900, True, 2.5),
    ]
    print(f"{'':24}{'headway µs':>12}{'nginx µs':>12}{'ratio':>8}{'budget':>8}")
    for name, model, size, stream, budget in cases:
        requests = posts(path, model, key, size=size, stream=stream)
        own, peer = [], []
        for _ in range(ROUNDS):  # interleaved: a noisy minute hits both
            own.append(measure(HEADWAY, pid, requests)[0])
            peer.append(measure(NGINX, worker, requests)[0])
        mine, other = statistics.median(own), statistics.median(peer)
        print(f"{name:24}{mine:12.1f}{other:12.1f}{mine / other:8.2f}{budget:8.1f}", flush=True)


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
    else:
        main()
