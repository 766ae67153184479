"""What people ask of routes: see them, set them by hand, switch them off, and know why."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from headway.kernel.canonical import Json
from headway.kernel.clock import Clock
from headway.kernel.errors import (
    Conflict,
    Fault,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from headway.kernel.ids import NewId
from headway.kernel.names import check_name, folded
from headway.outbox.actor import Actor
from headway.outbox.event import Event
from headway.registry.model import State, Version
from headway.registry.version import SemVer, reads_as_version
from headway.routing.allocation import lay_out, reshare
from headway.routing.assignment import CHECKS, PINNED, check_unit
from headway.routing.condition import Attributes
from headway.routing.explain import Explanation, explain_stamp, explain_unit
from headway.routing.ports import Begin, KeepAsItWas, ReadStamp, Work
from headway.routing.route import Arm, Role, Route, Rule, StickTo
from headway.routing.table import compile_route

MOST_RULES: Final = 32
_GONE: Final = frozenset({State.RETIRED, State.YANKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmDraft:
    """An arm as somebody wants it."""

    key: str
    version: str
    """A registered number; never an alias: a route must mean the same tomorrow."""
    share_bp: int
    role: Role = Role.STABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDraft:
    arms: tuple[ArmDraft, ...]
    when: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDraft:
    """A route as somebody wants it. Without rules only `enabled` is set and the rest stays."""

    rules: tuple[RuleDraft, ...] | None = None
    enabled: bool = True
    stick_to: str = StickTo.CONVERSATION
    salt: str | None = None
    """None: the present one, so that units stay where they are; a new one if there is none."""
    slices: tuple[str, ...] = ()
    default: str | None = None
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class RoutingService:
    begin: Begin
    clock: Clock
    new_id: NewId
    read_stamp: ReadStamp
    keep: KeepAsItWas
    """Keeps a snapshot of a route before it is changed, in the same transaction."""

    def current(self, model: str, environment: str) -> Route:
        """Return the present revision, or raise `NotFound`."""
        with self.begin() as work:
            return work.routes.current(model, environment)

    def revision(self, model: str, environment: str, number: int) -> Route:
        """Return one revision, or raise `NotFound`."""
        with self.begin() as work:
            return work.routes.get(model, environment, number)

    def revisions(
        self, model: str, environment: str, *, before: int | None = None, limit: int = 100
    ) -> Sequence[Route]:
        """Return revisions below `before`, newest first; `NotFound` if there is no route."""
        with self.begin() as work:
            work.routes.current(model, environment)
            return work.routes.revisions(
                model, environment, before=sys.maxsize if before is None else before, limit=limit
            )

    def routes(self, model: str | None = None) -> Sequence[Route]:
        """Return the present revision of every route (of a model), by model and environment."""
        with self.begin() as work:
            found = work.routes.all_current()
        return [r for r in found if model is None or folded(r.model) == folded(model)]

    def put(
        self,
        model: str,
        environment: str,
        draft: RouteDraft,
        *,
        actor: Actor,
        if_match: int | None = None,
        why: str = "",
    ) -> Route:
        """Publish what somebody wants as the next revision; the same text again changes nothing.

        `if_match` is the revision that it was made from: `PreconditionRequired` without it where
        there is a route, `PreconditionFailed` if it is not the present one. `Conflict` names the
        deployment that moves the route now; switching it off is allowed even then, and ends it.
        """
        check_name(environment, what="environment", pointer="/environment")
        with self.begin() as work:
            present = _present(work, model, environment)
            _check_revision(present, if_match, name=f"{model}/{environment}")
            wanted = self._wanted(work, model, environment, draft, present)
            if present is not None and wanted.text() == present.text():
                return present
            self._check_free(work, wanted, present)
            now = self.clock()
            reason = why or _words(wanted, present)
            if present is not None:
                self.keep(work, present, reason, now, actor.name)
            published = work.routes.add(
                replace(wanted, because=reason, created_at=now, created_by=actor.name)
            )
            work.outbox.add(_event(published, present, actor, now, reason))
            work.commit()
        return published

    def explain(
        self,
        model: str,
        environment: str,
        unit: str,
        *,
        at: int | None = None,
        attributes: Attributes | None = None,
    ) -> Explanation:
        """Say which version a unit gets and why, or got at a past time (ms)."""
        with self.begin() as work:
            route = (
                work.routes.current(model, environment)
                if at is None
                else work.routes.at(model, environment, at)
            )
        return explain_unit(route, unit, attributes or {})

    def explain_request(self, request_id: str) -> Explanation:
        """Say where one request went and why, or raise `NotFound`."""
        stamp = self.read_stamp(request_id)
        if stamp is None:
            raise NotFound(f"no request of this installation has the id {request_id[:64]!r}")
        with self.begin() as work:
            route = work.routes.by_id(stamp.revision_id)
        return explain_stamp(route, stamp)

    def _wanted(
        self, work: Work, model: str, environment: str, draft: RouteDraft, present: Route | None
    ) -> Route:
        """Return the next revision, unpublished."""
        if draft.rules is None:
            if present is None:
                raise Invalid.at("/rules", f"is missing: there is no route {model}/{environment}")
            return _switched(present, enabled=draft.enabled)
        if draft.salt is not None:
            check_name(draft.salt, what="salt", pointer="/salt")
        faults: list[Fault] = []
        salt = draft.salt or (present.salt if present else self.new_id("salt"))
        rules = tuple(
            _rule(work, model, rule, f"/rules/{i}", faults, before=_before(present, i, salt))
            for i, rule in enumerate(draft.rules[: MOST_RULES + 1])
        )
        _check_whole(work, model, draft, faults)
        faults += _corrupt(work, model, rules, present)
        if faults:
            raise Invalid(faults)
        route = Route(
            model=present.model if present else _registered_name(work, model, rules),
            environment=present.environment if present else environment,
            rules=rules,
            salt=salt,
            enabled=draft.enabled,
            stick_to=draft.stick_to,
            slices=draft.slices,
            default=draft.default,
            fallback=draft.fallback,
            revision=(present.revision if present else 0) + 1,
        )
        compile_route(route)  # what gateways cannot compile must never reach them
        if present is not None and _same_but_for_the_switch(route, present):
            return _switched(present, enabled=route.enabled)
        return route

    def _check_free(self, work: Work, wanted: Route, present: Route | None) -> None:
        """Raise `Conflict` while a deployment moves the route, but for the kill switch."""
        active = work.deployments.active(wanted.model, wanted.environment)
        if active is None:
            return
        if present is not None and _same_but_for_the_switch(wanted, present):
            if not wanted.enabled:
                return
            words = "is being ended because the route was switched off"
        else:
            words = "moves its shares"
        raise Conflict(
            f"the deployment {active.id} {words}: wait for its end, abort it, or roll back",
            stands_in_the_way=active.id,
        )


def _switched(present: Route, *, enabled: bool) -> Route:
    """Return the present route, on or off; its epoch stays, its deployment must see it."""
    return replace(present, enabled=enabled, revision=present.revision + 1, id=0)


def _same_but_for_the_switch(one: Route, other: Route) -> bool:
    return replace(one, enabled=True).text() == replace(other, enabled=True).text()


def _present(work: Work, model: str, environment: str) -> Route | None:
    try:
        return work.routes.current(model, environment)
    except NotFound:
        return None


def _check_revision(present: Route | None, if_match: int | None, *, name: str) -> None:
    if present is None:
        if if_match is not None:
            raise PreconditionFailed(f"there is no route {name}")
        return
    if if_match is None:
        raise PreconditionRequired(
            f"the route {name} has the revision {present.revision}: "
            "say in If-Match which one you change"
        )
    if if_match != present.revision:
        raise PreconditionFailed(
            f"the revision is {present.revision}, not {if_match}: somebody changed it; look again"
        )


def _before(present: Route | None, rule: int, salt: str) -> Rule | None:
    """Return the rule whose buckets should stay, if they mean the same under the new one."""
    if present is None or present.salt != salt or rule >= len(present.rules):
        return None
    return present.rules[rule]


def _rule(
    work: Work,
    model: str,
    draft: RuleDraft,
    at: str,
    faults: list[Fault],
    *,
    before: Rule | None,
) -> Rule:
    arms = [_arm(work, model, arm, f"{at}/arms/{i}", faults) for i, arm in enumerate(draft.arms)]
    keys = [arm.key for arm in arms]
    for i, key in enumerate(keys):
        if key in keys[:i]:
            faults.append(Fault(f"{at}/arms/{i}/key", f"{key!r} is the key of another arm too"))
    shares = {arm.key: arm.share_bp for arm in draft.arms}
    try:
        segments = reshare(before.segments, shares) if before else lay_out(shares)
    except Invalid as wrong:
        faults.extend(Fault(f"{at}/arms", fault.detail) for fault in wrong.faults)
        segments = ()
    return Rule(arms=tuple(arms), segments=segments, when=draft.when)


def _arm(work: Work, model: str, draft: ArmDraft, at: str, faults: list[Fault]) -> Arm:
    try:
        check_name(draft.key, what="arm", pointer=f"{at}/key")
        if draft.key in {PINNED, CHECKS}:
            raise Invalid.at(f"{at}/key", f"{draft.key!r} names requests that are on no arm")
        version = _version(work, model, draft.version, f"{at}/version")
    except Invalid as wrong:
        faults.extend(wrong.faults)
        return Arm(draft.key, draft.version, "", draft.role)
    if draft.role is Role.SHADOW:
        faults.append(Fault(f"{at}/role", "a shadow has no share of the answers"))
    return Arm(draft.key, str(version.number), version.digest, draft.role)


def _version(work: Work, model: str, text: str, at: str) -> Version:
    if not reads_as_version(text):
        raise Invalid.at(at, f"{text[:128]!r} is no version: routes hold numbers such as 1.4.0")
    try:
        number = SemVer.parse(text)
    except Invalid as wrong:
        raise Invalid.at(at, wrong.faults[0].detail) from None
    found = work.versions.find(model, number)
    if found is None:
        raise Invalid.at(at, f"{model}@{text} is not registered")
    if found.state in _GONE:
        raise Invalid.at(at, f"{model}@{text} is {found.state.value}")
    return found


def _corrupt(
    work: Work, model: str, rules: Sequence[Rule], present: Route | None
) -> Iterator[Fault]:
    """Yield the arms that would get a version whose artifact is corrupt and cannot be loaded.

    One that is on an arm already may stay, so that the rest of the route can be changed.
    """
    there = present.versions() if present is not None else frozenset()
    for i, rule in enumerate(rules):
        for j, arm in enumerate(rule.arms):
            if arm.version in there or not arm.digest:
                continue
            version = work.versions.find(model, SemVer.parse(arm.version))
            if version is not None and version.corrupt_at is not None:
                yield Fault(
                    f"/rules/{i}/arms/{j}/version",
                    f"{model}@{arm.version} is corrupt: upload its artifact again",
                )


def _check_whole(work: Work, model: str, draft: RouteDraft, faults: list[Fault]) -> None:
    """Check what no single arm can tell."""
    rules = draft.rules or ()
    if not 1 <= len(rules) <= MOST_RULES:
        faults.append(Fault("/rules", f"{len(rules)} rules; 1 to {MOST_RULES} are taken"))
        return
    roles = [arm.role for arm in rules[-1].arms]
    if roles.count(Role.STABLE) != 1:
        faults.append(
            Fault(
                f"/rules/{len(rules) - 1}/arms",
                "the last rule, which is for everybody else, has exactly one stable arm",
            )
        )
    if draft.default is not None and draft.default not in {
        arm.key for rule in rules for arm in rule.arms
    }:
        faults.append(Fault("/default", f"there is no arm {draft.default!r}"))
    try:
        check_unit(draft.stick_to)
    except Invalid as wrong:
        faults.extend(wrong.faults)
    if draft.fallback is None:
        return
    try:
        if reads_as_version(draft.fallback):
            _version(work, model, draft.fallback, "/fallback")
        else:
            check_name(draft.fallback, what="model", pointer="/fallback")
    except Invalid as wrong:
        faults.extend(wrong.faults)
    if folded(draft.fallback) == folded(model):
        faults.append(Fault("/fallback", "a model cannot fall back to itself: name a version"))


def _registered_name(work: Work, model: str, rules: Sequence[Rule]) -> str:
    """Return the model's name as it was registered."""
    found = work.versions.find(model, SemVer.parse(rules[0].arms[0].version))
    return found.model if found else model


def _words(wanted: Route, present: Route | None) -> str:
    if present is None:
        return "set by hand"
    if wanted.enabled is not present.enabled:
        return "switched on" if wanted.enabled else "switched off"
    return "changed by hand"


def _event(published: Route, present: Route | None, actor: Actor, now: int, why: str) -> Event:
    switched = present is not None and published.enabled is not present.enabled
    kind = ("enabled" if published.enabled else "disabled") if switched else "changed"
    return Event(
        kind=f"route.{kind}",
        subject=f"route:{published.name}",
        at=now,
        actor=actor.name,
        actor_kind=actor.kind,
        why=why,
        detail={
            "revision": published.revision,
            "digest": published.digest,
            "before": present.digest if present else None,
        },
        model=published.model,
        environment=published.environment,
    )
