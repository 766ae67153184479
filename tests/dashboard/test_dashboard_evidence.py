"""What the page says of evidence that ran full, and of limits."""

import re

from tests.dashboard.world import Desk
from tests.deployments.world import DIRECT

from headway.kernel.clock import MINUTE, SECOND
from headway.tracking.measurement import Count


def test_the_page_says_when_evidence_is_frozen(desk: Desk) -> None:
    made = desk.canary()
    world = desk.delivery
    world.store.unit_cap = 100
    world.units(made, 0, 50)
    world.run(5 * SECOND)
    assert "evidence is frozen" not in desk.browser("viewer").get().text
    world.units(made, 50, 200)
    world.run(5 * SECOND)

    text = desk.browser("viewer").get().text
    assert "The evidence is frozen: more than 2,000,000 conversations" in text


def test_the_page_says_from_when_on_requests_count(desk: Desk) -> None:
    world = desk.delivery
    world.register("9.0.0", total=10 * MINUTE)
    made = desk.canary("9.0.0")
    text = desk.browser("viewer").get().text
    assert "no data yet" in text
    assert "a request counts when it is 10m old" in text

    world.now -= world.now % 5_000
    world.traffic(made, candidate=(31, 0), stable=(281, 2), counts_in=7 * MINUTE)
    text = desk.browser("viewer").get().text
    assert "312 wait: each counts when it is 10m old, the first of them in 7 min" in text

    world.later(7 * MINUTE)
    text = desk.browser("viewer").get().text
    assert "no data yet</p>" not in text
    assert "counts when it is" not in text


def test_a_version_without_requests_fills_its_row(desk: Desk) -> None:
    desk.canary()
    table = re.search(
        r'<table class="behaviours">.*?</table>', desk.browser("viewer").get().text, re.DOTALL
    )
    assert table is not None
    rows = re.findall(r"<tr>(.*?)</tr>", table[0], re.DOTALL)
    assert [len(re.findall(r"<t[hd]\b", row)) for row in rows] == [5] * 3
    idle = next(row for row in rows if "no requests" in row)
    assert "1.1.0" in idle
    assert "colspan" not in idle


def test_a_model_of_tokens_has_columns_for_them(desk: Desk) -> None:
    desk.canary()
    assert "first token" not in desk.browser("viewer").get().text
    tokens = {"input": 268, "output": 2_144, "cached": 7}
    desk.delivery.measure("1.0.0", ok=9, latency=(900.0,) * 9, first=(250.0,) * 9, tokens=tokens)

    text = desk.browser("viewer").get().text
    table = re.search(r'<table class="behaviours">.*?</table>', text, re.DOTALL)
    assert table is not None
    assert '<th scope="col">first token</th><th scope="col">tokens in → out</th>' in table[0]
    assert "<td>268 → 2,144</td>" in table[0]
    assert re.search(r"<td>2(4[89]|5[0-2])\u00a0ms</td><td>268", table[0])
    rows = re.findall(r"<tr>(.*?)</tr>", table[0], re.DOTALL)
    assert [len(re.findall(r"<t[hd]\b", row)) for row in rows] == [7] * 3


def test_the_page_tells_limits_as_the_plan_means_them(desk: Desk) -> None:
    desk.canary(judge={"worse": {"errors": "any"}, "never": {"latency_p95": "> 8s"}})
    assert "never more than 5% slower than 8s" in desk.browser("viewer").get().text


def test_what_was_rolled_back_stays_on_the_page_whatever_came_after_it(desk: Desk) -> None:
    world = desk.delivery
    gone = desk.canary("1.1.0")
    world.veto(gone)
    world.run(5 * SECOND)
    for number in range(5):
        world.register(f"2.0.{number}")
        world.deploy(f"2.0.{number}", DIRECT)
        world.run(2 * MINUTE)
    text = desk.browser("viewer").get().text
    assert f'id="{gone.id}"' in text
    assert "rolled back" in text
    # The first two of the five, and what brought 1.0.0.
    assert "3 more ended in the last 24 hours" in text


def test_thresholds_that_were_passed_are_no_percentage_of_answers(desk: Desk) -> None:
    made = desk.canary(judge={"worse": {"latency": "20%"}})
    world = desk.delivery
    counts = [
        Count(world.route().id, arm, metric, number, world.now - 5_000, late=False, n=n)
        for arm, n in (("stable", 100), ("candidate", 10))
        for metric, number in (("measured", 0), ("latency.p50", 1), ("latency.p90", 1))
    ]
    with world.begin() as work:
        work.evidence.add(made.id, counts, [])
        work.commit()
    text = desk.browser("viewer").get().text
    assert "slow answers" in text
    assert "200&nbsp;%" not in text
    assert "200\u00a0%" not in text
    assert "<b>100</b> " in text
