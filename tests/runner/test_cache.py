"""Models are loaded once, on first use; what kills the runner twice is not loaded again."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headway.adapters.stores.local import LocalStore
from headway.artifacts.artifact import Corrupt
from headway.kernel.errors import NotFound
from headway.runner.blackbox import BlackBox, Suspects
from headway.runner.cache import Cache, Quarantined
from headway.runner.ports import CannotLoad, CorruptBytes, Stop, Tensor, TensorSpec


@dataclass
class Model:
    memory: int
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def run(
        self, inputs: Sequence[Tensor], outputs: Sequence[str], stop: Stop
    ) -> Sequence[Tensor]:
        del inputs, outputs, stop
        return []


@dataclass
class Sizes:
    """A runtime whose models weigh what their bytes say."""

    loaded: list[bytes] = field(default_factory=list)
    gate: threading.Event | None = None

    def load(self, model: bytes) -> Model:
        if self.gate is not None:
            assert self.gate.wait(5)
        self.loaded.append(model)
        return Model(int(model))


@dataclass
class Bytes:
    """A store in which a digest is `<name>:<size>`."""

    def read(self, digest: str) -> bytes:
        if digest == "gone":
            raise NotFound("no bytes have that digest")
        if digest == "flipped":
            raise Corrupt("the bytes are not what their digest says")
        return digest.partition(":")[2].encode()


def box(folder: Path, now: int = 0, suspects: Suspects = Suspects.ALL) -> BlackBox:
    return BlackBox(folder, clock=lambda: now, monotonic=lambda: 0.0, suspects=suspects)


def cache(folder: Path, runtime: Sizes, limit: int = 100) -> Cache:
    return Cache(
        store=Bytes(), runtimes={"onnx": lambda: runtime}, limit=limit, blackbox=box(folder)
    )


def die_with(
    folder: Path, digest: str, *, loading: bool = False, before: Suspects = Suspects.ALL
) -> AbstractContextManager[None]:
    """Leave a model in its slot, as a killed runner does; nothing is cleared while it is held.

    `before`: whom the death before this one may be blamed on.
    """
    working = box(folder, suspects=before).busy(digest, loading=loading)
    working.__enter__()
    return working


def test_a_byte_that_the_disk_flipped_is_never_loaded(tmp_path: Path) -> None:
    store, runtime = LocalStore(tmp_path / "store"), Sizes()
    upload = store.open_upload()
    upload.write(b"40")
    digest = upload.commit()
    models = Cache(
        store=store, runtimes={"onnx": lambda: runtime}, limit=100, blackbox=box(tmp_path)
    )
    store.path(digest).chmod(0o600)
    store.path(digest).write_bytes(b"41")

    with pytest.raises(CannotLoad, match="not the ones that were uploaded"):
        models.load(str(digest))
    assert runtime.loaded == []
    assert models.loaded == ()


def test_the_least_recently_used_goes_when_room_is_wanted(tmp_path: Path) -> None:
    models = cache(tmp_path, Sizes())
    for name in ("a:40", "b:40"):
        models.load(name)
    models.load("a:40")
    models.load("c:40")

    assert models.loaded == ("a:40", "c:40")


def test_a_pinned_model_is_never_dropped(tmp_path: Path) -> None:
    models = cache(tmp_path, Sizes())
    models.pin(frozenset({"a:60"}))
    for name in ("a:60", "b:60", "c:60"):
        models.load(name)

    assert models.loaded == ("a:60", "c:60")


def test_many_who_want_one_model_load_it_once(tmp_path: Path) -> None:
    runtime = Sizes(gate=threading.Event())
    models = cache(tmp_path, runtime)
    with ThreadPoolExecutor(8) as threads:
        wanted = [threads.submit(models.load, "a:1") for _ in range(8)]
        assert runtime.gate is not None
        runtime.gate.set()
        sessions = {id(each.result(5)) for each in wanted}

    assert len(sessions) == 1
    assert runtime.loaded == [b"1"]


def test_bytes_that_are_not_what_they_claim_are_the_versions_fault(tmp_path: Path) -> None:
    models = cache(tmp_path, Sizes())

    for digest, words in (("flipped", "not what their digest says"), ("gone", "no bytes")):
        with pytest.raises(CorruptBytes, match=words):
            models.load(digest)


def test_what_was_refused_for_its_bytes_is_told_once(tmp_path: Path) -> None:
    models = cache(tmp_path, Sizes())
    for digest in ("flipped", "flipped", "gone", "no number"):
        with suppress(CannotLoad, ValueError):
            models.load(digest)

    assert sorted(models.take_corrupt()) == ["flipped", "gone"]
    assert models.take_corrupt() == ()


def test_a_model_that_cannot_be_loaded_rests_ten_times_as_long_as_that_took(
    tmp_path: Path,
) -> None:
    now = [100.0]

    class Broken(Sizes):
        def load(self, model: bytes) -> Model:
            now[0] += 3
            if len(self.loaded) < 2:
                self.loaded.append(model)
                raise CannotLoad("it is none") if model == b"1" else MemoryError
            return super().load(model)

    runtime = Broken()
    models = Cache(
        store=Bytes(),
        runtimes={"onnx": lambda: runtime},
        limit=100,
        blackbox=box(tmp_path),
        monotonic=lambda: now[0],
    )
    for digest, words in (("a:1", "it is none"), ("b:2", "more memory")):
        with pytest.raises(CannotLoad, match=words):
            models.load(digest)
        assert words in str(models.refusal(digest))
    assert models.refusal("c:1") is None

    now[0] = 132.9
    assert models.refusal("a:1")
    now[0] = 133.0
    assert models.refusal("a:1") is None
    assert models.refusal("b:2")
    assert models.load("b:2").memory == 2  # whoever asks for a load gets one
    assert models.refusal("b:2") is None


def test_a_model_that_killed_the_runner_twice_is_quarantined_for_an_hour(tmp_path: Path) -> None:
    killed = [die_with(tmp_path, "bad:1") for _ in range(2)]

    models = cache(tmp_path, Sizes())
    with pytest.raises(Quarantined):
        models.load("bad:1")
    assert models.load("good:1")

    assert not box(tmp_path, now=3_700_000).quarantined("bad:1")
    del killed


def test_one_death_is_forgiven(tmp_path: Path) -> None:
    killed = die_with(tmp_path, "bad:1")

    assert cache(tmp_path, Sizes()).load("bad:1")
    del killed


def test_a_model_is_not_blamed_for_what_crashed_beside_it(tmp_path: Path) -> None:
    held: list[AbstractContextManager[None]] = []

    def crash() -> None:
        """Leave two models in their slots, and what `faulthandler` writes of one's thread."""
        beside = box(tmp_path)
        good, bad = beside.busy("good:1"), beside.busy("bad:1")
        held.extend((good, bad))  # as long as they are held nothing is cleared
        good.__enter__()
        with ThreadPoolExecutor(1) as threads:
            threads.submit(bad.__enter__).result(5)
            crashed = threads.submit(threading.get_ident).result(5)
        beside.crash_file.write_text(
            "Fatal Python error: Segmentation fault\n\n"
            f"Current thread 0x{crashed:016x} (most recent call first):\n"
            '  File "onnx.py", line 118 in run\n\n'
            f"Thread 0x{threading.get_ident():016x} (most recent call first):\n"
        )

    crash()
    crash()
    found = box(tmp_path)

    assert (found.quarantined("bad:1"), found.quarantined("good:1")) == (True, False)


