# ruff: noqa: SLF001 -- a request and the pool that sends it are one engine in two classes
"""The providers' side: pooled HTTP/1.1 connections that hand answers over as they come.

    send ──> kept connection? ──yes──> write ──> head ──> data ... ──> complete ──> kept again
                │ no                     │ closed before any byte, and reused: once more, fresh
                └──> resolve, connect ───┘

An answer counts as complete only when its framing says so. Nothing here makes timers: `sweep`
looks at all deadlines.
"""

import asyncio
from collections.abc import Callable

from headway.wire.origin import Connector, Origin, PlainConnector
from headway.wire.reaching import NotReached, reach
from headway.wire.sending import TICK, Deadlines, FailureKind, Receiver, Sending
from headway.wire.upstream_connection import Bucket, PoolLimits, UpstreamConnection


class Pool:
    """Connections to any number of origins; last used first out."""

    def __init__(
        self,
        limits: PoolLimits | None = None,
        connect: Connector | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Make a pool within a running loop; `clock` is that of the server that sweeps it."""
        self._loop = asyncio.get_running_loop()
        self.limits = limits or PoolLimits()
        self.now = (clock or self._loop.time)()
        """Monotonic seconds at the last sweep."""
        self.closed = False
        self._resolve: Connector = connect or PlainConnector()
        self._buckets: dict[Origin, Bucket] = {}
        self._last = Bucket(Origin("", ""))
        self._connections: set[UpstreamConnection] = set()
        self._connecting: set[Sending] = set()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def admit(self, connection: UpstreamConnection) -> None:
        """Take note of a connection that is open."""
        self._connections.add(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """Drop a connection that is closed."""
        self._connections.discard(connection)

    def send(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        receiver: Receiver,
        deadlines: Deadlines,
    ) -> Sending:
        """Send a whole request; `head` ends with its blank line and says Content-Length itself."""
        buffer = [body] if body else []
        sending = Sending(self, origin, head, buffer, receiver, deadlines)
        self._dispatch(sending)
        return sending

    def open(
        self,
        origin: Origin,
        head: bytes,
        receiver: Receiver,
        deadlines: Deadlines,
    ) -> Sending:
        """Send a head now and the body by `Sending.write` and `end`.

        Write only while `writable` is true; if it is not, `on_writable` tells when.
        """
        sending = Sending(self, origin, head, [], receiver, deadlines)
        sending._ended = False
        self._dispatch(sending)
        return sending

    def _bucket(self, origin: Origin) -> Bucket:
        if origin is self._last.origin:
            return self._last
        bucket = self._buckets.get(origin)
        if bucket is None:
            bucket = self._buckets[origin] = Bucket(origin)
        self._last = bucket
        return bucket

    def _dispatch(self, sending: Sending) -> None:
        idle = self._bucket(sending._origin).idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                connection.carry(sending)
                return
            connection.drop()
        self.connect(sending)

    def connect(self, sending: Sending) -> None:
        """Open a connection for a request; only this part needs a task."""
        bucket = self._bucket(sending._origin)
        sending._fresh = True
        if self.closed:
            self._loop.call_soon(sending._fail, FailureKind.CLOSED, "the pool is closed")
        elif bucket.open >= self.limits.connections:
            self._loop.call_soon(
                sending._fail, FailureKind.BUSY, f"{bucket.open} connections are open"
            )
        else:
            bucket.open += 1
            sending._deadline = min(self.now + sending.deadlines.connect + TICK, sending._total_at)
            self._connecting.add(sending)
            sending._task = self._loop.create_task(self._establish(sending, bucket))

    async def _establish(self, sending: Sending, bucket: Bucket) -> None:
        connection: UpstreamConnection | None = None
        kind, detail = FailureKind.CONNECT, ""
        try:
            route = await self._resolve(bucket.origin)
            connection = await reach(route, lambda: UpstreamConnection(self, bucket))
        except NotReached as error:
            kind, detail = error.kind, error.detail
        except PermissionError as error:
            kind, detail = FailureKind.FORBIDDEN, str(error)
        except OSError as error:
            detail = f"cannot be resolved: {error}"
        except Exception as error:  # noqa: BLE001 -- a connector's fault must reach the receiver
            detail = f"{type(error).__name__}: {error}"
        sending._task = None
        if connection is not None and not connection.closed and sending in self._connecting:
            # From here on the connection counts itself.
            self._connecting.discard(sending)
            connection.counted = True
        else:
            self.give_up(sending)
        if connection is None:
            sending._fail(kind, detail)
        elif connection.closed:
            sending._fail(FailureKind.CLOSED_BEFORE_ANSWER, "closed before the request")
        elif sending._receiver is None or self.closed:
            connection.give_back(reusable=connection.counted)
        else:
            connection.carry(sending)
            if not sending._ended and sending.on_writable is not None and sending.writable:
                sending.on_writable()

    def give_up(self, sending: Sending) -> None:
        """Stop connecting for a sending; a task cancelled before it began runs no clean-up."""
        if sending in self._connecting:
            self._connecting.discard(sending)
            self._bucket(sending._origin).open -= 1
        if sending._task is not None:
            sending._task.cancel()
            sending._task = None

    def sweep(self, now: float) -> None:
        """Look at all deadlines; give it to `Server.on_sweep`, or call it often."""
        self.now = now
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.expire(now)
        for sending in [s for s in self._connecting if s._deadline <= now]:
            self.give_up(sending)
            sending._fail(FailureKind.TIMEOUT_CONNECT, "no connection in time")

    async def close(self) -> None:
        """Close all connections; what runs fails."""
        self.closed = True
        tasks = [sending._task for sending in self._connecting if sending._task is not None]
        for sending in tuple(self._connecting):
            self.give_up(sending)
            sending._fail(FailureKind.CLOSED, "the pool is closed")
        for connection in tuple(self._connections):
            connection.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
