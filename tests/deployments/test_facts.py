"""What is fixed at the start: ages, thresholds, metrics; and what a plan is told to take."""

from typing import Any

import pytest
from tests.deployments.world import ADA, MODEL, PRODUCTION, World

from headway.deployments.checks.smoke import example_of, question_of
from headway.deployments.deployment import Deployment, Progress, Shares, Undo
from headway.deployments.facts import Facts, Past, age, fix, past_of, proven
from headway.deployments.forecast import duration_words
from headway.deployments.plan import Plan, Until
from headway.deployments.reading import read_plan
from headway.deployments.strategies.canary import canary
from headway.kernel.canonical import Json
from headway.kernel.clock import DAY, HOUR, MINUTE, SECOND
from headway.registry.model import Version
from headway.registry.prompt import Prompt, Variable
from headway.registry.signature import Signature
from headway.registry.target import HostedTarget
from headway.registry.version import SemVer
from headway.routing.route import Ages
from headway.tracking.measurement import Score
from headway.tracking.sketch import Sketch


def plan(**judge: Any) -> Plan:  # noqa: ANN401 - the words of `judge`
    return read_plan({"model": "m", "to": "2.0.0", "judge": judge}, {"canary": canary})


def fixed(past: Past, *, longest: int = 600 * SECOND, **judge: Any) -> Facts:  # noqa: ANN401 - whatever the test says
    return fix(plan(**judge), past, stable="1.0.0", longest=longest, first_gateway=3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 600_000),
        ([5_000] * 19, 600_000),  # too few: nothing is known
        ([5_000] * 20, 10_000),  # few: twice the greatest
        ([5_000] * 19 + [400_000], 600_000),  # at most L
        ([10] * 99 + [400], 2_000),  # at least 2 s
        ([10] * 998 + [9_000, 9_000], 9_000),  # 99.9 % had ended
        ([10] * 1_999 + [50_000], 2_000),  # one of 2,000 is beyond
    ],
)
def test_age_is_when_nearly_all_had_ended(values: list[int], expected: int) -> None:
    assert age(values, most=600_000) == expected
    assert abs(age(Sketch.of(values), most=600_000) - expected) <= 0.021 * expected


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([], 2_000),
        ([9_000], 18_000),  # few: twice the greatest
        ([10] * 98 + [9_000], 18_000),
        ([10] * 99 + [400_000], 2_000),  # 99 % of 100 had come
        ([10] * 98 + [300_000, 400_000], 300_000),
        ([400_000], 600_000),  # at most L
    ],
)
def test_age_covers_bad_requests_however_rare_they_are(bad: list[int], expected: int) -> None:
    # Of a million requests nearly all are quick: by themselves they would say 2 s.
    past = Past(
        latency=Sketch({**Sketch.of([10.0]).counts, 0: 1_000_000}),
        bad=Sketch.of(bad),
        ended={HOUR: 1_000_000},
    )
    assert fixed(past).ages["errors"].m == pytest.approx(expected, rel=0.021)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        pytest.param([(30, 100)], 2, id="all of it long ago"),
        pytest.param([(30, 100), (2, 100)], 2, id="half of it long ago"),
        pytest.param([(30, 100), (2, 101)], 600, id="most of it within L"),
        pytest.param([(11, 100), (0, 0)], 2, id="its minute ended L ago"),
        pytest.param([(10, 100), (0, 0)], 600, id="its minute had not ended L ago"),
        pytest.param([(2, 10_000)], 600, id="just begun"),
    ],
)
def test_stable_version_that_has_just_begun_has_not_shown_its_slow_failures(
    world: World, minutes: list[tuple[int, int]], expected: int
) -> None:
    """L is 600 s: what it answered within the last 10 minutes was the quick part of it."""
    now = world.now - world.now % MINUTE
    for ago, n in minutes:
        world.now = now - ago * MINUTE
        world.measure("1.0.0", ok=n, latency=(5.0,) * n)
    with world.begin() as work:
        rows = work.measurements.read(
            model=MODEL, environment=PRODUCTION, since=now - DAY, until=now + MINUTE
        )
    past = past_of(rows, version="1.0.0", now=now)
    assert fixed(past, worse={"errors": "any"}).ages["errors"].m == expected * SECOND


