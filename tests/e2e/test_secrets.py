"""A secret in every field that takes text or a credential is seen in no answer, log or file."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.processes import free_port

from headway.supervisor import children
from headway.testing.provider import Received, Reply, ScriptedProvider
from headway.wiring.logs import hidden, redact

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
_PRIVATE = frozenset({"root.key", "admin.key"})
"""The only files that hold a secret in the clear."""
_PATIENCE = 30.0
_SECRETS = (
    "HEADWAY_ADMIN_KEY",
    "HEADWAY_DATABASE_URL",
    "HEADWAY_DATA",
    "HEADWAY_METRICS_TOKEN",
    "HEADWAY_ROOT_KEY",
    "HEADWAY_ROOT_KEY_FILE",
    "HEADWAY_SECRET_OPENAI",
    "HEADWAY_WEBHOOK_SECRET",
)


def canary(name: str) -> str:
    return f"CANARY{name}{secrets.token_hex(8)}"


@dataclass
class Watched:
    """A running Headway, and everything that it ever answered."""

    port: int
    data: Path
    key: str = ""
    answers: list[bytes] = field(default_factory=list)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Return the status and the JSON of an answer; keep all of it, head and body."""
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        sent = {"Content-Type": "application/json"} | dict(headers or {})
        sent["Authorization"] = f"Bearer {self.key if key is None else key}"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, content if method != "GET" else None, sent)
            answer = connection.getresponse()
            read = answer.read()
        finally:
            connection.close()
        self.answers.append(f"{answer.status} {answer.headers}".encode() + read)
        with suppress(ValueError):
            return answer.status, json.loads(read)
        return answer.status, None

    def until(self, method: str, path: str, *, wanted: int, body: object = None) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            with suppress(OSError):
                if self.call(method, path, body)[0] == wanted:
                    return
            assert time.monotonic() < deadline, f"{method} {path} never answered {wanted}"
            time.sleep(0.1)

    def measured(self, **outcomes: int) -> None:
        """Wait until so many requests of `bot`, by outcome, were handed over by the gateways."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            _, told = self.call("GET", "/api/v1/measurements?model=bot")
            found = Counter[str]()
            for item in told["items"]:
                found.update(item["outcomes"])
            if all(found[outcome] >= n for outcome, n in outcomes.items()):
                return
            assert time.monotonic() < deadline, found
            time.sleep(0.1)


@contextmanager
def serving(
    data: Path,
    settings: Mapping[str, str],
    log: Path,
    *,
    user: int | None = None,
    before: Sequence[str] = (),
) -> Iterator[Watched]:
    """Run `headway serve`, as another user if one is named, after the words `before`."""
    port = free_port()
    environment = os.environ | settings | {"HEADWAY_DATA": str(data), "HEADWAY_PORT": str(port)}
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [*before, sys.executable, "-m", "headway.cli", "serve"],
            env=environment | {"HEADWAY_GATEWAYS": "1", "HEADWAY_DRAIN_S": "1"},
            user=user,
            group=user,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        ) as process,
    ):
        watched = Watched(port, data)
        try:
            deadline = time.monotonic() + _PATIENCE
            while not (data / "admin.key").exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            watched.key = (data / "admin.key").read_text().strip()
            watched.until("GET", "/api/v1/models", wanted=200)
            yield watched
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE)


def quoting(credential: str) -> Reply:
    """Refuse as some providers do: with the caller's key in the words, and in a field."""
    return Reply(
        status=401,
        error=f"the key {credential} is wrong",
        headers={"x-api-key": credential, "set-cookie": credential},
    )


