"""A route compiled for speed: from a request's hints to its arm in about a microsecond."""

from bisect import bisect_right
from collections.abc import Set as AbstractSet
from itertools import accumulate
from typing import Final, NamedTuple

from headway.kernel.errors import Invalid, Unavailable
from headway.routing.allocation import BUCKETS, bucket_of
from headway.routing.assignment import (
    OUTSIDE,
    Assignment,
    UnitHints,
    flat_arms,
    header_of,
    outside,
    unit_of,
)
from headway.routing.condition import Attributes, Condition, compile_condition
from headway.routing.route import HASH_VERSION, Arm, Role, Route, Rule

_NOBODY: Final[frozenset[str]] = frozenset()


class _Place(NamedTuple):
    """An arm and where it stands among the arms of all rules."""

    number: int
    arm: Arm


class _Compiled(NamedTuple):
    number: int
    when: Condition | None
    ends: tuple[int, ...]
    """The first bucket behind each segment but the last."""
    places: tuple[_Place, ...]
    """The arm of each segment."""
    stable: _Place | None


class Table:
    """One route revision, ready to assign. Immutable; `compile_route` makes it."""

    __slots__ = (
        "_by_version",
        "_default",
        "_enabled",
        "_prefix",
        "_rules",
        "_stable",
        "_unit",
        "needs_attributes",
        "route",
        "unit_header",
    )

    def __init__(self, route: Route) -> None:
        if route.hash_version != HASH_VERSION:
            raise Invalid.at("/hash_version", f"only {HASH_VERSION} is known")
        self.route: Final = route
        self._enabled = route.enabled
        self._prefix = f"{route.salt}:"
        self._unit = unit_of(route.stick_to)
        self.unit_header: Final = header_of(route.stick_to)
        """The header (lower case) that a format must put into the hints, if any."""
        self._rules = tuple(_compiled(route))
        self.needs_attributes: Final = any(rule.when is not None for rule in self._rules)
        """Whether a rule asks for attributes; if not, nobody need read them."""
        places = [_Place(i, arm) for i, arm in enumerate(flat_arms(route))]
        if len(places) > OUTSIDE:
            raise Invalid.at("/rules", f"{len(places)} arms; at most {OUTSIDE} fit")
        # From the last rule backwards: it is the one for everybody else.
        self._by_version = {place.arm.version: place for place in places}
        self._stable = self._rules[-1].stable
        self._default = next(
            (place for place in reversed(places) if place.arm.key == route.default), None
        )
        if self._default is None and self._rules[-1].when is not None:
            raise Invalid.at(
                "/default", "must name an arm, because the last rule does not match everybody"
            )

    @property
    def enabled(self) -> bool:
        """False: the kill switch. Nobody is answered."""
        return self._enabled

    def assign(
        self,
        hints: UnitHints,
        attributes: Attributes,
        request_unit: str,
        vetoed_arms: AbstractSet[str] = _NOBODY,
    ) -> Assignment:
        """Return the arm of one request.

        `request_unit` is the unit if the hints name none; it must differ from request to request.
        A request whose arm is in `vetoed_arms` (keys) goes to its rule's stable arm. Raises
        `Unavailable` if the route is switched off.
        """
        if not self._enabled:
            raise Unavailable(f"{self.route.name} is switched off")
        unit = self._unit(hints)
        single = not unit
        if not unit:
            unit = request_unit
        for rule in self._rules:
            if rule.when is None or rule.when(attributes):
                break
        else:
            return self._by_default(unit, single=single)
        bucket = bucket_of(self._prefix + unit)
        place = rule.places[bisect_right(rule.ends, bucket)]
        if vetoed_arms and place.arm.key in vetoed_arms:
            number, arm = rule.stable or self._stable or place
            return Assignment(
                self.route, rule.number, number, arm, unit, single, bucket, vetoed=True
            )
        return Assignment(self.route, rule.number, place.number, place.arm, unit, single, bucket)

    def pin(self, version: str, digest: str, hints: UnitHints, request_unit: str) -> Assignment:
        """Return the assignment of a request whose caller named the version.

        It is on the version's arm, or `OUTSIDE` if the route does not hold it. Raises
        `Unavailable` if the route is switched off.
        """
        if not self._enabled:
            raise Unavailable(f"{self.route.name} is switched off")
        unit = self._unit(hints)
        number, arm = self._by_version.get(version) or _Place(OUTSIDE, outside(version, digest))
        return Assignment(
            self.route, -1, number, arm, unit or request_unit, not unit, -1, pinned=True
        )

    def _by_default(self, unit: str, *, single: bool) -> Assignment:
        if self._default is None:  # compiled away: the last rule matches everybody
            raise AssertionError(self.route.name)
        number, arm = self._default
        return Assignment(self.route, -1, number, arm, unit, single, -1)


def compile_route(route: Route) -> Table:
    """Return the table of a route, or raise `Invalid` for a route that cannot be one."""
    return Table(route)


def _compiled(route: Route) -> list[_Compiled]:
    if not route.rules:
        raise Invalid.at("/rules", "a route has one rule or more")
    compiled = []
    offset = 0
    for number, rule in enumerate(route.rules):
        compiled.append(_compile_rule(rule, number, offset))
        offset += len(rule.arms)
    return compiled


def _compile_rule(rule: Rule, number: int, offset: int) -> _Compiled:
    at = f"/rules/{number}"
    places = {arm.key: _Place(offset + i, arm) for i, arm in enumerate(rule.arms)}
    if len(places) != len(rule.arms):
        raise Invalid.at(f"{at}/arms", "two arms have the same key")
    for segment in rule.segments:
        if segment.arm not in places:
            raise Invalid.at(f"{at}/segments", f"there is no arm {segment.arm!r}")
        if segment.share_bp <= 0:
            raise Invalid.at(f"{at}/segments", f"{segment.share_bp} is no share")
    ends = tuple(accumulate(segment.share_bp for segment in rule.segments))
    if not ends or ends[-1] != BUCKETS:
        raise Invalid.at(f"{at}/segments", f"shares sum to {ends[-1] if ends else 0}, not 10,000")
    return _Compiled(
        number=number,
        when=compile_condition(rule.when, pointer=f"{at}/when"),
        ends=ends[:-1],
        places=tuple(places[segment.arm] for segment in rule.segments),
        stable=next((place for place in places.values() if place.arm.role is Role.STABLE), None),
    )
