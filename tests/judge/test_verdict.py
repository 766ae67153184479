"""A verdict: what it finds, on which metric, by which proof, and that its text says it all."""

import json
from dataclasses import replace
from math import log
from random import Random

import pytest
from tests.judge.traffic import binomial, hit, seen, tally

from headway.judge.evidence import CANDIDATE, STABLE, Evidence
from headway.judge.limits import Limit
from headway.judge.question import Judged, Question
from headway.judge.result import Proof, Result
from headway.judge.verdict import Finding, Verdict, judge, judge_again
from headway.kernel.canonical import Json, canonical
from headway.kernel.errors import Invalid

ERRORS = Judged(metric="errors")
CORRECT = Judged(metric="score.correct")
LATENCY = Judged(metric="latency", margin=0.2, lines=(("p50", 40.0), ("p95", 90.5)))


def asked(*metrics: Judged, factor: float | None = None, **more: object) -> Question:
    return Question(metrics=metrics or (ERRORS,), factor=factor, **more)  # type: ignore[arg-type]


def only(verdict: Verdict) -> Result:
    (result,) = verdict.results
    return result


def clean(units: int, *, share_bp: int = 1_000) -> Evidence:
    stable = units * (10_000 - share_bp) // share_bp
    return seen(tally(share_bp, candidate_measured=units, stable_measured=stable))


# Worse ------------------------------------------------------------------------------------------


def test_a_candidate_with_five_times_the_errors_is_worse_and_it_says_on_what() -> None:
    evidence = seen(
        tally(
            1_000,
            candidate_measured=300,
            candidate_errors=15,
            stable_measured=2_700,
            stable_errors=27,
        )
    )
    verdict = judge(evidence, asked(ERRORS, CORRECT))

    assert verdict.finding is Finding.WORSE
    assert verdict.by == "errors"
    assert "15 of 300 against 27 of 2,700" in verdict.reason
    low, high = verdict.results[0].interval
    assert high is not None
    assert 1 < low < 5 < high


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(0),
        clean(5_000),
        seen(tally(1_000, candidate_errors=400, stable_errors=3_600)),
        seen(tally(10_000, candidate_errors=400, candidate_measured=400)),
    ],
)
def test_what_speaks_against_nobody_stays_undecided(evidence: Evidence) -> None:
    assert judge(evidence, asked()).finding is Finding.UNDECIDED


def test_worse_takes_evidence_of_125_at_one_per_cent() -> None:
    short = judge(seen(tally(1_000, candidate_errors=10, stable_errors=20)), asked())
    enough = judge(seen(tally(1_000, candidate_errors=9, stable_errors=15)), asked())

    assert (round(short.e), short.finding) == (100, Finding.UNDECIDED)
    assert (round(enough.e), enough.finding) == (134, Finding.WORSE)
    assert enough.log_needed == pytest.approx(log(125))


def test_all_metrics_share_one_promise_so_that_each_alone_needs_more() -> None:
    evidence = seen(tally(1_000, candidate_errors=9, stable_errors=15))
    alone = judge(evidence, asked(ERRORS))
    among = judge(evidence, asked(ERRORS, LATENCY, CORRECT))

    assert alone.finding is Finding.WORSE
    assert among.finding is Finding.UNDECIDED
    assert among.e == pytest.approx((alone.e + 1 + 1) / 3)


def test_a_metric_weighs_what_the_plan_says_and_all_scores_as_much_as_one() -> None:
    evidence = seen(tally(1_000, candidate_errors=9, stable_errors=15))
    heavy = judge(evidence, asked(Judged(metric="errors", weight=2), LATENCY))
    scores = [Judged(metric=f"score.{name}") for name in "abcd"]

    assert heavy.e == pytest.approx((2 * heavy.results[0].e + 1) / 3)
    among = judge(evidence, asked(ERRORS, *scores))
    assert among.e == pytest.approx((among.results[0].e + 1) / 2)


def test_a_tolerated_margin_is_tolerated() -> None:
    # Exactly 40 % more errors, at length.
    evidence = seen(tally(5_000, candidate_errors=7_000, stable_errors=5_000))

    assert judge(evidence, asked()).finding is Finding.WORSE
    tolerant = asked(Judged(metric="errors", margin=0.4))
    assert judge(evidence, tolerant).finding is Finding.UNDECIDED