def test_who_never_ends_is_alone_to_blame_for_the_end_of_the_runner(tmp_path: Path) -> None:
    for _ in range(2):
        ending = box(tmp_path)
        with ending.busy("good:1"), ending.busy("bad:1", loading=True):
            ending.accuse("bad:1")
            left = (tmp_path / "runner-slots.bin").read_bytes()
        (tmp_path / "runner-slots.bin").write_bytes(left)
    found = box(tmp_path)

    assert (found.quarantined("bad:1"), found.quarantined("good:1")) == (True, False)


def test_a_model_is_not_blamed_for_a_kill_from_outside_while_it_answered(tmp_path: Path) -> None:
    killed = [die_with(tmp_path, "good:1", before=Suspects.LOADING) for _ in range(5)]

    assert not box(tmp_path, suspects=Suspects.LOADING).quarantined("good:1")
    del killed


def test_a_model_whose_loading_gets_the_runner_killed_twice_is_quarantined(tmp_path: Path) -> None:
    killed = [
        die_with(tmp_path, "huge:1", loading=True, before=Suspects.LOADING) for _ in range(2)
    ]

    assert box(tmp_path, suspects=Suspects.LOADING).quarantined("huge:1")
    del killed


def test_a_model_that_could_be_loaded_since_is_not_what_the_memory_lacked_for(
    tmp_path: Path,
) -> None:
    killed = [die_with(tmp_path, "good:1", loading=True, before=Suspects.LOADING)]
    with box(tmp_path, suspects=Suspects.LOADING).busy("good:1", loading=True):
        pass
    killed.append(die_with(tmp_path, "good:1", loading=True, before=Suspects.NONE))

    assert not box(tmp_path, suspects=Suspects.LOADING).quarantined("good:1")
    del killed


def test_a_model_that_crashed_the_runner_twice_is_not_saved_by_being_loadable(
    tmp_path: Path,
) -> None:
    killed = [die_with(tmp_path, "bad:1")]
    with box(tmp_path).busy("bad:1", loading=True):
        pass
    killed.append(die_with(tmp_path, "bad:1", before=Suspects.NONE))

    assert box(tmp_path).quarantined("bad:1")
    del killed


def test_nobody_is_blamed_for_a_death_that_nobody_saw(tmp_path: Path) -> None:
    killed = [
        die_with(tmp_path, "good:1", loading=loading, before=Suspects.NONE)
        for loading in (True, False, True)
    ]

    assert not box(tmp_path, suspects=Suspects.NONE).quarantined("good:1")
    del killed


def test_what_runs_for_too_long_is_named(tmp_path: Path) -> None:
    now = [0.0]
    watched = BlackBox(tmp_path, clock=lambda: 0, monotonic=lambda: now[0], suspects=Suspects.ALL)
    with watched.busy("slow:1", within=10), watched.busy("patient:1", within=20):
        now[0] = 9.0
        assert watched.overdue() is None
        now[0] = 11.0
        assert watched.overdue() == "slow:1"
    assert watched.overdue() is None
