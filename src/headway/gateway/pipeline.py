"""From a request to the version that answers it: who asks, where they belong, which arm is theirs.

    identify (key) ── environment ── find (model) ── way (check, pin, or bucket) ──> Way

What all requests of one gateway share lives here; one request is a `passage.Passage`.
"""

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from math import ceil
from types import MappingProxyType
from typing import Final, Protocol

from headway.auth.key import Digester, Secret
from headway.auth.policy import ANY, Caller
from headway.auth.role import PERMISSIONS, Permission, Role
from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import Ask, Fields, Format, NotAnswered, Problem, Release
from headway.gateway.heads import Downward
from headway.gateway.limits import Addresses, FailedKeys, Guards
from headway.gateway.resilience import Leave, Resilience, Resiliences
from headway.gateway.spending import NoSisters, Sisters, Spending
from headway.gateway.view import Compiler, Destination, KeyEntry, Served, View, empty_view
from headway.kernel.canonical import Json
from headway.kernel.clock import MINUTE, Clock
from headway.kernel.errors import Unauthenticated, Unavailable
from headway.kernel.names import nearest
from headway.routing.assignment import NO_HINTS, OUTSIDE, Assignment, UnitHints
from headway.routing.route import Arm, Route, whole
from headway.routing.route import Role as ArmRole
from headway.routing.table import Table, compile_route
from headway.tracking.measurement import Outcome
from headway.tracking.stamp import CHECK, RETRY, SINGLE, Stamper
from headway.wire.call import Call
from headway.wire.upstream import Pool

_NO_ARM: Final = Stamper.prefix(0, OUTSIDE)
_SHORT: Final = 128
_MOST_KEPT: Final = 4096
_UNKNOWN_KEY: Final = "no key that works was presented"
_CIRCUIT_OPEN: Final = Problem(
    503, "this version's provider has failed again and again", Outcome.PROVIDER, "circuit_open"
)

