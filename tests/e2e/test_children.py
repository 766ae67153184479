"""What the supervisor's children start with, and how the supervisor ends."""

import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import httpx2
from tests.chaos.running import until
from tests.e2e.processes import free_port, processes_of

from headway.supervisor import MISCONFIGURED, Child, Supervisor, _Running, children


def gateway() -> Child:
    return next(child for child in children(1) if "gateway" in child.words)


def test_gateways_keep_the_memory_of_one_request_for_the_next() -> None:
    told = gateway().reads({"PATH": "/bin"})
    assert told["PATH"] == "/bin"
    assert int(told["MALLOC_TRIM_THRESHOLD_"]) >= 1 << 20


def test_each_is_told_only_the_secrets_that_it_needs() -> None:
    secrets = {
        "HEADWAY_DATABASE_URL": "d",
        "HEADWAY_ROOT_KEY": "r",
        "HEADWAY_SECRET_OPENAI": "p",
        "HEADWAY_ADMIN_KEY": "a",
    }
    told = {
        child.name: "".join(
            sorted(child.reads(secrets)[name] for name in secrets if name in child.reads(secrets))
        )
        for child in children(1)
    }
    assert told == {"control": "adr", "scribe": "d", "gateway 1": "pr", "runner": ""}


def test_what_the_user_sets_is_left_alone() -> None:
    assert gateway().reads({"MALLOC_TRIM_THRESHOLD_": "7"})["MALLOC_TRIM_THRESHOLD_"] == "7"


def test_a_supervisor_that_is_told_to_end_before_it_can_listen_ends_well(tmp_path: Path) -> None:
    settings = {"HEADWAY_DATA": str(tmp_path / "d"), "HEADWAY_PORT": str(free_port())}
    with subprocess.Popen(
        [sys.executable, "-m", "headway.cli", "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | settings,
    ) as serve:
        words = Path(f"/proc/{serve.pid}/cmdline")
        while b"headway.supervisor" not in words.read_bytes():  # it has just taken the place
            assert serve.poll() is None
        serve.send_signal(signal.SIGINT)
        said, _ = serve.communicate(timeout=60)

    assert serve.returncode == 0
    assert b"Traceback" not in said


def test_settings_that_are_wrong_from_the_start_end_everything_and_later_ones_nothing() -> None:
    said: list[str] = []
    with socket.socket() as listener:
        supervisor = Supervisor((), listener, {}, {}, 0, drain_s=0, say=said.append)
        new, old = _Running(children(1)[0], born=100.0), _Running(children(1)[0], born=100.0)

        supervisor._died(old, 1, now=200.0)
        old.born = 200.0
        supervisor._died(old, MISCONFIGURED, now=200.5)
        assert "starting it again" in said[-1]
        assert supervisor._signals == []

        supervisor._died(new, MISCONFIGURED, now=100.5)
        assert "refuses to start" in said[-1]
        assert supervisor._signals == [signal.SIGTERM]


@contextmanager
def importing(words: Sequence[str], **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command and hand it over when it is in the middle of its imports."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "headway.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | settings,
    ) as process:
        assert process.stderr is not None
        while b"click" not in process.stderr.readline():
            assert process.poll() is None
        yield process
        process.kill()


def test_ctrl_c_at_once_ends_a_command_without_a_word() -> None:
    with importing(["models", "list"]) as command:
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=60)

    assert b"Traceback" not in said
    assert command.returncode in {-signal.SIGINT, 130}


def test_a_renewal_that_is_asked_for_too_early_ends_nothing(tmp_path: Path) -> None:
    port = str(free_port())
    with importing(["serve"], HEADWAY_DATA=str(tmp_path / "d"), HEADWAY_PORT=port) as serve:
        serve.send_signal(signal.SIGUSR1)
        words = Path(f"/proc/{serve.pid}/cmdline")
        while b"headway.supervisor" not in words.read_bytes():
            assert serve.poll() is None
        serve.send_signal(signal.SIGTERM)
        serve.communicate(timeout=60)

    assert serve.returncode == 0


def ready(port: int) -> bool:
    try:
        found = httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=10)
    except httpx2.HTTPError:
        return False
    return bool(found.json()["status"] == "ready")


