"""Routes are set by hand, switched off, and explained; nobody overwrites a running deployment."""

from dataclasses import replace
from functools import partial
from itertools import count

import pytest
from tests.routing.murmur import bucket

from headway.artifacts.artifact import Artifact
from headway.deployments.deployment import Deployment, State
from headway.deployments.plan import Plan, Send
from headway.kernel.errors import (
    Conflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from headway.outbox.actor import Actor
from headway.registry import model as registry
from headway.registry.signature import Signature
from headway.registry.target import HostedTarget, LocalTarget
from headway.registry.version import SemVer
from headway.routing.route import Ages, Epoch, Role, Route
from headway.routing.service import ArmDraft, RouteDraft, RoutingService, RuleDraft
from headway.snapshots.service import SnapshotService
from headway.testing.memory import Store, begin
from headway.tracking.stamp import DEFAULT, PINNED, SINGLE, VETOED, Stamper

ADA = Actor("ada (k1)", "person")
STAMPER = Stamper(bytes(32))
EPOCH = Epoch(deployment="dep_1", step=1, alpha=0.01, first_gateway=1, ages={"errors": Ages(1, 1)})


def version(number: str, state: registry.State = registry.State.ACTIVE) -> registry.Version:
    return registry.Version(
        model="Digits",
        number=SemVer.parse(number),
        target=HostedTarget("openai", "http://127.0.0.1:9/v1", "m"),
        signature=Signature(),
        components={},
        digest=f"sha256:{number}",
        created_at=0,
        created_by="ada",
        state=state,
    )


class World:
    def __init__(self) -> None:
        self.now = 1_000
        self.store = Store()
        self.begin = partial(begin, self.store, lambda: self.now)
        numbers = count(1)
        self.new_id = lambda prefix: f"{prefix}_{next(numbers)}"
        self.snapshots = SnapshotService(self.begin, lambda: self.now, self.new_id)
        self.service = RoutingService(
            self.begin, lambda: self.now, self.new_id, STAMPER.read, self.snapshots.keep
        )
        with self.begin() as work:
            work.models.add(registry.Model("Digits", created_at=0, created_by="ada"))
            for number in ("1.0.0", "1.1.0", "1.2.0+build"):
                work.versions.add(version(number))
            work.versions.add(version("0.9.0", registry.State.RETIRED))
            work.versions.add(version("0.8.0", registry.State.YANKED))
            work.commit()

    def put(
        self, draft: RouteDraft, *, if_match: int | None = None, why: str = "because"
    ) -> Route:
        return self.service.put(
            "digits", "production", draft, actor=ADA, if_match=if_match, why=why
        )

    def events(self) -> list[str]:
        with self.begin() as work:
            return [event.kind for event in work.outbox.latest()][::-1]

    def deploy(self) -> Route:
        """Put a running deployment on the route, as its reconciler would."""
        with self.begin() as work:
            work.deployments.add(
                Deployment(
                    id="dep_1",
                    model="Digits",
                    environment="production",
                    version="1.1.0",
                    digest="sha256:1.1.0",
                    plan=Plan(model="Digits", to="1.1.0", steps=(Send(10_000),)),
                    created_at=0,
                    created_by="ada",
                    state=State.RUNNING,
                )
            )
            present = work.routes.current("digits", "production")
            moved = work.routes.add(
                replace(present, revision=present.revision + 1, epoch=EPOCH, salt="dep_1")
            )
            work.commit()
        return moved


def arm(number: str, share_bp: int, key: str = "stable", role: Role = Role.STABLE) -> ArmDraft:
    return ArmDraft(key=key, version=number, share_bp=share_bp, role=role)


def split(share_bp: int, **changes: object) -> RouteDraft:
    candidate = arm("1.1.0", share_bp, "candidate", Role.CANDIDATE)
    rule = RuleDraft(arms=(arm("1.0.0", 10_000 - share_bp), candidate))
    return replace(RouteDraft(rules=(rule,)), **changes)  # type: ignore[arg-type]  # real fields


WHOLE = RouteDraft(rules=(RuleDraft(arms=(arm("1.0.0", 10_000),)),))


@pytest.fixture
def world() -> World:
    return World()


def test_route_is_published_with_the_digests_of_its_versions(world: World) -> None:
    route = world.put(split(1_000))
    assert (route.name, route.revision, route.because) == ("Digits/production", 1, "because")
    assert [(a.version, a.digest) for a in route.rules[0].arms] == [
        ("1.0.0", "sha256:1.0.0"),
        ("1.1.0", "sha256:1.1.0"),
    ]
    assert route.rules[0].share_bp("candidate") == 1_000
    assert (route.created_by, route.salt) == ("ada (k1)", "salt_1")
    assert world.service.current("DIGITS", "production") == route
    assert world.events() == ["route.changed"]


def test_version_is_kept_as_it_was_registered(world: World) -> None:
    route = world.put(RouteDraft(rules=(RuleDraft(arms=(arm("1.2.0", 10_000),)),)))
    assert route.stable.version == "1.2.0+build"


def test_change_needs_the_revision_that_it_was_made_from(world: World) -> None:
    with pytest.raises(PreconditionFailed):
        world.put(WHOLE, if_match=1)
    world.put(WHOLE)
    with pytest.raises(PreconditionRequired, match="revision 1"):
        world.put(split(100))
    with pytest.raises(PreconditionFailed, match="is 1, not 2"):
        world.put(split(100), if_match=2)
    assert world.put(split(100), if_match=1).revision == 2


def test_same_text_again_changes_nothing(world: World) -> None:
    first = world.put(split(100))
    assert world.put(split(100), if_match=1) == first
    assert world.events() == ["route.changed"]


def test_route_is_kept_as_a_snapshot_before_it_changes(world: World) -> None:
    first = world.put(WHOLE)
    world.put(split(100), if_match=1, why="try the new one")
    (snapshot,) = world.snapshots.listing("digits", "production")
    assert (snapshot.revision, snapshot.digest) == (1, first.digest)
    assert snapshot.reason == "before: try the new one"


def test_shares_that_grow_by_hand_keep_everybody_on_the_candidate(world: World) -> None:
    world.put(split(1_000))
    larger = world.put(split(3_000), if_match=1)
    salts = {route.salt for route in world.service.revisions("digits", "production")}
    assert salts == {"salt_1"}
    assert [(s.arm, s.share_bp) for s in larger.rules[0].segments] == [
        ("stable", 7_000),
        ("candidate", 3_000),
    ]
    shrunk = world.put(split(500), if_match=2)
    assert [(s.arm, s.share_bp) for s in shrunk.rules[0].segments] == [
        ("stable", 9_500),
        ("candidate", 500),
    ]


@pytest.mark.parametrize(
    ("draft", "pointer", "words"),
    [
        (RouteDraft(), "/rules", "is missing"),
        (RouteDraft(rules=()), "/rules", "1 to 32"),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("1.0.0", 9_999),)),)),
            "/rules/0/arms",
            "sum to 9,999",
        ),
        (split(0), "/rules/0/arms", "at least 1"),
        (split(10_000), "/rules/0/arms", "at least 1"),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("7.0.0", 10_000),)),)),
            "/rules/0/arms/0/version",
            "not registered",
        ),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("champion", 10_000),)),)),
            "/rules/0/arms/0/version",
            "is no version",
        ),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("1.x", 10_000),)),)),
            "/rules/0/arms/0/version",
            "is no version",
        ),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("0.9.0", 10_000),)),)),
            "/rules/0/arms/0/version",
            "is retired",
        ),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("0.8.0", 10_000),)),)),
            "/rules/0/arms/0/version",
            "is yanked",
        ),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("1.0.0", 5_000), arm("1.1.0", 5_000))),)),
            "/rules/0/arms/1/key",
            "of another arm too",
        ),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("1.0.0", 10_000, "check"),)),)),
            "/rules/0/arms/0/key",
            "names requests that are on no arm",
        ),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("1.0.0", 10_000, "c", Role.CANDIDATE),)),)),
            "/rules/0/arms",
            "exactly one stable arm",
        ),
        (
            RouteDraft(rules=(RuleDraft(arms=(arm("1.0.0", 10_000),), when={"a": 1}),)),
            "/default",
            "must name an arm",
        ),
        (
            RouteDraft(
                rules=(RuleDraft(arms=(arm("1.0.0", 10_000),), when={"a": {"$regex": "x"}}),)
            ),
            "/rules/0/when/a/$regex",
            "$in",
        ),
        (replace(WHOLE, stick_to="session"), "/stick_to", "unknown unit"),
        (replace(WHOLE, stick_to="header:Authorization"), "/stick_to", "never the key"),
        (replace(WHOLE, salt="a b"), "/salt", "cannot name a salt"),
        (replace(WHOLE, default="nobody"), "/default", "no arm 'nobody'"),
        (replace(WHOLE, fallback="digits"), "/fallback", "itself"),
        (replace(WHOLE, fallback="3.0.0"), "/fallback", "not registered"),
    ],
)
def test_route_that_cannot_be_one_is_refused_where_it_is_wrong(
    world: World, draft: RouteDraft, pointer: str, words: str
) -> None:
    with pytest.raises(Invalid) as raised:
        world.put(draft)
    said = {fault.pointer: fault.detail for fault in raised.value.faults}
    assert words in said[pointer]
    with pytest.raises(NotFound):
        world.service.current("digits", "production")
    assert world.events() == []


