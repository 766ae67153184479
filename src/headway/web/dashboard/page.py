"""What the page shows, read from the services: values in the order in which they are shown.

What the caller may not see is not there; what he may not do now has no button.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headway.auth.policy import Caller, may
from headway.auth.role import Permission
from headway.deployments.deployment import ACTIVE, Deployment, State
from headway.deployments.intent import Verb
from headway.judge.evidence import Kind, kind_of
from headway.kernel.clock import DAY, MINUTE
from headway.kernel.errors import HeadwayError
from headway.outbox.event import Event
from headway.registry.model import Model
from headway.registry.ports import ModelQuery
from headway.routing.assignment import CHECKS
from headway.routing.route import Route
from headway.services import Services
from headway.tracking.measurement import ERRORS, Outcome
from headway.tracking.service import Point
from headway.web.dashboard import words
from headway.web.dashboard.picture import WHOLE, Axis, Slice, bar, climb

RECENT: Final = 5 * MINUTE
"""What "now" means of measurements."""
_MOST_RUNNING: Final = 20
_MOST_ENDED: Final = 3
_ENDED_LATELY: Final = DAY
_MOST_MODELS: Final = 100
_MOST_EVENTS: Final = 40
_EVENTS_OF_ONE: Final = 1000
_UNTOLD: Final = frozenset({"artifact"})
"""Nouns of events that the page leaves out: an upload says nothing before its version does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What the caller may do now: the words of its button say what will happen."""

    id: str
    words: str
    note: str
    path: str
    fields: Mapping[str, str]
    typed: str | None = None
    """What must be typed before it is done: it moves traffic without a proof."""
    wants_why: bool = True
    back: bool = False
    """Whether it takes traffic away from the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One step on the track."""

    number: int
    title: str
    text: str
    state: str
    """done, now, next, stopped or never."""
    ended: str
    """What ended it."""
    ended_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """The evidence on one metric, and how to draw it."""

    name: str
    words: str
    shown: Mapping[str, Any]
    finding: str
    """proven, worse, undecided or none (no data)."""
    worse: float
    """How far it has come towards a proof, percent."""
    not_worse: float | None
    lacks: str
    """What is still missing, where anybody knows."""

    @property
    def by_lines(self) -> bool:
        """Whether thresholds are counted, several of which one slow answer may pass."""
        return kind_of(self.name) is Kind.MAGNITUDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One deployment."""

    at: int
    status: Mapping[str, Any]
    stable: str | None
    """The version that it is to take the place of, while it runs."""
    bar: Sequence[Slice]
    track: Sequence[Stop]
    axis: Axis
    measures: Sequence[Measure]
    actions: Sequence[Action]

    @property
    def seen(self) -> bool:
        """Whether any request of the candidate has counted yet."""
        return any(measure.shown["candidate_n"] for measure in self.measures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What one version did of late."""

    version: str
    corrupt: bool
    """Whether its artifact cannot be loaded any more."""
    requests: int
    failed: int
    p50: float | None
    p95: float | None
    first: float | None
    """The median time to the first content of a stream, ms."""
    tokens: tuple[int, int] | None
    """Those that came in and those that went out; None: it is no model of tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model serves."""

    route: Route
    bar: Sequence[Slice]
    behaviours: Sequence[Behaviour]
    deployment: str | None
    """The one that moves it now."""
    actions: Sequence[Action]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One model."""

    model: Model
    latest: str | None
    aliases: Mapping[str, str]
    places: Sequence[Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One sentence of the history."""

    event: Event
    sentence: str
    actor: str
    ground: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    at: int
    caller: Caller
    running: Sequence[Card]
    ended: Sequence[Card]
    older: int
    """How many more ended lately."""
    shelves: Sequence[Shelf]
    history: Sequence[Line]

    @property
    def title(self) -> str:
        """Say what a reader of the browser's tabs must know."""
        told = [
            f"{one.status['model']} {one.status['version']} {words.state(one.status['state'])}"
            for one in (self.running or self.ended)[:1]
        ]
        return " · ".join([*told, "Headway"])


def read(services: Services, caller: Caller) -> Page:
    """Look at everything once, as the caller sees it."""
    now = services.clock()
    known = services.deployments
    active = [
        one
        for one in known.list(states=[state.value for state in ACTIVE], limit=_MOST_RUNNING)
        if _sees(caller, one.model, one.environment)
    ]
    lately = [
        one
        for one in known.list(limit=_MOST_RUNNING)
        if one.finished_at is not None
        and one.finished_at > now - _ENDED_LATELY
        and _sees(caller, one.model, one.environment)
    ]
    # What went wrong stays, whatever came after it: somebody has yet to read why.
    shown = [
        one
        for place, one in enumerate(lately)
        if place < _MOST_ENDED or one.state is not State.SUCCEEDED
    ]
    return Page(
        at=now,
        caller=caller,
        running=[_card(services, caller, one, now) for one in active],
        ended=[_card(services, caller, one, now) for one in shown],
        older=len(lately) - len(shown),
        shelves=_shelves(services, caller, now, active),
        history=_history(services, caller, [*active, *lately]),
    )


def _sees(caller: Caller, model: str, environment: str) -> bool:
    return caller.sees_model(model) and caller.sees_environment(environment)


# Deployments


def _card(services: Services, caller: Caller, deployment: Deployment, now: int) -> Card:
    status = services.deployments.status(deployment.id)
    events = services.deployments.events(deployment.id, limit=_EVENTS_OF_ONE)
    metrics = _rows(status["evidence"])
    return Card(
        at=now,
        status=status,
        stable=None if deployment.finished else _stable(services, status),
        bar=bar(_rows(status["shares"])),
        track=_track(status, events),
        axis=Axis.over(metrics),
        measures=[_measure(row, status) for row in metrics],
        actions=_actions(services, caller, status),
    )


def _stable(services: Services, status: Mapping[str, Any]) -> str | None:
    """Return the stable version; once all are on the candidate, the one that was."""
    for arm in _rows(status["shares"]):
        if arm["role"] == "stable":
            return str(arm["version"])
    where = {"model": status["model"], "environment": status["environment"]}
    return _leads_to(services, where) if status["shares"] else None


def _rows(value: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a part of a document
    return value if isinstance(value, list) else ()


def _track(status: Mapping[str, Any], events: Sequence[Event]) -> Sequence[Stop]:
    steps = _rows(status["steps"])
    ended = dict(_endings(steps, events))
    return [
        Stop(
            number=step["number"],
            title=_title(step),
            text=step["text"],
            state=step["state"],
            ended=ended.get(step["number"], ("", None))[0],
            ended_at=ended.get(step["number"], ("", None))[1],
        )
        for step in steps
    ]


def _title(step: Mapping[str, Any]) -> str:
    if step["verb"] == "send":
        return words.spaced(str(step["send"]))
    return "check" if step["verb"] == "check" else f"watch {step['watch']}"


def _endings(
    steps: Sequence[Mapping[str, Any]], events: Sequence[Event]
) -> Iterable[tuple[int, tuple[str, int]]]:
    """Say of each step that was left what ended it: entering the next one says it."""
    entered = 0
    for event in events:
        detail = event.detail if isinstance(event.detail, Mapping) else {}
        after = detail.get("after")
        if not isinstance(after, Mapping):
            continue
        number = int(str(after["entered"]))
        if number > entered:
            step = steps[number - 1]
            why = event.why.removeprefix(f"step {number} of {len(steps)}, {step['text']}: ")
            if entered:
                yield entered, (words.plain(why), event.at)
            entered = number
        elif entered and after["state"] not in {"running", "paused", detail.get("before")}:
            yield entered, (words.plain(event.why), event.at)


def _measure(metric: Mapping[str, Any], status: Mapping[str, Any]) -> Measure:
    needed = metric["e_not_needed"]
    return Measure(
        name=metric["metric"],
        words=words.metric(metric["metric"]),
        shown=metric,
        finding=_finding(metric, status),
        worse=climb(metric["e"], status["e_needed"]),
        not_worse=None if needed is None else climb(metric["e_not"] or 0.0, needed),
        lacks=words.lacking(status["next"]) if _slowest(metric, status) else "",
    )


def _slowest(metric: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Say whether the present step waits for this one longest."""
    return status["next"] is not None and status["next"]["metric"] == metric["metric"]


def _finding(metric: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    if not (metric["candidate_n"] and metric["stable_n"]):
        return "none"
    if metric["e"] >= status["e_needed"]:
        return "worse"
    return "undecided" if metric["proved_by"] is None else "proven"


def _actions(services: Services, caller: Caller, status: Mapping[str, Any]) -> Sequence[Action]:
    where = {"model": status["model"], "environment": status["environment"]}
    if not may(caller, Permission.DEPLOYMENTS_WRITE, **where):
        return ()
    return [
        action
        for verb in status["may"]
        for action in _actions_of(services, status, Verb(verb), where)
    ]


def _actions_of(
    services: Services, status: Mapping[str, Any], verb: Verb, where: Mapping[str, str]
) -> Iterable[Action]:
    version, number, steps = status["version"], status["step"], _rows(status["steps"])

    def action(said: str, note: str, *, to: str = "", **more: Any) -> Action:  # noqa: ANN401 - fields
        return Action(
            id=f"{verb}-{to}-{status['id']}" if to else f"{verb}-{status['id']}",
            words=said,
            note=note,
            path=f"/deployments/{status['id']}/{verb}",
            fields={"to": to} if to else {},
            **more,
        )

    match verb:
        case Verb.PAUSE:
            share = next((a["share_bp"] for a in _candidates(status)), 0)
            yield action(
                f"Pause, with {words.share(share)} on {version}",
                "It stays where it is until somebody goes on. What is proven worse, or hits a "
                "limit, goes back all the same.",
                wants_why=False,
            )
        case Verb.RESUME:
            yield action(
                f"Go on with step {number} of {len(steps)}",
                "The time that it was paused does not count.",
                wants_why=False,
            )
        case Verb.PROMOTE:
            if number:  # before the first step there is no proof to skip
                yield from _promotions(action, version, steps[number:])
        case Verb.ABORT:
            before = _leads_to(services, where)
            said = f"Send everybody back to {before}" if before else "Stop: nobody answers again"
            yield action(said, f"Ends this deployment of {version}.", back=True)
        case Verb.ABANDON:
            yield action(
                "Leave everything as it stands now",
                "Nobody goes back any more; the route stays as it is.",
            )
        case Verb.ROLL_BACK:
            pass  # aborting does the same here


def _promotions(
    action: Callable[..., Action], version: str, coming: Sequence[Mapping[str, Any]]
) -> Iterable[Action]:
    note = "Skips the proof that the present step waits for."
    if not coming:
        yield action(f"Make {version} the stable version now", note, typed=version)
        return
    first = coming[0]
    said = (
        f"Send {_title(first)} to {version} now"
        if first["verb"] == "send"
        else f"End this step now, then {first['text']}"
    )
    yield action(said, note, typed=version)
    sends = [step for step in coming if step["verb"] == "send"]
    if len(sends) > 1:
        yield action(
            f"Send {_title(sends[-1])} to {version} now",
            "Skips this proof and those of all steps to come.",
            to="end",
            typed=version,
        )


def _candidates(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [arm for arm in _rows(status["shares"]) if arm["role"] == "candidate"]


def _leads_to(services: Services, where: Mapping[str, str]) -> str | None:
    """Return the version that going back leads to; None: there is none."""
    try:
        return services.rollbacks.leads_to(**where).version
    except HeadwayError:
        return None


# Models


def _shelves(
    services: Services, caller: Caller, now: int, active: Sequence[Deployment]
) -> Sequence[Shelf]:
    moving = {(one.model, one.environment): one.id for one in active}
    routes = [
        route
        for route in services.routing.routes()
        if _sees(caller, route.model, route.environment)
    ]
    return [
        _shelf(services, caller, model, [r for r in routes if r.model == model.name], now, moving)
        for model in services.registry.models(ModelQuery(limit=_MOST_MODELS)).items
        if caller.sees_model(model.name)
    ]


def _shelf(
    services: Services,
    caller: Caller,
    model: Model,
    routes: Sequence[Route],
    now: int,
    moving: Mapping[tuple[str, str], str],
) -> Shelf:
    registry = services.registry
    latest = registry.latest(model.name)
    return Shelf(
        model=model,
        latest=None if latest is None else str(latest.number),
        aliases={alias.name: str(alias.version) for alias in registry.aliases(model.name)},
        places=[
            _place(services, caller, route, now, moving.get((route.model, route.environment)))
            for route in routes
        ],
    )


def _place(
    services: Services, caller: Caller, route: Route, now: int, deployment: str | None
) -> Place:
    rule = route.rules[-1]
    shares = bar(
        {"version": arm.version, "role": arm.role.value, "share_bp": rule.share_bp(arm.key)}
        for arm in rule.arms
        if route.enabled
    )
    points = [
        point
        for point in services.tracking.measurements(
            route.model, route.environment, since=now - RECENT, until=now
        )
        if point.arm != CHECKS
    ]
    return Place(
        route=route,
        bar=shares,
        behaviours=_behaviours(services, route.model, shares, points),
        deployment=deployment,
        actions=() if deployment else _ways_back(services, caller, route),
    )


def _behaviours(
    services: Services, model: str, shares: Sequence[Slice], points: Sequence[Point]
) -> Sequence[Behaviour]:
    """Say how each version behaved that serves, or did of late; one without requests too."""
    serving = [one.version for one in shares]
    others = sorted({point.version for point in points} - set(serving))
    found = []
    for version in (*serving, *others):
        of = [point for point in points if point.version == version]
        most = max(of, key=lambda point: point.requests, default=None)
        answered = ERRORS | {Outcome.OK}
        found.append(
            Behaviour(
                version=version,
                corrupt=services.registry.version(model, version).corrupt_at is not None,
                requests=sum(p.outcomes.get(o, 0) for p in of for o in answered),
                failed=sum(p.outcomes.get(o, 0) for p in of for o in ERRORS),
                p50=most.latency_ms.get("p50") if most else None,
                p95=most.latency_ms.get("p95") if most else None,
                first=_first(of),
                tokens=_tokens(of),
            )
        )
    return found


def _first(points: Sequence[Point]) -> float | None:
    streams = [point for point in points if point.first_ms]
    most = max(streams, key=lambda point: point.requests, default=None)
    return most.first_ms["p50"] if most else None


def _tokens(points: Sequence[Point]) -> tuple[int, int] | None:
    if not any(point.tokens for point in points):
        return None
    came, went = (sum(p.tokens.get(kind, 0) for p in points) for kind in ("input", "output"))
    return came, went


def _ways_back(services: Services, caller: Caller, route: Route) -> Sequence[Action]:
    where = {"model": route.model, "environment": route.environment}
    if not may(caller, Permission.ROLLBACKS_WRITE, **where):
        return ()
    before = _leads_to(services, where)
    if before is None or any(
        arm.version == before and route.rules[-1].share_bp(arm.key) == WHOLE
        for arm in route.rules[-1].arms
    ):
        return ()
    present = " and ".join(arm.version for arm in route.rules[-1].arms)
    return [
        Action(
            id=f"roll-back-{route.model}-{route.environment}",
            words=f"Roll back: everybody to {before}",
            note=f"Within a second or two {before} answers everybody, whatever is proven of "
            f"{present}; nothing is judged on the way back.",
            path="/rollbacks",
            fields={**where, "revision": str(route.revision)},
            back=True,
        )
    ]


# The history


def _history(services: Services, caller: Caller, known: Sequence[Deployment]) -> Sequence[Line]:
    events = services.history.latest(
        limit=_MOST_EVENTS, wanted=lambda event: _tells(caller, event)
    )
    versions = {one.id: one.version for one in known}
    for event in events:
        if event.deployment is not None and event.deployment not in versions:
            versions[event.deployment] = services.deployments.get(event.deployment).version
    return [
        Line(
            event=event,
            sentence=words.sentence(event, versions.get(event.deployment or "")),
            actor=words.actor(event),
            ground=words.ground(event),
        )
        for event in events
    ]


def _tells(caller: Caller, event: Event) -> bool:
    noun = event.kind.partition(".")[0]
    if noun in _UNTOLD:
        return False
    if noun == "key":
        return (
            Permission.KEYS_READ in caller.permissions
            and caller.sees_all_models
            and "*" in caller.environments
        )
    return (
        caller.sees_all_models if event.model is None else caller.sees_model(event.model)
    ) and (event.environment is None or caller.sees_environment(event.environment))
