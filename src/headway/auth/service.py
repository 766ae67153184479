"""What people ask of keys: make, list, revoke; and who it is that presents one."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from headway.auth.key import Digester, Key, Secret
from headway.auth.limits import MOST, MOST_MONEY, NO_LIMITS, Limits, Starts, Use
from headway.auth.policy import ANY, Caller, Kind, check, within
from headway.auth.ports import Begin, Work
from headway.auth.role import PERMISSIONS, Permission, Role
from headway.kernel.clock import SECOND, Clock
from headway.kernel.errors import (
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
)
from headway.kernel.names import check_name, check_text
from headway.outbox.actor import HEADWAY, Actor
from headway.outbox.event import Event

_MOST_PATTERNS: Final = 64
_LONGEST_NAME: Final = 128
_PATH: Final = re.compile(r"/v[12](/[A-Za-z0-9._~@%:+-]+)*/?\*?\Z")
_LONGEST_PATH: Final = 512
_SEEN: Final = 5 * SECOND
"""A gateway that was not seen for so long answers nobody: what it had under way is over."""
_REFUSED: Final = "no key that works was presented"
"""One answer for every reason: an answer that differs tells a thief something."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new key: its record, and the one time that its text can be read."""

    key: Key
    secret: Secret


@dataclass(frozen=True, slots=True)
class Wish:
    """A key that is asked for. `expires_at` in ms; None: never."""

    name: str
    role: Role
    models: tuple[str, ...] = ANY
    environments: tuple[str, ...] = ANY
    kind: Kind = Kind.SERVICE
    expires_at: int | None = None
    paths: tuple[str, ...] = ANY
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Change:
    """What shall be different about a key; None: it stays."""

    name: str | None = None
    paths: tuple[str, ...] | None = None
    limits: Mapping[str, int | None] = field(default_factory=dict)
    """By the name of the limit; None takes it away."""