def test_past_tells_the_stable_versions_bad_requests_apart(world: World) -> None:
    for version in ("1.0.0", "1.1.0"):
        world.measure(version, ok=1, provider=1, latency=(5.0, 900.0), bad=(900.0,))
    with world.begin() as work:
        rows = work.measurements.read(
            model=MODEL, environment=PRODUCTION, since=0, until=world.now + DAY
        )
    past = past_of(rows, version="1.0.0", now=world.now + MINUTE)
    assert past.bad == Sketch.of([900.0])
    assert (past.latency.n, past.requests, past.errors) == (2, 2, 1)


def test_line_that_no_answer_could_cross_in_time_is_left_out() -> None:
    # p95 and p99 lie at 1.9 s, times the margin of 1.2 beyond the longest request, 2 s.
    latency = Sketch.of([100.0] * 1_800 + [1_900.0] * 200)
    facts = fixed(Past(latency=latency), longest=2 * SECOND)
    assert set(facts.thresholds_ms) == {"p50", "p90"}
    assert set(fixed(Past(latency=latency)).thresholds_ms) == {"p50", "p90", "p95", "p99"}
    (judged,) = (judged for judged in facts.metrics if judged.metric == "latency")
    assert judged.quantiles == ("p50", "p90")
    assert {quantile for quantile, _ in judged.lines} == {"p50", "p90"}


def test_scores_have_ages_of_their_own_from_how_late_they_came() -> None:
    past = Past(badness={"correct": 0.05}, delays={"correct": [500] * 100})
    facts = fixed(past, matures="1h")
    assert facts.ages["score.correct"] == Ages(2_000, HOUR)
    assert facts.ages["score.*"] == Ages(HOUR, HOUR)
    assert facts.ages["errors"] == Ages(600_000, 600_000)


def test_score_star_stands_for_the_scores_that_the_stable_version_has() -> None:
    facts = fixed(Past(badness={"correct": 0.1, "kind": 0.2}), weights={"score.*": 3})
    weights = {judged.metric: judged.weight for judged in facts.metrics}
    assert weights == {"errors": 1, "latency": 1, "score.correct": 3, "score.kind": 3}
    assert facts.margin["latency"] == 0.2


@pytest.mark.parametrize(
    ("scores", "rare"),
    [(1, True), (19, True), (600, False), (6_000, False)],
)
def test_score_that_would_outlast_the_steps_is_judged_and_not_waited_for(
    scores: int, *, rare: bool
) -> None:
    """At one request per second: 600 of 6,000 with a score are 360 an hour, enough in a day."""
    past = Past(
        requests=6_000,
        per_second=1.0,
        badness={"helpful": 0.0},
        scored={"helpful": scores},
        delays={"helpful": [500] * scores},
    )
    facts = fixed(past)
    assert ("score.helpful" in facts.rare) is rare
    assert "score.helpful" in {judged.metric for judged in facts.metrics}
    waited = proven(Until(5.0), facts)
    assert waited == (("errors", "latency") if rare else ())


def test_score_that_is_named_is_waited_for_however_rare() -> None:
    past = Past(requests=600, per_second=1.0, badness={"helpful": 0.0}, scored={"helpful": 1})
    named = fixed(past, worse={"errors": "any", "score.helpful": "5%"})
    assert named.rare == ()
    alone = fixed(past, worse={"score.*": "any"})
    assert (alone.rare, proven(Until(5.0), alone)) == ((), ())


def test_explain_says_which_scores_are_not_waited_for_and_status_too(world: World) -> None:
    measured(world, requests=600)
    with world.begin() as work:
        work.scores.add([a_score(world, 1, value=1.0)])
        work.commit()
    said: Any = world.deployments.plan({"model": MODEL, "to": "1.1.0"})
    assert any("score.correct: too rare to be waited for" in note for note in said["notes"])
    judge: Json = {"worse": {"errors": "any", "score.*": "any"}}
    deployment = world.deploy("1.1.0", judge=judge)
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(2_000, 0), stable=(18_000, 0))
    shown: Any = world.deployments.status(deployment.id)["evidence"]
    assert {one["metric"]: one["waits"] for one in shown}["score.correct"] == (
        "too rare to be waited for"
    )
    world.run(10 * SECOND)
    assert world.row(deployment).entered > 1


