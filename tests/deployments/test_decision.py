"""What comes next, as a table: one situation, one decision."""

from dataclasses import replace

import pytest

from headway.deployments.checks import Answer
from headway.deployments.decision import (
    Abandon,
    Act,
    Ask,
    Enter,
    FailBack,
    Fit,
    GoBack,
    GoneBack,
    Hold,
    Pause,
    Probe,
    Resume,
    Situation,
    Succeed,
    TryBack,
    Wait,
    decide,
    may,
    retry_pause,
)
from headway.deployments.deployment import MOVES, Deployment, Progress, State, Undo
from headway.deployments.intent import Intent, Verb
from headway.deployments.plan import Check, Else, Healthy, Plan, Requests, Send, Until, Watch
from headway.judge.evidence import Evidence
from headway.judge.question import Question
from headway.judge.verdict import Finding, Verdict, judge
from headway.kernel.clock import HOUR, MINUTE, SECOND
from headway.kernel.errors import IllegalMove
from headway.tracking.measurement import Veto

NOW = 1_800_000_000_000
PLAN = Plan(
    model="m",
    to="2.0.0",
    why="because",
    steps=(
        Check(("loads", "smoke"), MINUTE),
        Send(1_000, Until(5), at_most=HOUR),
        Send(10_000),
        Watch(MINUTE),
    ),
)
CHECKING, SENDING, SWITCHED, WATCHING = 1, 2, 3, 4
QUIET = judge(Evidence(0), Question(metrics=()))


def verdict(finding: Finding) -> Verdict:
    return replace(QUIET, finding=finding, reason=f"{finding} on errors")


def intent(verb: Verb, **more: object) -> Intent:
    fields = {"deployment": "d", "actor": "ada", "actor_kind": "person", "why": "w", "at": NOW}
    return Intent(verb=verb, **{**fields, **more})  # type: ignore[arg-type]  # fields of an intent


def at(
    step: int,
    *,
    lasted: int = 10 * SECOND,
    plan: Plan = PLAN,
    state: State = State.RUNNING,
    held: bool = False,
    progress: Progress | None = None,
    **more: object,
) -> Situation:
    """Return a situation in that step, `lasted` ms after it began."""
    since = NOW - lasted
    deployment = Deployment(
        id="d",
        model="m",
        environment="production",
        version="2.0.0",
        digest="sha256:2",
        plan=plan,
        created_at=since,
        created_by="ada",
        state=state,
        entered=step,
        since=since,
        started_at=since,
        held_since=since if held else None,
    )
    progress = progress or Progress(tried=1, asked_at=NOW - 500)
    return Situation(deployment=deployment, progress=progress, now=NOW, **more)  # type: ignore[arg-type]  # fields of a situation


def sending(step: Send, **more: object) -> Situation:
    plan = replace(PLAN, steps=(step, Send(10_000)))
    return at(1, plan=plan, **more)  # type: ignore[arg-type]  # passed on


FINAL = Answer(ok=False, detail="others", final=True)


def held_check(*, held: bool, **more: object) -> Situation:
    plan = replace(PLAN, steps=(Check(("loads",), MINUTE, Else.HOLD), Send(10_000)))
    return at(
        1,
        plan=plan,
        held=held,
        progress=Progress(tried=1, asked_at=NOW - 2 * SECOND),
        **more,  # type: ignore[arg-type]  # passed on
    )


VETO = Veto(deployment="d", epoch=1, arm="candidate", metric="errors", at=NOW, detail=None)
GOOD, BAD = Answer(ok=True), Answer(ok=False, detail="no")
PROVEN, WORSE, OPEN = map(verdict, (Finding.NOT_WORSE, Finding.WORSE, Finding.UNDECIDED))
LATE = 2 * HOUR


