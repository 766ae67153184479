"""Routes over HTTP: who answers whom, and why."""

from typing import Annotated, Any, Final, Literal

from flask import Blueprint, request, url_for
from pydantic import Field, JsonValue, model_validator

from headway.auth.role import Permission
from headway.kernel.errors import NotFound
from headway.kernel.quantity import format_percent, parse_time
from headway.routing.explain import Explanation
from headway.routing.route import Guard, Role, Route, Rule, StickTo
from headway.routing.service import MOST_RULES, ArmDraft, RouteDraft, RuleDraft
from headway.web.operation import (
    Reply,
    allowed,
    caller,
    if_match,
    operation,
    see,
    services,
)
from headway.web.reading import Unreadable, read_json
from headway.web.schemas import (
    Body,
    Document,
    FreeText,
    Limit,
    Link,
    Links,
    Name,
    Page,
    Query,
    Shown,
    Time,
    When,
    cut,
    rfc3339,
    shaped,
)

bp: Final = Blueprint("routes", __name__, url_prefix="/api/v1")

_ONE: Final = "/routes/<name:model>/<name:environment>"
RoleName = Literal["stable", "candidate", "baseline", "shadow"]


def _without(value: Any, read_only: frozenset[str]) -> Any:  # noqa: ANN401 - not checked yet
    """Take what a GET gave: fields that nobody can set are passed over."""
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if key not in read_only}
    return value


class ArmIn(Body):
    key: Name
    version: Annotated[str, Field(max_length=255)]
    """A registered number; never an alias: a route must mean the same tomorrow."""
    share_bp: Annotated[int, Field(ge=0, le=10_000)]
    """Of 10,000; the shares of a rule sum to that."""
    role: RoleName = "stable"

    @model_validator(mode="before")
    @classmethod
    def _settable(cls, value: Any) -> Any:  # noqa: ANN401 - not checked yet
        return _without(value, frozenset({"digest"}))


class RuleIn(Body):
    arms: Annotated[list[ArmIn], Field(min_length=1, max_length=64)]
    when: Document = Field(default_factory=dict)
    """A condition; an empty one is everybody."""

    @model_validator(mode="before")
    @classmethod
    def _settable(cls, value: Any) -> Any:  # noqa: ANN401 - not checked yet
        return _without(value, frozenset({"segments"}))


class RouteIn(Body):
    """A route as it shall be. Without rules it is only switched on or off."""

    rules: Annotated[list[RuleIn], Field(min_length=1, max_length=MOST_RULES)] | None = None
    enabled: bool = True
    """False: the kill switch. It is allowed while a deployment runs, and ends it."""
    stick_to: Annotated[str, Field(max_length=128)] = StickTo.CONVERSATION.value
    salt: Annotated[FreeText, Field(min_length=1, max_length=128)] | None = None
    """The present one unless said, so that everybody stays where they are."""
    slices: Annotated[list[Name], Field(max_length=16)] = Field(default_factory=list)
    default: Name | None = None
    """The arm where no rule matches."""
    fallback: Annotated[str, Field(max_length=255)] | None = None
    """A model of the environment, or a version of this one."""
    why: FreeText = ""

    @model_validator(mode="before")
    @classmethod
    def _settable(cls, value: Any) -> Any:  # noqa: ANN401 - not checked yet
        return _without(value, _READ_ONLY)


_READ_ONLY: Final = frozenset(
    {
        "model",
        "environment",
        "revision",
        "hash_version",
        "guards",
        "deployment",
        "step",
        "digest",
        "because",
        "created_at",
        "created_by",
        "links",
    }
)


class RevisionsQuery(Query):
    limit: Limit = 100
    after: Annotated[str, *shaped(r"^[0-9]{1,9}$", "is no number of a revision")] | None = None


class ExplanationQuery(Query):
    unit: Annotated[FreeText, Field(min_length=1, max_length=512)]
    """A conversation, a user, a tenant: what the route sticks to."""
    at: When | None = None
    """A past time: which version it got then."""
    attributes: Annotated[str | None, Field(max_length=4096)] = None
    """What rules ask of the caller, a JSON object."""


