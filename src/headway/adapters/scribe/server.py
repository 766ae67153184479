"""The scribe's own end: a thread for each gateway, which asks one thing at a time."""

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from headway.adapters.scribe.documents import read_batch, written_others
from headway.adapters.scribe.frames import receive, send
from headway.auth.limits import Starts
from headway.gateway.store import Scribe
from headway.kernel.errors import HeadwayError, NotFound, OutcomeUnknown


@dataclass(frozen=True, slots=True)
class Listener:
    """Answers gateways by a scribe; `report` hears of faults that are no store's."""

    scribe: Scribe
    report: Callable[[str, Exception], None]

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the socket is closed."""
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._answer_all, args=(connection,), daemon=True).start()

    def _answer_all(self, connection: socket.socket) -> None:
        # A gateway that is gone has taken back, or will repeat, what it was not answered.
        with connection, suppress(OSError):
            try:
                while (asked := receive(connection)) is not None:
                    send(connection, self._answer(_call(asked)))
            except ValueError as error:  # no gateway of ours wrote that
                self.report("frame", error)

    def _answer(self, asked: dict[str, Any]) -> Mapping[str, object]:
        call = str(asked.pop("call", ""))
        try:
            return {"answer": self._done(call, asked)}
        except NotFound as error:
            return {"not found": str(error)}
        except OutcomeUnknown as error:
            return {"unknown": str(error)}
        except Exception as error:  # noqa: BLE001 - a store may fail in any way; the gateway keeps what it has
            if not isinstance(error, HeadwayError):
                self.report(call, error)
            return {"failed": f"{type(error).__name__}: {error}"}

    def _done(self, call: str, values: dict[str, Any]) -> object:
        scribe = self.scribe
        match call:
            case "enter":
                return asdict(scribe.enter(**values))
            case "document":
                return scribe.document(**values)
            case "flush":
                return scribe.flush(read_batch(values["batch"]))
            case "others":
                starts = Starts(**values.pop("starts"))
                return written_others(scribe.others(starts=starts, **values))
            case "leave":
                scribe.leave(**values)
                return None
            case _:
                raise LookupError(f"nobody knows {call!r}")


def _call(message: object) -> dict[str, Any]:
    """Return a message that is a call, or raise `ValueError`."""
    if not isinstance(message, dict):
        raise ValueError(f"a call was to be an object, and is {type(message).__name__}")  # noqa: TRY004 - as of any bytes that are no call
    return message