def test_age_covers_what_is_slow_so_that_slowness_counts_in_time() -> None:
    past = Past(latency=Sketch.of([10_000.0] * 1_000))
    assert fixed(past).ages["errors"].m >= 11_900


def test_without_a_stable_version_nothing_is_compared() -> None:
    facts = fix(plan(), None, stable=None, longest=2 * SECOND, first_gateway=1)
    assert facts.metrics == ()
    assert facts.ages["errors"] == Ages(2_000, 2_000)


def test_facts_and_progress_read_back_as_written() -> None:
    past = Past(latency=Sketch.of([5.0] * 500), requests=500, errors=2, badness={"x": 0.5})
    facts = fixed(past)
    assert Facts.read(facts.document()) == facts
    progress = Progress(
        shares=(Shares(7, 1_000, 2),),
        published=3,
        passed=("smoke",),
        watches=({"watch": {}, "seen": {}},),
        undo=Undo(rollback="rb", version="1.0.0", since=5, unanswered=("0.9.0",)),
    )
    assert Progress.read(progress.document()) == progress
    assert Progress.read(None) == Progress()


# ── explain ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def world() -> World:
    world = World()
    world.gateway()
    world.serve("1.0.0")
    return world


TOO_FEW = "fewer than 20 requests in the last 24 hours: nobody can say how long proofs take"


def measured(world: World, *, requests: int, provider: int = 0) -> None:
    """Let 10 minutes pass with that many requests a minute."""
    for _ in range(10):
        world.later(MINUTE)
        world.measure("1.0.0", ok=requests - provider, provider=provider)


def test_explain_says_what_each_step_takes_at_todays_traffic(world: World) -> None:
    measured(world, requests=600)
    told: Any = world.deployments.plan(
        {"model": MODEL, "to": "1.1.0", "judge": {"worse": {"errors": "any"}}}
    )
    proofs = [step for step in told["steps"] if "until" in step]

    # No errors: by the floor, 56, 231, 582 and 777 candidate units with all that came before.
    assert [step["by"] for step in proofs] == ["floor"] * 4
    assert 5_500 < proofs[0]["requests"] < 6_500
    total = sum(step["requests"] for step in proofs)
    assert 9_000 < total < 13_000  # judge.md: 11,000 for the default plan
    assert proofs[0]["on_candidate"] in range(55, 66)
    assert proofs[0]["sentence"].startswith("send 1% until not 20x worse: about ")
    assert told["seconds"] > total / 12 + 3_600
    assert world.deployments.list()[0].version == "1.0.0"  # nothing was written


def test_explain_says_how_soon_a_bad_version_would_be_found_out(world: World) -> None:
    """From 1 to 2 % on one metric takes a simulated median of 1,630 candidate requests."""
    measured(world, requests=600, provider=6)
    judge = {"worse": {"errors": "any"}}
    told: Any = world.deployments.plan(
        {
            "model": MODEL,
            "to": "1.1.0",
            "judge": judge,
            "steps": [{"send": "10%"}, {"send": "100%"}],
        }
    )
    (note,) = [note for note in told["notes"] if "found out" in note]
    assert note.startswith("twice as bad on errors would be found out after about ")
    assert 1_300 < int(note.split()[-6].replace(",", "")) < 2_000


def test_explain_says_what_else_ends_a_step(world: World) -> None:
    told: Any = world.deployments.plan(
        {
            "model": MODEL,
            "to": "1.1.0",
            "why": "a hurry",
            "steps": [
                {"check": ["loads"], "within": "5m", "else": "hold"},
                {"send": "5%", "until": "healthy", "at_least": "500 requests", "at_most": "2h"},
                {"send": "50%", "at_least": "10m", "at_most": "1h", "else": "advance"},
                {"send": "100%"},
            ],
        }
    )
    assert [step["sentence"] for step in told["steps"]] == [
        "check loads; tried again for 5m, then hold",
        "send 5% until healthy; not before 500 requests on the new version; after 2h hold",
        "send 50%; not before 10m; after 1h advance",
        "send 100%",
    ]


