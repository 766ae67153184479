"""Making, presenting and revoking keys."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from headway.auth.key import Key, Secret, digester
from headway.auth.limits import NO_LIMITS, Limits, Starts, Use, Window
from headway.auth.policy import Caller
from headway.auth.role import Role
from headway.auth.service import Change, KeyService, Wish
from headway.kernel.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
)
from headway.outbox.event import Event

NOW = 1_800_000_000_000
DIGEST = digester(b"k" * 32)


@dataclass
class Table:
    """The rows of keys, and what happened; also their one transaction at a time."""

    rows: dict[str, Key] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @contextmanager
    def begin(self) -> Iterator["Transaction"]:
        yield Transaction(self, dict(self.rows), list(self.events))


@dataclass
class Transaction:
    table: Table
    rows: dict[str, Key]
    events: list[Event]

    @property
    def keys(self) -> "Rows":
        return Rows(self.rows)

    @property
    def outbox(self) -> "Notes":
        return Notes(self.events)

    def commit(self) -> None:
        self.table.rows, self.table.events = self.rows, self.events


@dataclass
class Notes:
    events: list[Event]

    def add(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Rows:
    rows: dict[str, Key]

    def add(self, key: Key) -> Key:
        if key.id in self.rows:
            raise Conflict(key.id)
        return self._put(key)

    def get(self, key_id: str) -> Key:
        if key_id not in self.rows:
            raise NotFound(f"no key has the id {key_id!r}")
        return self.rows[key_id]

    def by_digest(self, digest: str) -> Key | None:
        return next((key for key in self.rows.values() if key.digest == digest), None)

    def save(self, key: Key) -> Key:
        if self.rows[key.id].revision != key.revision:
            raise Conflict(key.id)
        return self._put(key)

    def list(self, *, limit: int, after: str | None = None) -> Sequence[Key]:
        newest = list(reversed(self.rows.values()))
        start = 0 if after is None else [key.id for key in newest].index(after) + 1
        return newest[start : start + limit]

    def all(self) -> Sequence[Key]:
        return [key for key in self.rows.values() if key.revoked_at is None]

    def has_admin(self, now: int) -> bool:
        return any(
            key.role is Role.ADMIN and "*" in key.models and key.works_at(now)
            for key in self.rows.values()
        )

    def used(self, key_id: str, minute: int) -> None:
        self.rows[key_id] = replace(self.rows[key_id], last_used=minute)

    def use(self, key_id: str, starts: Starts, *, within: int) -> Use:  # noqa: ARG002 - a port
        return Use(starts, {Window.REQUESTS: 3} if key_id in self.rows else {}, 1)

    def in_force(self, *, within: int) -> bool:
        return within > 0

    def _put(self, key: Key) -> Key:
        self.rows[key.id] = replace(key, revision=key.revision + 1)
        return self.rows[key.id]


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def service(table: Table) -> KeyService:
    return KeyService(begin=table.begin, clock=lambda: NOW, digest=DIGEST)


@pytest.fixture
def admin(service: KeyService) -> Caller:
    made = service.ensure_admin()
    assert made is not None
    return made.key.caller()


def test_who_presents_a_key_is_known(service: KeyService, admin: Caller) -> None:
    wish = Wish("ci", Role.DEPLOYER, models=("bot-*",), environments=("staging",))

    made = service.create(wish, by=admin)
    caller = service.authenticate(made.secret.text)

    assert (caller.id, caller.name, caller.role) == (made.secret.id, "ci", Role.DEPLOYER)
    assert (caller.models, caller.environments) == (("bot-*",), ("staging",))
    assert made.key.created_by == admin.actor.name


def test_the_key_itself_is_kept_nowhere(service: KeyService, admin: Caller, table: Table) -> None:
    made = service.create(Wish("ci", Role.CALLER), by=admin)

    kept = f"{[vars_of(key) for key in table.rows.values()]} {table.events}"
    assert made.secret.text[12:55] not in kept
    assert DIGEST(made.secret.text) in kept


def vars_of(key: Key) -> list[object]:
    return [getattr(key, name) for name in Key.__slots__]


def test_no_reason_is_given_for_a_refused_key(
    service: KeyService, admin: Caller, table: Table
) -> None:
    revoked = service.create(Wish("old", Role.CALLER), by=admin)
    service.revoke(revoked.key.id, by=admin)
    expiring = service.create(Wish("short", Role.CALLER, expires_at=NOW + 1), by=admin)
    later = replace(service, clock=lambda: NOW + 1)
    said = set()

    for at, text in [
        (service, "nonsense"),
        (service, Secret.generate().text),
        (service, revoked.secret.text),
        (later, expiring.secret.text),
    ]:
        with pytest.raises(Unauthenticated) as refused:
            at.authenticate(text)
        said.add(str(refused.value))

    assert said == {"no key that works was presented"}
    assert table.rows[revoked.key.id].revoked_at == NOW


def test_a_wrong_checksum_is_refused_before_anything_is_looked_up(table: Table) -> None:
    looked: list[str] = []

    def digest(text: str) -> str:
        looked.append(text)
        return DIGEST(text)

    text = Secret.generate().text
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    service = KeyService(begin=table.begin, clock=lambda: NOW, digest=digest)

    with pytest.raises(Unauthenticated):
        service.authenticate(wrong)
    assert looked == []


# What may be granted


WITHIN = Wish("x", Role.CALLER, ("bot-a",), ("staging",), expires_at=NOW + 1000)


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (replace(WITHIN, models=("bot-*", "other")), "models"),
        (replace(WITHIN, models=("bot*",)), "models"),
        (replace(WITHIN, environments=("production",)), "environments"),
        (replace(WITHIN, expires_at=NOW + 1001), "outlive"),
        (replace(WITHIN, expires_at=None), "outlive"),
    ],
)
def test_nobody_grants_more_than_he_has(
    service: KeyService, admin: Caller, wish: Wish, why: str
) -> None:
    narrow = Wish("n", Role.ADMIN, ("bot-*",), ("staging",), expires_at=NOW + 1000)
    by = service.create(narrow, by=admin).key.caller()

    with pytest.raises(Forbidden, match=why):
        service.create(wish, by=by)

    service.create(WITHIN, by=by)
    service.create(replace(WITHIN, role=Role.ADMIN, models=("bot-a", "bot-b*")), by=by)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.CALLER, Role.DEPLOYER])
def test_only_who_may_manage_keys_does(service: KeyService, admin: Caller, role: Role) -> None:
    by = service.create(Wish("x", role), by=admin).key.caller()

    with pytest.raises(Forbidden, match=r"keys\.write"):
        service.create(Wish("y", role), by=by)
    with pytest.raises(Forbidden, match=r"keys\.write"):
        service.revoke(admin.id, by=by)
    with pytest.raises(Forbidden, match=r"keys\.read"):
        service.list(by=by)


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        (Wish("", Role.CALLER), "/name"),
        (Wish("a\x00", Role.CALLER), "/name"),
        (Wish("x", Role.CALLER, models=()), "/models"),
        (Wish("x", Role.CALLER, models=("ok", "a b")), "/models/1"),
        (Wish("x", Role.CALLER, models=("*x",)), "/models/0"),
        (Wish("x", Role.CALLER, environments=("p*d",)), "/environments/0"),
        (Wish("x", Role.CALLER, expires_at=NOW), "/expires_at"),
    ],
)
def test_a_wrong_wish_is_refused(
    service: KeyService, admin: Caller, wish: Wish, pointer: str
) -> None:
    with pytest.raises(Invalid) as refused:
        service.create(wish, by=admin)

    assert refused.value.faults[0].pointer == pointer


# The first key


def test_the_first_admin_key_is_made_once(service: KeyService) -> None:
    made = service.ensure_admin()

    assert made is not None
    assert service.authenticate(made.secret.text).role is Role.ADMIN
    assert service.ensure_admin() is None
    assert service.ensure_admin(Secret.generate().text) is None


def test_a_given_admin_key_is_the_one_that_works(service: KeyService) -> None:
    given = Secret.generate()

    made = service.ensure_admin(given.text)

    assert made is not None
    assert service.authenticate(given.text).id == given.id


def test_a_given_text_that_is_no_key_is_refused_and_not_quoted(service: KeyService) -> None:
    with pytest.raises(Invalid, match="headway keys generate") as refused:
        service.ensure_admin("canary")

    assert "canary" not in str(refused.value)


def test_the_machine_may_make_a_new_admin_key(service: KeyService, table: Table) -> None:
    made = service.create_on_machine(Wish("rescue", Role.ADMIN))

    assert service.authenticate(made.secret.text).role is Role.ADMIN
    assert table.events[-1].actor == "headway (on the machine)"


# Revoking


def test_a_revoked_key_stays_in_the_list(service: KeyService, admin: Caller, table: Table) -> None:
    key = service.create(Wish("x", Role.CALLER), by=admin).key

    service.revoke(key.id, by=admin, why="leaked")
    service.revoke(key.id, by=admin)

    assert service.get(key.id, by=admin).revoked_at == NOW
    assert [one.id for one in service.list(by=admin)] == [key.id, admin.id]
    events = [(event.kind, event.why) for event in table.events if event.subject.endswith(key.id)]
    assert events == [("key.created", ""), ("key.revoked", "leaked")]


def test_the_last_admin_key_cannot_be_revoked(service: KeyService, admin: Caller) -> None:
    with pytest.raises(Conflict, match="make another one first"):
        service.revoke(admin.id, by=admin)

    other = service.create(Wish("second", Role.ADMIN), by=admin)
    service.revoke(admin.id, by=other.key.caller())
    with pytest.raises(Conflict):
        service.revoke_on_machine(other.key.id)


def test_a_narrow_admin_sees_only_keys_within_its_reach(
    service: KeyService, admin: Caller
) -> None:
    narrow = service.create(Wish("n", Role.ADMIN, models=("bot-*",)), by=admin).key
    inside = service.create(Wish("i", Role.CALLER, models=("bot-a",)), by=admin).key
    for number in range(5):
        service.create(Wish(f"o{number}", Role.CALLER, models=("other",)), by=admin)

    by = narrow.caller()

    assert [key.id for key in service.list(by=by, limit=2)] == [inside.id, narrow.id]
    assert [key.id for key in service.list(by=by, limit=1, after=inside.id)] == [narrow.id]
    with pytest.raises(NotFound):
        service.get(admin.id, by=by)
    with pytest.raises(NotFound):
        service.revoke(admin.id, by=by)
    service.revoke(inside.id, by=by)


# Paths and limits


def test_a_key_knows_its_paths_and_its_limits(service: KeyService, admin: Caller) -> None:
    limits = Limits(requests=60, day=5_000_000)
    wish = Wish("shop", Role.CALLER, paths=("/v1/chat/completions", "/v2/*"), limits=limits)

    caller = service.authenticate(service.create(wish, by=admin).secret.text)

    assert caller.limits == limits
    assert caller.calls("/v1/chat/completions")
    assert caller.calls("/v2/models/digits/infer")
    assert not caller.calls("/v1/chat/completions/more")
    assert not caller.calls("/v1/embeddings")


def test_a_key_without_limits_says_so(service: KeyService, admin: Caller) -> None:
    made = service.create(Wish("shop", Role.CALLER), by=admin)

    assert made.key.caller().limits is None
    assert service.use(made.key.id, by=admin) is None


@pytest.mark.parametrize("path", ["", "v1/x", "/api/v1/keys", "/v1/a b", "/v1*/x", "/v1//x"])
def test_what_is_no_path_of_traffic_is_refused(
    service: KeyService, admin: Caller, path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        service.create(Wish("x", Role.CALLER, paths=("/v1/*", path)), by=admin)

    assert [fault.pointer for fault in refused.value.faults] == ["/paths/1"]


def test_nobody_gives_paths_that_he_has_not(service: KeyService, admin: Caller) -> None:
    wish = Wish("x", Role.ADMIN, paths=("/v1/*",))
    narrow = service.create(wish, by=admin).key.caller()

    with pytest.raises(Forbidden, match="paths"):
        service.create(Wish("y", Role.CALLER), by=narrow)
    with pytest.raises(Forbidden, match="paths"):
        service.change(narrow.id, Change(paths=("*",)), by=narrow)
    service.create(Wish("y", Role.CALLER, paths=("/v1/messages",)), by=narrow)


def test_a_limit_is_changed_and_the_others_stay(
    service: KeyService, admin: Caller, table: Table
) -> None:
    made = service.create(
        Wish("shop", Role.CALLER, limits=Limits(requests=60, tokens=1000)), by=admin
    )

    changed = service.change(made.key.id, Change(limits={"tokens": None, "month": 7}), by=admin)

    assert changed.limits == Limits(requests=60, month=7)
    assert table.events[-1].kind == "key.changed"
    assert table.events[-1].detail["limits"] == {"requests": 60, "month": 7}  # type: ignore[index, call-overload]


def test_a_change_of_nothing_is_no_change(
    service: KeyService, admin: Caller, table: Table
) -> None:
    made = service.create(Wish("shop", Role.CALLER), by=admin)
    before = len(table.events)

    assert service.change(made.key.id, Change(name="shop"), by=admin) == made.key
    assert len(table.events) == before


def test_who_changes_what_somebody_else_changed_is_told(
    service: KeyService, admin: Caller
) -> None:
    made = service.create(Wish("shop", Role.CALLER), by=admin)
    service.change(made.key.id, Change(name="other"), by=admin, if_match=made.key.revision)

    with pytest.raises(PreconditionFailed):
        service.change(made.key.id, Change(name="mine"), by=admin, if_match=made.key.revision)


def test_a_revoked_key_is_not_changed(service: KeyService, admin: Caller) -> None:
    made = service.create(Wish("shop", Role.CALLER), by=admin)
    service.revoke(made.key.id, by=admin)

    with pytest.raises(Conflict, match="revoked"):
        service.change(made.key.id, Change(limits={"requests": 1}), by=admin)


def test_a_limit_of_nothing_is_refused(service: KeyService, admin: Caller) -> None:
    with pytest.raises(Invalid) as refused:
        service.create(Wish("x", Role.CALLER, limits=replace(NO_LIMITS, requests=0)), by=admin)

    assert [fault.pointer for fault in refused.value.faults] == ["/limits/requests"]
