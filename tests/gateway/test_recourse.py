"""What is done when a version fails a request, as a table."""

from dataclasses import replace
from typing import Any

import pytest

from headway.gateway.exchange import Problem
from headway.gateway.recourse import Again, Course, FallBack, Setback, Tell, next_step
from headway.tracking.measurement import Outcome

COURSE = Course(
    open=True,
    calls=1,
    retried=0,
    retries=2,
    budget=True,
    client_retries=False,
    age=1.0,
    total=60.0,
    fallback_total=60.0,
)


def setback(outcome: Outcome = Outcome.PROVIDER, **more: Any) -> Setback:  # noqa: ANN401 - whatever the test says
    return Setback(Problem(502, "it failed", outcome, "upstream_error"), **more)


FLAKY = setback(passing=True)


@pytest.mark.parametrize(
    ("course", "failed", "done"),
    [
        # Once more, with a pause that doubles.
        ({}, FLAKY, Again(0.2)),
        ({"retried": 1, "calls": 2}, FLAKY, Again(0.4)),
        ({"retried": 3, "calls": 4, "retries": 4}, FLAKY, Again(1.6)),
        ({}, setback(passing=True, wait=1.5), Again(1.5)),
        ({}, setback(passing=True, wait=2.0), Again(2.0)),
        # No more of the same: the fallback.
        ({}, setback(), FallBack()),
        ({"retries": 0}, FLAKY, FallBack()),
        ({"retried": 2, "calls": 3}, FLAKY, FallBack()),
        ({"budget": False}, FLAKY, FallBack()),
        ({"client_retries": True}, FLAKY, FallBack()),
        ({}, setback(passing=True, wait=2.1), FallBack()),
        ({"age": 59.9}, FLAKY, FallBack()),
        ({}, setback(Outcome.VERSION), FallBack()),
        ({}, setback(Outcome.GATEWAY), FallBack()),
        # Nobody is left who could answer.
        ({"fallback_total": None, "retries": 0}, FLAKY, Tell()),
        ({"fallback_total": None}, setback(), Tell()),
        ({"age": 60.0}, setback(), Tell()),
        ({"age": 60.0, "total": 10.0, "fallback_total": 90.0}, setback(), FallBack()),
        ({"calls": 5, "retries": 9, "retried": 4}, FLAKY, Tell()),
        # What is the caller's own, and what the caller has seen already.
        ({}, setback(Outcome.REFUSED), Tell()),
        ({}, setback(Outcome.CALLER), Tell()),
        ({}, setback(Outcome.POLICY), Tell()),
        ({"open": False}, FLAKY, Tell()),
        ({"open": False}, setback(), Tell()),
    ],
)
def test_next_step(course: dict[str, Any], failed: Setback, done: object) -> None:
    assert next_step(replace(COURSE, **course), failed, 1.0) == done


def test_luck_shortens_a_pause_by_half_at_most_and_never_what_the_provider_asks_for() -> None:
    assert next_step(COURSE, FLAKY, 0.0) == Again(0.1)
    asked = setback(passing=True, wait=1.0)
    assert next_step(COURSE, asked, 0.0) == Again(1.0)