@pytest.mark.parametrize(
    ("situation", "act"),
    [
        # the beginning
        (at(0), Enter(1)),
        (at(0, intents=(intent(Verb.ABORT),)), GoBack(automatic=False)),
        (at(0, steady=False), Wait()),
        # checks
        (at(CHECKING), Wait()),
        (at(CHECKING, answers={"loads": GOOD}), Wait()),
        (at(CHECKING, answers={"loads": GOOD, "smoke": GOOD}), Enter(2)),
        (at(CHECKING, progress=Progress(tried=1, passed=("loads", "smoke"))), Enter(2)),
        (at(CHECKING, answers={"loads": GOOD, "smoke": BAD}), Wait()),
        (
            at(
                CHECKING,
                answers={"loads": GOOD, "smoke": BAD},
                progress=Progress(tried=1, asked_at=NOW - SECOND),
            ),
            Ask(("smoke",)),
        ),
        (
            at(
                CHECKING,
                answers={"loads": BAD, "smoke": BAD},
                progress=Progress(tried=4, asked_at=NOW - 7 * SECOND),
            ),
            Wait(),
        ),
        (
            at(
                CHECKING,
                answers={"loads": BAD, "smoke": BAD},
                progress=Progress(tried=4, asked_at=NOW - 8 * SECOND),
            ),
            Ask(("loads", "smoke")),
        ),
        (at(CHECKING, lasted=MINUTE), GoBack()),
        (at(CHECKING, lasted=MINUTE, answers={"loads": GOOD, "smoke": BAD}), GoBack()),
        (at(CHECKING, answers={"loads": FINAL}), GoBack()),
        (at(CHECKING, answers={"loads": FINAL}, state=State.PAUSED), Wait()),
        (held_check(held=False, answers={"loads": FINAL}), Hold()),
        (held_check(held=True, answers={"loads": FINAL}), Ask(("loads",))),
        (at(CHECKING, intents=(intent(Verb.PROMOTE),)), Enter(2)),
        # shares that end by proof
        (at(SENDING, verdict=OPEN), Wait()),
        (at(SENDING), Wait()),
        (at(SENDING, verdict=PROVEN), Enter(3)),
        (at(SENDING, verdict=PROVEN, behind=("g1",)), Wait()),
        (at(SENDING, verdict=PROVEN, steady=False), Wait()),
        (at(SENDING, verdict=WORSE), GoBack()),
        (at(SENDING, verdict=WORSE, steady=False), GoBack()),
        (at(SENDING, verdict=PROVEN, vetoes=(VETO,)), GoBack()),
        (at(SENDING, verdict=PROVEN, switched_off=True), GoBack()),
        (at(SENDING, verdict=OPEN, lasted=LATE), Hold()),
        (at(SENDING, verdict=OPEN, lasted=LATE, held=True), Wait()),
        (at(SENDING, verdict=PROVEN, lasted=LATE, held=True), Enter(3)),
        (at(SENDING, verdict=WORSE, lasted=LATE, held=True), GoBack()),
        (at(SENDING, verdict=OPEN, thresholds_ms={"p50": 3.0}), Fit({"p50": 3.0})),
        # other ends of a share
        (sending(Send(1_000, at_most=HOUR, until=Until(5), else_=Else.ROLLBACK)), Wait()),
        (
            sending(Send(1_000, at_most=HOUR, until=Until(5), else_=Else.ROLLBACK), lasted=LATE),
            GoBack(),
        ),
        (
            sending(Send(1_000, at_most=HOUR, until=Until(5), else_=Else.ADVANCE), lasted=LATE),
            Enter(2),
        ),
        (sending(Send(1_000, for_=MINUTE)), Wait()),
        (sending(Send(1_000, for_=MINUTE), lasted=MINUTE), Enter(2)),
        (sending(Send(1_000, until=Until(5), for_=MINUTE), verdict=PROVEN), Wait()),
        (sending(Send(1_000, at_least=Requests(500)), measured=499), Wait()),
        (sending(Send(1_000, at_least=Requests(500)), measured=500), Enter(2)),
        (sending(Send(1_000, at_least=MINUTE)), Wait()),
        (sending(Send(1_000, at_least=MINUTE), lasted=MINUTE), Enter(2)),
        (sending(Send(1_000, Healthy(), Requests(5)), measured=5), Wait()),
        (sending(Send(1_000, Healthy(), Requests(5)), measured=5, verdict=OPEN), Enter(2)),
        # the end
        (at(SWITCHED), Enter(4)),
        (at(SWITCHED, behind=("g1",)), Wait()),
        (at(WATCHING), Wait()),
        (at(WATCHING, lasted=MINUTE), Succeed()),
        (at(WATCHING, lasted=MINUTE, verdict=WORSE), GoBack()),
        (at(WATCHING, intents=(intent(Verb.PROMOTE),)), Succeed()),
        # what people ask
        (at(SENDING, intents=(intent(Verb.PAUSE),)), Pause()),
        (at(SENDING, intents=(intent(Verb.PROMOTE),)), Enter(3)),
        (at(CHECKING, intents=(intent(Verb.PROMOTE, detail={"to": "end"}),)), Enter(3)),
        (at(WATCHING, intents=(intent(Verb.PROMOTE, detail={"to": "end"}),)), Succeed()),
        (at(SENDING, intents=(intent(Verb.PAUSE), intent(Verb.ABORT))), GoBack(automatic=False)),
        (at(SENDING, intents=(intent(Verb.ROLL_BACK),)), GoBack(automatic=False)),
        (at(SENDING, intents=(intent(Verb.RESUME),)), Wait(0)),
        (at(SENDING, intents=(intent(Verb.PROMOTE),), verdict=WORSE), GoBack()),
        # paused
        (at(SENDING, state=State.PAUSED, verdict=PROVEN), Wait()),
        (at(SENDING, state=State.PAUSED, verdict=OPEN, lasted=LATE), Wait()),
        (at(SENDING, state=State.PAUSED, verdict=WORSE), GoBack()),
        (at(SENDING, state=State.PAUSED, intents=(intent(Verb.RESUME),)), Resume()),
        (at(SENDING, state=State.PAUSED, intents=(intent(Verb.PROMOTE),)), Enter(3)),
        # no stable version to compare with
        (sending(Send(1_000), stable=False), Enter(2)),
        (at(0, plan=replace(PLAN, steps=PLAN.steps[1:]), stable=False), GoBack()),
        # what is over stays over
        (at(WATCHING, state=State.SUCCEEDED, verdict=WORSE, vetoes=(VETO,)), Wait(5_000)),
    ],
)
def test_what_comes_next(situation: Situation, act: Act) -> None:
    assert decide(situation).act == act


