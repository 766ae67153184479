"""Deployments over HTTP: create by a plan, look, follow, steer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from flask import Blueprint, Response, request, url_for
from pydantic import ConfigDict, JsonValue

from headway.auth.policy import check
from headway.auth.role import Permission
from headway.deployments.deployment import ACTIVE, Deployment, State
from headway.deployments.describe import summary, told
from headway.deployments.intent import Verb
from headway.deployments.plan import PRODUCTION
from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid, NotFound
from headway.outbox.event import Event
from headway.web.live import Finished, Said
from headway.web.operation import (
    JSON,
    Given,
    Reply,
    allowed,
    caller,
    operation,
    see,
    services,
    state,
)
from headway.web.reading import SentPlan, read_yaml, whole_body
from headway.web.schemas import (
    Because,
    Body,
    Document,
    FreeText,
    Limit,
    Link,
    Links,
    Name,
    Page,
    PageQuery,
    Query,
    Ref,
    Shown,
    Time,
    cut,
    dumps,
    rfc3339,
    shaped,
)
from headway.web.transaction import only_reading

bp: Final = Blueprint("deployments", __name__, url_prefix="/api/v1/deployments")

YAML: Final = "application/yaml"
EVENTS: Final = "text/event-stream"
_AT_ONCE: Final = 100

StateName = Literal[
    "created",
    "scheduled",
    "queued",
    "running",
    "paused",
    "rolling_back",
    "rollback_failed",
    "succeeded",
    "rolled_back",
    "cancelled",
    "abandoned",
]


class PlanIn(Body):
    """A plan; `model` and `to` are a complete one. The other words are told in the docs."""

    model_config = ConfigDict(extra="allow")

    model: Name
    to: Ref
    """A version, an alias, or a range."""
    environment: Name = PRODUCTION
    why: FreeText = ""
    strategy: Name = "canary"
    steps: list[Document] | None = None
    """Each with exactly one verb: check, send or watch."""


class DeploymentsQuery(PageQuery):
    model: Name | None = None
    environment: Name | None = None
    state: Literal[StateName, "active"] | None = None
    """`active`: whatever holds its route."""


class EventsQuery(Query):
    limit: Limit = _AT_ONCE
    after: Annotated[str, *shaped(r"^[0-9]{1,15}$", "is no number of an event")] | None = None
    """The number of an event: those that came later."""


class Promotion(Because):
    why: FreeText
    """A promotion skips a proof: say why."""
    to: Literal["end"] | None = None
    """Straight to 100 %."""


class Told(Shown):
    """What a service tells in its own words; more fields may come."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Held(Told):
    held_since: Time
    because: str | None


class DeploymentShown(Told):
    id: str
    model: str
    environment: str
    version: str
    digest: str
    strategy: str
    why: str
    state: StateName
    because: str
    """Why it is as it is, in one sentence."""
    step: int
    """Which step is the present one, from 1; 0: none yet."""
    step_since: Time
    held: Held | None
    """Why it does not go on by itself."""
    created_at: Time
    created_by: str
    started_at: Time | None
    finished_at: Time | None
    revision: int
    links: Links


class ShareShown(Told):
    arm: str
    version: str
    role: str
    share_bp: int


class StepShown(Told):
    number: int
    text: str
    verb: str
    state: str
    """done, now, next, stopped or never."""


class MetricShown(Told):
    """What is known of one metric: bad events of how many, and the interval of their ratio."""

    metric: str
    candidate_bad: float
    candidate_n: int
    stable_bad: float
    stable_n: int
    interval: list[float | None]
    """How many times as bad the candidate is: from, to (null: no end)."""
    data: bool
    waiting: int
    """Units of both arms that are too young to count."""
    counts_at: Time | None
    """When the first of these counts."""
    waits: str
    """While nothing counts: from when on it does."""


class NextShown(Told):
    what: str
    expected_at: Time | None
    requests: int | None
    metric: str | None
    """The one whose proof takes longest."""
    seconds: float | None
    gives_up_at: Time | None
    """Until when checks that fail are asked again; then the step's `else` decides."""
    after: str | None


class WayBackShown(Told):
    id: str
    version: str | None
    since: Time
    failures: int
    retry_at: Time | None


class DeploymentStatus(DeploymentShown):
    shares: list[ShareShown]
    route_revision: int | None
    steps: list[StepShown]
    finding: str | None
    """worse, not worse, undecided; null: nothing was judged yet."""
    reason: str
    evidence: list[MetricShown]
    frozen: str | None
    """Why no more events of sticky units count; null: they do."""
    next: NextShown | None
    """What happens next, and when."""
    rollback: WayBackShown | None
    plan: dict[str, JsonValue]
    """The whole plan, its steps filled in."""
    plan_digest: str


class ExpectedStep(Told):
    number: int
    sentence: str
    seconds: float | None
    requests: int | None
    on_candidate: int | None


