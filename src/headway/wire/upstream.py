"""The providers' side: pooled HTTP/1.1 connections that hand answers over as they come."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from headway.wire.framing import Headers


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go: a host (`http`, `https`) or the path of a unix socket (`unix`).

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
    context: ssl.SSLContext | None = None


Connector: TypeAlias = Callable[[Origin], Awaitable[Route]]
"""Resolves and checks; raise `OSError` for "cannot", `ssl.SSLError` for TLS settings, and
`PermissionError` for "must not"."""


class FailureKind(StrEnum):
    """Why there is no complete answer."""

    REFUSED = "refused"  # the connector forbids this address
    CONNECT = "connect"
    TLS = "tls"
    BUSY = "busy"  # as many connections as are allowed
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST = "timeout_first"
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    CLOSED_BEFORE_ANSWER = "closed_before_answer"
    CUT = "cut"  # closed within the answer, whose framing promised more
    PROTOCOL = "protocol"  # not HTTP as we take it


@dataclass(frozen=True, slots=True)
class Failure:
    """One of the kinds, and words for a log; never bytes of the answer."""

    kind: FailureKind
    detail: str
    answered: bool = False
    """`on_head` was called before: part of the answer is out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds: to connect, to the head of the answer, between reads of it, for all together."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    connections: int = 4096
    """Per origin, in use and idle."""
    idle: int = 256
    """Per origin, kept for the next request."""
    idle_seconds: float = 20.0
    head: int = 64 * 1024


class Receiver(Protocol):
    """Takes one answer: `on_head`, any number of `on_data`, `on_complete`; or `on_failure`, which
    may come at any point and is then the last. All are called from the loop; none for a sending
    that was cancelled. `on_failure` may be called before `send` returns."""

    def on_head(self, status: int, headers: Headers, head: bytes) -> None:
        """`head` is the bytes of status line and fields with the blank line; in raw mode only
        (empty otherwise)."""

    def on_data(self, data: bytes) -> None:
        """Decoded bytes of the body; in raw mode the bytes of the body as framed by the upstream."""

    def on_complete(self, *, by_close: bool) -> None:
        """The framing says that the body is complete.

        `by_close`: it ended by closing, so only the format itself can tell whether it is whole.
        """

    def on_failure(self, failure: Failure) -> None: ...


class Sending:
    """One request on its way and its answer."""

    reused: bool
    """It went over a kept connection."""
    on_unwritable: Callable[[], None] | None
    on_writable: Callable[[], None] | None

    def cancel(self) -> None:
        """Forget it: the connection is closed and the receiver hears nothing more."""

    def pause(self) -> None:
        """Read no more of the answer for now (idle time does not count meanwhile)."""

    def resume(self) -> None: ...

    @property
    def writable(self) -> bool:
        """Whether `write` may be called without filling memory."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send bytes of an open request's body, framed by the caller (`framing.chunk`)."""

    def end(self) -> None:
        """The open request's body is complete."""


class Pool:
    """Connections to any number of origins; last used first out."""

    def __init__(
        self,
        limits: PoolLimits | None = None,
        connect: Connector | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None: ...

    def send(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        receiver: Receiver,
        deadlines: Deadlines,
        *,
        raw: bool = False,
    ) -> Sending:
        """Send a whole request; `head` ends with its blank line and says Content-Length itself."""
        raise NotImplementedError

    def open(
        self,
        origin: Origin,
        head: bytes,
        receiver: Receiver,
        deadlines: Deadlines,
        *,
        raw: bool = False,
    ) -> Sending:
        """Send a head now and the body by `Sending.write` and `end`."""
        raise NotImplementedError

    def sweep(self, now: float) -> None:
        """Look at all deadlines; give it to `Server.on_sweep`."""

    def close(self) -> None:
        """Close idle connections and cancel what runs."""