def test_a_secret_in_any_field_is_found_nowhere(tmp_path: Path) -> None:
    data, log = tmp_path / "d", tmp_path / "log"
    planted = {
        name: canary(name) for name in ("provider", "metrics", "url", "sent", "head", "text")
    }
    webhook = secrets.token_bytes(24).hex()
    settings = {
        "HEADWAY_SECRET_LAB": planted["provider"],
        "HEADWAY_SECRET_LAB_HOSTS": "127.0.0.1",
        "HEADWAY_METRICS_TOKEN": planted["metrics"],
        "HEADWAY_WEBHOOK_SECRET": f"whsec_{webhook}",
    }
    seen_upstream: list[Received] = []

    def script(received: Received) -> Reply:
        seen_upstream.append(received)
        if received.asked == "refuse":
            return quoting(planted["provider"])
        return Reply(text="Hello")

    with ScriptedProvider(script) as provider, serving(data, settings, log) as headway:
        keys = _use_everything(headway, provider, planted)
        private = [headway.key, *keys, (data / "root.key").read_text().strip(), webhook]
        command_lines = _command_lines()
        cores = _core_limits(headway.data)

    # control, gateway, runner and their supervisor
    assert len(cores) >= 4
    assert set(cores.values()) == {("0", "0")}
    assert any(planted["provider"] in str(r.headers) for r in seen_upstream)  # it was used
    assert not any(headway.key in str(r.headers) for r in seen_upstream)
    wanted = [*planted.values(), *private]
    for received in seen_upstream:
        head = {k: v for k, v in received.headers.items() if k.lower() != "authorization"}
        for secret in (s for s in wanted if s != planted["text"]):
            assert secret not in f"{received.path} {head} {received.body!r}", secret
        assert received.headers["authorization"] == f"Bearer {planted['provider']}"
    answers = b"\n".join(headway.answers)
    for secret in (s for s in wanted if s not in keys):  # a new key is answered once
        assert secret.encode() not in answers, secret
    for key in keys:
        assert sum(key.encode() in answer for answer in headway.answers) == 1
    for secret in wanted:
        assert secret not in log.read_text(), secret
        assert secret.encode() not in command_lines, secret
        for path in (p for p in data.rglob("*") if p.is_file() and p.name not in _PRIVATE):
            assert secret.encode() not in path.read_bytes(), (secret, path)


def _use_everything(
    headway: Watched, provider: ScriptedProvider, planted: Mapping[str, str]
) -> list[str]:
    """Make, deploy, call, fail and refuse with a secret wherever one may be put; return keys."""
    call = headway.call
    _, made = call("POST", "/api/v1/keys", {"name": "caller", "role": "caller"})
    _, gone = call("POST", "/api/v1/keys", {"name": "gone", "role": "deployer"})
    call("DELETE", f"/api/v1/keys/{gone['id']}")
    target = {"provider": "openai", "base_url": provider.url, "model": "m", "credential": "lab"}
    assert call("POST", "/api/v1/models", {"name": "bot"})[0] == 201
    for wrong in (
        {"base_url": f"http://user:{planted['url']}@127.0.0.1:9/v1"},
        {"headers": {"Authorization": f"Bearer {planted['head']}"}},
        {"credential": planted["sent"] + "/"},
        {"api_key": planted["sent"]},
    ):
        status, _ = call(
            "POST", "/api/v1/models/bot/versions", {"version": "9.0.0", "target": target | wrong}
        )
        assert status == 422, wrong
    created = call("POST", "/api/v1/models/bot/versions", {"version": "1.0.0", "target": target})
    assert created[0] == 201
    assert call("POST", "/api/v1/deployments", {"model": "bot", "to": "1.0.0"})[0] == 201
    chat = {"model": "bot", "messages": [{"role": "user", "content": planted["text"]}]}
    headway.until("POST", "/v1/chat/completions", wanted=200, body=chat)
    for words in ("refuse", planted["text"]):
        body = {"model": "bot", "messages": [{"role": "user", "content": words}]}
        status, _ = call(
            "POST",
            "/v1/chat/completions",
            body,
            key=made["key"],
            headers={
                "Headway-Conversation": planted["text"],
                "Headway-User": planted["text"],
                "Cookie": planted["head"],
                "X-Api-Key-Other": planted["head"],
            },
        )
        assert status == (502 if words == "refuse" else 200)
    for path in ("/api/v1/models", "/v1/chat/completions", "/v2/models/bot/infer", "/metrics"):
        for unknown in (planted["sent"], f"hw_abcdefgh_{planted['sent']}", gone["key"]):
            method = "POST" if path.startswith("/v1/chat") else "GET"
            assert call(method, path, chat, key=unknown)[0] in {401, 405}
    assert call("GET", "/metrics", key=planted["metrics"])[0] == 200
    # Broken bodies and questions: what cannot be read is not quoted at length, and not logged.
    call("POST", "/v1/chat/completions", b"{" + planted["text"].encode())
    call("POST", "/api/v1/models", b'{"name": ' + planted["text"].encode())
    call("GET", f"/api/v1/nothing/here?token={planted['text']}")
    for path in ("/readyz", "/metrics", "/api/v1/keys", "/api/v1/deployments", "/v2/models/bot"):
        call("GET", path)
    call("GET", "/api/v1/models/bot/versions/1.0.0")
    headway.measured(ok=2, provider=1)  # and so in the database
    return [made["key"], gone["key"]]


