"""The thread that speaks to the store: what it does when the store fails in every way."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headway.gateway.accumulator import Accumulator
from headway.gateway.exchange import unusable
from headway.gateway.flush import Reporter
from headway.gateway.scribe import InTransactions
from headway.gateway.view import Compiler, View, ViewFile
from headway.routing.assignment import Assignment
from headway.testing.gateway import document, route_of
from headway.tracking.measurement import Batch, GatewayRow, Outcome

TARGET = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}
ROUTE = route_of("bot", [("stable", "1.0.0", 10_000)])


class Broken(Exception):
    """The store does not answer."""


@dataclass
class Store:
    """A store in memory that fails where a test says: `begin`, `flush`, `commit`, `after`."""

    generation: int = 1
    fails: set[str] = field(default_factory=set)
    rows: dict[str, GatewayRow] = field(default_factory=dict)
    ok: int = 0
    """Sum of the outcomes that were taken for good."""
    seen: list[Batch] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    next_number: int = 5

    def trip(self, where: str) -> None:
        if where in self.fails:
            raise Broken(where)

    @contextmanager
    def begin(self) -> Iterator["Work"]:
        self.trip("begin")
        yield Work(self)


class Work:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: list[Callable[[], None]] = []

    @property
    def source(self) -> "Work":
        return self

    @property
    def gateways(self) -> "Work":
        return self

    def now(self) -> int:
        return 0

    def commit(self) -> None:
        self._store.trip("commit")
        for act in self._pending:
            act()
        self._store.trip("after")

    def document(self) -> Mapping[str, Any]:
        found = document(
            keys=[],
            versions={("bot", "1.0.0"): TARGET},
            routes=[ROUTE],
            generation=self._store.generation,
        )
        return {**found}

    def generation(self) -> int:
        return self._store.generation

    def start(self, *, boot: str, host: str, pid: int, at_least: int = 0) -> GatewayRow:
        store = self._store
        number = max(store.next_number, at_least + 1)
        row = GatewayRow(
            boot=boot,
            number=number,
            host=host,
            pid=pid,
            started_at=0,
            seen_at=0,
            seq=0,
            applied_generation=0,
        )
        self._pending.append(lambda: store.rows.update({boot: row}))
        return row

    def flush(self, batch: Batch) -> bool:
        store = self._store
        store.trip("flush")
        store.seen.append(batch)
        row = store.rows.get(batch.boot)
        if row is None or row.seq != batch.seq - 1:
            return False
        self._pending.append(lambda: self._apply(row, batch))
        return True

    def _apply(self, row: GatewayRow, batch: Batch) -> None:
        store = self._store
        fields = {name: getattr(row, name) for name in GatewayRow.__slots__}
        fields |= {"seq": batch.seq, "applied_generation": batch.applied_generation}
        store.rows[batch.boot] = GatewayRow(**fields)
        store.ok += sum(m.outcomes.get("ok", 0) for m in batch.measurements)

    def living(self, *, within: int) -> list[GatewayRow]:
        del within
        return list(self._store.rows.values())

    def stop(self, boot: str) -> None:
        self._store.stopped.append(boot)


class Process:
    """A gateway as far as its reporter sees it."""

    def __init__(self, store: Store, file: ViewFile | None = None, starts: int = 2) -> None:
        self.store = store
        self.accumulator = Accumulator()
        self.views: list[View] = []
        self.log: list[str] = []
        self.boots = iter(["boot-2", "boot-3"])
        self.now = 0.0
        begin: Any = store.begin
        self.reporter = Reporter(
            scribe=InTransactions(begin, begin),
            accumulator=self.accumulator,
            compiler=Compiler(lambda _: unusable(""), b"k" * 16),
            deliver=self.views.append,
            applied=lambda: self.views[-1].generation if self.views else -1,
            hear=lambda _: None,
            boot="boot-1",
            host="h",
            pid=1,
            clock=lambda: 1_000_000 + int(self.now * 1000),
            log=lambda words, _: self.log.append(words),
            file=file,
            starts=starts,
            new_boot=lambda: next(self.boots),
        )

    def request(self) -> None:
        arm = ROUTE.rules[0].arms[0]
        assignment = Assignment(ROUTE, 0, 0, arm, "u", single=True, bucket=1)
        flight = self.accumulator.begin(assignment, unit=0, flags=64, at=1_000_000)
        self.accumulator.record(flight, Outcome.OK, latency_ms=5)

    def step(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.reporter.step(self.now)


@pytest.fixture
def store() -> Store:
    return Store()


def test_start_registers_and_reads_the_routes(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    assert process.views[-1].served("production", "bot") is not None
    assert process.reporter.number == 5
    assert process.reporter.state()["ok"] is True


def test_what_was_seen_is_handed_over_once(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    process.request()
    process.step()
    process.step()
    assert store.ok == 1
    assert store.rows["boot-1"].seq == 2


def test_change_of_routes_is_applied_and_acknowledged(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    process.step()
    store.generation = 2
    process.step(0.25)
    assert process.views[-1].generation == 2
    assert store.rows["boot-1"].applied_generation == 2


def test_nothing_is_read_or_written_when_nothing_is_due(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    process.step()
    flushes = len(store.seen)
    for _ in range(3):
        process.step(0.05)
    assert len(store.seen) == flushes


@pytest.mark.parametrize("where", ["begin", "flush"])
def test_flush_that_failed_for_sure_goes_with_the_next(store: Store, where: str) -> None:
    process = Process(store)
    process.reporter.start()
    process.step()
    process.request()
    store.fails = {where}
    process.step()
    process.request()
    store.fails = set()
    process.step()
    assert store.ok == 2
    assert process.log == []


def test_database_that_is_away_for_longer_is_told_once(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    store.fails = {"begin"}
    for _ in range(9):
        process.step()
    store.fails = set()
    process.step()
    assert process.log == ["the database does not answer", "the database answers again"]


def test_database_that_never_answered_is_not_said_to_answer_at_the_end(store: Store) -> None:
    process = Process(store)
    store.fails = {"begin"}
    process.reporter.start()
    for _ in range(9):
        process.step()
    ended = threading.Event()
    ended.set()
    process.reporter.run(ended, lambda: 0.0)
    assert process.log == ["the database does not answer"]


def test_database_that_is_read_and_not_written_is_not_well(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    process.step()
    store.fails = {"flush"}
    for _ in range(9):
        process.step(0.25)
        process.step(0.75)  # reads go well all the time
    said = process.reporter.state()
    assert said["ok"] is False
    assert (said["last_read_ms_ago"], said["last_flush_ms_ago"]) == (0, 9_000)
    assert process.log == ["the database does not answer"]
    store.fails = set()
    process.step()
    assert process.reporter.state()["ok"] is True
    assert process.log == ["the database does not answer", "the database answers again"]


def test_database_that_does_not_answer_at_all_is_well_for_five_seconds(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    process.step()
    process.now += 4.9  # the thread waits for an answer
    assert process.reporter.state()["ok"] is True
    process.now += 0.2
    assert process.reporter.state()["ok"] is False


def test_database_of_an_idle_gateway_stays_well(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    for _ in range(100):
        process.step(0.2)
        assert process.reporter.state()["ok"] is True


@pytest.mark.parametrize("where", ["commit", "after"])
def test_flush_of_unknown_outcome_goes_again_as_it_was(store: Store, where: str) -> None:
    process = Process(store)
    process.reporter.start()
    process.step()
    process.request()
    store.fails = {where}
    process.step()
    process.request()
    process.step()
    store.fails = set()
    process.step()
    process.step()
    assert store.ok == 2
    first, again, once_more, fresh = store.seen[-4:]
    assert first is again is once_more
    assert fresh.seq == first.seq + 1


def test_gateway_that_the_store_forgot_starts_anew_and_loses_nothing(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    process.step()
    store.rows.clear()
    process.request()
    process.step()
    process.step()
    assert store.ok == 1
    assert "boot-2" in store.rows


def test_start_without_the_database_serves_the_kept_routes(store: Store, tmp_path: Path) -> None:
    file = ViewFile(tmp_path / "view.json")
    Process(store, file).reporter.start()
    store.fails = {"begin"}
    later = Process(store, file)
    later.reporter.start()
    assert later.views[-1].served("production", "bot") is not None
    assert later.reporter.number == 5 + 1_000 + 2
    assert later.reporter.state()["ok"] is False
    later.request()
    later.step()
    store.fails = set()
    later.step()
    later.step()
    assert store.ok == 1
    assert later.reporter.number == 5 + 1_000 + 2 + 1


def test_each_start_without_the_database_has_a_number_of_its_own(
    store: Store, tmp_path: Path
) -> None:
    file = ViewFile(tmp_path / "view.json")
    Process(store, file).reporter.start()
    store.fails = {"begin"}
    numbers = []
    for sister in (1, 2, 1, 2):
        process = Process(store, file, starts=sister)
        process.reporter.start()
        numbers.append(process.reporter.number)
    assert numbers == sorted(set(numbers))


def test_start_without_anything_serves_nothing_and_waits(store: Store, tmp_path: Path) -> None:
    store.fails = {"begin"}
    process = Process(store, ViewFile(tmp_path / "view.json"))
    process.reporter.start()
    assert process.views == []
    store.fails = set()
    process.step()
    assert process.views[-1].generation == 1


def test_last_flush_and_sign_off_when_it_is_stopped(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    process.request()
    stop = threading.Event()
    stop.set()
    process.reporter.run(stop, lambda: 0.0)
    assert store.ok == 1
    assert store.stopped == ["boot-1"]


class Time(threading.Event):
    """Passes while somebody waits; after so many seconds it is time to stop."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now = 0.0
        self.wakings = 0
        self._seconds = seconds
        self.due: dict[float, Callable[[], None]] = {}
        """What happens meanwhile."""

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now += timeout
        self.wakings += 1
        for at in [at for at in self.due if at <= self.now]:
            self.due.pop(at)()
        if self.now >= self._seconds:
            self.set()
        return self.is_set()


def test_it_wakes_only_when_something_is_due(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    time = Time(10)
    process.reporter.run(time, lambda: time.now)
    assert time.wakings <= 10 * (5 + 1) + 1
    assert len(store.seen) >= 10


def test_a_change_is_acknowledged_as_soon_as_it_is_answered_by(store: Store) -> None:
    process = Process(store)
    process.reporter.start()
    answered_by, acknowledged = [1], []
    process.reporter.applied = lambda: answered_by[-1]
    time = Time(0.95)
    time.due[0.3] = lambda: setattr(store, "generation", 2)
    time.due[0.5] = lambda: answered_by.append(2)
    time.due[0.6] = lambda: acknowledged.append(store.rows["boot-1"].applied_generation)
    process.reporter.run(time, lambda: time.now)
    assert acknowledged == [2]
