"""Uploads: streamed, limited, checked; files that run code are refused."""

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.adapters.stores.local import LocalStore, LocalUpload
from headway.artifacts.artifact import Artifact, Digest
from headway.artifacts.refusal import why_refused
from headway.artifacts.service import ArtifactService
from headway.kernel.errors import (
    Conflict,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
    Unsupported,
)
from headway.outbox.actor import Actor
from headway.outbox.event import Event

ADA = Actor("ada (k1)", "person")
NOW = 1_800_000_000_000
ONNX = b"\x08\x09\x12\x07headway" + bytes(range(256)) * 40


@dataclass
class Table:
    """The rows of artifacts, and what happened."""

    rows: dict[str, Artifact] = field(default_factory=dict)
    needed: dict[str, list[str]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @contextmanager
    def begin(self) -> Iterator["Transaction"]:
        yield Transaction(self, dict(self.rows), list(self.events))


@dataclass
class Transaction:
    table: Table
    rows: dict[str, Artifact]
    events: list[Event]

    @property
    def artifacts(self) -> "Rows":
        return Rows(self)

    @property
    def outbox(self) -> "Notes":
        return Notes(self)

    def commit(self) -> None:
        self.table.rows, self.table.events = self.rows, self.events


@dataclass
class Rows:
    work: Transaction

    def add(self, artifact: Artifact) -> bool:
        return self.work.rows.setdefault(artifact.digest, artifact) is artifact

    def get(self, digest: str) -> Artifact:
        if digest not in self.work.rows:
            raise NotFound(digest)
        return self.work.rows[digest]

    def find(self, digest: str) -> Artifact | None:
        return self.work.rows.get(digest)

    def pins(self, digest: str) -> Sequence[str]:
        return self.work.table.needed.get(digest, [])

    def mark(self, digest: str, corrupt_at: int | None) -> bool:
        row = self.work.rows.get(digest)
        if row is None or (row.corrupt_at is None) is (corrupt_at is None):
            return False
        self.work.rows[digest] = replace(row, corrupt_at=corrupt_at)
        return True

    def corrupt(self) -> Sequence[str]:
        return [row.digest for row in self.work.rows.values() if row.corrupt_at is not None]

    def remove(self, digest: str) -> None:
        del self.work.rows[digest]


@dataclass
class Notes:
    work: Transaction

    def add(self, event: Event) -> None:
        self.work.events.append(event)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture
def service(table: Table, store: LocalStore) -> ArtifactService:
    return ArtifactService(begin=table.begin, store=store, clock=lambda: NOW, reserve=0)


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def left(store: LocalStore, tmp_path: Path) -> list[str]:
    del store
    return [p.name for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"]


def test_bytes_are_stored_and_noted(service: ArtifactService, table: Table) -> None:
    stored = service.upload([ONNX[:100], b"", ONNX[100:]], actor=ADA, length=len(ONNX))

    digest = str(digest_of(ONNX))
    assert stored.created
    assert stored.artifact == Artifact(digest, len(ONNX), NOW, "ada (k1)")
    assert service.get(digest) == stored.artifact
    assert b"".join(service.open(digest, start=10, end=500)) == ONNX[10:500]
    (event,) = table.events
    assert (event.kind, event.subject) == ("artifact.stored", f"artifact:{digest}")
    assert (event.actor, event.actor_kind) == ("ada (k1)", "person")


def test_the_same_bytes_again_are_the_same_artifact(
    service: ArtifactService, table: Table
) -> None:
    first = service.upload([ONNX], actor=ADA)
    again = service.upload([ONNX], actor=Actor("bob"))

    assert not again.created
    assert again.artifact == first.artifact
    assert len(table.events) == 1


def test_the_row_comes_after_the_bytes(
    service: ArtifactService, table: Table, store: LocalStore
) -> None:
    seen: list[bool] = []

    @contextmanager
    def begin() -> Iterator[Transaction]:
        seen.append(store.exists(digest_of(ONNX)))
        with table.begin() as work:
            yield work

    replace(service, begin=begin).upload([ONNX], actor=ADA)

    assert seen == [True]


def test_a_wrong_digest_is_refused(
    service: ArtifactService, store: LocalStore, tmp_path: Path
) -> None:
    with pytest.raises(Invalid, match=f"the bytes have {digest_of(ONNX)}"):
        service.upload([ONNX], actor=ADA, expected=digest_of(b"other"))

    assert left(store, tmp_path) == []


@pytest.mark.parametrize("length", [len(ONNX) - 1, len(ONNX) + 1])
def test_a_wrong_length_is_refused(
    service: ArtifactService, store: LocalStore, tmp_path: Path, length: int
) -> None:
    with pytest.raises(Invalid, match="were announced"):
        service.upload([ONNX], actor=ADA, length=length)

    assert left(store, tmp_path) == []


def test_nothing_at_all_is_refused(service: ArtifactService) -> None:
    with pytest.raises(Invalid, match="no bytes"):
        service.upload([], actor=ADA)


def test_too_much_is_refused_before_it_is_written(
    service: ArtifactService, store: LocalStore, tmp_path: Path
) -> None:
    small = replace(service, limit=1000)
    asked: list[int] = []

    def long() -> Iterator[bytes]:
        for _ in range(10):
            asked.append(1)
            yield b"x" * 300

    with pytest.raises(TooLarge):
        small.upload(long(), actor=ADA)
    with pytest.raises(TooLarge):
        small.upload(long(), actor=ADA, length=1001)

    assert len(asked) == 4
    assert left(store, tmp_path) == []
    assert small.upload([b"x" * 1000], actor=ADA).created


def test_a_sender_that_breaks_off_leaves_nothing(
    service: ArtifactService, table: Table, store: LocalStore, tmp_path: Path
) -> None:
    def broken() -> Iterator[bytes]:
        yield ONNX
        raise ConnectionError

    with pytest.raises(ConnectionError):
        service.upload(broken(), actor=ADA)

    assert left(store, tmp_path) == []
    assert table.rows == {}


def test_what_failed_is_forgotten_at_once(service: ArtifactService, store: LocalStore) -> None:
    begun: list[LocalUpload] = []

    class Holding(LocalStore):
        """A store that keeps hold of its uploads, so that none is tidied up by going away."""

        def open_upload(self) -> LocalUpload:
            begun.append(super().open_upload())
            return begun[-1]

    folder = store.path(digest_of(b"")).parents[2]
    with pytest.raises(Unsupported):
        replace(service, store=Holding(folder)).upload([PICKLE], actor=ADA)

    assert len(begun) == 1
    assert list((folder / "incoming").iterdir()) == []


def test_the_last_space_on_the_disk_is_kept_free(
    service: ArtifactService, store: LocalStore
) -> None:
    nearly_full = replace(service, reserve=store.free_space() * 2)

    with pytest.raises(Unavailable, match="stay free"):
        nearly_full.upload([ONNX], actor=ADA)


# Removal


def test_an_artifact_that_a_version_needs_cannot_be_removed(
    service: ArtifactService, table: Table
) -> None:
    digest = service.upload([ONNX], actor=ADA).artifact.digest
    table.needed[digest] = ["digits@1.0.0"]

    with pytest.raises(Conflict, match=r"needed by digits@1\.0\.0"):
        service.remove(digest, actor=ADA)

    assert service.get(digest)


def test_a_removed_artifact_is_gone_and_its_file_goes_later(
    service: ArtifactService, store: LocalStore
) -> None:
    digest = service.upload([ONNX], actor=ADA).artifact.digest
    service.remove(digest, actor=ADA, why="by mistake")

    with pytest.raises(NotFound):
        service.open(digest)
    assert replace(service, clock=lambda: 0).sweep() == 0
    assert replace(service, clock=lambda: 2**60).sweep() == 1
    assert not store.exists(Digest.parse(digest))


def test_a_sweep_leaves_what_has_a_row(service: ArtifactService, store: LocalStore) -> None:
    digest = service.upload([ONNX], actor=ADA).artifact.digest

    assert replace(service, clock=lambda: 2**60).sweep() == 0
    assert store.exists(Digest.parse(digest))


# Refused files


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("boo",)


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"content")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pkl"))
    return file.getvalue()


PICKLE = pickle.dumps(Evil())
REFUSED = {
    **{f"pickle {n}": pickle.dumps(Evil(), protocol=n) for n in range(6)},
    "pickled data": pickle.dumps({"weights": [0.5] * 5_000}),
    "torch": zipped("archive/data.pkl"),
    "mar": zipped("MAR-INF/MANIFEST.json"),
    "tar": tarred(),
    "gzip": gzip.compress(PICKLE),
    "zlib, as joblib writes it": zlib.compress(PICKLE),
    "bz2": bz2.compress(PICKLE),
    "xz": lzma.compress(PICKLE),
    "lzma": lzma.compress(PICKLE, format=lzma.FORMAT_ALONE),
    "twice": gzip.compress(bz2.compress(PICKLE)),
    "gzip of a long one": gzip.compress(pickle.dumps({"w": list(range(50_000))})),
    "gzip of tar": gzip.compress(tarred()),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(100),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(100),
    "windows": b"MZ" + bytes(58) + b"\x40\x00\x00\x00PE\x00\x00" + bytes(50),
    "numpy objects": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': ()}",
}
TAKEN = {
    "onnx": ONNX,
    "json": b'{"a": 1}',
    "yaml": b"count: 1\nname: x\n",
    "csv": b"company,name\nAcme,Bob\n",
    "csv that reads like a pickle's beginning": b"cos\nsystem\n",
    "text": b"Some. text\n",
    "safetensors": (640).to_bytes(8, "little") + b'{"a":{}}' + b" " * 632,
    "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
    "gzip of json": gzip.compress(b'{"a": 1}' * 10_000),
    "one byte": b"\x80",
    "MZ": b"MZ is a text",
    "zeros": bytes(5_000),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("piece", [1, 10**9])
def test_a_file_that_runs_code_is_refused_by_its_bytes(
    service: ArtifactService, store: LocalStore, tmp_path: Path, content: bytes, piece: int
) -> None:
    content = content[:6_000]
    pieces = [content[at : at + piece] for at in range(0, len(content), piece)]

    with pytest.raises(Unsupported):
        service.upload(pieces, actor=ADA)

    assert left(store, tmp_path) == []


@pytest.mark.parametrize("content", TAKEN.values(), ids=TAKEN)
def test_other_files_are_taken(service: ArtifactService, content: bytes) -> None:
    assert service.upload([content], actor=ADA).created


def test_a_small_file_that_unpacks_to_a_huge_one_is_only_looked_into() -> None:
    assert why_refused(gzip.compress(bytes(50_000_000))[:4096]) is None


@given(st.binary(max_size=600))
def test_looking_at_a_head_never_fails(head: bytes) -> None:
    why_refused(head)
    why_refused(b"\x1f\x8b\x08\x00" + head)
    why_refused(b"\x78\x9c" + head)


# Digests


def test_a_digest_is_read_and_written() -> None:
    text = "sha256:" + "0a" * 32

    assert str(Digest.parse(text)) == text
    assert Digest.parse(text).parts == ("sha256", "0a", "0a" * 31)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0a" * 32, "did you mean 'sha256:0a"),
        ("SHA256:" + "0A" * 32, "did you mean 'sha256:0a"),
        ("sha256:0a", "64 hex digits, not 2"),
        ("sha256:" + "0g" * 32, "64 hex digits"),
        ("sha256:" + "0a" * 32 + "\n", "64 hex digits"),
        ("md5:" + "0a" * 16, "write sha256:"),
        ("../../etc/passwd", "write sha256:"),
        ("", "write sha256:"),
    ],
)
def test_what_is_no_digest_is_refused_with_what_would_be(text: str, hint: str) -> None:
    with pytest.raises(Invalid, match=hint):
        Digest.parse(text)


