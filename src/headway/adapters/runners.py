"""What control asks of the runners, over their unix sockets: describe, load, pin.

With what Python brings along: control asks every few seconds, and a whole HTTP client for that
would be 4 MB.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from typing import Any, Final

from headway.artifacts.artifact import corrupt_words
from headway.kernel.errors import Conflict, Refused, Unavailable, Unsupported
from headway.registry.signature import Description, Tensor

_CONNECT: Final = 1.0
_LOAD: Final = 130.0
"""Seconds; a load has a deadline of its own that is shorter."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """How it went to load a model in every living runner."""

    refused: Mapping[str, str]
    """By runner, why not; none: all have it."""
    corrupt: bool
    """Whether one refused it because the stored bytes are not those that the digest names."""


@dataclass(frozen=True, slots=True)
class Runners:
    """All runners of this installation."""

    sockets: Sequence[Path]

    def describe(self, artifact: str, runtime: str) -> Description | None:
        """Return what a model takes and gives, as the first runner that answers reads it."""
        del runtime
        document = self._first("GET", f"/v2/models/{artifact}")
        return Description(
            inputs=tuple(_tensor(part) for part in document["inputs"]),
            outputs=tuple(_tensor(part) for part in document["outputs"]),
        )

    def load(self, artifact: str) -> Loaded:
        """Load a model in every living runner, or raise `Unavailable`: there is none."""
        told: dict[str, _Answer] = {}
        for number, path in enumerate(self.sockets, start=1):
            try:
                answer = _call(path, "POST", f"/v2/repository/models/{artifact}/load")
            except Unavailable:
                continue
            told[f"runner {number}"] = answer
        if not told:
            raise Unavailable("no runner answers")
        refused = {runner: answer for runner, answer in told.items() if answer.status != 200}
        return Loaded(
            refused={runner: _words(answer) for runner, answer in refused.items()},
            corrupt=any(map(_corrupt, refused.values())),
        )

    def born(self) -> tuple[object, ...]:
        """Return of each runner what is another one when it has started anew."""
        return tuple(map(_socket, self.sockets))

    def pin(self, artifacts: Sequence[str]) -> frozenset[str]:
        """Have every runner keep these, and no others, for good.

        Returns what they refused, since they were asked last, because its bytes are others.
        """
        found: set[str] = set()
        for path in self.sockets:
            with suppress(Unavailable):
                answer = _call(path, "POST", "/v2/repository/pins", {"digests": list(artifacts)})
                if answer.status == 200:
                    found.update(answer.json().get("corrupt", ()))
        return frozenset(found)

    def _first(self, method: str, path: str) -> Any:  # noqa: ANN401 - JSON
        for at in self.sockets:
            with suppress(Unavailable):
                answer = _call(at, method, path)
                if answer.status == 200:
                    return answer.json()
                if _corrupt(answer):
                    raise Conflict(corrupt_words(path.rpartition("/")[2]))
                if answer.headers.get("headway-outcome") == "version":
                    raise Unsupported(_words(answer))
                if answer.status < 500:
                    raise Refused(_words(answer))
        raise Unavailable("no runner answers")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)


class _Connection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("runner", timeout=_LOAD)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_CONNECT)
        self.sock.connect(str(self._path))
        self.sock.settimeout(_LOAD)


def _socket(path: Path) -> tuple[int, int] | None:
    """Say which file a socket is: each process that listens makes its own."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _call(path: Path, method: str, target: str, body: Any = None) -> _Answer:  # noqa: ANN401 - JSON
    connection = _Connection(path)
    sent = None if body is None else json.dumps(body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, target, sent, headers)
        answer = connection.getresponse()
        return _Answer(answer.status, answer.headers, answer.read())
    except (OSError, HTTPException) as error:
        raise Unavailable(f"the runner does not answer: {type(error).__name__}") from error
    finally:
        connection.close()


def _corrupt(answer: _Answer) -> bool:
    return bool(answer.headers.get("headway-reason") == "corrupt")


def _words(answer: _Answer) -> str:
    try:
        return str(answer.json()["error"])[:500]
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status}"


def _tensor(part: Mapping[str, Any]) -> Tensor:
    return Tensor(part["name"], part["datatype"], tuple(part["shape"]))
