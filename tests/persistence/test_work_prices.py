"""Prices: set, published, laid over each other; on each kind of store."""

from dataclasses import replace
from typing import Final

from tests.conftest import Begin
from tests.persistence.examples import (
    ARTIFACT,
    NOON,
    artifact,
    ask,
    batch,
    do,
    flush,
    local,
    model,
    start,
    version,
)

from headway.tracking.measurement import NANO, UNPRICED
from headway.tracking.price import Dated, Price, Rates
from headway.tracking.price_service import Upstream

GPT: Final = Upstream("https://api.example.com/v1", "gpt")
ONE, TWO, THREE = (Rates(n, n) for n in (1, 2, 3))


def price(rates: Rates, *, since: int = 0, host: str = "api.example.com") -> Price:
    return Price(host=host, model="gpt", since=since, rates=rates, set_at=NOON, set_by="ada")


def registered(begin: Begin, *numbers: str) -> None:
    with begin() as work:
        work.models.add(model())
        for number in numbers:
            work.versions.add(version(number))
        work.commit()


def rates_of(begin: Begin) -> list[tuple[int, dict[str, int]]]:
    """Return what gateways are told that version 1.0.0 costs."""
    document = ask(begin, lambda work: work.source.document())
    (told,) = [each for each in document["versions"] if each["version"] == "1.0.0"]
    return [(since, dict(rates)) for since, rates in told["prices"]]


def test_gateways_are_told_the_prices_of_what_a_version_calls(begin: Begin) -> None:
    registered(begin, "1.0.0")
    assert rates_of(begin) == []

    before = ask(begin, lambda work: work.source.generation())
    do(begin, lambda work: work.prices.publish({GPT: (Dated(0, ONE),)}, "edition 1"))

    assert rates_of(begin) == [(0, {"input": 1, "output": 1})]
    assert ask(begin, lambda work: work.source.generation()) > before


def test_a_price_that_was_set_counts_before_any_other_from_its_time_on(begin: Begin) -> None:
    registered(begin, "1.0.0")
    do(begin, lambda work: work.prices.publish({GPT: (Dated(0, ONE),)}, "edition 1"))
    do(begin, lambda work: work.prices.put(price(THREE, since=200)))
    do(begin, lambda work: work.prices.put(price(TWO, since=100, host="*")))
    do(begin, lambda work: work.prices.put(price(TWO, host="other.example.com")))

    expected = (Dated(0, ONE), Dated(100, TWO), Dated(200, THREE))
    assert ask(begin, lambda work: work.prices.of("digits", ["1.0.0"])) == {"1.0.0": expected}
    assert [since for since, _ in rates_of(begin)] == [0, 100, 200]
    layers = ask(begin, lambda work: work.prices.layers("digits", "1.0.0"))
    assert layers == (GPT, (Dated(100, TWO), Dated(200, THREE)), (Dated(0, ONE),))


def test_a_price_takes_the_place_of_the_one_of_the_same_time_and_can_be_taken_back(
    begin: Begin,
) -> None:
    do(begin, lambda work: work.prices.put(price(ONE)))
    do(begin, lambda work: work.prices.put(replace(price(TWO), set_by="bob")))
    assert ask(begin, lambda work: work.prices.list()) == [replace(price(TWO), set_by="bob")]

    assert do(begin, lambda work: work.prices.remove("api.example.com", "gpt", 0))
    assert not do(begin, lambda work: work.prices.remove("api.example.com", "gpt", 0))
    assert ask(begin, lambda work: work.prices.list()) == []


def test_each_upstream_is_looked_up_once_for_each_edition(begin: Begin) -> None:
    registered(begin, "1.0.0", "1.1.0")
    do(begin, lambda work: work.artifacts.add(artifact(ARTIFACT)))
    do(begin, lambda work: work.versions.add(version("2.0.0", target=local())))

    found, last = ask(begin, lambda work: work.prices.upstreams(after=0, limit=10))
    assert found == [GPT, GPT]
    assert ask(begin, lambda work: work.prices.upstreams(after=last, limit=10)) == ([], last)
    assert ask(begin, lambda work: work.prices.unpublished([GPT], "edition 1")) == [GPT]
    do(begin, lambda work: work.prices.publish({GPT: ()}, "edition 1"))
    assert ask(begin, lambda work: work.prices.unpublished([GPT], "edition 1")) == []
    assert ask(begin, lambda work: work.prices.unpublished([GPT], "edition 2")) == [GPT]


def test_what_runs_here_has_no_price(begin: Begin) -> None:
    do(begin, lambda work: work.models.add(model()))
    do(begin, lambda work: work.artifacts.add(artifact(ARTIFACT)))
    do(begin, lambda work: work.versions.add(version(target=local())))

    assert ask(begin, lambda work: work.prices.of("digits", ["1.0.0"])) == {}
    assert ask(begin, lambda work: work.prices.layers("digits", "1.0.0")) == (None, (), ())


def test_what_keys_did_and_versions_cost_adds_up_once(begin: Begin) -> None:
    start(begin)
    counts = {("k1", "outcome", "ok"): 2, ("k1", "cost", NANO): 500}
    costs = {("bot", "production", "1.0.0", NANO): 500, ("bot", "staging", "1.0.0", UNPRICED): 1}
    for seq in (1, 2, 2):
        flush(begin, batch(seq, key_counts=counts, costs=costs))

    assert ask(begin, lambda work: work.measurements.key_counts()) == {
        place: 2 * n for place, n in counts.items()
    }
    assert ask(begin, lambda work: work.measurements.costs()) == {
        place: 2 * n for place, n in costs.items()
    }
    assert ask(begin, lambda work: work.measurements.totals()) == []