class PlanShown(Told):
    plan: dict[str, JsonValue]
    plan_digest: str
    version: str
    stable: str | None
    steps: list[ExpectedStep]
    seconds: float | None
    sentence: str | None
    notes: list[str]


class EventShown(Told):
    seq: int
    at: Time
    kind: str
    actor: str
    actor_kind: str
    why: str
    evidence: list[str]
    """What it was based on, in sentences."""
    veto: dict[str, JsonValue] | None
    """The gateway's own counts, where it was the first to see a limit hit."""


class JudgedAgain(Told):
    finding: str
    log_e: float
    same: bool
    """The same finding, and ln E within 1e-9."""


class VerdictShown(Told):
    seq: int
    at: Time
    verdict: dict[str, JsonValue]
    """As it was stored: question, counters, findings, promise and digest."""
    again: JudgedAgain


@bp.get("")
@operation(
    Permission.DEPLOYMENTS_READ,
    "List deployments, the newest first",
    query=DeploymentsQuery,
    gives=Page[DeploymentShown],
    refuses=(404,),
)
def listing(query: DeploymentsQuery) -> Page[DeploymentShown]:
    rows = services().deployments.list(
        model=query.model,
        environment=query.environment,
        states=_states(query.state),
        before=query.after,
        limit=query.limit + 1,
    )
    page, after = cut(rows, query.limit, lambda row: row.id)
    return Page[DeploymentShown](
        items=[_shown(row) for row in page if see(model=row.model, environment=row.environment)],
        next=after,
    )


@bp.post("")
@operation(
    Permission.DEPLOYMENTS_WRITE,
    "Deploy by a plan",
    takes=PlanIn,
    read_by_service=True,
    media=(JSON, YAML),
    gives=DeploymentStatus,
    status=201,
    refuses=(404,),
    repeatable=True,
)
def create(asked: Mapping[str, Json] | None) -> Reply:
    with _Plan(asked, Permission.DEPLOYMENTS_WRITE) as document:
        made = services().deployments.create(document, actor=caller().actor)
    return Reply(
        body=_status(made.id), location=url_for("deployments.show", deployment_id=made.id)
    )


@bp.post("/plans")
@operation(
    Permission.DEPLOYMENTS_READ,
    "Say what a plan would do, and how long it takes; nothing is written",
    takes=PlanIn,
    read_by_service=True,
    media=(JSON, YAML),
    gives=PlanShown,
    refuses=(404,),
    changes=False,
)
def explain(asked: Mapping[str, Json] | None) -> PlanShown:
    with _Plan(asked, Permission.DEPLOYMENTS_READ) as document:
        return PlanShown.model_validate(services().deployments.plan(document))


@bp.get("/<deployment:deployment_id>")
@operation(
    Permission.DEPLOYMENTS_READ,
    "Show state, shares, evidence, and what happens next",
    gives=DeploymentStatus,
)
def show(deployment_id: str) -> Reply:
    found = _found(deployment_id)
    return Reply(body=_status(found.id), revision=found.revision)


@bp.get("/<deployment:deployment_id>/events")
@operation(
    Permission.DEPLOYMENTS_READ,
    "Show the history, or follow it live",
    query=EventsQuery,
    gives=Page[EventShown],
    streams=(EVENTS,),
    also={204: "A stream of which nothing more will come"},
)
def events(deployment_id: str, query: EventsQuery) -> Given:
    deployment = _found(deployment_id)
    after = int(query.after or 0)
    if request.accept_mimetypes.best_match([JSON, EVENTS]) == EVENTS:
        return _follow(deployment, after)
    rows = services().deployments.events(deployment_id, after=after, limit=query.limit + 1)
    page, next_ = cut(rows, query.limit, lambda row: row.seq)
    return Page[EventShown](items=[_event(row) for row in page], next=next_)


@bp.get("/<deployment:deployment_id>/events/<number:seq>/verdict")
@operation(
    Permission.DEPLOYMENTS_READ,
    "Show the verdict behind a decision, and judge its counters once more",
    gives=VerdictShown,
)
def verdict(deployment_id: str, seq: int) -> VerdictShown:
    _found(deployment_id)
    shown = services().deployments.verdict(deployment_id, seq)
    return VerdictShown.model_validate({**shown, **_timed({"at": shown["at"]})})


def _follow(deployment: Deployment, after: int) -> Response:
    """Answer with all that happens; who comes back says what was seen last."""
    seen = request.headers.get("Last-Event-ID", "")
    after = int(seen) if seen.isascii() and seen.isdigit() and len(seen) <= 15 else after
    known = services().deployments
    if deployment.finished and not known.events(deployment.id, after=after, limit=1):
        return Response(status=204)
    last = after

    def look() -> Iterator[Said]:
        nonlocal last
        with only_reading():
            # Asked first: what ends a deployment is in the history when its state says so.
            finished = known.get(deployment.id).finished
            found = known.events(deployment.id, after=last, limit=_AT_ONCE)
        for event in found:
            last = event.seq
            yield Said(event.seq, event.kind, dumps(_event_document(event)))
        if finished and len(found) < _AT_ONCE:
            raise Finished

    return state().viewers.follow(look)