class ArmShown(Shown):
    key: str
    version: str
    digest: str
    role: RoleName
    share_bp: int


class SegmentShown(Shown):
    """A run of buckets, in the order of buckets 0 to 9,999."""

    arm: str
    share_bp: int


class RuleShown(Shown):
    when: dict[str, JsonValue]
    arms: list[ArmShown]
    segments: list[SegmentShown]


class GuardShown(Shown):
    """What must never happen: gateways send nobody there any more."""

    arm: str
    metric: str
    above: str
    slower_than_ms: int | None


class RouteShown(Shown):
    model: str
    environment: str
    revision: int
    enabled: bool
    stick_to: str
    salt: str
    hash_version: int
    slices: list[str]
    rules: list[RuleShown]
    default: str | None
    fallback: str | None
    guards: list[GuardShown]
    deployment: str | None
    """Which one made this revision; null: a person or a rollback."""
    step: int | None
    """Of that deployment's plan, from 1."""
    digest: str
    """Of all that decides an assignment."""
    because: str
    created_at: Time
    created_by: str
    links: Links


class ExplanationShown(Shown):
    model: str
    environment: str
    revision: int
    unit: str | None
    """Null: of a request only a keyed hash is known."""
    rule: int | None
    """The index of the rule that matched."""
    bucket: int | None
    segment: list[int] | None
    """The buckets from (counted) to (not counted) of the segment that holds the bucket."""
    share_bp: int | None
    arm: str | None
    version: str | None
    why: str
    at: Time | None
    """When the request was assigned."""
    flags: list[str]


@bp.get(_ONE)
@operation(Permission.ROUTES_READ, "Show the present revision of a route", gives=RouteShown)
def show(model: str, environment: str) -> Reply:
    route = services().routing.current(model, environment)
    return Reply(body=shown(route), revision=route.revision)


@bp.put(_ONE)
@operation(
    Permission.ROUTES_WRITE,
    "Set a route by hand, or pull the kill switch",
    takes=RouteIn,
    gives=RouteShown,
    also={201: "A new route"},
    match="optional",
    refuses=(428,),
)
def put(model: str, environment: str, asked: RouteIn) -> Reply:
    before = _present(model, environment)
    named = if_match()
    if before is not None and request.headers.get("If-Match", "").strip() == "*":
        named = before.revision
    route = services().routing.put(
        services().registry.model(model).name,
        environment,
        _draft(asked),
        actor=caller().actor,
        if_match=named,
        why=asked.why,
    )
    here = url_for("routes.show", model=route.model, environment=route.environment)
    return Reply(
        body=shown(route),
        status=201 if before is None else 200,
        revision=route.revision,
        location=here if before is None else None,
    )


@bp.get(f"{_ONE}/revisions")
@operation(
    Permission.ROUTES_READ,
    "List revisions, the newest first",
    query=RevisionsQuery,
    gives=Page[RouteShown],
)
def revisions(model: str, environment: str, query: RevisionsQuery) -> Page[RouteShown]:
    rows = services().routing.revisions(
        model,
        environment,
        before=None if query.after is None else int(query.after),
        limit=query.limit + 1,
    )
    page, after = cut(rows, query.limit, lambda row: row.revision)
    return Page[RouteShown](items=[shown(row) for row in page], next=after)


@bp.get(f"{_ONE}/revisions/<number:number>")
@operation(Permission.ROUTES_READ, "Show one revision", gives=RouteShown)
def revision(model: str, environment: str, number: int) -> RouteShown:
    return shown(services().routing.revision(model, environment, number))


@bp.get(f"{_ONE}/explanation")
@operation(
    Permission.ROUTES_READ,
    "Say which version somebody gets, or got, and why",
    query=ExplanationQuery,
    gives=ExplanationShown,
    refuses=(400,),
)
def explain(model: str, environment: str, query: ExplanationQuery) -> ExplanationShown:
    try:
        attributes = None if query.attributes is None else read_json(query.attributes.encode())
    except Unreadable as error:
        raise Unreadable(f"?attributes: {error}") from None
    return _explained(
        services().routing.explain(
            model,
            environment,
            query.unit,
            at=None if query.at is None else parse_time(query.at, pointer="?at"),
            attributes=attributes,
        )
    )


