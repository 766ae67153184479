"""What a plan says, what it fills in, and how it refuses what it does not know."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.deployments.plan import (
    Check,
    Else,
    Healthy,
    Plan,
    Requests,
    Send,
    Until,
    Watch,
)
from headway.deployments.reading import parse_plan, read_plan
from headway.deployments.strategies.blue_green import blue_green
from headway.deployments.strategies.canary import canary
from headway.deployments.strategies.direct import direct
from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid

STRATEGIES = {"direct": direct, "blue-green": blue_green, "canary": canary}


def read(**document: Json) -> Plan:
    return read_plan({"model": "support-bot", "to": "2.4.0", **document}, STRATEGIES)


def fault(**document: Json) -> str:
    with pytest.raises(Invalid) as caught:
        read(**document)
    return str(caught.value)


def test_two_lines_are_a_complete_plan() -> None:
    written = json.loads(read().text())

    assert written["environment"] == "production"
    assert written["strategy"] == "canary"
    assert [step.get("send") for step in written["steps"]] == [
        None,
        "1%",
        "5%",
        "25%",
        "50%",
        "100%",
        None,
    ]
    assert written["steps"][0] == {
        "check": ["loads", "smoke"],
        "within": "10m",
        "else": "rollback",
    }
    assert written["steps"][1] == {
        "send": "1%",
        "until": "not 20x worse",
        "at_most": "1d",
        "else": "hold",
    }
    assert written["steps"][-1] == {"watch": "1h"}
    assert written["judge"]["sure"] == "99%"
    assert written["judge"]["worse"] == {"errors": "any", "latency": "20%", "score.*": "any"}
    assert written["judge"]["never"] == {"errors": "> 50%"}
    assert written["judge"]["no_data"] == "hold"
    assert "alias" not in written


def test_every_word_of_a_long_plan_is_understood() -> None:
    plan = read(
        environment="staging",
        why="cheaper prompt",
        stick_to="header:X-Team",
        steps=[
            {"check": "loads", "within": "2m", "else": "hold"},
            {
                "send": "0.5%",
                "until": "not 2.5x worse on errors, score.correct",
                "at_least": "1,500 requests",
                "for": "10m",
                "at_most": "2h",
                "else": "advance",
            },
            {"send": "5%", "until": "healthy", "at_least": "10m"},
            {"send": "100%"},
            {"watch": "0s"},
        ],
        judge={
            "sure": "99.9%",
            "worse": {"errors": "any", "score.correct": "5%"},
            "never": {"errors": "> 10%", "latency_p95": "> 8s"},
            "floor": "2%",
            "matures": "2s",
            "weights": {"errors": "2"},
        },
        alias="champion",
        notify=["webhook:https://ops.example.com/hooks"],
        metadata={"ticket": 7},
    )

    assert plan.steps[0] == Check(("loads",), 120_000, Else.HOLD)
    assert plan.steps[1] == Send(
        50,
        Until(2.5, ("errors", "score.correct")),
        Requests(1_500),
        600_000,
        7_200_000,
        Else.ADVANCE,
    )
    assert plan.steps[2] == Send(500, Healthy(), 600_000)
    assert plan.judging.alpha == 0.001
    assert plan.judging.worse == {"errors": 0.0, "score.correct": 0.05}
    assert [(limit.name, limit.above) for limit in plan.judging.never] == [
        ("errors", 0.1),
        ("latency_p95", 0.05),
    ]
    assert plan.judging.never[1].slower_than_ms == 8_000
    assert plan.judging.weights == {"errors": 2.0}
    assert parse_plan(plan.text()) == plan


def test_version_is_read_as_text_and_never_as_a_number() -> None:
    assert read(to="1.10").to == "1.10"
    assert 'write "1.1"' in fault(to=1.10)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"stategy": "canary"}, "/stategy: unknown field of a plan 'stategy'; did you mean 'str"),
        ({"strategy": "canery"}, "did you mean 'canary'?"),
        ({"strategy": "rolling"}, "/strategy: the strategy 'rolling' is not in this version yet"),
        ({"stick_to": "header:Authorization"}, "/stick_to: 'header:Authorization' holds a secret"),
        ({"stick_to": "header:x-API-key"}, "a unit is never the key"),
        ({"stick_to": "header:api-key"}, "a unit is never the key"),
        ({"stick_to": "header:Cookie"}, "a unit is never the key"),
        ({"steps": [{"send": "\uff11\uff10%"}]}, "is no percentage"),
        ({"steps": [{"send": "1%", "until": "not \uff12x worse"}]}, 'write "not 2x worse"'),
        ({"steps": [{"send": "1%", "until": "not 2x wor\u017fe"}]}, 'write "not 2x worse"'),
        (
            {"steps": [{"send": "1%", "until": "not 2x worse", "at_least": "\uff19 units"}]},
            "units",
        ),
        ({"judge": {"weights": {"errors": "\uff12"}}}, "must be a number such as 2"),
        ({"steps": [{"sned": "1%"}]}, "/steps/0: has no verb; did you mean 'send' by 'sned'?"),
        ({"steps": [{"send": "1%", "watch": "1h"}]}, "/steps/0: has 2 verbs"),
        ({"steps": [{"send": "1%", "untill": "healthy"}]}, "did you mean 'until'?"),
        ({"steps": [{"send": "1%", "until": "good"}]}, 'write "not 2x worse"'),
        ({"steps": [{"send": "1%", "until": "not 1x worse"}]}, "must be above 1x"),
        ({"steps": [{"send": "100%", "until": "not 2x worse"}]}, "at 100% nothing is compared"),
        ({"steps": [{"send": "5%", "until": "healthy"}]}, "no data is never a pass"),
        ({"steps": [{"send": "5%"}, {"send": "1%"}]}, "/steps/1/send: 1% after 5%"),
        ({"steps": [{"send": "5%"}]}, "end it by `send: 100%`"),
        ({"steps": [{"send": 5}]}, '/steps/0/send: must be a share such as "5%", not a number'),
        ({"steps": [{"send": "0.001%"}]}, "in steps of 0.01 %"),
        ({"steps": [{"send": "1%", "else": "hold"}]}, "name that too"),
        (
            {"steps": [{"send": "1%", "for": "2h", "at_most": "1h"}]},
            "/steps/0/at_most: 1h is shorter than what the step is to last at least (2h)",
        ),
        ({"steps": [{"send": "1%", "at_least": "2h", "at_most": "1h"}]}, "/steps/0/at_most: 1h"),
        ({"steps": [{"send": "1%", "at_most": "2h", "else": "advance"}]}, "needs a `why`"),
        ({"steps": [{"check": ["lods"]}]}, "/steps/0/check/0: unknown check 'lods'; did you mean"),
        ({"steps": [{"shadow": "10%"}]}, "'shadow' is not in this version yet"),
        ({"steps": [{"approve": "ada"}]}, "'approve' is not in this version yet"),
        ({"steps": [{"ask": "https://x"}]}, "'ask' is not in this version yet"),
        ({"start": "2026-12-01"}, "/start: 'start' is not in this version yet"),
        ({"windows": {}}, "/windows: 'windows' is not in this version yet"),
        ({"stuck": {}}, "/stuck: 'stuck' is not in this version yet"),
        ({"conflict": "queue"}, "/conflict: 'queue' is not in this version yet"),
        ({"judge": {"never": {"health": "3 failures in a row"}}}, "/judge/never/health: 'health'"),
        ({"judge": {"never": {"errors": "10%"}}}, 'write it as "> 10%"'),
        ({"judge": {"worse": {"latancy": "any"}}}, "did you mean 'latency'?"),
        ({"judge": {"worse": {"cost": "30%"}}}, "'cost' is not in this version yet"),
        ({"judge": {"no_data": "pass"}}, "/judge/no_data: must be 'hold'"),
        ({"judge": {"dry_run": []}}, "/judge/dry_run"),
        ({"judge": {"weights": {"cost": 2}}}, "/judge/weights/cost: unknown judged metric"),
        ({"judge": {"sure": "100%"}}, "/judge/sure: 100% is out of range"),
        ({"judge": {"worse": {}}}, "nothing is judged"),
        ({"notify": ["slack:#x"]}, "/notify/0: 'slack' is not in this version yet"),
        ({"notify": ["webhook:ftp://x"]}, "is no URL of a webhook"),
        ({"model": "a b"}, "/model: 'a b' cannot name a model"),
        ({"alias": "latest"}, "'latest' is computed"),
        ({"alias": "Latest"}, "'latest' is computed"),
        ({"alias": "1.2.0"}, "/alias: '1.2.0' reads as a version"),
        ({"alias": "1.x"}, "/alias: '1.x' reads as a version"),
        ({"rollback": {"keep_warm": "8d"}}, "/rollback/keep_warm: 8d is out of range: 1ms to 7d"),
        ({"rollback": {"keep_warn": "1h"}}, "did you mean 'keep_warm'?"),
    ],
)
def test_mistake_is_refused_where_it_stands_with_what_would_fit(
    document: dict[str, Any], said: str
) -> None:
    assert said in fault(**document)


def test_all_unknown_words_are_named_at_once() -> None:
    said = fault(modle="x", envirnment="y")
    assert "/modle" in said
    assert "/envirnment" in said


def test_first_version_of_a_route_goes_out_directly() -> None:
    first = read().as_first()
    sends = [step.share_bp for step in first.steps if isinstance(step, Send)]
    assert sends == [10_000]
    assert first.strategy == "direct"
    assert isinstance(first.steps[0], Check)


def test_first_version_of_a_route_is_watched_only_if_its_author_wrote_so() -> None:
    written = [{"send": "100%"}, {"watch": "1m"}]
    assert not [s for s in read().as_first().steps if isinstance(s, Watch)]
    assert [s for s in read(steps=written).as_first().steps if isinstance(s, Watch)]


def units(unit: str, most: int) -> st.SearchStrategy[str]:
    return st.integers(1, most).map(lambda n: f"{n}{unit}")


DURATIONS = st.one_of(
    units("ms", 86_400_000), units("s", 100_000), units("m", 5_000), units("h", 99), units("d", 99)
)
LONGER = st.integers(100, 300).map("{}d".format)
"""Than any of `DURATIONS`."""
PERCENTS = st.decimals("0.0001", "90", places=6).map(lambda value: f"{value}%")


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    def maybe(**fields: st.SearchStrategy[Any]) -> dict[str, Any]:
        return {
            key.removesuffix("_"): draw(value)
            for key, value in fields.items()
            if draw(st.booleans())
        }

    shares = sorted(draw(st.sets(st.integers(1, 9_999), max_size=5)))
    steps: list[dict[str, Any]] = [{"check": ["smoke"], **maybe(within=DURATIONS)}]
    for share in shares:
        factor = draw(st.decimals("1.001", "999", places=3))
        lasting = maybe(at_least=st.one_of(DURATIONS, units(" requests", 10**9)), for_=DURATIONS)
        steps.append(
            {
                "send": f"{share // 100}.{share % 100:02d}%",
                **maybe(
                    until=st.just(f"not {factor}x worse"),
                    at_most=LONGER if lasting else DURATIONS,
                ),
                **lasting,
            }
        )
    steps += [{"send": "100%"}, {"watch": draw(DURATIONS)}]
    judge = maybe(
        sure=st.decimals("50", "99.9999", places=4).map(lambda value: f"{value}%"),
        floor=st.decimals("0.0001", "25", places=6).map(lambda value: f"{value}%"),
        worse=st.dictionaries(
            st.sampled_from(["errors", "latency", "score.*", "score.x"]), PERCENTS, min_size=1
        ),
        never=st.dictionaries(st.just("latency_p99"), DURATIONS.map("> {}".format)),
    )
    return {"steps": steps, "judge": judge, **maybe(why=st.text("ab \n", max_size=9))}


@given(documents())
def test_plan_reads_back_as_it_was_written(document: dict[str, Any]) -> None:
    plan = read(**document)
    assert parse_plan(plan.text()) == plan
    assert parse_plan(plan.text()).text() == plan.text()
