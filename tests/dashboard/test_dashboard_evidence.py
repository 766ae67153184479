"""What the page says of evidence that ran full, and of limits."""

from tests.dashboard.world import Desk

from headway.kernel.clock import SECOND


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


def test_the_page_tells_limits_as_the_plan_means_them(desk: Desk) -> None:
    desk.canary(judge={"worse": {"errors": "any"}, "never": {"latency_p95": "> 8s"}})
    assert "never more than 5% slower than 8s" in desk.browser("viewer").get().text