def _command_lines() -> bytes:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            found.append((entry / "cmdline").read_bytes())
    return b"\n".join(found)


def _core_limits(data: Path) -> dict[int, tuple[str, str]]:
    """Return how large a core file each process of that Headway may leave, soft and hard."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            if f"HEADWAY_DATA={data}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                (line,) = (
                    line
                    for line in (entry / "limits").read_text().splitlines()
                    if line.startswith("Max core file size")
                )
                soft, hard = line.split()[4:6]
                found[pid] = (soft, hard)
    return found


def test_a_second_serve_on_the_same_data_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    with serving(tmp_path / "d", {}, tmp_path / "log") as headway:
        second = subprocess.run(
            [sys.executable, "-m", "headway.cli", "serve"],
            env=os.environ | {"HEADWAY_DATA": str(tmp_path / "d"), "HEADWAY_PORT": "0"},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert second.returncode != 0
        assert "another `headway serve`" in second.stderr
        assert headway.call("GET", "/api/v1/models")[0] == 200


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADWAY_PORT", "CANARY"),
        ("HEADWAY_TRUSTED_PROXIES", "CANARY"),
        ("HEADWAY_OUTBOUND_CA", "/CANARY"),
        ("HEADWAY_WEBHOOK_SECRET", "whsec_CANARY!"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line_without_its_value(
    tmp_path: Path, variable: str, value: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "serve"],
        env=os.environ | {"HEADWAY_DATA": str(tmp_path / "d"), variable: value},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 78
    assert done.stderr.startswith(f"headway: {variable}: ")
    assert len(done.stderr.splitlines()) == 1
    assert "CANARY" not in done.stderr


def test_no_child_is_told_a_secret_that_is_none_of_its_business() -> None:
    told = {child.name: child.reads(dict.fromkeys(_SECRETS, "x")) for child in children(1)}
    assert set(told["runner"]) == {"HEADWAY_DATA"}
    assert "HEADWAY_SECRET_OPENAI" not in told["control"]
    assert not {"HEADWAY_ADMIN_KEY", "HEADWAY_WEBHOOK_SECRET"} & set(told["gateway 1"])
    assert {"HEADWAY_SECRET_OPENAI", "HEADWAY_ROOT_KEY"} <= set(told["gateway 1"])


def test_what_a_variable_hides_is_struck_out_of_logs() -> None:
    environment = {
        "HEADWAY_SECRET_LAB": "no-pattern-would-find-this",
        "HEADWAY_SECRET_LAB_HOSTS": "api.example.com",
        "HEADWAY_DATABASE_URL": "postgresql+psycopg://me:of-the-database@db/x",
        "HEADWAY_DATA": "/var/lib/headway",
    }
    given = hidden(environment)
    assert set(given) == {"no-pattern-would-find-this", "of-the-database"}
    text = "no-pattern-would-find-this and of-the-database went to api.example.com"
    assert redact(text, given) == "[secret] and [secret] went to api.example.com"


def test_everybodys_folder_is_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "serve"],
        env=os.environ | {"HEADWAY_DATA": str(tmp_path / "d"), "HEADWAY_RUN": str(shared)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 78
    assert "everybody's folder" in done.stderr
    assert shared.stat().st_mode & 0o7777 == 0o1777


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "headway.cli", "serve"],
            env=os.environ | {"HEADWAY_DATA": str(tmp_path / "d"), "HEADWAY_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode != 0
    assert f"127.0.0.1:{port} cannot be bound" in done.stderr
    assert len(done.stderr.splitlines()) == 1
