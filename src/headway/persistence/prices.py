"""Prices: a row for each that somebody set, and one for each upstream that was looked up."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from headway.kernel.names import folded
from headway.persistence.engine import Transaction
from headway.persistence.statements import replace_row
from headway.persistence.tables import models, prices, published_prices, versions
from headway.registry.version import SemVer
from headway.tracking.price import (
    ANY_HOST,
    Dated,
    Price,
    Rates,
    Timeline,
    laid_over,
    timeline_document,
    timeline_from,
)
from headway.tracking.price_service import Upstream

_MOST_NAMES: Final = 500
_Own = Mapping[tuple[str, str], Sequence[Dated]]
_Published = Mapping[Upstream, Timeline]


class SqlPrices:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._all: Timelines | None = None
        """Read once for all versions that this transaction asks for."""

    def put(self, price: Price) -> None:
        row = {
            "host": price.host,
            "model": price.model,
            "since": price.since,
            "rates": price.rates.document(),
            "set_at": price.set_at,
            "set_by": price.set_by,
        }
        self._transaction.run(replace_row(self._transaction.dialect, prices), row)
        self._changed()

    def remove(self, host: str, model: str, since: int) -> bool:
        one = (prices.c.host == host, prices.c.model == model, prices.c.since == since)
        gone = self._transaction.run(sa.delete(prices).where(*one)) == 1
        if gone:
            self._changed()
        return gone

    def list(self) -> Sequence[Price]:
        query = sa.select(prices).order_by(*prices.primary_key.columns)
        return [
            Price(
                host=row.host,
                model=row.model,
                since=row.since,
                rates=Rates.of(row.rates),
                set_at=row.set_at,
                set_by=row.set_by,
            )
            for row in self._transaction.rows(query)
        ]

    def upstreams(self, *, after: int, limit: int) -> tuple[Sequence[Upstream], int]:
        query = (
            sa.select(versions.c.id, versions.c.target)
            .where(versions.c.id > after)
            .order_by(versions.c.id)
            .limit(limit)
        )
        rows = self._transaction.rows(query)
        found = [upstream for row in rows if (upstream := upstream_of(row.target)) is not None]
        return found, rows[-1].id if rows else after

    def unpublished(self, upstreams: Sequence[Upstream], edition: str) -> Sequence[Upstream]:
        known = sa.select(published_prices.c.base_url, published_prices.c.model).where(
            published_prices.c.edition == edition
        )
        there = {Upstream(row.base_url, row.model) for row in self._transaction.rows(known)}
        return [each for each in upstreams if each not in there]

    def publish(self, found: Mapping[Upstream, Timeline], edition: str) -> None:
        rows = [
            {
                "base_url": upstream.base_url,
                "model": upstream.model,
                "edition": edition,
                "dated": timeline_document(timeline),
            }
            for upstream, timeline in sorted(found.items())
        ]
        if rows:
            insert = replace_row(self._transaction.dialect, published_prices)
            self._transaction.run(insert, rows)
        if any(found.values()):
            self._changed()

    def of(self, model: str, numbers: Sequence[str]) -> Mapping[str, Timeline]:
        prices = self.all_timelines()
        found: dict[str, Timeline] = {}
        for start in range(0, len(numbers), _MOST_NAMES):
            query = (
                sa.select(versions.c.number, versions.c.target)
                .join(models, models.c.id == versions.c.model_id)
                .where(
                    models.c.folded == folded(model),
                    versions.c.number.in_(numbers[start : start + _MOST_NAMES]),
                )
            )
            for row in self._transaction.rows(query):
                if upstream_of(row.target) is not None:
                    found[row.number] = prices.of(row.target)
        return found

    def layers(self, model: str, version: str) -> tuple[Upstream | None, Timeline, Timeline]:
        query = (
            sa.select(versions.c.target)
            .join(models, models.c.id == versions.c.model_id)
            .where(
                models.c.folded == folded(model),
                versions.c.precedence == SemVer.parse(version).precedence_key(),
            )
        )
        target = self._transaction.scalar(query)
        upstream = None if target is None else upstream_of(target)
        if upstream is None:
            return None, (), ()
        own = laid_over(*_own_layers(upstream, self._own()))
        return upstream, own, self._published().get(upstream, ())

    def all_timelines(self) -> "Timelines":
        """Return how to read the timeline of any target."""
        if self._all is None:
            self._all = Timelines(self._own(), self._published())
        return self._all

    def _changed(self) -> None:
        self._all = None
        self._transaction.changes_view()

    def _own(self) -> _Own:
        found: dict[tuple[str, str], list[Dated]] = {}
        for price in self.list():
            found.setdefault((price.host, price.model), []).append(Dated(price.since, price.rates))
        return found

    def _published(self) -> _Published:
        rows = self._transaction.rows(sa.select(published_prices))
        return {Upstream(row.base_url, row.model): timeline_from(row.dated) for row in rows}


class Timelines:
    """All prices of one moment."""

    def __init__(self, own: _Own, published: _Published) -> None:
        self._own = own
        self._published = published

    def of(self, target: Mapping[str, Any]) -> Timeline:
        return _timeline(target, self._own, self._published)


def upstream_of(target: Mapping[str, Any]) -> Upstream | None:
    """Return whom a target calls, None if it runs here."""
    if "base_url" not in target:
        return None
    return Upstream(str(target["base_url"]), str(target.get("model", "")))


def _own_layers(upstream: Upstream, own: _Own) -> tuple[Sequence[Dated], Sequence[Dated]]:
    model = upstream.model
    return own.get((upstream.host, model), ()), own.get((ANY_HOST, model), ())


def _timeline(target: Mapping[str, Any], own: _Own, published: _Published) -> Timeline:
    upstream = upstream_of(target)
    if upstream is None:
        return ()
    return laid_over(*_own_layers(upstream, own), published.get(upstream, ()))