def flip(store: LocalStore, digest: str) -> None:
    path = store.path(Digest.parse(digest))
    path.chmod(0o600)
    path.write_bytes(ONNX[:-1] + b"?")


def lose(store: LocalStore, digest: str) -> None:
    store.path(Digest.parse(digest)).unlink()


def told(table: Table, since: int) -> list[tuple[str, str, str | None]]:
    return [(event.kind, event.subject, event.model) for event in table.events[since:]]


@pytest.mark.parametrize("damage", [flip, lose])
def test_bytes_that_changed_mark_the_artifact_and_tell_of_each_version_once(
    service: ArtifactService,
    table: Table,
    store: LocalStore,
    damage: Callable[[LocalStore, str], None],
) -> None:
    digest = service.upload([ONNX], actor=ADA).artifact.digest
    table.needed[digest] = ["bot@1.0.0", "other@2.0.0+b"]
    assert not service.is_corrupt(digest, doubted=True)
    damage(store, digest)

    assert not service.is_corrupt(digest)  # nobody doubts it: it is not hashed at each look
    for _ in range(2):
        found = service.look_again(digest)
        assert found is not None
        assert found.corrupt_at == NOW

    assert service.is_corrupt(digest)
    assert service.get(digest).corrupt_at == NOW
    assert told(table, 1) == [
        ("artifact.corrupt", f"artifact:{digest}", None),
        ("version.corrupt", "version:bot@1.0.0", "bot"),
        ("version.corrupt", "version:other@2.0.0+b", "other"),
    ]
    assert all("upload the right ones again" in event.why for event in table.events[1:])