Access = Callable[[Mapping[str, object]], object]
"""Takes what one request came to, for a line of the log."""
Later = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds, on the loop."""

_NOBODY: Final[frozenset[str]] = frozenset()
_NO_ATTRIBUTES: Final[Mapping[str, Json]] = MappingProxyType({})


class UnderWay(Protocol):
    """A request that is not over."""

    def mark(self, now: float) -> None:
        """Be looked at by the sweep; `now` in monotonic seconds."""

    def give_up(self) -> None:
        """End if nobody waits for it any more."""


class Way:
    """Where one request goes, and what routing said. Plain fields: one is made per request."""

    __slots__ = ("assignment", "destination", "flags", "pin", "served")

    def __init__(
        self,
        served: Served,
        destination: Destination,
        assignment: Assignment,
        flags: int,
        pin: str = "",
    ) -> None:
        self.served = served
        self.destination = destination
        self.assignment = assignment
        self.flags = flags
        """Of `tracking.stamp.Flag`, those that the assignment does not tell."""
        self.pin = pin
        """The pin that its caller holds, if it led here."""


@dataclass(kw_only=True)
class Pipeline:
    """What all requests of one gateway share. Lives on the loop's thread."""

    pool: Pool
    accumulator: Accumulator
    stamper: Stamper
    compiler: Compiler
    guards: Guards
    digest: Digester
    clock: Clock
    """Milliseconds UTC: when a request was assigned."""
    monotonic: Callable[[], float]
    """Seconds: how long things take; the server's own clock."""
    later: Later
    report: Callable[[Exception], None]
    """Takes a fault of our own, for the log."""
    hop_secret: str
    """What control is shown with everything that is passed on."""
    check_secret: str
    """What any control process of the installation shows to have its checks believed."""
    access: Access | None = None
    """None: nobody wants a line per request."""
    environment: str = "production"
    """Where a caller belongs whose key names no environment."""
    body_limit: int = 32 << 20
    answer_limit: int = 64 << 20
    """Bytes of an answer in one piece that are held until it is complete."""
    addresses: Addresses = field(default_factory=Addresses)
    sisters: Sisters = field(default_factory=NoSisters)
    resiliences: Resiliences = field(default_factory=Resiliences)
    view: View = field(default_factory=empty_view)
    failed_keys: FailedKeys = field(default_factory=FailedKeys)
    downward: Downward = field(default_factory=Downward)
    under_way: "set[UnderWay]" = field(default_factory=set)
    most_reading_on: int = 256
    """Answers at a time that are read to their end for nobody, only to be counted."""
    reading_on: int = 0

    def stamp_of_no_route(self) -> str:
        """Return the id of a request that no route has answered."""
        return self.stamper.stamp(_NO_ARM, self.clock(), 0, SINGLE)

    def __post_init__(self) -> None:
        self.spending = Spending(self.accumulator, self.clock, self.sisters)
        self.minute = self.clock() // MINUTE
        """Since 1970, as of the last sweep: when pins are given out and run out."""
        self._units = itertools.count()
        self._unit_start = f"{random.SystemRandom().getrandbits(64):x}."
        self._keys: dict[bytes, KeyEntry] = {}
        """What the present view says of a value of Authorization; keys that work only."""
        self._places: dict[tuple[str, str], Served] = {}
        """What the present view serves to a caller's id under a name, if they name no place."""

    def adopt(self, view: View) -> None:
        """Answer by another view from now on; requests under way keep theirs."""
        self.guards.adopt(view)
        self.view = view
        self.spending.retain(entry.caller for entry in view.keys.values())
        self._keys.clear()
        self._places.clear()

    def identify(self, call: Call, headers: Fields, permission: Permission) -> Caller:
        """Return who calls, or raise `NotAnswered`: 401 with constant words, 429, 403."""
        if b"headway-check" in headers and self.is_check(headers):
            return CONTROL
        if self.failed_keys:
            self._refuse_guesser(call)
        entry = self._keys.get(headers.get(b"authorization", b"")) or self._key(headers)
        if entry is None or not (entry.expires_at is None or entry.works_at(self.clock())):
            self.failed_keys.add(self.addresses.of(call.peer, call.headers), self.monotonic())
            raise NotAnswered(Problem(401, _UNKNOWN_KEY, Outcome.POLICY, "invalid_api_key"))
        caller = entry.caller
        if permission not in PERMISSIONS[caller.role]:
            raise NotAnswered(
                Problem(
                    403,
                    f"the key {caller.id} has the role {caller.role.value}, which lacks the "
                    f"permission {permission.value}",
                    Outcome.POLICY,
                    "permission_denied",
                )
            )
        if caller.paths is not ANY and not caller.calls(call.path):
            detail = f"the key {caller.id} may not call {call.path[:128]}"
            raise NotAnswered(Problem(403, detail, Outcome.POLICY, "path_not_allowed"))
        return caller

    def _refuse_guesser(self, call: Call) -> None:
        wait = self.failed_keys.wait(self.addresses.of(call.peer, call.headers), self.monotonic())
        if wait:
            raise NotAnswered(
                Problem(
                    429,
                    "too many wrong keys came from this address",
                    Outcome.POLICY,
                    "too_many_wrong_keys",
                    retry_after=wait,
                )
            )

    def _key(self, headers: Fields) -> KeyEntry | None:
        shown = headers.get(b"authorization", b"")
        if shown[:7].lower() != b"bearer ":
            return self._entry(headers.get(b"x-api-key", b""))
        entry = self._entry(shown[7:].strip())
        if entry is not None and len(shown) < _SHORT and len(self._keys) < _MOST_KEPT:
            self._keys[shown] = entry
        return entry

    def _entry(self, key: bytes) -> KeyEntry | None:
        try:
            secret = Secret.parse(key.decode("latin-1"))
        except Unauthenticated:
            return None  # before any hash
        return self.view.keys.get(self.digest(secret.text))

    def is_check(self, headers: Fields) -> bool:
        """Say whether control itself asks, to see whether a version works."""
        shown = headers.get(b"headway-hop")
        return (
            shown is not None
            and bool(self.check_secret)
            and compare_digest(shown, self.check_secret.encode())
        )

    def environment_of(self, caller: Caller, headers: Fields) -> str:
        """Return where a request belongs: what it names, the key's only one, the usual one."""
        named = headers.get(b"headway-environment")
        if named is not None:
            environment = named.decode("latin-1")
            if not caller.sees_environment(environment):
                raise NotAnswered(
                    _not_found(f"there is no environment {environment[:128]!r}", "environment")
                )
            return environment
        only = caller.environments
        if len(only) == 1 and "*" not in only[0]:
            return only[0]
        if only == ANY or caller.sees_environment(self.environment):
            return self.environment
        raise NotAnswered(
            Problem(
                400,
                "this key belongs to several environments: name one in Headway-Environment",
                Outcome.CALLER,
                "environment_missing",
            )
        )

    def find(self, caller: Caller, environment: str, model: str) -> Served:
        """Return a model that the caller may call there, or raise `NotAnswered` (404)."""
        served = self.view.served(environment, model)
        if served is not None and (caller.models == ANY or caller.sees_model(served.route.model)):
            return served
        known = [
            each.route.model
            for each in self.view.models(environment)
            if caller.sees_model(each.route.model)
        ]
        guess = nearest(model[:128], known)
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise NotAnswered(
            _not_found(
                f"there is no model {model[:128]!r} in the environment {environment!r}{hint}",
                "model",
            )
        )

    def _served(self, caller: Caller, model: str, headers: Fields) -> Served:
        if b"headway-environment" in headers:
            return self.find(caller, self.environment_of(caller, headers), model)
        place = (caller.id, model)
        served = self._places.get(place)
        if served is None:
            served = self.find(caller, self.environment_of(caller, headers), model)
            if len(model) < _SHORT and len(self._places) < _MOST_KEPT:
                self._places[place] = served
        return served

    def way(self, caller: Caller, ask: Ask, format_: Format, headers: Fields) -> Way:
        """Return where a request goes, or raise `NotAnswered`."""
        if caller is CONTROL:
            return self._check(ask, self.environment_of(caller, headers), headers)
        served = self._served(caller, ask.model, headers)
        table = served.table
        flags = 0
        if headers.get(b"x-stainless-retry-count", b"0") != b"0":
            flags = RETRY
        hints = _with_header(ask.hints, table, headers)
        if ask.ref is not None:
            return self._pinned(ask.model, ask.ref, served, hints, flags)
        if b"headway-pin" in headers:
            kept = self._kept(served, hints, headers, flags)
            if kept is not None:
                return kept
        attributes = _NO_ATTRIBUTES
        if table.needs_attributes:
            attributes = format_.attributes(ask, headers)
        vetoed = self.guards.vetoed(table.route) if self.guards.any_veto else _NOBODY
        try:
            assignment = table.assign(hints, attributes, self.new_unit(), vetoed)
        except Unavailable as error:
            raise NotAnswered(_switched_off(error)) from None
        return Way(served, served.arms[assignment.arm_index], assignment, flags)

    def undrawn(self, caller: Caller, model: str, ref: str | None, headers: Fields) -> Way:
        """Return where a request goes that no route draws, and no judge counts.

        It is the version that it names or its pin holds, else the stable one. Raises
        `NotAnswered`.
        """
        served = self._served(caller, model, headers)
        flags = RETRY if headers.get(b"x-stainless-retry-count", b"0") != b"0" else 0
        if ref is None and b"headway-pin" in headers:
            kept = self._kept(served, NO_HINTS, headers, flags)
            if kept is not None:
                return kept
        return self._pinned(model, ref or served.route.stable.version, served, NO_HINTS, flags)

    def _kept(self, served: Served, hints: UnitHints, headers: Fields, flags: int) -> Way | None:
        """Return where a Headway-Pin leads, None if it leads nowhere any more."""
        held = headers[b"headway-pin"].decode("latin-1")
        kept = self.compiler.pinned(self.view, served, held, self.minute)
        if kept is None or kept.arm.key in self.guards.vetoed(served.route):
            return None
        return Way(served, kept, self._pin(served, kept.release, hints), flags, held)

    def _pinned(self, model: str, ref: str, served: Served, hints: UnitHints, flags: int) -> Way:
        found = self.view.release(model, ref)
        if found is None:
            raise NotAnswered(
                _not_found(f"{model} has no version {ref[:128]!r} that can be called", "model")
            )
        release, prepared = found
        assignment = self._pin(served, release, hints)
        if assignment.arm_index == OUTSIDE:
            destination = self.compiler.outside(served, release, prepared)
        else:
            destination = served.arms[assignment.arm_index]
        return Way(served, destination, assignment, flags)

    def _pin(self, served: Served, release: Release, hints: UnitHints) -> Assignment:
        try:
            return served.table.pin(release.version, release.digest, hints, self.new_unit())
        except Unavailable as error:
            raise NotAnswered(_switched_off(error)) from None

    def _check(self, ask: Ask, environment: str, headers: Fields) -> Way:
        """Return where control's check goes: to that version, on an arm or on none."""
        ref = (headers.get(b"headway-check") or b"").decode("latin-1")
        found = self.view.release(ask.model, ref)
        if found is None:
            raise NotAnswered(_not_found(f"{ask.model}@{ref[:128]} is not known here", "model"))
        release, prepared = found
        served = self.view.served(environment, ask.model) or unrouted(release, environment)
        destination = self.compiler.checked(served, release, prepared)
        assignment = Assignment(
            served.route,
            -1,
            OUTSIDE,
            destination.arm,
            self.new_unit(),
            single=True,
            bucket=-1,
            pinned=True,
        )
        return Way(served, destination, assignment, CHECK)

    def fallback(self, served: Served) -> Way | None:
        """Return who answers when the chosen version fails: a model, or a version of this one."""
        route = served.route
        if route.fallback is None:
            return None
        other = self.view.served(route.environment, route.fallback)
        if other is not None and other.route.enabled and other is not served:
            destination = next(
                (each for each in other.arms if each.arm == other.route.stable), other.arms[-1]
            )
            assignment = self._pin(other, destination.release, NO_HINTS)
            return Way(other, destination, assignment, 0)
        found = self.view.release(route.model, route.fallback)
        if found is None:
            return None
        release, prepared = found
        assignment = self._pin(served, release, NO_HINTS)
        return Way(served, self.compiler.outside(served, release, prepared), assignment, 0)

    def leave(self, way: Way, known: Resilience) -> Leave | None:
        """Return with what a version's provider is called; None: no breaker has a say.

        While a deployment is judged none opens: what it holds back would be missing in the
        evidence, and its refusals would make one failure of many. `known`: of that version. Raises
        `NotAnswered` while the breaker is open.
        """
        if way.served.route.epoch is not None:
            return None
        breaker = known.breaker
        now = self.monotonic()
        leave = breaker.admit(now)
        if leave is None:
            raise NotAnswered(replace(_CIRCUIT_OPEN, retry_after=max(1, ceil(breaker.wait(now)))))
        return leave

    def new_unit(self) -> str:
        """Return a unit that no other request has."""
        return f"{self._unit_start}{next(self._units)}"

    def leave_behind(self) -> None:
        """End what is read for nobody: called when the gateway stops, before the last flush."""
        for passage in tuple(self.under_way):
            passage.give_up()

    def sweep(self, _now: float) -> None:
        """Mark how old requests are, and run the limits. Called every 250 ms."""
        now = self.monotonic()
        self.minute = self.clock() // MINUTE
        for passage in tuple(self.under_way):
            try:
                passage.mark(now)
            except Exception as error:  # noqa: BLE001 - the others must still be looked at
                self.report(error)
                self.under_way.discard(passage)
        self.guards.sweep()


CONTROL: Final = Caller("control", "control", Role.ADMIN)


def _not_found(detail: str, param: str) -> Problem:
    return Problem(404, detail, Outcome.CALLER, "model_not_found", param)


def _switched_off(error: Unavailable) -> Problem:
    return Problem(503, str(error), Outcome.POLICY, "switched_off")


def _with_header(hints: UnitHints, table: Table, headers: Fields) -> UnitHints:
    """Add the header that a route sticks to, if it does."""
    name = table.unit_header
    if name is None:
        return hints
    value = headers.get(name.encode("latin-1", "replace"))
    return hints if value is None else hints._replace(headers={name: value.decode("latin-1")})


def unrouted(release: Release, environment: str) -> Served:
    """Return a stand-in for the route of a model that has none there: id and revision are 0."""
    arm = Arm("check", release.version, release.digest, ArmRole.STABLE)
    route = Route(model=release.model, environment=environment, rules=(whole(arm),), salt="")
    return Served(compile_route(route), ())