def test_explain_offers_what_would_be_faster_and_says_what_that_gives_up(world: World) -> None:
    measured(world, requests=10)
    document: dict[str, Any] = {
        "model": MODEL,
        "to": "1.1.0",
        "judge": {"worse": {"errors": "any"}},
        "steps": [
            {"send": "10%", "until": "not 4x worse"},
            {"send": "50%", "until": "not 2x worse"},
            {"send": "100%"},
        ],
    }
    slow: Any = world.deployments.plan(document)
    wider, time = (note for note in slow["notes"] if note.startswith("faster: "))
    assert wider.startswith("faster: until not 8x, 4x worse takes ")
    assert "given up: one that is 4 times worse, instead of 2 times" in wider
    # It takes as long as it says: ask for that plan.
    document["steps"][0]["until"] = "not 8x worse"
    document["steps"][1]["until"] = "not 4x worse"
    sooner: Any = world.deployments.plan(document)
    assert sooner["seconds"] < slow["seconds"]
    assert f"takes {sooner['sentence'].split()[1]} " in wider
    assert "nothing is proven then" in time


def test_explain_offers_nothing_faster_where_proofs_are_quick(world: World) -> None:
    measured(world, requests=6_000)
    told: Any = world.deployments.plan(
        {"model": MODEL, "to": "1.1.0", "judge": {"worse": {"errors": "any"}}}
    )
    assert not [note for note in told["notes"] if note.startswith("faster")]


def test_explain_takes_an_age_into_account(world: World) -> None:
    measured(world, requests=600)
    world.register("9.0.0", total=10 * MINUTE)
    document: dict[str, Any] = {"model": MODEL, "judge": {"worse": {"errors": "any"}}}
    quick: Any = world.deployments.plan({**document, "to": "1.1.0"})
    slow: Any = world.deployments.plan({**document, "to": "9.0.0"})
    assert slow["steps"][1]["seconds"] - quick["steps"][1]["seconds"] == pytest.approx(598)


def test_explain_without_traffic_says_that_nobody_knows(world: World) -> None:
    told: Any = world.deployments.plan({"model": MODEL, "to": "1.1.0"})
    assert told["seconds"] is None
    assert TOO_FEW in told["notes"]


def test_explain_makes_no_forecast_of_a_handful_of_requests(world: World) -> None:
    world.later(MINUTE)
    world.measure("1.0.0", ok=19)
    few: Any = world.deployments.plan({"model": MODEL, "to": "1.1.0"})
    assert TOO_FEW in few["notes"]
    assert few["seconds"] is None
    assert few["requests_per_second"] == 0
    proofs = [step for step in few["steps"] if "until" in step]
    assert all(step["seconds"] is None for step in proofs)
    assert any("too little traffic yet" in step["sentence"] for step in proofs)

    world.measure("1.0.0", ok=1)
    enough: Any = world.deployments.plan({"model": MODEL, "to": "1.1.0"})
    assert TOO_FEW not in enough["notes"]
    assert enough["requests_per_second"] > 0


def test_explain_of_a_first_version_is_a_direct_plan() -> None:
    told: Any = World().deployments.plan({"model": MODEL, "to": "1.0.0"})
    assert told["plan"]["strategy"] == "direct"
    assert [step.get("send") for step in told["steps"]] == [None, "100%"]  # nothing to go back to


def test_durations_are_told_roughly() -> None:
    said = [duration_words(seconds) for seconds in (0.4, 40, 420, 12_600, 5 * 86_400)]
    assert said == ["1 s", "40 s", "7 min", "3.5 h", "5 d"]


# ── status ───────────────────────────────────────────────────────────────────────────────────


