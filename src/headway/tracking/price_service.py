"""Prices: those that people set, over those that are published, for each upstream that is called.

versions ── look_up ── what is published ──┐
people ──── put, remove ───────────────────┴── laid over each other ──> gateways, measurements
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

from headway.auth.policy import Caller, check
from headway.auth.role import Permission
from headway.kernel.clock import MINUTE, Clock
from headway.kernel.errors import Forbidden, Invalid, NotFound
from headway.kernel.names import check_text
from headway.outbox.event import Event
from headway.tracking.price import ANY_HOST, Dated, Price, Timeline, rates_at

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")
_LONGEST_MODEL: Final = 256
_AT_A_TIME: Final = 500
_PAUSE: Final = 5 * MINUTE


class Upstream(NamedTuple):
    """Whom a version calls: a base URL, and a model as it is called there."""

    base_url: str
    model: str

    @property
    def host(self) -> str:
        """Return what a price's host has to be for this one."""
        return (urlsplit(self.base_url).hostname or "").lower()


Published: TypeAlias = Callable[[Sequence[Upstream]], Mapping[Upstream, Timeline]]
"""Looks several up; what it does not name is not published."""


class Present(NamedTuple):
    """The price of a version at a moment."""

    upstream: Upstream | None
    """None: it runs here, and has no price."""
    dated: Dated | None
    """None: nobody knows it."""
    own: bool
    """Somebody set it; else it was published."""


class Prices(Protocol):
    """Changes raise the generation, so that gateways read the rates anew."""

    def put(self, price: Price) -> None:
        """Store a price in the place of one with the same host, model and time."""

    def remove(self, host: str, model: str, since: int) -> bool:
        """Delete a price that was set; say whether there was one."""

    def list(self) -> Sequence[Price]:
        """Return all that were set, by host, model and time."""

    def upstreams(self, *, after: int, limit: int) -> tuple[Sequence[Upstream], int]:
        """Return whom versions with an id above `after` call, and the last id looked at."""

    def unpublished(self, upstreams: Sequence[Upstream], edition: str) -> Sequence[Upstream]:
        """Return those of which this edition was not asked yet."""

    def publish(self, found: Mapping[Upstream, Timeline], edition: str) -> None:
        """Store what an edition says, of nothing too."""

    def of(self, model: str, versions: Sequence[str]) -> Mapping[str, Timeline]:
        """Return the timelines of versions that call a provider, by number as written.

        Empty: nobody knows the price. Versions that run here are left out.
        """

    def layers(self, model: str, version: str) -> tuple[Upstream | None, Timeline, Timeline]:
        """Return whom a version calls, the prices that were set for it, those published."""


class Outbox(Protocol):
    def add(self, event: Event) -> None: ...


class Work(Protocol):
    @property
    def prices(self) -> Prices: ...
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]


@dataclass(slots=True)
class _Mark:
    """The last version whose upstream was looked at by this process."""

    version: int = 0
    not_before: int = 0
    """After a failure: when to try again, ms."""


@dataclass(frozen=True, slots=True)
class PriceService:
    begin: Begin
    clock: Clock
    published: Published
    edition: Callable[[], str]
    """Says which edition of the published prices is installed, without loading it."""
    _mark: _Mark = field(default_factory=_Mark)

    def list(self, *, by: Caller) -> Sequence[Price]:
        """Return the prices that people set."""
        check(by, Permission.MEASUREMENTS_READ)
        with self.begin() as work:
            return work.prices.list()

    def put(self, price: Price, *, by: Caller) -> Price:
        """Set what a model costs from a time on; the same again is harmless."""
        _check_all(by)
        _check(price)
        now = self.clock()
        price = replace(price, set_at=now, set_by=by.actor.name)
        with self.begin() as work:
            work.prices.put(price)
            work.outbox.add(_event("price.set", price, by, now))
            work.commit()
        return price

    def is_called(self, host: str, model: str) -> bool:
        """Say whether any version calls a model of that name at that host."""
        last = 0
        while True:
            with self.begin() as work:
                before = last
                upstreams, last = work.prices.upstreams(after=before, limit=_AT_A_TIME)
            if any(each.model == model and host in {ANY_HOST, each.host} for each in upstreams):
                return True
            if last == before:
                return False

    def remove(self, host: str, model: str, since: int, *, by: Caller) -> None:
        """Take back a price that was set; what is published or set otherwise counts again."""
        _check_all(by)
        with self.begin() as work:
            found = [
                price
                for price in work.prices.list()
                if (price.host, price.model, price.since) == (host, model, since)
            ]
            if not found or not work.prices.remove(host, model, since):
                raise NotFound(f"no price was set for {model!r} at {host!r} from that time on")
            work.outbox.add(_event("price.removed", found[0], by, self.clock()))
            work.commit()

    def present(self, model: str, version: str, at: int, *, by: Caller) -> Present:
        """Return what a version of a registered model costs at a time, and who says so."""
        check(by, Permission.MEASUREMENTS_READ, model=model)
        with self.begin() as work:
            upstream, own, published = work.prices.layers(model, version)
        for layer in (own, published):
            if rates_at(layer, at) is not None:
                dated = [each for each in layer if each.since <= at][-1]
                return Present(upstream, dated, own=layer is own)
        return Present(upstream, None, own=False)

    def known(self, versions: Mapping[str, Iterable[str]]) -> Mapping[tuple[str, str], bool]:
        """Say of each version that calls a provider, by model, whether its price is known now."""
        now = self.clock()
        with self.begin() as work:
            return {
                (model, version): rates_at(timeline, now) is not None
                for model, numbers in versions.items()
                for version, timeline in work.prices.of(model, sorted(set(numbers))).items()
            }

    def look_up(self) -> int:
        """Look up what is published for upstreams that are new; return how many were. A loop."""
        if self.clock() < self._mark.not_before:
            return 0
        edition = self.edition()
        with self.begin() as work:
            upstreams, last = work.prices.upstreams(after=self._mark.version, limit=_AT_A_TIME)
            wanted = work.prices.unpublished(sorted(set(upstreams)), edition)
        if wanted:
            # Should it fail, it is not tried every few seconds: it takes seconds itself.
            self._mark.not_before = self.clock() + _PAUSE
            known = self.published(wanted)
            with self.begin() as work:
                work.prices.publish({each: known.get(each, ()) for each in wanted}, edition)
                work.commit()
        self._mark.version, self._mark.not_before = last, 0
        return len(wanted)


def _check_all(by: Caller) -> None:
    check(by, Permission.KEYS_WRITE)
    if not by.sees_all_models:
        raise Forbidden("prices are of all models, and your key reaches some of them")


def _check(price: Price) -> None:
    if price.host != ANY_HOST and not _HOST.match(price.host):
        raise Invalid.at("/host", f'{price.host[:128]!r} is no host: "api.openai.com", or "*"')
    if not price.model.strip():
        raise Invalid.at("/upstream_model", "say which model, as its provider calls it")
    check_text(price.model, pointer="/upstream_model", longest=_LONGEST_MODEL)
    if price.since < 0:
        raise Invalid.at("/effective_from", "lies before 1970")


def _event(kind: str, price: Price, by: Caller, at: int) -> Event:
    return Event(
        kind=kind,
        subject=f"price:{price.host}/{price.model}",
        at=at,
        actor=by.actor.name,
        actor_kind=by.actor.kind,
        detail={"effective_from": price.since, "rates": dict(price.rates.document())},
    )