@dataclass(frozen=True, slots=True)
class KeyService:
    begin: Begin
    clock: Clock
    digest: Digester
    generate: Callable[[], Secret] = Secret.generate

    def authenticate(self, text: str) -> Caller:
        """Return who presents this key, or raise `Unauthenticated`, always with the same words."""
        try:
            secret = Secret.parse(text)
        except Unauthenticated:
            raise Unauthenticated(_REFUSED) from None
        with self.begin() as work:
            key = work.keys.by_digest(self.digest(secret.text))
        if key is None or not key.works_at(self.clock()):
            raise Unauthenticated(_REFUSED)
        return key.caller()

    def create(self, wish: Wish, *, by: Caller) -> Made:
        """Make a key that may do no more than `by`, or raise `Forbidden`."""
        check(by, Permission.KEYS_WRITE)
        checked = _checked(wish, self.clock())
        _check_grant(checked, by)
        with self.begin() as work:
            until = work.keys.get(by.id).expires_at
        if until is not None and (checked.expires_at is None or checked.expires_at > until):
            raise Forbidden("the new key would outlive your own")
        return self._store(checked, self.generate(), by.actor)

    def create_on_machine(self, wish: Wish) -> Made:
        """Make any key: for who holds the database and the root key, and so everything else."""
        actor = Actor("headway (on the machine)")
        return self._store(_checked(wish, self.clock()), self.generate(), actor)

    def ensure_admin(self, given: str | None = None) -> Made | None:
        """Make the first admin key unless one works; None if there is one.

        `given` is a key made beforehand; without one it is made by chance.
        """
        if given is not None:
            try:
                secret = Secret.parse(given)
            except Unauthenticated:
                raise Invalid.at(
                    "", "HEADWAY_ADMIN_KEY is no key: make one with `headway keys generate`"
                ) from None
        else:
            secret = self.generate()
        wish = Wish("admin", Role.ADMIN, kind=Kind.PERSON)
        with self.begin() as work:
            if work.keys.has_admin(self.clock()):
                return None
            key = self._add(work, wish, secret, HEADWAY)
            work.commit()
        return Made(key, secret)

    def get(self, key_id: str, *, by: Caller) -> Key:
        """Return a key, revoked or not; one that reaches further than `by` is not there for it."""
        check(by, Permission.KEYS_READ)
        with self.begin() as work:
            key = work.keys.get(key_id)
        if not _sees(by, key):
            raise NotFound(f"no key has the id {key_id!r}")
        return key

    def use(self, key_id: str, *, by: Caller) -> Use | None:
        """Return what a key used in the present windows; None: it has no limits."""
        key = self.get(key_id, by=by)
        if not key.limits.any:
            return None
        with self.begin() as work:
            return work.keys.use(key.id, Starts.at(self.clock()), within=_SEEN)

    def in_force(self) -> bool:
        """Say whether every living gateway follows all keys as they are now."""
        with self.begin() as work:
            return work.keys.in_force(within=_SEEN)

    def change(
        self, key_id: str, change: Change, *, by: Caller, if_match: int | None = None
    ) -> Key:
        """Give a key another name, other paths, other limits; gateways follow within 2 s."""
        check(by, Permission.KEYS_WRITE)
        self.get(key_id, by=by)
        with self.begin() as work:
            key = work.keys.get(key_id)
            if if_match not in {None, key.revision}:
                raise PreconditionFailed(
                    f"the revision is {key.revision}, not {if_match}: somebody changed it; "
                    "look again"
                )
            changed = replace(
                key,
                name=key.name if change.name is None else change.name,
                paths=key.paths if change.paths is None else change.paths,
                limits=Limits(**{**asdict(key.limits), **change.limits}),
            )
            if changed == key:
                return key
            if key.revoked_at is not None:
                raise Conflict(f"{key_id} is revoked: make another key")
            now = self.clock()
            _check_name(changed.name)
            _check_paths(changed.paths)
            _check_limits(changed.limits)
            if not by.grants(changed.paths):
                raise Forbidden("the key would call paths that your own does not")
            stored = work.keys.save(changed)
            work.outbox.add(_event("key.changed", stored, by.actor, now, ""))
            work.commit()
        return stored

    def list(self, *, by: Caller, limit: int = 100, after: str | None = None) -> Sequence[Key]:
        """Return keys, newest first, revoked ones too; those after the key with the id `after`."""
        check(by, Permission.KEYS_READ)
        found: list[Key] = []
        with self.begin() as work:
            while len(found) < limit and (more := work.keys.list(limit=limit, after=after)):
                found += [key for key in more if _sees(by, key)]
                after = more[-1].id
        return found[:limit]

    def living(self, *, by: Caller) -> Sequence[Key]:
        """Return all keys that are not revoked, for who may read metrics."""
        check(by, Permission.METRICS_READ)
        with self.begin() as work:
            return [key for key in work.keys.all() if _sees(by, key)]

    def revoke(self, key_id: str, *, by: Caller, why: str = "") -> Key:
        """Make a key work no more; again is harmless. `Conflict` for the last admin key."""
        check(by, Permission.KEYS_WRITE)
        self.get(key_id, by=by)
        return self._revoke(key_id, by.actor, why)

    def revoke_on_machine(self, key_id: str, *, why: str = "") -> Key:
        """Revoke any key: for who holds the database and the root key."""
        return self._revoke(key_id, Actor("headway (on the machine)"), why)

    def _revoke(self, key_id: str, actor: Actor, why: str) -> Key:
        now = self.clock()
        with self.begin() as work:
            key = work.keys.get(key_id)
            if key.revoked_at is not None:
                return key
            stored = work.keys.save(replace(key, revoked_at=now))
            if key.role is Role.ADMIN and key.works_at(now) and not work.keys.has_admin(now):
                raise Conflict(
                    f"{key_id} is the last key that may manage keys: make another one first",
                    stands_in_the_way=key_id,
                )
            work.outbox.add(_event("key.revoked", stored, actor, now, why))
            work.commit()
        return stored

    def _store(self, wish: Wish, secret: Secret, actor: Actor) -> Made:
        with self.begin() as work:
            key = self._add(work, wish, secret, actor)
            work.commit()
        return Made(key, secret)

    def _add(self, work: Work, wish: Wish, secret: Secret, actor: Actor) -> Key:
        now = self.clock()
        key = work.keys.add(
            Key(
                id=secret.id,
                name=wish.name,
                role=wish.role,
                digest=self.digest(secret.text),
                created_at=now,
                created_by=actor.name,
                models=wish.models,
                environments=wish.environments,
                kind=wish.kind,
                expires_at=wish.expires_at,
                paths=wish.paths,
                limits=wish.limits,
            )
        )
        work.outbox.add(_event("key.created", key, actor, now, ""))
        return key