def test_running_deployment_stands_in_the_way(world: World) -> None:
    world.put(WHOLE)
    moved = world.deploy()
    with pytest.raises(Conflict) as raised:
        world.put(split(100), if_match=moved.revision)
    assert raised.value.stands_in_the_way == "dep_1"


def test_kill_switch_works_while_a_deployment_runs_and_keeps_its_epoch(world: World) -> None:
    world.put(WHOLE)
    moved = world.deploy()
    off = world.put(RouteDraft(enabled=False), if_match=moved.revision, why="it burns")
    assert (off.enabled, off.epoch, off.rules) == (False, EPOCH, moved.rules)
    with pytest.raises(Conflict, match="is being ended"):
        world.put(RouteDraft(enabled=True), if_match=off.revision)
    assert world.events() == ["route.changed", "route.disabled"]


def test_kill_switch_by_the_whole_text_keeps_the_epoch_too(world: World) -> None:
    world.put(WHOLE)
    moved = world.deploy()
    off = world.put(replace(WHOLE, enabled=False), if_match=moved.revision)
    assert (off.enabled, off.epoch) == (False, EPOCH)


def test_route_is_switched_on_again(world: World) -> None:
    first = world.put(WHOLE)
    world.put(RouteDraft(enabled=False), if_match=1)
    on = world.put(RouteDraft(enabled=True), if_match=2, why="")
    assert (on.digest, on.because) == (first.digest, "switched on")
    assert world.events() == ["route.changed", "route.disabled", "route.enabled"]


