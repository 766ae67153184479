"""Opening a connection to one of the addresses of a route."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from headway.wire.origin import Route
from headway.wire.sending import FailureKind
from headway.wire.upstream_connection import UpstreamConnection

_HEAD_START: Final = 0.25
"""Seconds that an address has before the next one is tried beside it."""


class NotReached(Exception):
    """There is no connection: why, and words for a log."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


async def reach(route: Route, make: Callable[[], UpstreamConnection]) -> UpstreamConnection:
    """Return what `make` made, connected. Raises `NotReached`."""
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {}
    if route.context is not None:
        options = {"ssl": route.context, "server_hostname": route.server_hostname}
    if route.path:
        try:
            _, connection = await loop.create_unix_connection(make, route.path, **options)
        except OSError as error:
            detail = f"{route.path}: {error.strerror or error}"
            raise NotReached(FailureKind.CONNECT, detail) from None
        return connection
    attempt = partial(_attempt, make, options)
    if len(route.addresses) == 1:
        return await attempt(route.addresses[0])
    return await _race(route.addresses, attempt)


async def _attempt(
    make: Callable[[], UpstreamConnection], options: dict[str, Any], address: tuple[str, int]
) -> UpstreamConnection:
    host, port = address
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(make, host, port, **options)
    except ssl.SSLError as error:
        raise NotReached(FailureKind.TLS, f"{host}: {error.reason or error}") from None
    except OSError as error:
        raise NotReached(FailureKind.CONNECT, f"{host}: {error.strerror or error}") from None
    return connection


async def _race(
    addresses: Sequence[tuple[str, int]],
    attempt: Callable[[tuple[str, int]], Coroutine[Any, Any, UpstreamConnection]],
) -> UpstreamConnection:
    """Try one address after the other, the next before a slow one has failed (RFC 8305)."""
    rest = deque(addresses)
    running: set[asyncio.Task[UpstreamConnection]] = set()
    found: UpstreamConnection | None = None
    failed = NotReached(FailureKind.CONNECT, "no address")
    try:
        while found is None and (rest or running):
            if rest:
                running.add(asyncio.create_task(attempt(rest.popleft())))
            done, running = await asyncio.wait(
                running,
                timeout=_HEAD_START if rest else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                try:
                    connection = task.result()
                except NotReached as error:
                    failed = error
                else:
                    if found is None:
                        found = connection
                    else:
                        connection.drop()
    finally:
        for task in running:
            task.cancel()
    if found is None:
        raise failed
    return found
