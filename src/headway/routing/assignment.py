"""What routing decided for one request, and what the unit is that it decided for.

A unit is what stays on one arm: a conversation, a user, a tenant, or the single request. It is
never the caller's key: an application with one key would be one unit.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from headway.kernel.errors import Invalid
from headway.kernel.names import unknown_word
from headway.routing.route import Arm, Role, Route, StickTo

HEADER: Final = "header:"
"""`stick_to: header:X-Team` makes a unit of the value of that header."""
OUTSIDE: Final = 255
"""The index of an arm that is none: a request pinned to a version that the route does not hold."""
PINNED: Final = "pinned"
"""The key of the arm under which those requests are measured."""
CHECKS: Final = "check"
"""The key of the arm under which control's own requests are measured."""
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


def outside(version: str, digest: str) -> Arm:
    """Return the arm of a request that was pinned to a version on none of the route's."""
    return Arm(PINNED, version, digest, Role.PINNED)


def checked(version: str, digest: str) -> Arm:
    """Return the arm of control's own requests to a version: what no caller sent."""
    return Arm(CHECKS, version, digest, Role.PINNED)


class UnitHints(NamedTuple):
    """What a request says of who it belongs to; the format that read the request fills it in.

    A tuple and no dataclass: one is made per request, and this is made three times as fast.
    """

    conversation_header: str | None = None
    """`Headway-Conversation`"""
    conversation_id: str | None = None
    """Chat: `metadata.conversation_id`"""
    prompt_cache_key: str | None = None
    """Chat"""
    safety_identifier: str | None = None
    """Chat"""
    user: str | None = None
    """Chat"""
    conversation: str | None = None
    """Responses: `conversation`, or its `id`. A bare `previous_response_id` is not sticky."""
    user_id: str | None = None
    """Anthropic: `metadata.user_id`"""
    sequence_id: str | None = None
    """Open Inference: `parameters.sequence_id`, as text"""
    user_header: str | None = None
    """`Headway-User`"""
    tenant_header: str | None = None
    """`Headway-Tenant`"""
    headers: Mapping[str, str] = _NO_HEADERS
    """Those that a `stick_to: header:…` names, by name in lower case."""


NO_HINTS: Final = UnitHints()

UnitOf = Callable[[UnitHints], str | None]
"""Returns the unit that a request names; None or an empty text: the request itself."""


class Assignment(NamedTuple):
    """What routing decided for one request. A tuple for the reason of `UnitHints`."""

    route: Route
    rule: int
    """The index of the rule that matched; -1: none did, or none was asked (default, pinned)."""
    arm_index: int
    """Counted through the arms of all rules: what a stamp carries. `OUTSIDE`: on no arm."""
    arm: Arm
    unit: str
    single: bool
    """The unit is the request itself."""
    bucket: int
    """0..9999; -1: no bucket was asked."""
    pinned: bool = False
    """The caller named the version."""
    vetoed: bool = False
    """The bucket's arm was vetoed by this gateway; the stable arm answers in its place."""


def _conversation(hints: UnitHints) -> str | None:
    return (
        hints.conversation_header
        or hints.conversation_id
        or hints.prompt_cache_key
        or hints.safety_identifier
        or hints.user
        or hints.conversation
        or hints.user_id
        or hints.sequence_id
    )


def _user(hints: UnitHints) -> str | None:
    return hints.user_header or hints.safety_identifier or hints.user or hints.user_id


def _tenant(hints: UnitHints) -> str | None:
    return hints.tenant_header


def _request(_: UnitHints) -> None:
    return None


_UNITS: Final[Mapping[str, UnitOf]] = {
    StickTo.CONVERSATION: _conversation,
    StickTo.USER: _user,
    StickTo.TENANT: _tenant,
    StickTo.REQUEST: _request,
}


_SECRET: Final = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"}
)
"""Headers, in lower case, in which callers show who they are."""


def unit_of(stick_to: str, *, pointer: str = "/stick_to") -> UnitOf:
    """Return what finds the unit of a request, or raise `Invalid` for an unknown `stick_to`."""
    if found := _UNITS.get(stick_to):
        return found
    if (name := header_of(stick_to)) is not None:
        return lambda hints: hints.headers.get(name)
    raise Invalid.at(pointer, unknown_word(stick_to, [*_UNITS, f"{HEADER}<Name>"], what="unit"))


def check_unit(stick_to: str, *, pointer: str = "/stick_to") -> None:
    """Raise `Invalid` for a header in which secrets come: the unit is never the key.

    Units are written down, with the request's id, where a key must never stand.
    """
    if header_of(stick_to) in _SECRET:
        raise Invalid.at(
            pointer,
            f"{stick_to[:128]!r} holds a secret, and a unit is never the key: stick to 'tenant', "
            "to 'user', or to a header that names who calls",
        )


def header_of(stick_to: str) -> str | None:
    """Return the header (lower case) whose value is the unit, None if another thing is."""
    name = stick_to.removeprefix(HEADER)
    return name.lower() if name != stick_to and name else None


def flat_arms(route: Route) -> tuple[Arm, ...]:
    """Return the arms of all rules in order: `Assignment.arm_index` counts these."""
    return tuple(arm for rule in route.rules for arm in rule.arms)


def judged_arms(route: Route) -> Mapping[int, Arm]:
    """Return the arms between which the judge compares, by `Assignment.arm_index`.

    They are the stable arm and the candidate of the last rule that has a candidate: one coin, one
    pair of shares. Without a deployment there are none.
    """
    if route.epoch is None:
        return {}
    found: dict[int, Arm] = {}
    offset = 0
    for rule in route.rules:
        if any(arm.role is Role.CANDIDATE for arm in rule.arms):
            found = {
                offset + i: arm
                for i, arm in enumerate(rule.arms)
                if arm.role in (Role.STABLE, Role.CANDIDATE)
            }
        offset += len(rule.arms)
    return found
