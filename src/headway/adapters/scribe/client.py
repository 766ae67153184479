"""The scribe as a gateway sees it: over one connection, from one thread."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from headway.adapters.scribe.documents import read_others, written_batch
from headway.adapters.scribe.frames import receive, send
from headway.auth.limits import Starts
from headway.kernel.canonical import Json
from headway.kernel.errors import NotFound, OutcomeUnknown, StorageUnavailable
from headway.tracking.measurement import Batch, GatewayRow, Others

PATIENCE: Final = 20.0
"""Seconds for an answer: longer than any transaction takes, so that it is nearly always known
what became of it."""
_AGAIN: Final = 0.02


class ScribeBySocket:
    """Connects when it is called; after a fault it connects anew."""

    def __init__(self, path: Path, *, patience: float = PATIENCE) -> None:
        self._path = str(path)
        self._patience = patience
        self._socket: socket.socket | None = None

    def await_it(self, seconds: float) -> None:
        """Wait until it can be connected to, so long at most: it starts beside us."""
        until = time.monotonic() + seconds
        while self._socket is None and time.monotonic() < until:
            with suppress(StorageUnavailable):
                self._socket = self._connected()
                return
            time.sleep(_AGAIN)

    def enter(self, *, boot: str, host: str, pid: int, at_least: int) -> GatewayRow:
        told = self._ask("enter", boot=boot, host=host, pid=pid, at_least=at_least)
        return GatewayRow(**told)

    def document(self, *, known: int) -> Mapping[str, Json] | None:
        told: Mapping[str, Json] | None = self._ask("document", known=known)
        return told

    def flush(self, batch: Batch) -> bool:
        return bool(self._ask("flush", batch=written_batch(batch)))

    def others(self, spender: str, starts: Starts) -> Others:
        return read_others(self._ask("others", spender=spender, starts=asdict(starts)))

    def leave(self, boot: str) -> None:
        self._ask("leave", boot=boot)

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, call: str, **values: object) -> Any:  # noqa: ANN401 - JSON
        if self._socket is None:
            self._socket = self._connected()
        try:
            send(self._socket, {"call": call, **values})
            answer = receive(self._socket)
        except OSError as error:
            self.close()
            raise OutcomeUnknown("the scribe was lost before it answered") from error
        match answer:
            case {"answer": told}:
                return told
            case {"not found": words}:
                raise NotFound(words)
            case {"unknown": words}:
                raise OutcomeUnknown(words)
            case {"failed": words}:
                raise StorageUnavailable(words)
            case _:
                self.close()
                raise OutcomeUnknown("the scribe ended before it answered")

    def _connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(self._patience)
        try:
            sock.connect(self._path)
        except OSError as error:
            sock.close()
            raise StorageUnavailable("the scribe does not answer") from error
        return sock