def test_status_tells_shares_evidence_and_what_is_missing(world: World) -> None:
    measured(world, requests=600)
    deployment = world.deploy("1.1.0")
    world.run(5 * SECOND)
    nothing: Any = world.deployments.status(deployment.id)
    assert nothing["evidence"][0]["data"] is False
    world.traffic(deployment, candidate=(100, 1), stable=(900, 2))
    world.run(6 * SECOND)
    told: Any = world.deployments.status(deployment.id)

    assert {(arm["version"], arm["share_bp"]) for arm in told["shares"]} == {
        ("1.0.0", 9_000),
        ("1.1.0", 1_000),
    }
    (errors,) = told["evidence"]
    assert (errors["candidate_bad"], errors["candidate_n"]) == (1, 100)
    assert (errors["candidate"], errors["stable"]) == ("1 of 100", "2 of 900")
    low, high = errors["interval"]
    assert low < 4.5 < high
    assert told["e_needed"] == 125
    assert [step["state"] for step in told["steps"]] == ["now", "next", "next", "next"]
    assert told["next"]["what"].startswith("not yet proven: not 5x worse; about ")
    assert told["next"]["requests"] > 100
    assert told["next"]["expected_at"] > world.now
    assert told["next"]["after"] == "send 50% until not 2x worse"
    assert set(told["may"]) == {"pause", "promote", "abort", "roll_back"}


def errors_of(world: World, deployment: Deployment) -> dict[str, Any]:
    told: Any = world.deployments.status(deployment.id)
    found: dict[str, Any] = told["evidence"][0]
    assert found["metric"] == "errors"
    return found


def test_status_says_when_what_has_come_will_count(world: World) -> None:
    world.register("9.0.0", total=10 * MINUTE)
    deployment = world.deploy("9.0.0")
    world.run(5 * SECOND)
    errors = errors_of(world, deployment)
    assert errors["waits"] == "a request counts when it is 10m old"
    world.now -= world.now % 5_000
    world.traffic(deployment, candidate=(40, 0), stable=(360, 2), counts_in=7 * MINUTE)
    errors = errors_of(world, deployment)
    assert (
        errors["waits"] == "400 wait: each counts when it is 10m old, the first of them in 7 min"
    )
    assert (errors["waiting"], errors["counts_at"]) == (400, world.now + 7 * MINUTE)
    assert errors["data"] is False

    world.later(7 * MINUTE)
    errors = errors_of(world, deployment)
    assert (errors["waiting"], errors["counts_at"], errors["waits"]) == (0, None, "")
    assert errors["candidate_n"] == 40


def test_explain_says_when_a_request_counts_if_that_is_long(world: World) -> None:
    world.register("9.0.0", total=10 * MINUTE)
    slow: Any = world.deployments.plan({"model": MODEL, "to": "9.0.0"})
    assert any(note.startswith("a request counts when it is 10m old") for note in slow["notes"])
    quick: Any = world.deployments.plan({"model": MODEL, "to": "1.1.0"})
    assert not any("a request counts" in note for note in quick["notes"])


PATIENT: Json = [{"send": "10%", "until": "not 5x worse"}, {"send": "100%"}]


def test_requests_that_are_too_young_are_not_asked_for_once_more(world: World) -> None:
    measured(world, requests=60_000)
    world.register("9.0.0", total=10 * MINUTE)
    deployment = world.deploy("9.0.0", steps=PATIENT)
    world.run(5 * SECOND)
    before: Any = world.deployments.status(deployment.id)["next"]
    world.traffic(deployment, candidate=(10, 0), stable=(90, 0), counts_in=5 * MINUTE)
    after: Any = world.deployments.status(deployment.id)["next"]
    assert after["requests"] == before["requests"] - 100

    n = before["requests"]
    world.traffic(deployment, candidate=(n, 0), stable=(2 * n, 0), counts_in=5 * MINUTE)
    enough: Any = world.deployments.status(deployment.id)["next"]
    assert enough["requests"] == 0
    assert "; enough requests have come: about " in enough["what"]
    # All of it came at once, and so it counts at once, in five minutes (rows are due each 5 s).
    assert 290 <= enough["seconds"] <= 310
    world.later(2 * MINUTE)
    later: Any = world.deployments.status(deployment.id)["next"]
    assert later["expected_at"] == enough["expected_at"]
    assert later["seconds"] == enough["seconds"] - 120


