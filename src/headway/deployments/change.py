"""Changes of a route that deployments and rollbacks make: pure, from one revision to the next.

While a deployment runs the rule has two arms, `stable` and `candidate`. At 100 % the stable arm
stays in the rule without a segment: it is kept warm, and a gateway that vetoes the candidate can
still send everybody there without asking anybody.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from headway.deployments.deployment import Deployment
from headway.deployments.facts import CANDIDATE, STABLE, Facts, guards_of
from headway.kernel.clock import DAY
from headway.kernel.errors import Refused
from headway.kernel.quantity import WHOLE_BP
from headway.registry.model import Version
from headway.routing.allocation import reshare
from headway.routing.route import Arm, Role, Route, Rule, Segment, StickTo, whole

STABLE_FOR: Final = DAY
"""A version that was stable for so long is one to fall back to."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a rollback leads."""

    route: Route
    """What is published again: its text, unchanged."""
    to_revision: int | None
    """The revision that it is the text of; None: a new one."""
    words: str

    @property
    def version(self) -> str | None:
        """Which version must answer afterwards; None: nobody is to answer."""
        return serving(self.route)


def stable_arm(route: Route | None) -> Arm | None:
    """Return the stable arm of everybody else's rule; None: nothing is stable there."""
    if route is None or not route.enabled:
        return None
    return next((arm for arm in route.rules[-1].arms if arm.role is Role.STABLE), None)


def serving(route: Route) -> str | None:
    """Return the version that most of everybody else gets; None: the route is switched off."""
    if not route.enabled:
        return None
    rule = route.rules[-1]
    return max(rule.arms, key=lambda arm: rule.share_bp(arm.key)).version


def check_movable(route: Route | None) -> None:
    """Raise `Refused` for a route that a deployment cannot move yet, and say what to do."""
    if route is None or not route.enabled:
        return
    arms = {segment.arm for segment in route.rules[-1].segments}
    if len(route.rules) > 1:
        has = f"{len(route.rules)} rules"
    elif route.rules[-1].when:
        has = "a rule with a condition"
    elif len(arms) > 1:
        has = f"{len(arms)} arms that serve"
    else:
        return
    raise Refused(
        f"{route.name} has {has}, and a deployment moves everybody from one version to another: "
        "it would not know whom to move. Either change the arms yourself, with "
        f"PUT /api/v1/routes/{route.name}; or put one rule there without a condition, with one "
        "arm, then deploy, and put the rules back afterwards"
    )


def candidate_of(deployment: Deployment) -> Arm:
    return Arm(CANDIDATE, deployment.version, deployment.digest, Role.CANDIDATE)


def with_share(
    deployment: Deployment,
    *,
    current: Route | None,
    before: Route | None,
    facts: Facts,
    share_bp: int,
    step: int,
    at: int,
    because: str,
) -> Route:
    """Return the next revision, in which the candidate has that share (basis points).

    The salt is the deployment's id: else the same users would always be the first. It stays
    through all of its shares, so that a unit moves at most once, towards the candidate.
    """
    candidate = candidate_of(deployment)
    stable = stable_arm(before)
    arms: tuple[Arm, ...] = (candidate,)
    segments: Sequence[Segment] = ()
    shares = {CANDIDATE: WHOLE_BP}
    if stable is not None:
        arms = (replace(stable, key=STABLE), candidate)
        wanted = {STABLE: WHOLE_BP - share_bp, CANDIDATE: share_bp}
        shares = {arm: share for arm, share in wanted.items() if share}
    if current and current.epoch and current.epoch.deployment == deployment.id:
        segments = current.rules[-1].segments
    template = before or current
    return Route(
        model=deployment.model,
        environment=deployment.environment,
        rules=(Rule(arms, reshare(segments, shares)),),
        salt=deployment.id,
        stick_to=deployment.plan.stick_to
        or (template.stick_to if template else StickTo.CONVERSATION),
        slices=template.slices if template else (),
        fallback=template.fallback if template else None,
        revision=(current.revision if current else 0) + 1,
        epoch=facts.epoch(deployment.id, step=step, pin_for=deployment.plan.pin_for),
        guards=guards_of(deployment.plan.judging.never),
        because=because,
        created_at=at,
        created_by=deployment.created_by,
    )


def promoted(deployment: Deployment, *, current: Route, at: int, because: str) -> Route:
    """Return the next revision, in which the candidate is the stable version of everybody."""
    arm = replace(candidate_of(deployment), key=STABLE, role=Role.STABLE)
    return replace(
        current,
        rules=(whole(arm),),
        default=None,
        revision=current.revision + 1,
        id=0,
        epoch=None,
        guards=(),
        because=because,
        created_at=at,
        created_by=deployment.created_by,
    )


def again(target: Target, *, current: Route, at: int, because: str, by: str) -> Route:
    """Return the next revision, with the very text of the target."""
    return replace(
        target.route,
        revision=current.revision + 1,
        id=0,
        epoch=None,
        guards=(),
        because=because,
        created_at=at,
        created_by=by,
    )


def back_to(before: Route | None, *, current: Route) -> Target:
    """Return where a deployment goes back to: what was before it.

    Nothing was before: the route is switched off. Somebody switched it off meanwhile: it stays
    off, with the text of before otherwise.
    """
    if before is None:
        return Target(replace(current, enabled=False), None, "nothing: the route is switched off")
    if before.enabled and not current.enabled:
        off = replace(before, enabled=False)
        return Target(off, None, f"revision {before.revision}, still switched off")
    return to_revision(before)


def to_revision(route: Route, *, called: str = "") -> Target:
    """Return a revision of the route as it was; `called` is what somebody named it by."""
    place = f"{called}, revision {route.revision}" if called else f"revision {route.revision}"
    return Target(route, route.revision, f"{serving(route) or 'switched off'} ({place})")


def passing_over(versions: Collection[str], target: Target) -> Target:
    """Return a target whose words say which versions were passed over for their artifacts."""
    if not versions:
        return target
    said = f"{target.words}; passed over, for the artifact is corrupt: {', '.join(versions)}"
    return replace(target, words=said)


def to_version(version: Version, *, current: Route) -> Target:
    """Return the present route with one version for everybody."""
    arm = Arm(STABLE, str(version.number), version.digest, Role.STABLE)
    route = replace(current, rules=(whole(arm),), default=None, enabled=True)
    return Target(route, None, f"version {version.number}")


def stable_before(
    revisions: Sequence[Route], *, now: int, besides: Collection[str | None] = ()
) -> Route | None:
    """Return the newest revision of a version that was stable for 24 h; None: there is none.

    `besides`: versions that are not meant.

    `revisions` are a route's, newest first, and `now` is when the newest of them ended. A version
    is stable while everybody gets it, over as many revisions as that takes.
    """
    newest: Route | None = None
    ended = until = now
    for route in revisions:
        sole = _sole(route)
        if newest is None or sole != _sole(newest):
            newest, ended = route, until
        if sole and sole not in besides and ended - route.created_at >= STABLE_FOR:
            return newest
        until = route.created_at
    return None


def _sole(route: Route) -> str | None:
    """Return the stable version that everybody gets, if one does."""
    if not route.enabled or route.epoch is not None:
        return None
    rule = route.rules[-1]
    if len(route.rules) > 1 or len({segment.arm for segment in rule.segments}) > 1:
        return None
    return rule.arm(rule.segments[0].arm).version
