"""Prices that were set, and those that are published."""

from collections.abc import Mapping, Sequence

from headway.registry.model import Version
from headway.registry.target import LocalTarget
from headway.registry.version import SemVer
from headway.testing.memory.tables import Repository, same_name
from headway.testing.memory.versions import MemoryVersions
from headway.tracking.price import ANY_HOST, Dated, Price, Timeline, laid_over
from headway.tracking.price_service import Upstream


class MemoryPrices(Repository):
    def put(self, price: Price) -> None:
        self._t.prices.put((price.host, price.model, price.since), price)
        self._t.changes_view()

    def remove(self, host: str, model: str, since: int) -> bool:
        if self._t.prices.get((host, model, since)) is None:
            return False
        self._t.prices.put((host, model, since), None)
        self._t.changes_view()
        return True

    def list(self) -> Sequence[Price]:
        return [price for _, price in sorted(self._t.prices.items())]

    def upstreams(self, *, after: int, limit: int) -> tuple[Sequence[Upstream], int]:
        newer = sorted(
            (one for one in self._t.versions.all() if one.id > after), key=lambda one: one.id
        )[:limit]
        found = [each for one in newer if (each := upstream_of(one)) is not None]
        return found, newer[-1].id if newer else after

    def unpublished(self, upstreams: Sequence[Upstream], edition: str) -> Sequence[Upstream]:
        known = self._t.published
        return [
            each for each in upstreams if (row := known.get(each)) is None or row[0] != edition
        ]

    def publish(self, found: Mapping[Upstream, Timeline], edition: str) -> None:
        for upstream, timeline in found.items():
            self._t.published.put(upstream, (edition, timeline))
        if any(found.values()):
            self._t.changes_view()

    def of(self, model: str, versions: Sequence[str]) -> Mapping[str, Timeline]:
        return {
            str(one.number): self.timeline(one)
            for one in self._t.versions.all()
            if same_name(one.model, model)
            and str(one.number) in versions
            and upstream_of(one) is not None
        }

    def layers(self, model: str, version: str) -> tuple[Upstream | None, Timeline, Timeline]:
        found = MemoryVersions(self._t).find(model, SemVer.parse(version))
        upstream = None if found is None else upstream_of(found)
        if upstream is None:
            return None, (), ()
        return upstream, laid_over(*self._own(upstream)), self._published(upstream)

    def timeline(self, version: Version) -> Timeline:
        upstream = upstream_of(version)
        if upstream is None:
            return ()
        return laid_over(*self._own(upstream), self._published(upstream))

    def _own(self, upstream: Upstream) -> tuple[Timeline, Timeline]:
        there, anywhere = (
            tuple(
                Dated(price.since, price.rates)
                for price in self.list()
                if (price.host, price.model) == (named, upstream.model)
            )
            for named in (upstream.host, ANY_HOST)
        )
        return there, anywhere

    def _published(self, upstream: Upstream) -> Timeline:
        row = self._t.published.get(upstream)
        return () if row is None else row[1]


def upstream_of(version: Version) -> Upstream | None:
    target = version.target
    if isinstance(target, LocalTarget):
        return None
    return Upstream(target.base_url, getattr(target, "model", ""))
