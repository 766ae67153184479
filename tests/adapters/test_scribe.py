"""A gateway and the scribe across their socket: nothing is changed, lost or counted twice."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import Begin
from tests.persistence.examples import do, key

from headway.adapters.scribe.client import ScribeBySocket
from headway.adapters.scribe.frames import receive, send
from headway.adapters.scribe.server import Listener
from headway.auth.limits import Starts, Window
from headway.gateway.scribe import InTransactions
from headway.gateway.store import Scribe
from headway.kernel.errors import NotFound, OutcomeUnknown, StorageUnavailable
from headway.testing import memory
from headway.tracking.measurement import (
    Batch,
    Count,
    FirstEvent,
    GatewayRow,
    Measurement,
    Others,
    Veto,
)
from headway.tracking.sketch import Sketch

AT = 1_790_000_040_000
WORDS = st.text(max_size=8)
SUMS = st.dictionaries(WORDS, st.integers(0, 2**60), max_size=3)
WHOLE = st.integers(-(2**63), 2**63 - 1)
SKETCHES = st.lists(st.floats(0, 1e7), max_size=5).map(Sketch.of)
COUNTS = st.lists(
    st.builds(Count, WHOLE, WORDS, WORDS, WHOLE, WHOLE, st.booleans(), WHOLE), max_size=3
).map(tuple)
MEASUREMENTS = st.builds(
    Measurement,
    model=WORDS,
    environment=WORDS,
    version=WORDS,
    arm=WORDS,
    minute=WHOLE,
    outcomes=SUMS,
    latency=SKETCHES,
    first=SKETCHES,
    bad=SKETCHES,
    tokens=SUMS,
    served_by=SUMS,
)
VETOES = st.builds(
    Veto,
    deployment=WORDS,
    epoch=WHOLE,
    arm=WORDS,
    metric=WORDS,
    at=WHOLE,
    detail=st.dictionaries(WORDS, st.lists(st.integers(0, 9)) | st.none() | st.booleans()),
)
BATCHES = st.builds(
    Batch,
    boot=WORDS,
    seq=st.integers(0, 2**40),
    applied_generation=st.integers(-1, 2**40),
    measurements=st.lists(MEASUREMENTS, max_size=3).map(tuple),
    counts=st.dictionaries(WORDS, COUNTS, max_size=3),
    firsts=st.dictionaries(
        WORDS,
        st.lists(st.builds(FirstEvent, WHOLE, WHOLE, WHOLE, COUNTS), max_size=3).map(tuple),
        max_size=2,
    ),
    vetoes=st.lists(VETOES, max_size=2).map(tuple),
    key_uses=SUMS,
    unrouted=SUMS,
    spender=WORDS,
    windows=st.dictionaries(st.tuples(WORDS, WHOLE, WORDS), WHOLE, max_size=3),
    under_way=SUMS,
    key_counts=st.dictionaries(st.tuples(WORDS, WORDS, WORDS), WHOLE, max_size=3),
    costs=st.dictionaries(st.tuples(WORDS, WORDS, WORDS, WORDS), WHOLE, max_size=3),
    dropped=st.integers(0, 9),
)


class Heard:
    """A scribe that keeps what it is told, or fails as it is told."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.left: list[str] = []
        self.fails: Exception | None = None
        self.heard = Others()
        self.asked: tuple[object, ...] = ()

    def enter(self, *, boot: str, host: str, pid: int, at_least: int) -> GatewayRow:
        return GatewayRow(
            boot=boot,
            number=at_least + 1,
            host=host,
            pid=pid,
            started_at=AT,
            seen_at=AT,
            seq=0,
            applied_generation=0,
        )

    def document(self, *, known: int) -> dict[str, Any] | None:
        return None if known == 7 else {"generation": 7}

    def flush(self, batch: Batch) -> bool:
        self.batches.append(batch)
        if self.fails is not None:
            raise self.fails
        return True

    def others(self, spender: str, starts: Starts) -> Others:
        self.asked = (spender, starts)
        return self.heard

    def leave(self, boot: str) -> None:
        self.left.append(boot)


class Process:
    """The scribe's process: what it listens on, and an end that comes without notice."""

    def __init__(self, path: Path, scribe: Scribe) -> None:
        self.faults: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        self._listener.listen()
        listener = Listener(scribe, lambda call, error: self.faults.append(f"{call}: {error}"))
        threading.Thread(target=listener.serve, args=(self._listener,), daemon=True).start()

    def end(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


Serve = Callable[[Scribe], ScribeBySocket]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    path = tmp_path / "s"
    started: list[Process] = []
    client = ScribeBySocket(path)

    def serving(scribe: Scribe) -> ScribeBySocket:
        started.append(Process(path, scribe))
        return client

    yield serving
    client.close()
    for process in started:
        process.end()


def batch(**values: Any) -> Batch:  # noqa: ANN401 - fields of a batch
    return replace(Batch(boot="gw", seq=1, applied_generation=1), **values)


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScribeBySocket, Heard]]:
    path, heard = tmp_path_factory.mktemp("scribe") / "s", Heard()
    process, client = Process(path, heard), ScribeBySocket(path)
    yield client, heard
    client.close()
    process.end()


@given(sent=BATCHES)
def test_a_batch_arrives_as_it_was_sent(way: tuple[ScribeBySocket, Heard], sent: Batch) -> None:
    client, heard = way
    assert client.flush(sent) is True
    assert heard.batches.pop() == sent