def test_time_is_foreseen_only_while_requests_come(world: World) -> None:
    measured(world, requests=60_000)
    deployment = world.deploy("1.1.0", steps=PATIENT)
    world.run(5 * SECOND)
    told: Any = world.deployments.status(deployment.id)["next"]
    assert told["seconds"] is not None
    world.later(3 * MINUTE)
    told = world.deployments.status(deployment.id)["next"]
    assert (told["seconds"], told["expected_at"]) == (None, None)
    assert "more requests until" in told["what"]


def test_conversations_that_come_again_are_nothing_new_to_a_forecast(world: World) -> None:
    measured(world, requests=60_000)
    deployment = world.deploy("1.1.0", steps=PATIENT)
    world.run(5 * SECOND)
    world.traffic(deployment, candidate=(10, 0), stable=(90, 0))
    world.run(3 * MINUTE)
    world.measure("1.0.0", ok=18_000)  # 100 a second, of 100 conversations in all
    told: Any = world.deployments.status(deployment.id)["next"]
    at_100_new_per_three_minutes = told["requests"] / (100 / 185)
    assert told["seconds"] == pytest.approx(at_100_new_per_three_minutes, rel=0.1)


def test_forecast_does_not_ask_for_no_requests(world: World) -> None:
    """What was foreseen has come and is no proof: it was bad more often than foreseen."""
    measured(world, requests=600)
    deployment = world.deploy("1.1.0")
    world.run(5 * SECOND)
    world.traffic(deployment, candidate=(260, 5), stable=(2_000, 14))
    world.run(6 * SECOND)
    told: Any = world.deployments.status(deployment.id)["next"]
    assert told["what"] == (
        "not yet proven: not 5x worse; waits for proof: not 5x worse, on errors"
    )
    assert told["requests"] is None
    assert told["seconds"] is None


def test_deployment_that_began_without_traffic_knows_how_long_once_there_is_some(
    world: World,
) -> None:
    deployment = world.deploy("1.1.0")
    world.run(5 * SECOND)
    unknown: Any = world.deployments.status(deployment.id)["next"]
    assert unknown["seconds"] is None
    world.measure("1.0.0", ok=19)
    assert world.deployments.status(deployment.id)["next"] == unknown

    world.measure("1.1.0", ok=1)
    told: Any = world.deployments.status(deployment.id)["next"]
    slowly = told["seconds"]
    assert told["expected_at"] > world.now
    world.measure("1.0.0", ok=980)
    told = world.deployments.status(deployment.id)["next"]
    assert told["seconds"] < slowly / 40


def test_status_says_when_a_step_that_lasts_for_a_time_is_over(world: World) -> None:
    steps = [{"send": "10%", "for": "1h", "at_least": "2h"}, {"send": "100%"}]
    deployment = world.deploy("1.1.0", steps=steps)
    world.run(5 * SECOND)
    told: Any = world.deployments.status(deployment.id)
    assert told["next"]["expected_at"] == world.row(deployment).since + 2 * HOUR


