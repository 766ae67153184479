"""The scribe process: the one of a machine that speaks to the database for its gateways.

It listens as soon as the tables are those of this version: control makes them, and on the first
start of an installation it is busy with that while the gateways ask already. Where a newer version
has been it never does, and the gateways go on with the routes that they have.
"""

import os
import signal
import threading
from typing import Final

from headway.adapters.scribe.server import Listener
from headway.gateway.scribe import InTransactions
from headway.settings import Settings
from headway.wiring.database import await_schema, beginner, open_settled
from headway.wiring.folders import private_folder, unix_socket
from headway.wiring.lifeline import follow_the_supervisor, read_shared
from headway.wiring.logs import LateLog, configure_libraries

_POOL: Final = 8
"""Connections that stay: gateways take turns, each for a moment."""
_TABLES_WITHIN: Final = 30.0
"""Seconds that control may take to make them: after these, the log says what is missing."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM."""
    follow_the_supervisor(read_shared())
    configure_libraries()
    private_folder(settings.run_folder)
    log = LateLog("scribe", settings.log_level)

    def report(call: str, error: Exception) -> None:
        kind = type(error).__name__
        log.error("a call of a gateway failed", where=call, error=kind, detail=str(error)[:300])

    def missing(words: str) -> None:
        log.error("the tables are not those of this version yet", detail=words)

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ended.set())
    with open_settled(settings, pool_size=_POOL) as database:
        if not await_schema(database, ended, report=missing, seconds=_TABLES_WITHIN):
            return
        with unix_socket(settings.scribe_socket) as sock:
            scribe = InTransactions(beginner(database), beginner(database, read_only=True))
            listener = Listener(scribe, report)
            threading.Thread(target=listener.serve, args=(sock,), daemon=True).start()
            ended.wait()
    os._exit(0)  # a call that is being answered is not waited for: the gateway asks again