def test_slow_answers_condemn_by_the_mean_over_four_thresholds() -> None:
    evidence = seen(tally(1_000, candidate_latency__p95=40, stable_latency__p95=90))
    four = only(judge(evidence, asked(LATENCY)))
    verdict = judge(evidence, asked(Judged(metric="latency", quantiles=("p95",))))

    # Thresholds that nobody could set stand at one, as do those that nobody crossed.
    assert only(verdict).e == pytest.approx(four.e)
    assert verdict.finding is Finding.WORSE
    assert verdict.by == "latency"
    assert (only(verdict).candidate_bad, only(verdict).stable_bad) == (40, 90)


def test_bad_answers_condemn_by_their_scores() -> None:
    # 85.9 % right against 97.3 %.
    evidence = seen(
        tally(
            1_000,
            candidate_score__correct={0: 86, 100: 14},
            stable_score__correct={0: 876, 100: 24},
        )
    )
    verdict = judge(evidence, asked(ERRORS, LATENCY, CORRECT))

    assert verdict.finding is Finding.WORSE
    assert verdict.by == "score.correct"
    assert (verdict.results[2].candidate_n, verdict.results[2].candidate_bad) == (100, 14)


# Not so many times worse ------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "units"), [(20, 56), (5, 231), (2, 582), (1.5, 777)])
def test_without_a_bad_unit_the_floor_ends_a_step(factor: float, units: int) -> None:
    before = judge(clean(units - 1), asked(factor=factor))
    verdict = judge(clean(units), asked(factor=factor))

    assert before.finding is Finding.UNDECIDED
    assert before.reason == f"not yet proven: not {factor:g} times worse on errors"
    assert verdict.finding is Finding.NOT_WORSE
    assert only(verdict).proved_by is Proof.FLOOR


def test_many_errors_alike_are_proven_alike_by_comparison() -> None:
    evidence = seen(
        tally(
            5_000,
            candidate_measured=9_000,
            stable_measured=9_000,
            candidate_errors=450,
            stable_errors=450,
        )
    )
    verdict = judge(evidence, asked(factor=1.5))

    assert verdict.finding is Finding.NOT_WORSE
    assert only(verdict).proved_by is Proof.RATIO
    assert "by comparison" in verdict.reason


def test_every_metric_must_be_proven_unless_the_plan_names_some() -> None:
    both = asked(ERRORS, CORRECT, factor=20)
    named = asked(ERRORS, CORRECT, factor=20, prove=("errors",))
    unknown = asked(ERRORS, factor=20, prove=("errors", "score.helpful"))

    assert judge(clean(60), both).finding is Finding.UNDECIDED
    assert judge(clean(60), both).by == "score.correct"
    assert judge(clean(60), named).finding is Finding.NOT_WORSE
    assert judge(clean(60), unknown).finding is Finding.UNDECIDED


def test_no_data_is_never_a_pass() -> None:
    for question in (asked(factor=20), asked(ERRORS, CORRECT, LATENCY, factor=20), asked()):
        assert judge(Evidence(0), question).finding is Finding.UNDECIDED
    assert judge(Evidence(0), Question(metrics=(), factor=20)).finding is Finding.UNDECIDED


def test_requests_that_are_not_older_than_l_prove_nothing() -> None:
    young = tally(1_000, candidate_measured=500, stable_measured=4_500)
    none = tally(1_000)
    evidence = Evidence(0, (young,), (none,), (young,), (none,))

    assert judge(evidence, asked(factor=20)).finding is Finding.UNDECIDED


def test_units_that_are_used_up_hide_no_difference() -> None:
    # Users with 100 requests at 2 %: 87 % have erred; with 1.5 times the errors, 95 % have.
    units = tally(
        5_000,
        candidate_measured=20_000,
        stable_measured=20_000,
        candidate_errors=19_000,
        stable_errors=17_400,
    )
    verdict = judge(seen(units), asked(factor=1.5))
    naive = judge(seen(units), asked(factor=1.5, sticky=False))

    assert verdict.finding is not Finding.NOT_WORSE
    assert only(naive).proved_by is Proof.RATIO  # what the rule is there for