def test_routes_and_their_revisions_are_listed(world: World) -> None:
    world.put(WHOLE)
    world.put(split(100), if_match=1)
    assert [r.revision for r in world.service.revisions("digits", "production")] == [2, 1]
    newest = world.service.revisions("digits", "production", limit=1)
    older = world.service.revisions("digits", "production", before=newest[0].revision)
    assert [r.revision for r in older] == [1]
    assert [r.name for r in world.service.routes()] == ["Digits/production"]
    assert [r.name for r in world.service.routes("digits")] == ["Digits/production"]
    assert world.service.routes("other") == []
    assert world.service.revision("digits", "production", 1).revision == 1
    with pytest.raises(NotFound):
        world.service.revisions("digits", "staging")


def test_explanation_names_rule_bucket_segment_and_arm(world: World) -> None:
    route = world.put(split(2_500))
    said = world.service.explain("digits", "production", "conversation 7")
    number = bucket(route.salt, "conversation 7")
    on_candidate = number >= 7_500
    assert said.arm is not None
    assert (said.unit, said.rule, said.bucket) == ("conversation 7", 0, number)
    assert said.segment == ((7_500, 10_000) if on_candidate else (0, 7_500))
    assert said.arm.key == ("candidate" if on_candidate else "stable")
    assert said.share_bp == (2_500 if on_candidate else 7_500)
    assert f"has the bucket {number} of 10,000" in said.why