def test_a_headway_that_another_program_started_ends_with_it_and_reads_nothing_of_its_folder(
    tmp_path: Path,
) -> None:
    data, port, said = tmp_path / "d", free_port(), tmp_path / "said"
    for name in ("html", "json", "secrets"):  # a user's own files, called like what we import
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not yours')")
    settings = {"HEADWAY_DATA": str(data), "HEADWAY_PORT": str(port)}
    with (
        said.open("wb") as words,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "headway.cli", "serve", "--until-input-ends"],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=words,
            env=os.environ | settings,
        ) as serve,
    ):
        until(lambda: ready(port), seconds=60, what="everything is ready")
        assert serve.stdin is not None
        serve.stdin.close()  # as the kernel does for a program that was killed
        serve.wait(60)

    assert serve.returncode == 0
    assert not [p for kind in ("control", "gateway", "runner") for p in processes_of(data, kind)]
    assert "no such table" not in said.read_text()  # on a first start control makes them meanwhile


@contextmanager
def supervised(*children: Child) -> Iterator[tuple[Supervisor, list[str]]]:
    """Supervise processes that do nothing but live."""
    said: list[str] = []
    with socket.socket() as listener:
        supervisor = Supervisor(children, listener, {}, {}, 0, drain_s=0, say=said.append)
        supervisor._running = [_Running(child, process=living()) for child in children]
        yield supervisor, said
        for running in supervisor._running:
            if running.process is not None:
                ended(running.process)


def ended(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait(10)
    if process.stdin is not None:
        process.stdin.close()


def living(words: str = "") -> "subprocess.Popen[bytes]":
    """Start a process that lives until it is ended, after it has done what the words say."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{words}\nimport sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout as told:
        told.readline()
    return process


SCRIBE: Final = Child("scribe", ("--version",), holds_nothing=True)
GATEWAY: Final = Child("gateway 1", ("--version",), listens=True)


def test_an_end_that_was_asked_for_is_no_death_and_waits_for_nothing() -> None:
    with supervised(SCRIBE) as (supervisor, said):
        [scribe] = supervisor._running
        scribe.deaths, scribe.born = 7, 99.0
        supervisor._ask_renewal()
        supervisor._renew()
        assert scribe.process is not None
        supervisor._died(scribe, scribe.process.wait(10), now=100.0)

        assert (scribe.deaths, scribe.again_at) == (7, 100.0)
        assert said == ["scribe was ended, to be renewed"]
        supervisor._died(scribe, 1, now=100.5)
        assert scribe.again_at > 110


def test_who_does_not_end_for_a_renewal_is_killed() -> None:
    with supervised(SCRIBE) as (supervisor, _):
        [scribe] = supervisor._running
        stands_still = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        assert scribe.process is not None
        ended(scribe.process)
        deaf = scribe.process = living(stands_still)
        supervisor._ask_renewal()
        supervisor._renew()
        assert scribe.ends_by > time.monotonic()
        assert deaf.poll() is None

        scribe.ends_by = 0.0  # seconds later
        supervisor._renew()
        assert deaf.wait(10) == -signal.SIGKILL


def test_who_asks_for_renewals_without_end_renews_the_scribe_once_a_round() -> None:
    with supervised(SCRIBE, GATEWAY) as (supervisor, _):
        [scribe, _gateway] = supervisor._running
        supervisor._ask_renewal()
        supervisor._renew()
        assert scribe.process is not None
        supervisor._died(scribe, scribe.process.wait(10), now=100.0)
        scribe.process = fresh = living()
        for _ in range(5):
            supervisor._ask_renewal()
            supervisor._renew()
        assert scribe.ends_by == math.inf
        assert fresh.poll() is None

        # The gateway's successor says its version, and ends: that round is over, the next begins.
        while scribe.ends_by == math.inf:
            supervisor._renew()
        assert fresh.wait(10) == -signal.SIGTERM


def test_a_scribe_before_tables_of_a_newer_version_writes_nothing_and_says_why(
    tmp_path: Path,
) -> None:
    settings = os.environ | {"HEADWAY_DATA": str(tmp_path)}
    words = [sys.executable, "-P", "-m", "headway.cli"]
    subprocess.run([*words, "db", "upgrade"], env=settings, check=True, timeout=60)
    with closing(sqlite3.connect(tmp_path / "headway.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()

    scribe = subprocess.run(
        [*words, "scribe"], env=settings, check=False, capture_output=True, timeout=60
    )

    assert scribe.returncode == MISCONFIGURED
    assert b"a newer version of Headway has been here" in scribe.stderr
    assert b"Traceback" not in scribe.stderr
    assert not (tmp_path / "run" / "scribe.sock").exists()
