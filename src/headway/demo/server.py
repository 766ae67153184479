"""The Headway of the story: the real `headway serve`, as a child of this process."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import httpx2

_PATIENCE: Final = 60.0
_STOP: Final = 45.0


class Api:
    """The REST API, through the public port, as anybody would use it."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self._http = httpx2.Client(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=30.0,
            trust_env=False,
        )

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return self._done(self._patiently(lambda: self._http.get(path)))

    def post(self, path: str, body: Any) -> Any:  # noqa: ANN401 - JSON
        once = _once()
        return self._done(self._patiently(lambda: self._http.post(path, json=body, headers=once)))

    def ask(self, path: str, body: Any) -> None:  # noqa: ANN401 - JSON
        """Post what may be said twice; 409: it was heard the first time."""
        answer = self._patiently(lambda: self._http.post(path, json=body))
        if answer.status_code != 409:
            self._done(answer)

    def post_plan(self, plan: str) -> Any:  # noqa: ANN401 - JSON
        headers = {"Content-Type": "application/yaml"} | _once()
        return self._done(
            self._patiently(lambda: self._http.post("/deployments", content=plan, headers=headers))
        )

    def upload(self, content: bytes) -> str:
        upload = self._patiently(lambda: self._http.post("/artifacts", content=content))
        digest: str = self._done(upload)["digest"]
        return digest

    @staticmethod
    def _patiently(call: Callable[[], httpx2.Response]) -> httpx2.Response:
        """Call again while control is being started anew; a key of its own makes that harmless."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                answer = call()
                if answer.status_code < 500 or time.monotonic() > deadline:
                    return answer
            except httpx2.HTTPError as error:
                if time.monotonic() > deadline:
                    raise click.ClickException(f"no answer: {error!r}") from error
            time.sleep(0.3)

    @staticmethod
    def _done(answer: httpx2.Response) -> Any:  # noqa: ANN401 - JSON
        if answer.status_code >= 400:
            request = answer.request
            raise click.ClickException(
                f"{request.method} {request.url.path}: {answer.status_code} {answer.text}"
            )
        return answer.json()


def _once() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


class Taken(click.ClickException):
    """Somebody serves there: nothing of his is touched."""

    exit_code = 75


def check_free(*, data: Path, port: int) -> None:
    """Raise `Taken` if somebody listens on the port, or a Headway works on the data."""
    advice = "end it first (Ctrl-C where it runs), or choose others with --port and --data"
    with closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            where = f"http://127.0.0.1:{port} ({error.strerror})"
            raise Taken(
                f"something listens already at {where}; if it is a Headway, {advice}"
            ) from error
    run = Path(os.environ.get("HEADWAY_RUN", data / "run"))
    with suppress(FileNotFoundError), (run / "serve.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Taken(f"a Headway works on {data} already; {advice}") from error


class AdminKey(NamedTuple):
    """The key that this Headway gave out at its first start."""

    text: str
    file: Path | None
    """Where it stands; None: it was shown at a terminal, and is in HEADWAY_KEY."""


def admin_key(data: Path) -> AdminKey:
    """Find the admin key, or say where it was."""
    path = data / "admin.key"
    with suppress(FileNotFoundError):
        return AdminKey(path.read_text("ascii").strip(), path)
    if key := os.environ.get("HEADWAY_KEY"):
        return AdminKey(key, None)
    raise click.ClickException(
        f"{data} has served before, and its admin key was shown at a terminal: set HEADWAY_KEY to "
        "it, or choose other data with --data"
    )


@contextmanager
def headway(*, data: Path, port: int) -> Iterator[str]:
    """Run `headway serve` until the block ends; yields its address once it answers."""
    environment = os.environ | {
        "HEADWAY_DATA": str(data),
        "HEADWAY_HOST": "127.0.0.1",
        "HEADWAY_PORT": str(port),
    }
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = data / "headway.log"
    with log.open("ab") as stream:  # no terminal: so the admin key goes into its file
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "headway.cli", "serve", "--until-input-ends"],
            env=environment,
            stdin=subprocess.PIPE,  # however this process ends, that does too
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url, log)
        yield url
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            words = log.read_text("utf-8", "replace").splitlines()[-5:]
            raise click.ClickException("\n".join(["headway serve did not start:", *words]))
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"{url}/api/v1/openapi.json", trust_env=False).status_code in (200, 401):
                return
        time.sleep(0.1)
    raise click.ClickException(f"headway serve did not answer within {_PATIENCE:g} s")