def test_where_most_units_are_used_up_their_first_requests_are_compared() -> None:
    units = tally(
        5_000,
        candidate_measured=20_000,
        stable_measured=20_000,
        candidate_errors=17_400,
        stable_errors=17_400,
        candidate_errors__first=400,
        stable_errors__first=400,
    )
    verdict = judge(seen(units), asked(factor=1.5))

    assert verdict.finding is Finding.NOT_WORSE
    assert "first requests" in only(verdict).note


def test_a_used_up_factor_is_smaller() -> None:
    evidence = seen(tally(1_000, candidate_measured=100, stable_measured=1_000, stable_errors=100))
    result = only(judge(evidence, asked(factor=2)))

    assert result.factor == pytest.approx(1.9)  # (1 - 0.9^2) / 0.1


def test_latency_is_proven_at_the_furthest_line_that_the_factor_reaches() -> None:
    # The stable version's p50 is 100 ms, its p90 200 ms; the candidate is the same.
    counts = tally(
        5_000,
        candidate_latency__p50=430,
        stable_latency__p50=500,
        candidate_latency__p90=70,
        stable_latency__p90=100,
    )
    near = Judged(metric="latency", margin=0.2, quantiles=("p50", "p90"))
    far = replace(near, lines=(("p50", 100.0), ("p90", 200.0)))

    def proof(judged: Judged, factor: float) -> float:
        found = only(judge(seen(counts), asked(judged, factor=factor))).log_e_not
        assert found is not None
        return found

    # 1.2 x 200 ms is within 2.4 x 100 ms: 70 beyond it against 500 beyond the median.
    assert proof(far, 2.4) > 50
    assert proof(far, 2.3) == proof(near, 2.3) < 5
    assert judge(seen(counts), asked(far, factor=2.4)).finding is Finding.NOT_WORSE
    assert judge(seen(counts), asked(near, factor=2.4)).finding is Finding.UNDECIDED


def test_slow_answers_are_told_by_the_thresholds_that_they_passed() -> None:
    # A slow answer passes several thresholds: 400 of them in 300 answers are no "400 of 300".
    evidence = seen(
        tally(
            5_000,
            candidate_measured=300,
            stable_measured=300,
            candidate_latency__p50=290,
            candidate_latency__p90=110,
            stable_latency__p50=150,
            stable_latency__p90=30,
        )
    )
    verdict = judge(evidence, asked(Judged(metric="latency", quantiles=("p50", "p90"))))

    assert verdict.finding is Finding.WORSE
    assert "400 thresholds passed in 300 against 180 thresholds passed in 300" in verdict.reason


def test_a_line_that_joined_later_is_compared_with_itself_alone() -> None:
    # The p90 has no evidence from the first epoch: few beyond it would flatter the candidate.
    judged = Judged(metric="latency", lines=(("p50", 100.0),), quantiles=("p50", "p90"))
    evidence = seen(tally(5_000, candidate_latency__p50=500, stable_latency__p50=500))

    assert judge(evidence, asked(judged, factor=20)).finding is Finding.UNDECIDED


def test_a_candidate_that_is_so_many_times_slower_is_expected_to_prove_nothing() -> None:
    # Twice as slow: as many of its answers pass 200 ms as of the stable version's pass 100 ms.
    chance, passed = Random(23), 0
    judged = Judged(
        metric="latency", quantiles=("p50", "p90"), lines=(("p50", 100.0), ("p90", 200.0))
    )
    for _ in range(60):
        sums = dict.fromkeys(("candidate_latency__p90", "stable_latency__p50"), 0)
        for _look in range(10):
            for key in sums:
                sums[key] += binomial(chance, 200, 0.5)
            if (
                judge(seen(tally(5_000, **sums)), asked(judged, factor=2)).finding
                is Finding.NOT_WORSE
            ):
                passed += 1
                break

    assert passed <= 3


