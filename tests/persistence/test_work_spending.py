"""What keys with limits used, added up over the gateways; on each kind of store."""

from dataclasses import replace
from functools import partial
from typing import Final

from tests.conftest import Begin, Work
from tests.persistence.examples import NOON, ask, batch, do, flush, key, start

from headway.auth.limits import Limits, Starts, Window
from headway.kernel.clock import DAY, MINUTE, SECOND

STARTS: Final = Starts.at(NOON)
REQUESTS: Final = ("requests/minute", STARTS.minute, "k1")
MONEY: Final = ("usd/month", STARTS.month, "k1")


def others(begin: Begin, boot: str, starts: Starts = STARTS) -> dict[tuple[str, int, str], int]:
    found = ask(
        begin,
        lambda work: work.spending.others(boot, starts),
    )
    return dict(found.windows)


def test_limits_and_paths_of_a_key_are_kept_and_changed(begin: Begin) -> None:
    made = do(begin, lambda work: work.keys.add(key(limits=Limits(requests=5), paths=("/v1/*",))))
    assert ask(begin, lambda work: work.keys.get("k1")) == made

    limits = Limits(day=7, month=8, tokens=9, concurrent=1)
    other = replace(made, name="other", limits=limits, paths=("/v2/*",))
    changed = do(begin, lambda work: work.keys.save(other))

    assert (changed.limits, changed.paths, changed.name) == (limits, ("/v2/*",), "other")
    (told,) = ask(begin, lambda work: work.source.document())["keys"]
    assert told["limits"] == {"day": 7, "month": 8, "tokens": 9, "concurrent": 1}
    assert list(told["paths"]) == ["/v2/*"]


def test_each_gateway_hears_what_the_others_used_and_not_its_own(begin: Begin) -> None:
    for boot in ("b1", "b2", "b3"):
        start(begin, boot)
    flush(begin, batch(boot="b1", spender="b1", windows={REQUESTS: 1, MONEY: 10}))
    flush(begin, batch(boot="b2", spender="b2", windows={REQUESTS: 2}))
    flush(begin, batch(2, boot="b2", spender="b2", windows={REQUESTS: 20}))

    assert others(begin, "b1") == {REQUESTS: 22}
    assert others(begin, "b2") == {REQUESTS: 1, MONEY: 10}
    assert others(begin, "b3") == {REQUESTS: 23, MONEY: 10}


def test_what_was_used_in_windows_that_are_over_is_told_to_nobody(begin: Begin) -> None:
    start(begin)
    flush(begin, batch(spender="b1", windows={REQUESTS: 1, MONEY: 10}))

    assert others(begin, "b2", Starts.at(NOON + MINUTE)) == {MONEY: 10}


def test_a_batch_that_came_twice_is_used_once(begin: Begin) -> None:
    start(begin)
    assert flush(begin, batch(spender="b1", windows={REQUESTS: 3}))
    assert not flush(begin, batch(spender="b1", windows={REQUESTS: 3}))

    assert others(begin, "b2") == {REQUESTS: 3}


def test_requests_under_way_are_those_of_the_last_flush_of_living_gateways(begin: Begin) -> None:
    for boot in ("b1", "b2", "b3"):
        start(begin, boot)
        flush(begin, batch(boot=boot, under_way={"k1": 5}))
    flush(begin, batch(2, boot="b1", under_way={"k1": 2, "k2": 1}))
    do(begin, lambda work: work.gateways.stop("b2"))

    found = ask(begin, lambda work: work.keys.use("k1", STARTS, within=5 * SECOND))
    gone = ask(begin, lambda work: work.keys.use("k1", STARTS, within=-SECOND))

    assert found.under_way == 2 + 5
    assert gone.under_way == 0


def test_the_use_of_a_key_is_what_all_used(begin: Begin) -> None:
    for boot in ("b1", "b2"):
        start(begin, boot)
        windows = {REQUESTS: 2, MONEY: 10, ("usd/month", STARTS.month, "k2"): 99}
        flush(begin, batch(boot=boot, spender=boot, windows=windows, under_way={"k1": 1}))

    use = ask(begin, lambda work: work.keys.use("k1", STARTS, within=5 * SECOND))

    assert use.windows == {Window.REQUESTS: 4, Window.MONTH: 20}
    assert use.under_way == 2


def test_minutes_are_forgotten_and_money_is_not(begin: Begin) -> None:
    start(begin)
    flush(begin, batch(spender="b1", windows={REQUESTS: 1, MONEY: 10}))
    later = STARTS.minute + MINUTE

    assert do(begin, lambda work: work.spending.prune(before=STARTS.minute, limit=10)) == 0
    assert do(begin, lambda work: work.spending.prune(before=later, limit=10)) == 1
    assert others(begin, "b2") == {MONEY: 10}


def test_a_month_is_forgotten_when_it_is_long_over(begin: Begin) -> None:
    start(begin)
    flush(begin, batch(spender="b1", windows={MONEY: 10}))
    present, over = STARTS.month + 31 * DAY, STARTS.month + 33 * DAY

    assert do(begin, lambda work: work.spending.prune(before=present, limit=10)) == 0
    assert do(begin, lambda work: work.spending.prune(before=over, limit=10)) == 1


def stop(work: Work, *, boot: str) -> None:
    work.gateways.stop(boot)


def test_keys_are_in_force_when_every_living_gateway_follows_them(begin: Begin) -> None:
    def in_force() -> bool:
        return bool(ask(begin, lambda work: work.keys.in_force(within=5 * SECOND)))

    assert in_force()  # nobody is there who could think otherwise
    start(begin, "b1")
    start(begin, "b2")
    do(begin, lambda work: work.keys.add(key()))
    generation = ask(begin, lambda work: work.source.generation())
    assert not in_force()

    flush(begin, batch(boot="b1", applied_generation=generation))
    assert not in_force()
    flush(begin, batch(boot="b2", applied_generation=generation))
    assert in_force()

    do(begin, lambda work: work.keys.save(replace(work.keys.get("k1"), name="other")))
    assert not in_force()
    for boot in ("b1", "b2"):
        do(begin, partial(stop, boot=boot))
    assert in_force()