@bp.get("/requests/<request:request_id>")
@operation(Permission.ROUTES_READ, "Say where one request went, and why", gives=ExplanationShown)
def explain_request(request_id: str) -> ExplanationShown:
    found = services().routing.explain_request(request_id)
    if not see(model=found.route.model, environment=found.route.environment):
        raise NotFound(f"no request of this installation has the id {request_id[:64]!r}")
    return _explained(found)


def _present(model: str, environment: str) -> Route | None:
    try:
        return services().routing.current(model, environment)
    except NotFound:
        return None


def _draft(asked: RouteIn) -> RouteDraft:
    return RouteDraft(
        rules=(
            None
            if asked.rules is None
            else tuple(
                RuleDraft(
                    when=rule.when,
                    arms=tuple(
                        ArmDraft(
                            key=arm.key,
                            version=arm.version,
                            share_bp=arm.share_bp,
                            role=Role(arm.role),
                        )
                        for arm in rule.arms
                    ),
                )
                for rule in asked.rules
            )
        ),
        enabled=asked.enabled,
        stick_to=asked.stick_to,
        salt=asked.salt,
        slices=tuple(asked.slices),
        default=asked.default,
        fallback=asked.fallback,
    )


def shown(route: Route) -> RouteShown:
    return RouteShown(
        model=route.model,
        environment=route.environment,
        revision=route.revision,
        enabled=route.enabled,
        stick_to=str(route.stick_to),
        salt=route.salt,
        hash_version=route.hash_version,
        slices=list(route.slices),
        rules=[_rule(rule) for rule in route.rules],
        default=route.default,
        fallback=route.fallback,
        guards=[_guard(guard) for guard in route.guards],
        deployment=None if route.epoch is None else route.epoch.deployment,
        step=None if route.epoch is None else route.epoch.step,
        digest=route.digest,
        because=route.because,
        created_at=rfc3339(route.created_at),
        created_by=route.created_by,
        links=_links(route),
    )


def _rule(rule: Rule) -> RuleShown:
    return RuleShown.model_validate(
        {
            "when": dict(rule.when),
            "arms": [
                {**arm.document(), "role": arm.role.value, "share_bp": rule.share_bp(arm.key)}
                for arm in rule.arms
            ],
            "segments": [{"arm": s.arm, "share_bp": s.share_bp} for s in rule.segments],
        }
    )


def _guard(guard: Guard) -> GuardShown:
    return GuardShown(
        arm=guard.arm,
        metric=guard.metric,
        above=format_percent(guard.above),
        slower_than_ms=guard.slower_than_ms,
    )


def _links(route: Route) -> Links:
    here = url_for("routes.show", model=route.model, environment=route.environment)
    found: Links = {
        "revisions": Link(method="GET", href=f"{here}/revisions"),
        "explanation": Link(method="GET", href=f"{here}/explanation"),
    }
    where = {"model": route.model, "environment": route.environment}
    if allowed(Permission.ROUTES_WRITE, **where):
        found["change"] = Link(method="PUT", href=here)
    if allowed(Permission.ROLLBACKS_WRITE, **where):
        found["rollback"] = Link(method="POST", href="/api/v1/rollbacks")
    if route.epoch is not None:
        found["deployment"] = Link(
            method="GET",
            href=url_for("deployments.show", deployment_id=route.epoch.deployment),
        )
    return found


def _explained(found: Explanation) -> ExplanationShown:
    return ExplanationShown(
        model=found.route.model,
        environment=found.route.environment,
        revision=found.route.revision,
        unit=found.unit,
        rule=found.rule,
        bucket=found.bucket,
        segment=None if found.segment is None else list(found.segment),
        share_bp=found.share_bp,
        arm=None if found.arm is None else found.arm.key,
        version=None if found.arm is None else found.arm.version,
        why=found.why,
        at=None if found.at is None else rfc3339(found.at),
        flags=list(found.flags),
    )
