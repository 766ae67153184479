"""Control's HTTP server: cheroot, which hears a request out before it answers.

An answer may be known before the body is there: no such key, too large. Who closes with unread
bytes in the socket takes his own answer back on a Unix socket, and cheroot, where it does not
close, reads all that is left of the body in one piece, however large it is. So what nobody read
is read here, piece by piece, and thrown away; what is still coming after a while is cut off.
"""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cheroot.server import HTTPRequest
from cheroot.wsgi import Gateway_10, Server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication  # known to type checkers alone

HEARD_OUT_SECONDS: Final = 5.0
_PIECE: Final = 16 * 1024


def server_of(
    application: "WSGIApplication",
    socket: Path,
    *,
    threads: int,
    heard_out: float = HEARD_OUT_SECONDS,
) -> Server:
    """Make the server of a WSGI application on a Unix socket.

    `heard_out`: for so many seconds it waits for the rest of a body that nobody reads.
    """
    server = Server(
        str(socket),
        application,
        numthreads=threads,
        max=threads,
        request_queue_size=256,
        timeout=600,
        shutdown_timeout=10,
        server_name="headway",
    )
    server.max_request_header_size = 64 << 10
    server.gateway = partial(_HearingOut, heard_out=heard_out)
    return server


class _HearingOut(Gateway_10):
    """Reads what the application left of a body, at the moment at which it answers."""

    def __init__(self, req: HTTPRequest, *, heard_out: float) -> None:
        super().__init__(req)
        self._longest = heard_out

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,  # noqa: ANN401 - as WSGI has it
    ) -> Any:  # noqa: ANN401 - likewise
        if not self.req.sent_headers and not self._heard_out():
            self.req.close_connection = True
        return super().start_response(status, headers, exc_info)

    def _heard_out(self) -> bool:
        over = time.monotonic() + self._longest
        while time.monotonic() < over:
            try:
                if not self.req.rfile.read(_PIECE):
                    return True
            except Exception:  # noqa: BLE001 - of the socket, of the chunks: there is no more to hear
                return False
        return False