def test_a_margin_wider_than_the_factor_bears_no_proof() -> None:
    evidence = seen(tally(5_000, candidate_latency__p50=3, stable_latency__p50=500))
    wide = Judged(metric="latency", margin=3, quantiles=("p50",))
    verdict = judge(evidence, asked(wide, factor=2))

    assert verdict.finding is Finding.UNDECIDED
    assert only(verdict).log_e_not is None
    assert "no threshold" in only(verdict).note


# Scores that are given more often to one arm -----------------------------------------------------


def test_a_candidate_that_is_merely_asked_more_often_is_not_condemned() -> None:
    # The same quality; its answers are scored twice as often.
    evidence = seen(
        tally(
            1_000,
            candidate_score__helpful={0: 400, 100: 100},
            stable_score__helpful={0: 1_800, 100: 450},
        )
    )
    verdict = judge(evidence, asked(Judged(metric="score.helpful")))

    assert verdict.finding is Finding.UNDECIDED
    assert "scored 2 times as often" in only(verdict).note


def test_a_candidate_that_is_scored_less_often_proves_nothing() -> None:
    # Half of its bad answers are never scored, nor half of its good ones.
    evidence = seen(
        tally(
            5_000,
            candidate_score__helpful={0: 500, 100: 50},
            stable_score__helpful={0: 1_000, 100: 100},
        )
    )
    verdict = judge(evidence, asked(Judged(metric="score.helpful"), factor=2))

    assert only(verdict).log_e_not is not None
    assert only(verdict).proved_by is None
    assert "as often" in only(verdict).note


# Limits -----------------------------------------------------------------------------------------

LIMIT = Limit("errors", 0.1)
FAILING = {
    "candidate_measured": 30,
    "candidate_errors": 15,
    "stable_measured": 270,
    "stable_errors": 1,
}


def test_a_limit_that_is_hit_acts_beside_the_finding() -> None:
    verdict = judge(seen(tally(1_000, **FAILING)), Question(metrics=(), limits=(LIMIT,)))

    assert [state.limit for state in verdict.hits] == [LIMIT]
    assert verdict.finding is Finding.UNDECIDED
    assert verdict.reason == "errors above 10%"


def test_a_hit_limit_passes_no_step() -> None:
    evidence = seen(tally(1_000, **FAILING, candidate_score__correct={0: 500}))
    question = Question(metrics=(CORRECT,), factor=20, limits=(LIMIT,), prove=("score.correct",))

    assert only(judge(evidence, question)).proved_by is Proof.FLOOR
    assert judge(evidence, question).finding is Finding.UNDECIDED


def test_limits_go_on_from_look_to_look_and_count_nothing_twice() -> None:
    watches: tuple[Json, ...] = ()
    hits = []
    for minute in range(6):
        # Clean for five minutes, then it fails.
        errors = 0 if minute < 5 else 40
        evidence = seen(
            tally(
                1_000,
                candidate_measured=1_000 * min(minute + 1, 5) + errors,
                candidate_errors=errors,
                stable_measured=9_000,
                stable_errors=1,
            ),
            now=minute * 60_000,
        )
        for _look in range(3):
            question = Question(metrics=(), limits=(LIMIT,), watches=watches)
            verdict = judge(evidence, question)
            watches = verdict.watches
            hits.append(bool(verdict.hits))

    assert hits == [False] * 15 + [True] * 3
    # One sweep over everything would have drowned it.
    assert not judge(evidence, Question(metrics=(), limits=(LIMIT,))).hits


def test_a_limit_alone_acts_without_a_stable_version() -> None:
    evidence = seen(tally(10_000, candidate_measured=30, candidate_errors=15))
    alone = Question(metrics=(), limits=(LIMIT,), stable=False)

    assert judge(evidence, alone).hits
    assert not judge(evidence, Question(metrics=(), limits=(LIMIT,))).hits


# The text ---------------------------------------------------------------------------------------