def test_explanation_reaches_into_the_past(world: World) -> None:
    world.put(WHOLE)
    world.now = 5_000
    everybody = RouteDraft(rules=(RuleDraft(arms=(arm("1.1.0", 10_000),)),))
    world.put(everybody, if_match=1)

    def answered(at: int | None) -> str | None:
        said = world.service.explain("digits", "production", "c", at=at)
        return said.arm.version if said.arm else None

    assert [answered(1_000), answered(4_999), answered(5_000), answered(None)] == [
        "1.0.0",
        "1.0.0",
        "1.1.0",
        "1.1.0",
    ]
    with pytest.raises(NotFound):
        answered(999)


@pytest.mark.parametrize("stick_to", ["user", "tenant", "request", "conversation", "header:X-A"])
def test_explanation_asks_for_the_unit_whatever_the_route_sticks_to(
    world: World, stick_to: str
) -> None:
    route = world.put(split(5_000, stick_to=stick_to))
    said = world.service.explain("digits", "production", "ada")
    assert (said.unit, said.bucket) == ("ada", bucket(route.salt, "ada"))


def test_explanation_follows_rules_and_default(world: World) -> None:
    staff = RuleDraft(arms=(arm("1.1.0", 10_000, "new"),), when={"staff": True})
    world.put(RouteDraft(rules=(staff,), default="new"))
    inside = world.service.explain("digits", "production", "c", attributes={"staff": True})
    outside = world.service.explain("digits", "production", "c")
    assert inside.rule == 0
    assert (outside.rule, outside.bucket) == (None, None)
    assert "no rule matches" in outside.why


def test_explanation_of_a_route_that_is_off_says_so(world: World) -> None:
    world.put(replace(WHOLE, enabled=False))
    said = world.service.explain("digits", "production", "c")
    assert (said.arm, "switched off" in said.why) == (None, True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (0, "gave its conversation to the arm 'candidate' (1.1.0), whose share was 25%"),
        (SINGLE, "gave the request itself to"),
        (PINNED, "pinned it to"),
        (VETOED, "had vetoed"),
        (DEFAULT, "no rule of revision 1"),
    ],
)
def test_request_id_says_where_its_request_went(world: World, flags: int, words: str) -> None:
    route = world.put(split(2_500))
    world.put(WHOLE, if_match=1)
    said = world.service.explain_request(
        STAMPER.stamp(STAMPER.prefix(route.id, 1), 77_000, 5, flags)
    )
    assert said.arm is not None
    assert (said.route.revision, said.arm.version, said.at) == (1, "1.1.0", 77_000)
    assert words in said.why


def test_request_outside_of_the_route_is_explained(world: World) -> None:
    route = world.put(WHOLE)
    said = world.service.explain_request(
        STAMPER.stamp(STAMPER.prefix(route.id, 255), 77_000, 5, PINNED)
    )
    assert (said.arm, said.flags) == (None, ("pinned",))
    assert "does not hold" in said.why


def test_foreign_request_id_is_not_found(world: World) -> None:
    world.put(WHOLE)
    for foreign in ("req_nonsense", STAMPER.stamp(STAMPER.prefix(999, 0), 0, 0)):
        with pytest.raises(NotFound):
            world.service.explain_request(foreign)


def test_arm_gets_no_version_that_cannot_be_loaded_but_may_keep_one(world: World) -> None:
    digest = f"sha256:{'c' * 64}"
    with world.begin() as work:
        work.artifacts.add(Artifact(digest, 1, 0, "ada"))
        local = LocalTarget("onnx", digest)
        work.versions.add(replace(version("2.0.0"), target=local))
        work.commit()
    both = RuleDraft(arms=(arm("1.0.0", 5_000), arm("2.0.0", 5_000, "other", Role.CANDIDATE)))
    world.put(WHOLE)

    def mark(at: int | None) -> None:
        with world.begin() as work:
            work.artifacts.mark(digest, at)
            work.commit()

    mark(1)
    with pytest.raises(Invalid, match=r"2\.0\.0 is corrupt") as refused:
        world.put(RouteDraft(rules=(both,)), if_match=1)
    assert refused.value.faults[0].pointer == "/rules/0/arms/1/version"

    mark(None)
    world.put(RouteDraft(rules=(both,)), if_match=1)
    mark(1)
    assert world.put(RouteDraft(rules=(both,), enabled=False), if_match=2).revision == 3
