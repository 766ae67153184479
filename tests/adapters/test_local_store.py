"""Artifacts in a folder: whole or not at all, and never written over."""

import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.adapters.stores.local import LocalStore
from headway.artifacts.artifact import Corrupt, Digest
from headway.kernel.errors import NotFound

BYTES = bytes(range(256)) * 5_000


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def put(store: LocalStore, content: bytes) -> Digest:
    upload = store.open_upload()
    upload.write(content)
    return upload.commit()


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def store(folder: Path) -> LocalStore:
    return LocalStore(folder)


def test_what_went_in_comes_out(store: LocalStore) -> None:
    digest = put(store, BYTES)

    assert digest == digest_of(BYTES)
    assert store.exists(digest)
    assert store.size(digest) == len(BYTES)
    assert store.read_bytes(digest) == BYTES
    assert store.read(str(digest)) == BYTES
    assert b"".join(store.open(digest)) == BYTES


@pytest.mark.parametrize(
    ("start", "end"), [(0, 10), (100, None), (300_000, 900_000), (5, 5), (0, 10**9), (10**9, None)]
)
def test_a_part_can_be_read(store: LocalStore, start: int, end: int | None) -> None:
    digest = put(store, BYTES)

    assert b"".join(store.open(digest, start=start, end=end)) == BYTES[start:end]


def test_files_lie_under_their_digest_and_only_the_owner_reads_them(
    store: LocalStore, folder: Path
) -> None:
    digest = put(store, BYTES)

    path = folder / "sha256" / digest.hex[:2] / digest.hex[2:]
    assert path.read_bytes() == BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nobody_sees_an_upload_before_it_is_committed(store: LocalStore, folder: Path) -> None:
    upload = store.open_upload()
    upload.write(BYTES)

    assert not store.exists(upload.digest)
    (incoming,) = (folder / "incoming").iterdir()
    assert stat.S_IMODE(incoming.stat().st_mode) == 0o600
    upload.abort()
    assert files(folder) == []
    upload.abort()


def test_an_upload_that_is_forgotten_leaves_nothing(store: LocalStore, folder: Path) -> None:
    upload = store.open_upload()
    upload.write(BYTES)
    del upload

    assert files(folder) == []


def test_the_same_bytes_again_touch_nothing(store: LocalStore) -> None:
    digest = put(store, BYTES)
    before = store.path(digest).stat().st_ino

    assert put(store, BYTES) == digest
    assert store.path(digest).stat().st_ino == before


def test_a_flipped_byte_is_noticed_and_a_new_upload_heals_it(store: LocalStore) -> None:
    digest = put(store, BYTES)
    path = store.path(digest)
    path.chmod(0o600)
    path.write_bytes(BYTES[:-1] + b"\x00")

    with pytest.raises(Corrupt):
        store.read_bytes(digest)

    put(store, BYTES)
    assert store.read_bytes(digest) == BYTES


def test_what_is_not_there_is_not_found_at_once(store: LocalStore) -> None:
    missing = digest_of(b"missing")

    calls: list[Callable[[], object]] = [
        lambda: store.open(missing),
        lambda: store.read_bytes(missing),
        lambda: store.size(missing),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    assert not store.exists(missing)


def test_a_link_in_place_of_a_file_is_not_followed(store: LocalStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    path = store.path(digest_of(b"secret"))
    path.parent.mkdir(parents=True)
    path.symlink_to(secret)

    with pytest.raises(OSError, match="symbolic"):
        store.read_bytes(digest_of(b"secret"))


def test_many_may_send_the_same_bytes_at_once(store: LocalStore, folder: Path) -> None:
    found: list[Digest] = []
    senders = [
        threading.Thread(target=lambda: found.append(put(LocalStore(folder), BYTES)))
        for _ in range(8)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert found == [digest_of(BYTES)] * 8
    assert store.read_bytes(found[0]) == BYTES
    assert len([name for name in files(folder) if name != ".lock"]) == 1


def test_a_sweep_takes_old_leftovers_and_what_nobody_keeps(
    store: LocalStore, folder: Path
) -> None:
    kept, dropped, young = (put(store, text) for text in (b"kept", b"dropped", b"young"))
    left = folder / "incoming" / "left"
    left.write_bytes(b"half")
    for path in (left, store.path(kept), store.path(dropped)):
        os.utime(path, (1_000, 1_000))
    upload = store.open_upload()

    assert store.sweep(before=2_000_000, keep=lambda digest: digest == kept) == 2

    assert [store.exists(d) for d in (kept, dropped, young)] == [True, False, True]
    assert not left.exists()
    upload.write(b"still going")
    assert store.read_bytes(upload.commit()) == b"still going"


def test_what_is_sent_again_survives_the_next_sweep(store: LocalStore) -> None:
    digest = put(store, BYTES)
    os.utime(store.path(digest), (1_000, 1_000))
    put(store, BYTES)

    assert store.sweep(before=2_000_000, keep=lambda _: False) == 0
    assert store.exists(digest)


def test_reading_may_stop_in_the_middle(store: LocalStore) -> None:
    digest = put(store, BYTES)
    pieces = store.open(digest)
    next(pieces)
    close = getattr(pieces, "close")  # noqa: B009 -- what a WSGI server looks for
    close()

    assert list(pieces) == []


def test_free_space_is_known(store: LocalStore) -> None:
    assert store.free_space() > 0