def back(*, since: int = 10 * SECOND, **more: object) -> Undo:
    fields: dict[str, object] = {"rollback": "rb", "version": "1.0.0", "since": NOW - since}
    return Undo(**{**fields, "asked_at": NOW - since, **more})  # type: ignore[arg-type]  # fields


def going(undo: Undo, state: State = State.ROLLING_BACK, **more: object) -> Situation:
    return at(SENDING, state=state, progress=Progress(undo=undo), **more)  # type: ignore[arg-type]  # passed on


FAILED = State.ROLLBACK_FAILED
DUE, NOT_DUE = {"retry_at": NOW}, {"retry_at": NOW + 1}


@pytest.mark.parametrize(
    ("situation", "act"),
    [
        (going(back()), Wait()),
        (going(back(), probe=GOOD), GoneBack()),
        (going(back(), probe=GOOD, behind=("g1",)), Wait()),
        (going(back(good=5), good=25), GoneBack()),
        (going(back(good=5), good=24), Wait()),
        (going(back(), good=1_000), Wait()),
        (going(back(version=None)), GoneBack()),
        (going(back(version=None), behind=("g1",)), Wait()),
        (going(back(), probe=BAD), Probe()),
        (going(back(asked_at=NOW - SECOND), probe=BAD), Wait()),
        (going(back(since=MINUTE)), FailBack()),
        (going(back(since=MINUTE), probe=GOOD), GoneBack()),
        (going(back(since=MINUTE), behind=("g1",)), FailBack()),
        (going(back(), intents=(intent(Verb.PAUSE),)), Wait()),
        (going(back(**NOT_DUE), FAILED), Wait(1)),
        (going(back(retry_at=NOW + MINUTE, failures=1), FAILED), Wait(5_000)),
        (going(back(retry_at=NOW + MINUTE, failures=9), FAILED), Wait(30_000)),
        (going(back(retry_at=NOW + MINUTE, failures=1), FAILED, probe=BAD), Probe()),
        (going(back(retry_at=NOW + MINUTE, failures=9), FAILED, probe=BAD), Wait(30_000)),
        (going(back(**NOT_DUE), FAILED, probe=GOOD), GoneBack()),
        (going(back(**DUE), FAILED), TryBack(further=False)),
        (going(back(**DUE), FAILED, targets=1), TryBack(further=True)),
        (going(back(**DUE), FAILED, targets=1, behind=("g1",)), TryBack(further=False)),
        (going(back(**NOT_DUE), FAILED, intents=(intent(Verb.ABANDON),)), Abandon()),
    ],
)
def test_what_comes_next_on_the_way_back(situation: Situation, act: Act) -> None:
    assert decide(situation).act == act


