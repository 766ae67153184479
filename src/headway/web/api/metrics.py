"""`/metrics` in the format of Prometheus, made of what is stored: no counter of this process.

So the counters never fall when a process starts anew, and every control process tells the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Final

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headway.auth.role import Permission
from headway.deployments.deployment import ACTIVE, Deployment
from headway.routing.route import Route
from headway.tracking.measurement import TOKEN_CLASSES, Outcome
from headway.tracking.service import Total
from headway.web.operation import by_metrics_token, operation, see, services

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
    registry.register(Known(_totals(), _unrouted(), _routes(), _active(), _free_bytes()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class Known(Collector):
    """What is known at one moment, as metrics."""

    def __init__(
        self,
        totals: Iterable[Total],
        unrouted: Mapping[str, int],
        routes: Iterable[Route],
        active: Iterable[Deployment],
        free_bytes: int,
    ) -> None:
        self._totals = {(t.model, t.environment, t.version): t for t in totals}
        self._unrouted = unrouted
        self._routes = list(routes)
        self._active = list(active)
        self._free_bytes = free_bytes

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "headway_build", "What runs here.", value={"version": version("headway")}
        )
        yield from self._counters()
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
        live = {
            (route.model, route.environment, number)
            for route in self._routes
            for number in route.versions()
        }
        for key in sorted(live | self._totals.keys()):
            total = self._totals.get(key)
            for outcome in Outcome:
                n = total.outcomes.get(outcome.value, 0) if total else 0
                requests.add_metric([*key, outcome.value], n)
            for kind in TOKEN_CLASSES:
                tokens.add_metric([*key, kind], total.tokens.get(kind, 0) if total else 0)
        yield requests
        yield tokens


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