def test_the_right_bytes_sent_again_mend_what_was_corrupt(
    service: ArtifactService, table: Table, store: LocalStore
) -> None:
    digest = service.upload([ONNX], actor=ADA).artifact.digest
    table.needed[digest] = ["bot@1.0.0"]
    flip(store, digest)
    service.look_again(digest)
    since = len(table.events)

    again = service.upload([ONNX], actor=Actor("bob"))

    assert (again.created, again.artifact.corrupt_at) == (False, None)
    assert b"".join(service.open(digest)) == ONNX
    assert told(table, since) == [
        ("artifact.mended", f"artifact:{digest}", None),
        ("version.mended", "version:bot@1.0.0", "bot"),
    ]
    assert {event.actor for event in table.events[since:]} == {"bob"}


def test_a_file_that_was_put_back_by_hand_is_noticed(
    service: ArtifactService, store: LocalStore
) -> None:
    first, second = (
        service.upload([content], actor=ADA).artifact.digest for content in (ONNX, ONNX + b"2")
    )
    for digest in (first, second):
        flip(store, digest)
        service.look_again(digest)
    store.path(Digest.parse(first)).write_bytes(ONNX)

    assert service.look_at_corrupt() == 1
    assert (service.get(first).corrupt_at, service.get(second).corrupt_at) == (None, NOW)


def test_nothing_is_marked_that_nobody_uploaded(service: ArtifactService, table: Table) -> None:
    assert service.look_again(f"sha256:{'0' * 64}") is None
    assert table.events == []


def test_memory_does_not_grow_with_the_upload(service: ArtifactService) -> None:
    chunk = b"x" * 65_536
    tracemalloc.start()
    try:
        service.upload((chunk for _ in range(500)), actor=ADA)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000