def _intent(verb: Verb, summary: str, takes: type[Because] = Because) -> None:
    """Let a deployment be asked to do something; whoever holds its lease carries it out."""

    def ask(deployment_id: str, asked: Because) -> DeploymentStatus:
        _found(deployment_id)
        services().deployments.intend(
            deployment_id,
            verb,
            actor=caller().actor,
            why=asked.why,
            to=asked.to if isinstance(asked, Promotion) else None,
        )
        return _status(deployment_id)

    ask.__name__ = verb.value
    declared = operation(
        Permission.DEPLOYMENTS_WRITE,
        summary,
        takes=takes,
        optional_body=takes is Because,
        gives=DeploymentStatus,
        status=202,
    )
    bp.post(f"/<deployment:deployment_id>/{verb.value}")(declared(ask))


_intent(Verb.PAUSE, "Hold where it is")
_intent(Verb.RESUME, "Go on")
_intent(Verb.PROMOTE, "End the present step without its proof", Promotion)
_intent(Verb.ABORT, "Go back to what was before")
_intent(Verb.ABANDON, "End a failed rollback where it stands")


class _Plan:
    """A plan as it was sent, held to the bounds of the key; its faults are told with lines."""

    def __init__(
        self, asked: Mapping[str, Json] | SentPlan | None, permission: Permission
    ) -> None:
        # JSON was read before the view; YAML is read here, since only plans take it.
        if asked is None:
            asked = read_yaml(whole_body(request))
        self._plan = asked
        self.document = asked.document if isinstance(asked, SentPlan) else asked
        for what, value in (
            ("model", self.document.get("model")),
            ("environment", self.document.get("environment", PRODUCTION)),
        ):
            if isinstance(value, str):
                named = {what: value}
                check(caller(), permission, **named)

    def __enter__(self) -> Mapping[str, Json]:
        return self.document

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Invalid) and isinstance(self._plan, SentPlan):
            raise self._plan.placed(error) from None


def _states(wanted: str | None) -> Sequence[str]:
    if wanted is None:
        return ()
    return [one.value for one in ACTIVE] if wanted == "active" else [wanted]


def _found(deployment_id: str) -> Deployment:
    found = services().deployments.get(deployment_id)
    if not see(model=found.model, environment=found.environment):
        raise NotFound(f"no deployment has the id {deployment_id!r}")
    return found


def _shown(deployment: Deployment) -> DeploymentShown:
    document = summary(deployment)
    return DeploymentShown.model_validate(
        {**_timed(document), "links": _links(deployment, document)}
    )


def _status(deployment_id: str) -> DeploymentStatus:
    known = services().deployments
    document, deployment = known.status(deployment_id), known.get(deployment_id)
    return DeploymentStatus.model_validate(
        {**_timed(document), "links": _links(deployment, document)}
    )


def _links(deployment: Deployment, document: Mapping[str, Json]) -> Links:
    here = url_for("deployments.show", deployment_id=deployment.id)
    found: Links = {"events": Link(method="GET", href=f"{here}/events")}
    where = {"model": deployment.model, "environment": deployment.environment}
    may = document.get("may")
    verbs = may if isinstance(may, Sequence) else ()
    if allowed(Permission.DEPLOYMENTS_WRITE, **where):
        for verb in verbs:
            if verb != Verb.ROLL_BACK:
                found[str(verb)] = Link(method="POST", href=f"{here}/{verb}")
    goes_back = Verb.ROLL_BACK in verbs or deployment.state is State.SUCCEEDED
    if goes_back and allowed(Permission.ROLLBACKS_WRITE, **where):
        found["rollback"] = Link(method="POST", href="/api/v1/rollbacks")
    return found


_TIMES: Final = frozenset(
    {
        "at",
        "since",
        "step_since",
        "held_since",
        "created_at",
        "started_at",
        "finished_at",
        "expected_at",
        "gives_up_at",
        "counts_at",
        "retry_at",
    }
)


def _timed(document: Any) -> Any:  # noqa: ANN401 - any part of a document
    """Write the times of a document as texts."""
    if isinstance(document, Mapping):
        return {
            key: rfc3339(value) if key in _TIMES and isinstance(value, int) else _timed(value)
            for key, value in document.items()
            if key != "may"
        }
    if isinstance(document, list | tuple):
        return [_timed(one) for one in document]
    return document


def _event_document(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = _timed(told(event))
    return found


def _event(event: Event) -> EventShown:
    return EventShown.model_validate(_event_document(event))
