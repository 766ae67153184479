"""A TLS context whose connections take up the session of the last one to the same name.

asyncio and uvloop have no parameter for a session, but both make their connections by `wrap_bio`
of the context that they are given, and that takes one. A TLS 1.3 session comes after the
handshake, with the first bytes of an answer: so it is taken from the last connection when the
next one is made. A server that no longer knows it does a whole handshake.
"""

import ssl
import sys
import time
from collections import OrderedDict
from typing import Any, Final

_MOST_NAMES: Final = 256
_STRICT: Final = ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT


class ResumingContext(ssl.SSLContext):
    """What `ssl.create_default_context` makes, with sessions kept by server name."""

    def __init__(self, protocol: int) -> None:  # noqa: ARG002 - `__new__` takes it
        super().__init__()
        self._last: OrderedDict[str, ssl.SSLObject] = OrderedDict()
        """The newest connection to each name."""
        self._sessions: dict[str, ssl.SSLSession] = {}

    @classmethod
    def default(cls) -> "ResumingContext":
        """Verify as Python's own default does: the system's roots, and the name."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if sys.version_info >= (3, 13):
            context.verify_flags |= _STRICT
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the shape of the base class
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection, with the session of the last one to that name if it has one."""
        name = str(server_hostname)
        made = super().wrap_bio(
            incoming, outgoing, server_side, server_hostname, session or self._session(name)
        )
        self._last[name] = made
        self._last.move_to_end(name)
        while len(self._last) > _MOST_NAMES:
            forgotten, _ = self._last.popitem(last=False)
            self._sessions.pop(forgotten, None)
        return made

    def _session(self, name: str) -> ssl.SSLSession | None:
        last = self._last.get(name)
        newest = last.session if last is not None else None
        if newest is not None and newest.has_ticket:
            self._sessions[name] = newest
        kept: Any = self._sessions.get(name)
        if kept is None or kept.time + kept.timeout <= time.time():
            return None
        return kept  # type: ignore[no-any-return]
