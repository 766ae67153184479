"""Why this caller gets this version: the steps of an assignment, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from headway.kernel.quantity import format_percent
from headway.routing.allocation import BUCKETS
from headway.routing.assignment import Assignment, UnitHints, flat_arms, header_of
from headway.routing.condition import Attributes
from headway.routing.ports import Stamped
from headway.routing.route import Arm, Route, StickTo
from headway.routing.table import compile_route


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which arm a unit or a request is on, and why. Shares and buckets are in basis points."""

    route: Route
    """The revision that decides, or decided."""
    why: str
    """In words."""
    unit: str | None = None
    """None: of a request only a keyed hash is known."""
    rule: int | None = None
    """The index of the rule that matched; None: none did, or none was asked."""
    bucket: int | None = None
    segment: tuple[int, int] | None = None
    """The buckets [from, to) of the segment that holds the bucket."""
    arm: Arm | None = None
    """None: nobody is answered, or the version is not on the route."""
    share_bp: int | None = None
    """Of the arm in its rule."""
    at: int | None = None
    """When the request was assigned, milliseconds UTC."""
    flags: tuple[str, ...] = ()
    """Of a request: `pinned`, `vetoed`, `retry`, …"""


def explain_unit(route: Route, unit: str, attributes: Attributes) -> Explanation:
    """Say where a unit goes under a route. Raises `Invalid` for a route that cannot be one."""
    table = compile_route(route)
    if not table.enabled:
        return Explanation(
            route=route, unit=unit, why=f"{route.name} is switched off: nobody is answered"
        )
    assigned = table.assign(_hints(route.stick_to, unit), attributes, unit)
    arm = assigned.arm
    if assigned.rule < 0:
        words = f"no rule matches, and the default is the arm {arm.key!r} ({arm.version})"
        return Explanation(route=route, unit=assigned.unit, arm=arm, why=words)
    segment = _segment(route, assigned)
    share = route.rules[assigned.rule].share_bp(arm.key)
    return Explanation(
        route=route,
        unit=assigned.unit,
        rule=assigned.rule,
        bucket=assigned.bucket,
        segment=segment,
        arm=arm,
        share_bp=share,
        why=f"rule {assigned.rule + 1} of {len(route.rules)} matches; the {_word(route)} {unit!r} "
        f"has the bucket {assigned.bucket} of 10,000; buckets {segment[0]} to {segment[1] - 1} "
        f"belong to the arm {arm.key!r} ({arm.version}), whose share is "
        f"{format_percent(share / BUCKETS)}",
    )


def explain_stamp(route: Route, stamp: Stamped) -> Explanation:
    """Say where the request with this stamp went; `route` is the revision that assigned it."""
    arms = flat_arms(route)
    flags = tuple(str(flag.name).lower() for flag in stamp.flags)
    if stamp.arm >= len(arms):
        words = "its caller pinned it to a version that the route does not hold"
        return Explanation(route=route, why=words, at=stamp.at, flags=flags)
    arm = arms[stamp.arm]
    rule = _rule_of(route, stamp.arm)
    share = route.rules[rule].share_bp(arm.key)
    by_rule = not {"pinned", "default"} & set(flags)
    return Explanation(
        route=route,
        rule=rule if by_rule else None,
        arm=arm,
        share_bp=share,
        why=_story(route, arm, share, flags),
        at=stamp.at,
        flags=flags,
    )


def _story(route: Route, arm: Arm, share: int, flags: Sequence[str]) -> str:
    to = f"the arm {arm.key!r} ({arm.version})"
    revision = f"revision {route.revision} of {route.name}"
    if "pinned" in flags:
        return f"its caller pinned it to {to}; {revision} was in force"
    if "vetoed" in flags:
        return f"{revision} gave it to an arm that its gateway had vetoed, so it went to {to}"
    if "default" in flags:
        return f"no rule of {revision} matched, and the default is {to}"
    unit = "the request itself" if "single" in flags else f"its {_word(route)}"
    return f"{revision} gave {unit} to {to}, whose share was {format_percent(share / BUCKETS)}"


def _segment(route: Route, assigned: Assignment) -> tuple[int, int]:
    start = 0
    for end in accumulate(one.share_bp for one in route.rules[assigned.rule].segments):
        if assigned.bucket < end:
            return start, end
        start = end
    raise AssertionError(route.name)  # a compiled route's segments hold every bucket


def _rule_of(route: Route, arm_index: int) -> int:
    for number, rule in enumerate(route.rules):
        if arm_index < len(rule.arms):
            return number
        arm_index -= len(rule.arms)
    raise IndexError(arm_index)


def _hints(stick_to: str, unit: str) -> UnitHints:
    """Return hints whose unit is that text, whatever the route sticks to."""
    if (header := header_of(stick_to)) is not None:
        return UnitHints(headers={header: unit})
    return UnitHints(conversation_header=unit, user_header=unit, tenant_header=unit)


def _word(route: Route) -> str:
    header = header_of(route.stick_to)
    known = {StickTo.REQUEST: "request", StickTo.CONVERSATION: "conversation"}
    return (
        f"header {header}" if header else str(known.get(StickTo(route.stick_to), route.stick_to))
    )
