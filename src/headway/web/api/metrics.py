"""`/metrics` in the format of Prometheus, made of what is stored: no counter of this process.

So the counters never fall when a process starts anew, and every control process tells the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headway.auth.role import Permission
from headway.deployments.deployment import ACTIVE, Deployment
from headway.kernel.money import NANO_OF_DOLLAR
from headway.routing.route import Route
from headway.tracking.histogram import FIRST, LATENCY, TimingOf, cumulative, seconds
from headway.tracking.measurement import (
    NANO,
    TOKEN_CLASSES,
    UNPRICED,
    CostOf,
    KeyCount,
    Outcome,
)
from headway.tracking.service import Total
from headway.web.operation import by_metrics_token, caller, operation, see, services

bp: Final = Blueprint("metrics", __name__)

_VERSION: Final = ("model", "environment", "version")
_MOST_ACTIVE: Final = 1_000


@bp.get("/metrics")
@operation(
    Permission.METRICS_READ,
    "Counters and gauges for Prometheus",
    streams=("text/plain",),
    identify=by_metrics_token,
)
def show() -> Response:
    registry = CollectorRegistry(auto_describe=False)
    routes = _routes()
    registry.register(
        Known(
            totals=_totals(),
            timings=_timings(),
            unrouted=_unrouted(),
            routes=routes,
            active=_active(),
            free_bytes=_free_bytes(),
            costs=_costs(),
            priced=_priced(routes),
            keys=[key.id for key in services().keys.living(by=caller())],
            key_counts=services().tracking.key_counts(),
        )
    )
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class Known(Collector):
    """What is known at one moment, as metrics."""

    def __init__(
        self,
        *,
        totals: Iterable[Total],
        timings: Mapping[TimingOf, Mapping[str, int]],
        unrouted: Mapping[str, int],
        routes: Iterable[Route],
        active: Iterable[Deployment],
        free_bytes: int,
        costs: Mapping[CostOf, int],
        priced: Mapping[tuple[str, str, str], bool],
        keys: Iterable[str],
        key_counts: Mapping[KeyCount, int],
    ) -> None:
        self._totals = {(t.model, t.environment, t.version): t for t in totals}
        self._timings = timings
        self._unrouted = unrouted
        self._routes = list(routes)
        self._active = list(active)
        self._free_bytes = free_bytes
        self._costs = costs
        self._priced = priced
        self._keys = sorted(keys)
        self._key_counts = key_counts

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "headway_build", "What runs here.", value={"version": version("headway")}
        )
        yield from self._counters()
        yield from self._times()
        yield from self._money()
        yield from self._of_keys()
        unrouted = CounterMetricFamily(
            "headway_requests_unrouted",
            "Requests that were answered before it was known which version they are for.",
            labels=("outcome",),
        )
        for outcome, n in self._unrouted.items():
            unrouted.add_metric([outcome], n)
        yield unrouted
        share = GaugeMetricFamily(
            "headway_route_share", "Share of an arm, 0 to 1.", labels=(*_VERSION, "arm", "role")
        )
        enabled = GaugeMetricFamily(
            "headway_route_enabled", "1: answers; 0: switched off.", labels=_VERSION[:2]
        )
        for route in self._routes:
            where = [route.model, route.environment]
            enabled.add_metric(where, float(route.enabled))
            for arm in route.rules[-1].arms:
                part = route.rules[-1].share_bp(arm.key) / 10_000
                share.add_metric([*where, arm.version, arm.key, arm.role.value], part)
        yield share
        yield enabled
        moving = GaugeMetricFamily(
            "headway_deployment_active",
            "1 for each deployment that moves a route.",
            labels=(*_VERSION, "state"),
        )
        for one in self._active:
            moving.add_metric([one.model, one.environment, one.version, one.state.value], 1)
        yield moving
        yield GaugeMetricFamily(
            "headway_artifacts_free_bytes",
            "What the disk of the artifacts can still take.",
            value=self._free_bytes,
        )

    def _counters(self) -> Iterator[Metric]:
        """Count every version that is on a route or ever was asked, from 0 on."""
        requests = CounterMetricFamily(
            "headway_requests", "Requests by outcome.", labels=(*_VERSION, "outcome")
        )
        tokens = CounterMetricFamily(
            "headway_tokens", "Tokens by class.", labels=(*_VERSION, "class")
        )
        for key in self._known():
            total = self._totals.get(key)
            for outcome in Outcome:
                n = total.outcomes.get(outcome.value, 0) if total else 0
                requests.add_metric([*key, outcome.value], n)
            for kind in TOKEN_CLASSES:
                tokens.add_metric([*key, kind], total.tokens.get(kind, 0) if total else 0)
        yield requests
        yield tokens

    def _known(self) -> Sequence[tuple[str, str, str]]:
        live = {
            (route.model, route.environment, number)
            for route in self._routes
            for number in route.versions()
        }
        return sorted(live | self._totals.keys())

    def _times(self) -> Iterator[Metric]:
        """Tell how long answers took; of first tokens where there were any."""
        whole = HistogramMetricFamily(
            "headway_request_seconds",
            "From the end of a request to the end of its answer.",
            labels=_VERSION,
        )
        first = HistogramMetricFamily(
            "headway_first_token_seconds",
            "From the end of a request to the first content of its stream.",
            labels=_VERSION,
        )
        for key in self._known():
            for family, kind in ((whole, LATENCY), (first, FIRST)):
                times = self._timings.get((*key, kind), {})
                if times or kind == LATENCY:
                    family.add_metric(key, _buckets(times), seconds(times))
        yield whole
        yield first

    def _money(self) -> Iterator[Metric]:
        """Tell what is known of cost, and of how much it is not known; never 0 for unknown."""
        cost = CounterMetricFamily(
            "headway_cost_usd", "Dollars, by the prices of their time.", labels=_VERSION
        )
        unpriced = CounterMetricFamily(
            "headway_unpriced_requests",
            "Requests that cost something, and nobody knows how much.",
            labels=_VERSION,
        )
        for (*version_of, kind), n in sorted(self._costs.items()):
            if kind == NANO:
                cost.add_metric(version_of, n / NANO_OF_DOLLAR)
            else:
                unpriced.add_metric(version_of, n)
        known = GaugeMetricFamily(
            "headway_price_known",
            "1: the price of what a version on a route calls is known; 0: it is not.",
            labels=_VERSION,
        )
        for place, is_known in sorted(self._priced.items()):
            known.add_metric(list(place), float(is_known))
        yield cost
        yield unpriced
        yield known

    def _of_keys(self) -> Iterator[Metric]:
        """Tell of each key that is not revoked."""
        requests = CounterMetricFamily(
            "headway_key_requests", "Requests of a key by outcome.", labels=("key", "outcome")
        )
        tokens = CounterMetricFamily(
            "headway_key_tokens", "Tokens of a key by class.", labels=("key", "class")
        )
        cost = CounterMetricFamily(
            "headway_key_cost_usd",
            "Dollars of a key, by the prices of their time.",
            labels=("key",),
        )
        unpriced = CounterMetricFamily(
            "headway_key_unpriced_requests",
            "Requests of a key that cost something, and nobody knows how much.",
            labels=("key",),
        )
        counts = self._key_counts
        for key in self._keys:
            for outcome in Outcome:
                n = counts.get((key, "outcome", outcome.value), 0)
                requests.add_metric([key, outcome.value], n)
            for kind in TOKEN_CLASSES:
                tokens.add_metric([key, kind], counts.get((key, "token", kind), 0))
            if (nano := counts.get((key, "cost", NANO))) is not None:
                cost.add_metric([key], nano / NANO_OF_DOLLAR)
            unpriced.add_metric([key], counts.get((key, "cost", UNPRICED), 0))
        yield requests
        yield tokens
        yield cost
        yield unpriced


def _buckets(times: Mapping[str, int]) -> Sequence[tuple[str, float]]:
    return [("+Inf" if end is None else str(end), n) for end, n in cumulative(times)]


def _timings() -> Mapping[TimingOf, Mapping[str, int]]:
    found = services().tracking.timings()
    return {of: times for of, times in found.items() if see(model=of[0], environment=of[1])}


def _costs() -> Mapping[CostOf, int]:
    found = services().tracking.costs()
    return {place: n for place, n in found.items() if see(model=place[0], environment=place[1])}


def _priced(routes: Iterable[Route]) -> Mapping[tuple[str, str, str], bool]:
    """Say of each version on a route that calls a provider whether its price is known now."""
    versions: dict[str, set[str]] = {}
    for route in routes:
        versions.setdefault(route.model, set()).update(route.versions())
    known = services().prices.known(versions)
    return {
        (route.model, route.environment, version): known[route.model, version]
        for route in routes
        for version in route.versions()
        if (route.model, version) in known
    }


def _totals() -> list[Total]:
    found = services().tracking.totals()
    return [t for t in found if see(model=t.model, environment=t.environment)]


def _unrouted() -> Mapping[str, int]:
    # Of all models: nobody knows whose they would have been.
    return services().tracking.unrouted()


def _routes() -> list[Route]:
    found = services().routing.routes()
    return [r for r in found if see(model=r.model, environment=r.environment)]


def _active() -> list[Deployment]:
    states = [state.value for state in ACTIVE]
    found = services().deployments.list(states=states, limit=_MOST_ACTIVE)
    return [d for d in found if see(model=d.model, environment=d.environment)]


def _free_bytes() -> int:
    return services().artifacts.store.free_space()