def test_each_question_is_answered(serve: Serve) -> None:
    heard = Heard()
    client = serve(heard)
    heard.heard = Others({(Window.DAY, AT, "key_1"): 5})

    row = client.enter(boot="gw", host="h", pid=3, at_least=8)
    assert (row.boot, row.host, row.pid, row.number) == ("gw", "h", 3, 9)
    assert client.document(known=6) == {"generation": 7}
    assert client.document(known=7) is None
    starts = Starts.at(AT)
    assert client.others("spender", starts) == heard.heard
    assert heard.asked == ("spender", starts)
    client.leave("gw")
    assert heard.left == ["gw"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (NotFound("who?"), NotFound),
        (OutcomeUnknown("no answer"), OutcomeUnknown),
        (StorageUnavailable("it is away"), StorageUnavailable),
        (ValueError("a fault of ours"), StorageUnavailable),
    ],
    ids=["forgotten", "unknown", "away", "fault"],
)
def test_what_became_of_a_flush_is_told(
    serve: Serve, fault: Exception, told: type[Exception]
) -> None:
    heard = Heard()
    heard.fails = fault
    client = serve(heard)
    with pytest.raises(told) as raised:
        client.flush(batch())
    assert type(raised.value) is told
    heard.fails = None
    assert client.flush(batch()) is True  # over the same connection


def test_faults_of_our_own_are_reported_and_those_of_a_store_are_not(tmp_path: Path) -> None:
    heard = Heard()
    process, client = Process(tmp_path / "s", heard), ScribeBySocket(tmp_path / "s")
    for fault in (ValueError("a fault of ours"), StorageUnavailable("it is away")):
        heard.fails = fault
        with pytest.raises(StorageUnavailable):
            client.flush(batch())
    client.close()
    process.end()
    assert process.faults == ["flush: a fault of ours"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\2{]",
        b"\0\0\0\1\xff",
        b"\0\0\0\0",
        b"\0\0\0\2[]",
    ],
)
def test_a_connection_that_brings_no_call_is_closed_with_one_line(
    tmp_path: Path, sent: bytes
) -> None:
    path = tmp_path / "s"
    process, client = Process(path, Heard()), ScribeBySocket(path)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(5)
        stranger.connect(str(path))
        stranger.sendall(sent)
        assert stranger.recv(1) == b""

    assert [fault.partition(":")[0] for fault in process.faults] == ["frame"]
    assert client.flush(batch()) is True
    client.close()
    process.end()


def test_a_scribe_that_is_not_there_took_nothing(tmp_path: Path) -> None:
    client = ScribeBySocket(tmp_path / "s")
    client.await_it(0.05)
    with pytest.raises(StorageUnavailable) as raised:
        client.flush(batch())
    assert not isinstance(raised.value, OutcomeUnknown)


def test_an_answer_that_does_not_come_leaves_the_outcome_unknown_and_the_next_is_asked_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        client = ScribeBySocket(path)
        cut = threading.Thread(target=_end_in_the_middle_of_an_answer, args=(listener,))
        cut.start()
        with pytest.raises(OutcomeUnknown):
            client.flush(batch())
        cut.join()
    process = Process(path, Heard())
    assert client.flush(batch()) is True
    client.close()
    process.end()


def _end_in_the_middle_of_an_answer(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        receive(connection)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            send(ours, {"answer": True})
            connection.sendall(theirs.recv(64)[:-1])


def test_a_scribe_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        client = ScribeBySocket(path, patience=0.05)
        with pytest.raises(OutcomeUnknown):
            client.flush(batch())
        client.close()


def test_what_goes_through_the_scribe_is_in_the_store(serve: Serve, begin: Begin) -> None:
    do(begin, lambda work: work.keys.add(key()))
    client = serve(InTransactions(begin, begin))
    client.enter(boot="gw", host="h", pid=1, at_least=0)
    measurement = Measurement(
        model="bot",
        environment="production",
        version="1.0.0",
        arm="stable",
        minute=AT - AT % 60_000,
        outcomes={"ok": 3},
        latency=Sketch.of([5.0, 6.0, 7.0]),
        first=Sketch(),
        tokens={"input": 30},
        served_by={"m": 3},
    )
    sent = batch(measurements=(measurement,), unrouted={"caller": 2})

    assert client.flush(sent) is True
    assert client.flush(sent) is False  # it was taken
    with pytest.raises(NotFound):
        client.flush(replace(sent, boot="nobody"))

    with begin() as work:
        assert [row[3] for row in work.measurements.totals()] == [{"ok": 3}]
        assert work.measurements.unrouted()["caller"] == 2
        (row,) = work.gateways.living(within=60_000)
    assert (row.boot, row.seq) == ("gw", 1)
    found: Any = client.document(known=-1)
    assert [each["id"] for each in found["keys"]] == [key().id]


def test_several_gateways_are_answered_side_by_side(tmp_path: Path) -> None:
    begin = partial(memory.begin, memory.Store(), lambda: AT)
    process = Process(tmp_path / "s", InTransactions(begin, begin))
    gateways = [ScribeBySocket(tmp_path / "s") for _ in range(3)]
    numbers = [
        each.enter(boot=f"gw{n}", host="h", pid=n, at_least=0).number
        for n, each in enumerate(gateways)
    ]
    assert [each.flush(batch(boot=f"gw{n}")) for n, each in enumerate(gateways)] == [True] * 3
    assert numbers == sorted(set(numbers))
    for each in gateways:
        each.close()
    process.end()
