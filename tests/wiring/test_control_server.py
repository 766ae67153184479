"""Whoever is answered before his body was read gets the answer, and costs no memory."""

import resource
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headway.wiring.server import server_of

MEBIBYTE: bytes = b"x" * (1 << 20)


def refuses(status: str) -> Callable[..., Iterable[bytes]]:
    def application(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401 - as WSGI has it
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"no"]

    return application


@contextmanager
def serving(path: Path, status: str = "413 Too Large", **more: float) -> Iterator[Path]:
    server = server_of(refuses(status), path, threads=2, **more)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield path
    server.stop()
    thread.join()


@pytest.fixture(params=["413 Too Large", "401 Unauthorized"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with serving(tmp_path / "control.sock", request.param) as place:
        yield place


def ask(path: Path, body: Iterable[bytes], fields: str) -> tuple[bytes, bytes]:
    """Send a body whole, and only then look: return the status, and what came after the body."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        caller.sendall(f"POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n".encode())
        for piece in body:
            caller.sendall(piece)
        said = b""
        while not said.endswith(b"no"):
            piece = caller.recv(4096)
            assert piece, "closed before it answered"
            said += piece
    return said[9:12], said[-2:]


def test_the_answer_to_a_body_that_nobody_reads_arrives(path: Path) -> None:
    for _ in range(20):
        status, end = ask(path, [MEBIBYTE] * 3, f"Content-Length: {3 << 20}")
        assert (status in {b"413", b"401"}, end) == (True, b"no")


def test_a_body_in_chunks_is_heard_out_too(path: Path) -> None:
    chunk = b"100000\r\n" + MEBIBYTE + b"\r\n"
    assert ask(path, [chunk, chunk, b"0\r\n\r\n"], "Transfer-Encoding: chunked")[1] == b"no"


def test_what_nobody_reads_is_held_by_nobody(path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ask(path, [MEBIBYTE] * 300, f"Content-Length: {300 << 20}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_body_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    with serving(tmp_path / "s", heard_out=0.0) as path, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        caller.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\nx")
        assert b"Connection: close" in caller.recv(4096)