def everything() -> Verdict:
    first = tally(
        100,
        epoch=3,
        candidate_measured=90,
        stable_measured=9_000,
        candidate_errors=4,
        stable_errors=90,
        candidate_latency__p95=9,
        stable_latency__p95=450,
        candidate_score__correct={0: 50, 35: 10, 100: 7},
        stable_score__correct={0: 5_000, 35: 900, 100: 200},
    )
    second = tally(2_500, epoch=9, candidate_measured=300, candidate_errors=9, stable_errors=12)
    half = tally(2_500, epoch=9, candidate_measured=100, candidate_errors=3)
    late = tally(100, epoch=3)
    evidence = Evidence(123_456, (first, second), (first, half), (late, second), (first, half))
    question = Question(
        metrics=(ERRORS, LATENCY, CORRECT),
        factor=2,
        limits=(LIMIT, Limit("errors", 0.5, 0.25)),
        floor=0.02,
    )
    before = judge(seen(first, tally(2_500, epoch=9)), question)
    return judge(evidence, replace(question, watches=before.watches))


def test_judging_the_text_again_gives_the_same_decision_and_evidence() -> None:
    verdict = everything()
    again = judge_again(verdict.text())

    assert again.finding is verdict.finding
    assert again.hits == verdict.hits
    assert again.log_e == pytest.approx(verdict.log_e, abs=1e-9)
    assert again.e == pytest.approx(verdict.e, rel=1e-9)
    for mine, theirs in zip(again.results, verdict.results, strict=True):
        assert mine == theirs
    assert again.text() == verdict.text()


def test_the_text_is_canonical_and_names_reference_promise_and_counters() -> None:
    text = everything().text()
    document = json.loads(text)

    assert canonical(document) == text
    assert document["reference"] == "stable"
    assert document["promise"].startswith("at most 1% of harmless versions are called worse")
    assert document["signature"] is None
    assert document["digest"].startswith("sha256:")
    assert [CANDIDATE, "errors", 1, 4, 4, 0, 4] in document["evidence"]["epochs"][0]["counts"]


def test_a_text_that_was_changed_is_refused() -> None:
    text = everything().text()

    with pytest.raises(Invalid, match="changed after"):
        judge_again(text.replace('"errors",1,4,4', '"errors",1,9,4'))
    with pytest.raises(Invalid, match="not the text of a verdict"):
        judge_again("{}")
    with pytest.raises(Invalid, match="not the text of a verdict"):
        judge_again("no JSON")


def test_endless_evidence_is_still_written_as_a_number() -> None:
    evidence = seen(tally(1_000, candidate_errors=100_000, stable_errors=1_000))
    verdict = judge(evidence, asked())

    assert verdict.log_e > 1_000
    assert json.loads(verdict.text())["metrics"][0]["e"] > 1e290


def test_the_order_of_counters_changes_nothing() -> None:
    one = tally(1_000, candidate_errors=5, stable_errors=20, candidate_measured=7)
    other = tally(1_000, candidate_measured=7, stable_errors=20, candidate_errors=5)

    assert judge(seen(one), asked()).text() == judge(seen(other), asked()).text()


# The promises, by the whole judge -----------------------------------------------------------


def test_a_version_twice_as_bad_hardly_ever_passes_a_step_that_wants_not_twice() -> None:
    chance, passed = Random(21), 0
    p = hit(5_000, 2)
    for _ in range(100):
        candidate = stable = 0
        for _look in range(12):
            events = binomial(chance, 2_000, 0.015)
            on_candidate = binomial(chance, events, p)
            candidate, stable = candidate + on_candidate, stable + events - on_candidate
            units = tally(5_000, candidate_errors=candidate, stable_errors=stable)
            if judge(seen(units), asked(factor=2)).finding is Finding.NOT_WORSE:
                passed += 1
                break

    assert passed <= 4


def test_no_sensible_sample_condemns_the_same_version_on_six_metrics() -> None:
    chance, condemned = Random(22), 0
    names = [f"event{n}" for n in range(6)]
    question = asked(*(Judged(metric=name) for name in names))
    for _ in range(60):
        sums = {f"{arm}_{name}": 0 for arm in (CANDIDATE, STABLE) for name in names}
        for _look in range(10):
            for name in names:
                events = binomial(chance, 600, 0.02)
                on_candidate = binomial(chance, events, hit(1_000, 1))
                sums[f"{CANDIDATE}_{name}"] += on_candidate
                sums[f"{STABLE}_{name}"] += events - on_candidate
            if judge(seen(tally(1_000, **sums)), question).log_e >= log(125):
                condemned += 1
                break

    assert condemned <= 3
