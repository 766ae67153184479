"""Where requests go: an origin by its name, and the addresses that a connector found for it."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


class Origin(NamedTuple):
    """Where requests go: a host (scheme `http`, `https`) or the path of a socket (`unix`).

    Connections are kept per origin. `tls` names the TLS context for the connector.
    """

    scheme: str
    host: str
    port: int = 0
    tls: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Where to connect, decided and checked by the connector."""

    addresses: tuple[tuple[str, int], ...] = ()
    """(IP address, port), tried in order."""
    path: str = ""
    """Of a unix socket, instead of addresses."""
    server_hostname: str = ""
    """The name that the certificate must bear; with `context` only."""
    context: ssl.SSLContext | None = None


Connector: TypeAlias = Callable[[Origin], Awaitable[Route]]
"""Resolves and checks an origin.

Raises `PermissionError` for what must not be called, `OSError` for what cannot be resolved.
"""


class PlainConnector:
    """Resolves with the system's resolver and checks nothing; TLS with the system's roots."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None

    async def __call__(self, origin: Origin) -> Route:
        """Return every address of the origin."""
        if origin.scheme == "unix":
            return Route(path=origin.host)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        addresses = tuple((str(entry[4][0]), int(entry[4][1])) for entry in found)
        if origin.scheme != "https":
            return Route(addresses)
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return Route(addresses, server_hostname=origin.host, context=self._context)
