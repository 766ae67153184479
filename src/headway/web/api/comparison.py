"""Two versions side by side: what differs in them, and how they behaved."""

from typing import Annotated, Final, Literal

from flask import Blueprint
from pydantic import Field, JsonValue

from headway.auth.role import Permission
from headway.registry.comparison import Comparison
from headway.registry.compatibility import Compatibility
from headway.web.api.measurements import RowShown, WindowQuery, row_shown
from headway.web.operation import operation, services
from headway.web.schemas import Ref, Shown, Time, rfc3339

bp: Final = Blueprint(
    "comparison", __name__, url_prefix="/api/v1/models/<name:model>/versions/<ref:ref>"
)


class ComparisonQuery(WindowQuery):
    with_: Annotated[Ref, Field(alias="with")]
    """The other version, taken for the newer one: a number, an alias, `latest`, or a range."""


class ChangeShown(Shown):
    """One place (JSON Pointer into the target) that differs; null: there is nothing there."""

    pointer: str
    before: JsonValue
    after: JsonValue


class DifferenceShown(Shown):
    where: str
    """JSON Pointer into signature, prompt, tools or target."""
    direction: str
    severity: Literal["breaking", "cannot tell", "feature", "fix"]
    detail: str


class CompatibilityShown(Shown):
    compatible: bool
    """Whether callers of the old version can surely call the new one."""
    certain: bool
    differences: list[DifferenceShown]


class ComparisonShown(Shown):
    model: str
    old: str
    new: str
    order: Literal[-1, 0, 1]
    """-1: the old one comes first by precedence; 0: they are one; 1: it comes after."""
    components: list[str]
    """The parts whose digests differ."""
    target: list[ChangeShown]
    prompt: list[str]
    """A unified diff of the system texts."""
    compatibility: CompatibilityShown
    bump: Literal["major", "minor", "patch"]
    """What should grow in the old number."""
    environment: str
    since: Time
    until: Time
    measured: list[RowShown]
    """For people who look once: intervals of 95 %, each for itself. The judge is another."""


@bp.get("/comparison")
@operation(
    Permission.MODELS_READ,
    "Compare a version with another one",
    query=ComparisonQuery,
    gives=ComparisonShown,
)
def show(model: str, ref: str, query: ComparisonQuery) -> ComparisonShown:
    found = services().registry.compare(model, ref, query.with_)
    since, until = query.window()
    measured = services().tracking.comparison(
        found.old.model,
        query.environment,
        old=str(found.old.number),
        new=str(found.new.number),
        since=since,
        until=until,
    )
    return ComparisonShown(
        model=found.old.model,
        old=str(found.old.number),
        new=str(found.new.number),
        order=found.order,
        components=list(found.components),
        target=_target(found),
        prompt=list(found.prompt),
        compatibility=_compatibility(found.compatibility),
        bump=found.bump,
        environment=query.environment,
        since=rfc3339(since),
        until=rfc3339(until),
        measured=[row_shown(row) for row in measured],
    )


def _target(found: Comparison) -> list[ChangeShown]:
    return [
        ChangeShown.model_validate(
            {"pointer": one.pointer, "before": one.before, "after": one.after}
        )
        for one in found.target
    ]


def _compatibility(found: Compatibility) -> CompatibilityShown:
    return CompatibilityShown(
        compatible=found.compatible,
        certain=found.certain,
        differences=[
            DifferenceShown(
                where=one.where,
                direction=one.direction.value,
                severity=one.severity.value,
                detail=one.detail,
            )
            for one in found.differences
        ],
    )
