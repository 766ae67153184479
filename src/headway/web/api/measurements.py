"""What requests showed, over HTTP."""

from typing import Annotated, Final

from flask import Blueprint
from pydantic import Field

from headway.auth.role import Permission
from headway.deployments.plan import PRODUCTION
from headway.kernel.clock import HOUR
from headway.kernel.money import NANO_OF_DOLLAR
from headway.kernel.quantity import format_duration, parse_duration, parse_time
from headway.tracking.comparison import Interval, Row, Side
from headway.tracking.service import Point
from headway.web.operation import operation, services
from headway.web.schemas import Name, Query, Ref, Shown, Time, When, rfc3339

bp: Final = Blueprint("measurements", __name__, url_prefix="/api/v1/measurements")


class WindowQuery(Query):
    environment: Name = PRODUCTION
    from_: Annotated[When | None, Field(alias="from")] = None
    """An hour before `to` unless said."""
    to: When | None = None
    """Now unless said."""

    def window(self) -> tuple[int, int]:
        """Return from when (counted) until when (not counted), ms."""
        until = services().clock() + 1 if self.to is None else parse_time(self.to, pointer="?to")
        if self.from_ is None:
            return max(0, until - HOUR), until  # nothing was measured before 1970
        return parse_time(self.from_, pointer="?from"), until


class MeasurementsQuery(WindowQuery):
    model: Name
    version: Annotated[Ref | None, Field()] = None
    """A number, an alias, `latest` or a range."""
    step: Annotated[str | None, Field(max_length=32)] = None
    """Whole minutes, as in `5m`; the whole window is one step unless said."""


class Quantiles(Shown):
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class PointShown(Shown):
    version: str
    arm: str
    at: Time
    """Start of the step."""
    requests: int
    outcomes: dict[str, int]
    latency_ms: Quantiles
    """From the last byte of the request to the last byte of the answer."""
    first_ms: Quantiles
    """To the first content of a stream."""
    tokens: dict[str, int]
    served_by: dict[str, int]
    """What the upstream said it was."""
    cost_usd: float | None
    """By the price of each minute; null: not all of it is known."""


class ScoreShown(Shown):
    version: str
    name: str
    n: int
    mean: float


class MeasurementsShown(Shown):
    model: str
    environment: str
    since: Time
    until: Time
    step: str | None
    items: list[PointShown]
    scores: list[ScoreShown]
    """Of the whole window."""


@bp.get("")
@operation(
    Permission.MEASUREMENTS_READ,
    "Show outcomes, latency, tokens and cost of a model",
    query=MeasurementsQuery,
    gives=MeasurementsShown,
    refuses=(404,),
)
def show(query: MeasurementsQuery) -> MeasurementsShown:
    registry, tracking = services().registry, services().tracking
    model = registry.model(query.model).name
    version = None if query.version is None else str(registry.version(model, query.version).number)
    since, until = query.window()
    step = None if query.step is None else parse_duration(query.step, pointer="?step")
    points = tracking.measurements(
        model, query.environment, since=since, until=until, step=step, version=version
    )
    scores = tracking.scores(model, query.environment, since=since)
    return MeasurementsShown(
        model=model,
        environment=query.environment,
        since=rfc3339(since),
        until=rfc3339(until),
        step=None if step is None else format_duration(step),
        items=[_point(point) for point in points],
        scores=[
            ScoreShown(version=score.version, name=score.name, n=score.n, mean=score.mean)
            for score in scores
            if version in {None, score.version}
        ],
    )


def _point(point: Point) -> PointShown:
    return PointShown(
        version=point.version,
        arm=point.arm,
        at=rfc3339(point.at),
        requests=point.requests,
        outcomes=dict(point.outcomes),
        latency_ms=Quantiles(**point.latency_ms),
        first_ms=Quantiles(**point.first_ms),
        tokens=dict(point.tokens),
        served_by=dict(point.served_by),
        cost_usd=None if point.cost is None else point.cost / NANO_OF_DOLLAR,
    )


# Two versions side by side


class IntervalShown(Shown):
    """Null is an open end: nothing is known on that side."""

    low: float | None
    high: float | None


class SideShown(Shown):
    value: float | None
    interval: IntervalShown | None
    n: int


class RowShown(Shown):
    """One metric of two versions; difference and ratio are the new one's against the old one's."""

    metric: str
    old: SideShown
    new: SideShown
    difference: float | None
    difference_interval: IntervalShown | None
    ratio: float | None
    ratio_interval: IntervalShown | None


def row_shown(row: Row) -> RowShown:
    return RowShown(
        metric=row.metric,
        old=_side(row.old),
        new=_side(row.new),
        difference=row.difference,
        difference_interval=_interval(row.difference_interval),
        ratio=row.ratio,
        ratio_interval=_interval(row.ratio_interval),
    )


def _side(side: Side) -> SideShown:
    return SideShown(value=side.value, interval=_interval(side.interval), n=side.n)


def _interval(interval: Interval | None) -> IntervalShown | None:
    return None if interval is None else IntervalShown(low=interval.low, high=interval.high)
