"""A request that asks for it has one transaction: all of it lasts, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headway.kernel.errors import Conflict
from headway.web.transaction import Joined, attempt, whole_request


class Work:
    def __init__(self, store: "Store") -> None:
        self.store = store
        self.written: list[str] = []

    def write(self, word: str) -> None:
        self.written.append(word)

    def read(self) -> list[str]:
        return [*self.store.kept, *self.written]

    def commit(self) -> None:
        if self.store.refuses:
            raise Conflict("somebody was faster")
        self.store.kept += self.written
        self.written = []
        self.store.commits += 1


class Store:
    def __init__(self) -> None:
        self.kept: list[str] = []
        self.open = self.commits = 0
        self.refuses = False

    @contextmanager
    def begin(self) -> Iterator[Work]:
        self.open += 1
        try:
            yield Work(self)
        finally:
            self.open -= 1


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def begin(store: Store) -> Joined[Work]:
    return Joined(store.begin)


def write(begin: Joined[Work], word: str) -> None:
    with begin() as work:
        work.write(word)
        work.commit()


def read(begin: Joined[Work]) -> list[str]:
    with begin() as work:
        return work.read()


def test_outside_of_a_request_each_transaction_stands_for_itself(
    begin: Joined[Work], store: Store
) -> None:
    write(begin, "a")
    assert (store.kept, store.open) == (["a"], 0)


def test_what_a_dry_run_wrote_can_be_read_in_it_and_is_gone_after(
    begin: Joined[Work], store: Store
) -> None:
    with whole_request():
        write(begin, "a")
        assert read(begin) == ["a"]

    assert (store.kept, store.open, read(begin)) == ([], 0, [])


def test_two_transactions_of_a_request_last_together(begin: Joined[Work], store: Store) -> None:
    with whole_request() as whole:
        write(begin, "effect")
        assert store.kept == []
        write(begin, "answer")
        whole.commit()

    assert (store.kept, store.commits, store.open) == (["effect", "answer"], 1, 0)


def test_an_error_after_the_effect_undoes_it(begin: Joined[Work], store: Store) -> None:
    with pytest.raises(RuntimeError), whole_request() as whole:
        write(begin, "effect")
        raise RuntimeError
        whole.commit()

    assert (store.kept, store.open) == ([], 0)


def test_a_transaction_that_only_reads_is_closed_at_once(
    begin: Joined[Work], store: Store
) -> None:
    with whole_request():
        read(begin)
        assert store.open == 0


def test_a_transaction_that_failed_is_not_joined_by_the_next(
    begin: Joined[Work], store: Store
) -> None:
    with whole_request() as whole:
        with pytest.raises(ZeroDivisionError), begin() as work:
            work.write("half")
            work.commit()
            _ = 1 / 0
        write(begin, "whole")
        whole.commit()

    assert store.kept == ["whole"]


def test_who_was_slower_hears_of_it_at_the_end(begin: Joined[Work], store: Store) -> None:
    store.refuses = True
    with pytest.raises(Conflict), whole_request() as whole:
        write(begin, "effect")
        whole.commit()

    assert (store.kept, store.open) == ([], 0)


def test_an_attempt_knows_whether_anything_of_it_lasts(store: Store) -> None:
    begin = Joined(store.begin)
    with attempt() as this:
        with begin() as work:
            work.write("undone")
        assert this.committed is False
        with begin() as work:
            work.write("a")
            work.commit()
        assert this.committed is True
    assert store.kept == ["a"]
