"""What a gateway refuses by itself: too many failed keys, and arms whose `never` limit was hit."""

import ipaddress
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

from headway.gateway.accumulator import Accumulator, GuardCount
from headway.gateway.view import View
from headway.judge.events import Hits
from headway.judge.limits import Limit, LimitWatch, needed_in_gateway, place_of
from headway.kernel.clock import MINUTE, Clock
from headway.kernel.quantity import WHOLE_BP
from headway.routing.route import Guard, Role, Route
from headway.tracking.measurement import Veto
from headway.wire.framing import Headers

MOST_FAILURES: Final = 20
"""Wrong keys per minute and address; after that nothing is even hashed."""
_MOST_ADDRESSES: Final = 10_000
LONGEST_RETRY_AFTER: Final = 120
"""Seconds. OpenAI's client gives up beyond, Anthropic's waits for as many days as it is told."""
_NOBODY: Final[frozenset[str]] = frozenset()

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class FailedKeys:
    """Counts wrong keys per address in windows of a minute, in bounded memory."""

    def __init__(self, most: int = MOST_FAILURES) -> None:
        self._most = most
        self._since = 0.0
        self._counts: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Say whether there was any in this minute or the last."""
        return bool(self._counts)

    def add(self, address: str, now: float) -> None:
        """Count one; `now` in monotonic seconds."""
        self._turn(now)
        if address in self._counts or len(self._counts) < _MOST_ADDRESSES:
            self._counts[address] = self._counts.get(address, 0) + 1

    def wait(self, address: str, now: float) -> int:
        """Return for how many seconds the address is refused; 0: it is not."""
        if not self._counts or self._counts.get(address, 0) < self._most:
            return 0
        self._turn(now)
        if self._counts.get(address, 0) < self._most:
            return 0
        return max(1, int(self._since + 60 - now) + 1)

    def _turn(self, now: float) -> None:
        if now - self._since >= 60:
            self._since = now
            self._counts = {}


class Addresses:
    """Says who called: the peer, or whom the proxies that we trust name."""

    def __init__(self, trusted: str = "") -> None:
        """Take CIDRs, separated by commas. Raises `ValueError` for what is none."""
        self._trusted: tuple[Network, ...] = tuple(
            ipaddress.ip_network(part.strip(), strict=False)
            for part in trusted.split(",")
            if part.strip()
        )

    def of(self, peer: str, headers: Headers) -> str:
        """Return the caller's address; X-Forwarded-For is read from the right, as far as trusted.

        Each proxy appends whom it was called by, so what stands left of the first stranger could
        have been written by anybody.
        """
        if not self._trusted or not self._trusts(peer):
            return peer
        named = b",".join(headers.all(b"x-forwarded-for")).decode("latin-1").split(",")
        for part in reversed([part.strip() for part in named if part.strip()]):
            try:
                found = str(ipaddress.ip_address(part))
            except ValueError:
                return peer
            if not self._trusts(found):
                return found
            peer = found
        return peer

    def _trusts(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return not address  # a unix socket: whoever may open it is the proxy
        return any(found.version == net.version and found in net for net in self._trusted)


class _Watched:
    """The limits of one deployment, and the shares of its epochs."""

    __slots__ = ("limits", "route", "shares", "stable")

    def __init__(self, route: Route, limits: list[tuple[Guard, LimitWatch]]) -> None:
        self.route = route
        self.limits = limits
        self.shares: dict[int, int] = {}
        """The candidate's share by route revision id: a late failure belongs to its own."""
        self.stable: dict[str, tuple[int, int]] = {}
        """By limit: what was sent to the other arms so far, and the bad ones of it."""


