"""A compiled route gives each unit its arm, and nobody the wrong one."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.kernel.errors import Invalid, Unavailable
from headway.routing.allocation import lay_out
from headway.routing.assignment import NO_HINTS, OUTSIDE, UnitHints
from headway.routing.route import Arm, Role, Route, Rule, Segment, whole
from headway.routing.table import compile_route

STABLE = Arm("stable", "1.0.0", "sha256:aa", Role.STABLE)
CANDIDATE = Arm("candidate", "1.1.0", "sha256:bb", Role.CANDIDATE)
OTHER = Arm("stable", "0.9.0", "sha256:cc", Role.STABLE)


def split(candidate_bp: int) -> Rule:
    return Rule(
        arms=(STABLE, CANDIDATE),
        segments=lay_out({"stable": 10_000 - candidate_bp, "candidate": candidate_bp}),
    )


def route(*rules: Rule, **changes: object) -> Route:
    made = Route(model="digits", environment="production", rules=rules, salt="dep_1", revision=3)
    return replace(made, **changes)  # type: ignore[arg-type]  # tests name real fields


def conversation(name: str) -> UnitHints:
    return UnitHints(conversation_header=name)


def test_route_of_a_first_version_that_still_goes_out_has_somebody_for_everybody() -> None:
    assert route(whole(CANDIDATE)).stable is CANDIDATE
    assert route(split(9_000)).stable is STABLE


def test_conversation_stays_on_its_arm() -> None:
    table = compile_route(route(split(3_000)))
    for i in range(50):
        arms = {
            table.assign(conversation(f"c{i}"), {}, f"request {n}").arm.version for n in range(5)
        }
        assert len(arms) == 1


def test_requests_without_a_unit_spread_over_the_arms() -> None:
    table = compile_route(route(split(1_000)))
    assigned = [table.assign(NO_HINTS, {}, f"request {n}") for n in range(10_000)]
    assert 800 <= sum(one.arm is CANDIDATE for one in assigned) <= 1_200
    assert all(one.single and not one.vetoed and not one.pinned for one in assigned)


def test_conversation_is_no_single() -> None:
    assigned = compile_route(route(split(1))).assign(conversation("c"), {}, "request")
    assert (assigned.single, assigned.unit, assigned.rule) == (False, "c", 0)


@given(st.integers(1, 9_999), st.text(min_size=1, max_size=30))
def test_arm_is_the_one_that_owns_the_bucket(candidate_bp: int, unit: str) -> None:
    assigned = compile_route(route(split(candidate_bp))).assign(conversation(unit), {}, "r")
    on_candidate = assigned.bucket >= 10_000 - candidate_bp
    assert (assigned.arm is CANDIDATE) is on_candidate
    assert assigned.arm_index == (1 if on_candidate else 0)


def test_scattered_segments_are_looked_up_by_their_ends() -> None:
    rule = Rule(
        arms=(STABLE, CANDIDATE),
        segments=(
            Segment("candidate", 10),
            Segment("stable", 5_000),
            Segment("candidate", 990),
            Segment("stable", 4_000),
        ),
    )
    table = compile_route(route(rule))
    seen = Counter()  # type: Counter[str]
    for i in range(30_000):
        assigned = table.assign(conversation(f"u{i}"), {}, "r")
        inside = assigned.bucket < 10 or 5_010 <= assigned.bucket < 6_000
        assert (assigned.arm is CANDIDATE) is inside
        seen[assigned.arm.key] += 1
    assert 2_700 <= seen["candidate"] <= 3_300


def test_candidate_only_gains_conversations_when_its_share_grows() -> None:
    small, large = compile_route(route(split(500))), compile_route(route(split(2_500)))
    for i in range(3_000):
        hints = conversation(f"c{i}")
        if small.assign(hints, {}, "r").arm is CANDIDATE:
            assert large.assign(hints, {}, "r").arm is CANDIDATE


def test_first_rule_that_matches_decides() -> None:
    beta = Rule(
        when={"group": "beta"}, arms=(CANDIDATE,), segments=(Segment("candidate", 10_000),)
    )
    table = compile_route(route(beta, whole(STABLE)))
    assert table.needs_attributes
    inside = table.assign(NO_HINTS, {"group": "beta"}, "r")
    outside = table.assign(NO_HINTS, {}, "r")
    assert (inside.arm, inside.rule, inside.arm_index) == (CANDIDATE, 0, 0)
    assert (outside.arm, outside.rule, outside.arm_index) == (STABLE, 1, 1)


def test_default_answers_when_no_rule_matches() -> None:
    beta = Rule(when={"group": "beta"}, arms=split(500).arms, segments=split(500).segments)
    assigned = compile_route(route(beta, default="stable")).assign(NO_HINTS, {}, "r")
    assert (assigned.arm, assigned.rule, assigned.bucket) == (STABLE, -1, -1)


def test_vetoed_arm_is_answered_by_the_stable_one() -> None:
    table = compile_route(route(split(5_000)))
    free = [table.assign(NO_HINTS, {}, f"r{i}") for i in range(100)]
    vetoed = [table.assign(NO_HINTS, {}, f"r{i}", {"candidate"}) for i in range(100)]
    assert all(one.arm is STABLE and one.arm_index == 0 for one in vetoed)
    assert [one.vetoed for one in vetoed] == [one.arm is CANDIDATE for one in free]


def test_veto_in_a_rule_without_stable_arm_goes_to_the_routes() -> None:
    beta = Rule(
        when={"group": "beta"}, arms=(CANDIDATE,), segments=(Segment("candidate", 10_000),)
    )
    table = compile_route(route(beta, whole(OTHER)))
    assigned = table.assign(NO_HINTS, {"group": "beta"}, "r", {"candidate"})
    assert (assigned.arm, assigned.arm_index, assigned.vetoed) == (OTHER, 1, True)


def test_pinned_version_is_on_its_arm_or_outside() -> None:
    table = compile_route(route(split(1)))
    on_arm = table.pin("1.1.0", "sha256:bb", conversation("c"), "r")
    assert (on_arm.arm, on_arm.arm_index, on_arm.pinned) == (CANDIDATE, 1, True)
    outside = table.pin("0.1.0", "sha256:dd", NO_HINTS, "r")
    assert (outside.arm.version, outside.arm_index) == ("0.1.0", OUTSIDE)
    assert outside.pinned


def test_kill_switch_answers_nobody() -> None:
    table = compile_route(route(split(1), enabled=False))
    assert not table.enabled
    with pytest.raises(Unavailable, match="digits/production is switched off"):
        table.assign(NO_HINTS, {}, "r")
    with pytest.raises(Unavailable):
        table.pin("1.0.0", "sha256:aa", NO_HINTS, "r")


@pytest.mark.parametrize(
    ("stick_to", "hints", "unit"),
    [
        ("conversation", UnitHints(conversation_header="h", conversation_id="i"), "h"),
        ("conversation", UnitHints(conversation_id="i", prompt_cache_key="p"), "i"),
        ("conversation", UnitHints(prompt_cache_key="p", safety_identifier="s"), "p"),
        ("conversation", UnitHints(safety_identifier="s", user="u"), "s"),
        ("conversation", UnitHints(user="u", conversation="c"), "u"),
        ("conversation", UnitHints(conversation="c", user_id="m"), "c"),
        ("conversation", UnitHints(user_id="m", sequence_id="7"), "m"),
        ("conversation", UnitHints(sequence_id="7"), "7"),
        ("conversation", UnitHints(user_header="u", tenant_header="t"), None),
        ("conversation", UnitHints(conversation_header=""), None),
        ("user", UnitHints(user_header="h", safety_identifier="s"), "h"),
        ("user", UnitHints(safety_identifier="s", user="u"), "s"),
        ("user", UnitHints(user="u", user_id="m"), "u"),
        ("user", UnitHints(user_id="m"), "m"),
        ("user", UnitHints(conversation_header="c"), None),
        ("tenant", UnitHints(tenant_header="t"), "t"),
        ("tenant", UnitHints(user="u"), None),
        ("request", UnitHints(conversation_header="c", user="u"), None),
        ("header:X-Team", UnitHints(headers={"x-team": "blue"}), "blue"),
        ("header:X-Team", UnitHints(user="u"), None),
    ],
)
def test_unit_is_the_first_thing_present_in_its_order(
    stick_to: str, hints: UnitHints, unit: str | None
) -> None:
    assigned = compile_route(route(split(1), stick_to=stick_to)).assign(hints, {}, "request 1")
    assert assigned.unit == (unit or "request 1")
    assert assigned.single is (unit is None)


def test_table_names_the_header_that_it_needs() -> None:
    assert compile_route(route(split(1), stick_to="header:X-Team")).unit_header == "x-team"
    assert compile_route(route(split(1))).unit_header is None


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        (route(), "/rules"),
        (route(split(1), stick_to="session"), "/stick_to"),
        (route(split(1), stick_to="header:"), "/stick_to"),
        (route(split(1), hash_version=2), "/hash_version"),
        (route(Rule((STABLE,), (Segment("stable", 9_999),))), "/rules/0/segments"),
        (route(Rule((STABLE,), (Segment("other", 10_000),))), "/rules/0/segments"),
        (
            route(Rule((STABLE,), (Segment("stable", 0), Segment("stable", 10_000)))),
            "/rules/0/segments",
        ),
        (route(Rule((STABLE, STABLE), (Segment("stable", 10_000),))), "/rules/0/arms"),
        (
            route(Rule((STABLE,), (Segment("stable", 10_000),), when={"a": 1})),
            "/default",
        ),
    ],
)
def test_route_that_cannot_be_one_is_refused(wrong: Route, pointer: str) -> None:
    with pytest.raises(Invalid) as raised:
        compile_route(wrong)
    assert raised.value.faults[0].pointer == pointer