def test_status_of_what_is_over_keeps_its_evidence(world: World) -> None:
    deployment = world.deploy("1.1.0")
    world.run(3 * SECOND)
    world.traffic(deployment, candidate=(200, 40), stable=(1_800, 10))
    world.run(DAY // 24, step=MINUTE)
    told: Any = world.deployments.status(deployment.id)

    assert told["state"] == "rolled_back"
    assert told["finding"] == "worse"
    assert told["evidence"][0]["candidate"] == "40 of 200"
    assert told["next"] is None
    assert [step["state"] for step in told["steps"]] == ["stopped", "never", "never", "never"]


def a_score(world: World, number: int, *, value: float) -> Score:
    return Score(
        request_id=f"req_{number}",
        name="correct",
        value=value,
        at=world.now,
        age=500,
        model=MODEL,
        environment=PRODUCTION,
        version="1.0.0",
    )


def test_stable_versions_scores_are_judged_when_the_plan_says_nothing(world: World) -> None:
    with world.begin() as work:
        work.scores.add(
            [a_score(world, number, value=1.0 if number % 20 else 0.0) for number in range(200)]
        )
        work.commit()
    deployment = world.deployments.create({"model": MODEL, "to": "1.1.0"}, actor=ADA)
    world.tick()
    facts = Facts.read(world.row(deployment).facts)

    assert [judged.metric for judged in facts.metrics] == ["errors", "latency", "score.correct"]
    assert facts.base["score.correct"] == pytest.approx(0.05)
    assert facts.ages["score.correct"] == Ages(2_000, 72 * HOUR)


# ── smoke ────────────────────────────────────────────────────────────────────────────────────


def chat(**more: Any) -> Version:  # noqa: ANN401 - fields of a version
    prompt = Prompt("For {{company}}", {"company": Variable(default=None)})
    fields = {
        "target": HostedTarget(
            provider="openai", base_url="https://x/v1", model="m", prompt=prompt
        ),
        "signature": Signature(),
        **more,
    }
    return Version(
        model="bot",
        number=SemVer(1, 0, 0),
        components={},
        digest="sha256:1",
        created_at=0,
        created_by="ada",
        **fields,
    )


def test_smoke_of_a_chat_model_says_something_and_fills_its_variables() -> None:
    assert question_of(chat()) == {
        "api": "chat",
        "request": {"messages": [{"role": "user", "content": "Say ok."}]},
        "variables": {"company": "smoke"},
    }
    example = {"messages": [{"role": "user", "content": "2 + 2?"}]}
    assert question_of(chat(metadata={"example": example}))["request"] == example


@pytest.mark.parametrize(
    ("target", "example", "api", "request_"),
    [
        ({"apis": ("embeddings",)}, None, "embeddings", {"input": "Say ok."}),
        ({"apis": ("responses",)}, None, "responses", {"input": "Say ok."}),
        ({"apis": ("embeddings", "responses")}, None, "responses", {"input": "Say ok."}),
        ({}, {"input": ["a", "b"]}, "embeddings", {"input": ["a", "b"]}),
        ({"apis": ("chat", "responses")}, {"input": "a"}, "responses", {"input": "a"}),
        (
            {"provider": "anthropic"},
            None,
            "messages",
            {"messages": [{"role": "user", "content": "Say ok."}], "max_tokens": 1024},
        ),
        (
            {"provider": "anthropic", "parameters": {"max_tokens": 9}},
            {"messages": [], "system": "s"},
            "messages",
            {"messages": [], "system": "s"},
        ),
        (
            {
                "provider": "anthropic",
                "parameters": {"thinking": {"type": "enabled", "budget_tokens": 2_000}},
            },
            {"messages": []},
            "messages",
            {"messages": [], "max_tokens": 3_024},
        ),
    ],
)
def test_smoke_asks_in_the_words_that_the_provider_takes(
    target: Any,  # noqa: ANN401 - fields of a target
    example: Any,  # noqa: ANN401 - JSON
    api: str,
    request_: Any,  # noqa: ANN401 - JSON
) -> None:
    version = chat(
        target=HostedTarget(
            **{"provider": "openai", "base_url": "https://x/v1", "model": "m", **target}
        ),
        metadata={} if example is None else {"example": example},
    )

    assert question_of(version) == {"api": api, "request": request_, "variables": {}}


def test_example_of_a_schema_is_what_it_asks_for() -> None:
    schema: Any = {
        "type": "object",
        "required": ["a", "b", "c", "d"],
        "properties": {
            "a": {"type": "string", "minLength": 4},
            "b": {"enum": ["x", "y"]},
            "c": {"type": "array", "minItems": 2, "items": {"type": "integer", "minimum": 3}},
            "d": {"default": True},
            "e": {"type": "string"},
        },
    }
    assert example_of(schema) == {"a": "ok..", "b": "x", "c": [3, 3], "d": True}