class Guards:
    """Runs the `never` limits of all routes on this gateway's own counts, at every sweep.

    An arm whose limit is hit gets nobody from then on, until its deployment has left the routes.
    """

    def __init__(self, accumulator: Accumulator, clock: Clock) -> None:
        self._accumulator = accumulator
        self._clock = clock
        self._minute = 0
        self._watched: dict[str, _Watched] = {}
        self._vetoed: dict[str, frozenset[str]] = {}
        self.number = 1
        """This gateway's own, see `judge.limits.place_of`. Set before the first view."""

    @property
    def any_veto(self) -> bool:
        return bool(self._vetoed)

    def vetoed(self, route: Route) -> AbstractSet[str]:
        """Return the keys of arms that get nobody."""
        if route.epoch is None:
            return _NOBODY
        return self._vetoed.get(route.epoch.deployment, _NOBODY)

    def adopt(self, view: View) -> None:
        """Watch what the routes of a view ask for; go on where a deployment goes on."""
        alive: set[str] = set()
        for served in view.routes.values():
            route = served.route
            if route.epoch is None:
                continue
            deployment = route.epoch.deployment
            alive.add(deployment)
            watched = self._watched.get(deployment)
            if watched is None:
                watched = self._watched[deployment] = _Watched(route, self._limits(route))
            watched.route = route
            watched.shares[route.id] = _candidate_share(route)
        for gone in self._watched.keys() - alive:
            del self._watched[gone]
            self._vetoed.pop(gone, None)
        self._accumulator.retain(alive)

    def _limits(self, route: Route) -> list[tuple[Guard, LimitWatch]]:
        epoch = route.epoch
        if epoch is None:
            return []
        needed = needed_in_gateway(
            place_of(self.number, first=epoch.first_gateway),
            alpha=epoch.alpha,
            limits=len(route.guards),
        )
        return [
            (
                guard,
                LimitWatch(
                    Limit(guard.event, guard.above, epoch.margin.get(guard.metric, 0.0)),
                    needed=needed,
                ),
            )
            for guard in route.guards
        ]

    def sweep(self) -> tuple[Veto, ...]:
        """Look at what happened since the last sweep; return the vetoes that are new.

        They are handed to the accumulator for the next flush as well.
        """
        now = self._clock()
        self._minute = max(self._minute, now // MINUTE)
        found: list[Veto] = []
        for deployment, watched in self._watched.items():
            counts = self._accumulator.guard_counts(deployment)
            if not counts:
                continue
            for guard, watch in watched.limits:
                if self._hit(watched, watch, counts) and guard.arm not in self._vetoed.get(
                    deployment, _NOBODY
                ):
                    found.append(self._veto(deployment, watched, guard, watch, now))
        for veto in found:
            self._accumulator.veto(veto)
        return tuple(found)

    def _hit(self, watched: _Watched, watch: LimitWatch, counts: Iterable[GuardCount]) -> bool:
        metric = watch.limit.metric
        sent = 0
        stable_n, stable_bad = watched.stable.get(metric, (0, 0))
        bad: dict[int, int] = {}
        by_epoch: dict[int, list[int]] = {}
        for count in counts:
            events: Mapping[int, int] = count.bad.get(metric, {})
            hits = by_epoch.setdefault(count.epoch, [0, 0])
            if count.arm == Role.CANDIDATE:
                sent += count.sent
                hits[0] += sum(events.values())
                for minute, n in events.items():
                    bad[minute] = bad.get(minute, 0) + n
            else:
                hits[1] += sum(events.values())
                stable_n += count.sent
                stable_bad += sum(events.values())
        watched.stable[metric] = stable_n, stable_bad
        return watch.sweep(
            self._minute,
            sent=sent,
            bad=bad,
            hits=[
                Hits(share, candidate, stable)
                for epoch, (candidate, stable) in sorted(by_epoch.items())
                if 0 < (share := watched.shares.get(epoch, 0)) < WHOLE_BP
            ],
            alone=_candidate_share(watched.route) >= WHOLE_BP,
        )

    def _veto(
        self, deployment: str, watched: _Watched, guard: Guard, watch: LimitWatch, now: int
    ) -> Veto:
        self._vetoed[deployment] = self._vetoed.get(deployment, _NOBODY) | {guard.arm}
        stable_n, stable_bad = watched.stable[guard.event]
        return Veto(
            deployment=deployment,
            epoch=watched.route.id,
            arm=guard.arm,
            metric=guard.event,
            at=now,
            detail={
                "limit": guard.document(),
                "gateway": self.number,
                "needed": watch.needed,
                "log_rate": watch.log_rate,
                "log_worse": watch.log_worse,
                "ground": None if watch.ground is None else watch.ground.document(),
                "stable": {"n": stable_n, "bad": stable_bad},
                "alone": _candidate_share(watched.route) >= WHOLE_BP,
                "watch": watch.document(),
            },
        )


def _candidate_share(route: Route) -> int:
    """Return the candidate's share where it is a candidate, the last rule that has one."""
    for rule in reversed(route.rules):
        for arm in rule.arms:
            if arm.role is Role.CANDIDATE:
                return rule.share_bp(arm.key)
    return 0