def _checked(wish: Wish, now: int) -> Wish:
    _check_name(wish.name)
    _check_paths(wish.paths)
    _check_limits(wish.limits)
    _check_patterns(wish.models, "/models", "model")
    _check_patterns(wish.environments, "/environments", "environment")
    if wish.expires_at is not None and wish.expires_at <= now:
        raise Invalid.at("/expires_at", "lies in the past")
    return wish


def _check_name(name: str) -> None:
    if not name.strip():
        raise Invalid.at("/name", "say what the key is for")
    check_text(name, pointer="/name", longest=_LONGEST_NAME)


def _check_paths(paths: Sequence[str]) -> None:
    if not paths or len(paths) > _MOST_PATTERNS:
        raise Invalid.at("/paths", f'needs 1 to {_MOST_PATTERNS} paths; "*" stands for all')
    faults = [
        Fault(
            f"/paths/{i}",
            f'{path[:128]!r} is no path of traffic: write it as "/v1/chat/completions" or "/v2/*"',
        )
        for i, path in enumerate(paths)
        if path != "*" and (len(path) > _LONGEST_PATH or not _PATH.match(path))
    ]
    if faults:
        raise Invalid(faults)


def _check_limits(limits: Limits) -> None:
    money = {"day", "month"}
    faults = [
        Fault(f"/limits/{name}", f"{n} is out of range: at least 1")
        for name, n in limits.document().items()
        if not 1 <= n <= (MOST_MONEY if name in money else MOST)
    ]
    if faults:
        raise Invalid(faults)


def _check_patterns(patterns: Sequence[str], pointer: str, what: str) -> None:
    if not patterns or len(patterns) > _MOST_PATTERNS:
        raise Invalid.at(pointer, f'needs 1 to {_MOST_PATTERNS} names; "*" stands for all')
    faults = []
    for i, pattern in enumerate(patterns):
        stem = re.sub(r"[._-]?\*\Z", "", pattern)
        if pattern == "*":
            continue
        try:
            check_name(stem, what=what)
        except Invalid as error:
            faults.append(Fault(f"{pointer}/{i}", error.faults[0].detail + ', or "prefix*"'))
    if faults:
        raise Invalid(faults)


def _check_grant(wish: Wish, by: Caller) -> None:
    if excess := sorted(PERMISSIONS[wish.role] - by.permissions):
        raise Forbidden(
            f"your key lacks {', '.join(p.value for p in excess)}: it cannot give what it has not"
        )
    if not within(wish.models, by.models):
        raise Forbidden("the new key would reach models that your own does not")
    if not within(wish.environments, by.environments):
        raise Forbidden("the new key would reach environments that your own does not")
    if not by.grants(wish.paths):
        raise Forbidden("the new key would call paths that your own does not")


def _sees(by: Caller, key: Key) -> bool:
    return within(key.models, by.models) and within(key.environments, by.environments)


def _event(kind: str, key: Key, actor: Actor, at: int, why: str) -> Event:
    return Event(
        kind=kind,
        subject=f"key:{key.id}",
        at=at,
        actor=actor.name,
        actor_kind=actor.kind,
        why=why,
        detail={
            "name": key.name,
            "role": key.role.value,
            "models": list(key.models),
            "environments": list(key.environments),
            "paths": list(key.paths),
            "limits": key.limits.document(),
            "expires_at": key.expires_at,
        },
    )