def test_each_decision_names_its_reason_and_who_wanted_it() -> None:
    aborted = decide(at(SENDING, intents=(intent(Verb.ABORT),)))
    assert aborted.because == "aborted by ada: w"
    assert (aborted.actor.name, aborted.actor.kind) == ("ada", "person")
    advanced = decide(
        sending(Send(1_000, at_most=HOUR, until=Until(5), else_=Else.ADVANCE), lasted=LATE)
    )
    assert advanced.because == (
        "step 2 of 2, send 100%: not yet proven: not 5x worse, not within 1h; "
        "the plan says to advance without proof (because)"
    )
    assert decide(at(SENDING, verdict=OPEN)).because == "not yet proven: not 5x worse"
    vetoed = decide(at(SENDING, vetoes=(VETO,)))
    assert vetoed.because == "a gateway saw the limit hit: errors > 50%"
    assert vetoed.actor.name == "headway"


def test_one_thing_that_people_ask_is_done_at_a_time_but_going_back_settles_all() -> None:
    asked = (intent(Verb.PAUSE), intent(Verb.PROMOTE))
    assert decide(at(SENDING, intents=asked)).settles == asked[:1]
    assert decide(at(SENDING, intents=asked, vetoes=(VETO,))).settles == asked


def test_failed_rollbacks_are_tried_again_ever_more_rarely() -> None:
    pauses = [retry_pause(failures) // SECOND for failures in range(1, 9)]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]


@pytest.mark.parametrize(
    ("verb", "states"),
    [
        (Verb.PAUSE, {"running"}),
        (Verb.RESUME, {"paused"}),
        (Verb.PROMOTE, {"running", "paused"}),
        (Verb.ABORT, {"running", "paused"}),
        (Verb.ROLL_BACK, {"running", "paused", "rolling_back", "rollback_failed"}),
        (Verb.ABANDON, {"rollback_failed"}),
    ],
)
def test_what_may_be_asked_when(verb: Verb, states: set[str]) -> None:
    assert {str(state) for state in State if may(state, verb)} == states


def test_nothing_leads_out_of_an_ending() -> None:
    endings = {"succeeded", "rolled_back", "cancelled", "abandoned"}
    assert {str(state) for state, to in MOVES.items() if not to} == endings
    for state in State:
        for to in State:
            one = replace(at(SENDING).deployment, state=state)
            if str(state) in endings:
                with pytest.raises(IllegalMove):
                    one.moved(to, because="no", at=NOW)
