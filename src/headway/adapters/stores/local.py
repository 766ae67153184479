"""Artifacts in a folder: each file under its own digest, whole or not at all.

<folder>/incoming/<chance>        what is on its way in, 0600
<folder>/sha256/ab/cdef…          what is there, read-only, never written again
<folder>/.lock                    held for an instant while a file comes or goes
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from headway.artifacts.artifact import Corrupt, Digest
from headway.kernel.errors import NotFound, StorageUnavailable

_PIECE: Final = 256 * 1024
_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


class LocalStore:
    """A store on a local disk. Any number of processes may use the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        for made in (folder, self._incoming, folder / "sha256"):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        for holds in (folder.parent, folder):
            _sync_folder(holds)

    def open_upload(self) -> "LocalUpload":
        return LocalUpload(self, self._incoming / secrets.token_hex(16))

    def open(self, digest: Digest, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        try:
            descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _missing(digest) from error
        return _Pieces(descriptor, start, end)

    def read_bytes(self, digest: Digest) -> bytes:
        found = b"".join(self.open(digest))
        if hashlib.sha256(found).hexdigest() != digest.hex:
            raise Corrupt(f"the stored bytes of {digest} are not the ones that were uploaded")
        return found

    def whole(self, digest: Digest) -> bool:
        return _holds(self.path(digest), digest)

    def read(self, digest: str) -> bytes:
        """Return the bytes of a digest as it is written, hashed again; see `read_bytes`."""
        return self.read_bytes(Digest.parse(digest))

    def exists(self, digest: Digest) -> bool:
        return self.path(digest).is_file()

    def size(self, digest: Digest) -> int:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise _missing(digest) from error

    def free_space(self) -> int:
        return shutil.disk_usage(self._folder).free

    def sweep(self, *, before: int, keep: Callable[[Digest], bool]) -> int:
        gone = 0
        for upload in self._incoming.iterdir():
            if _modified(upload) < before:
                upload.unlink(missing_ok=True)
                gone += 1
        for path in (self._folder / "sha256").glob("??/*"):
            digest = Digest.parse(f"sha256:{path.parent.name}{path.name}")
            if _modified(path) >= before or keep(digest):
                continue
            with self.locked():
                if _modified(path) < before:  # nobody sent the same bytes meanwhile
                    path.unlink(missing_ok=True)
                    gone += 1
        return gone

    def path(self, digest: Digest) -> Path:
        return self._folder.joinpath(*digest.parts)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from adding or removing a file."""
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class LocalUpload:
    """A file on its way in."""

    def __init__(self, store: LocalStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._hash = hashlib.sha256()
        self._size = 0
        with _disk_errors():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)

    @property
    def size(self) -> int:
        return self._size

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        with _disk_errors():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._hash.update(chunk)
        self._size += len(chunk)

    def commit(self) -> Digest:
        digest = self.digest
        target = self._store.path(digest)
        with _disk_errors():
            os.fchmod(self._descriptor, 0o400)
            _sync(self._descriptor)
            self._close()
            target.parent.mkdir(mode=0o700, exist_ok=True)
            # Also when it was there: whoever made it may have been killed before this.
            _sync_folder(target.parent.parent)
            whole = _holds(target, digest)
            with self._store.locked():
                if whole and target.is_file():
                    os.utime(target)  # young again: a sweep leaves it alone
                    self._path.unlink()
                else:
                    self._path.rename(target)
            _sync_folder(target.parent)
        return digest

    def abort(self) -> None:
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.abort()


class _Pieces:
    """The bytes of an open file from `start` to `end`; closed at the end, or by hand."""

    def __init__(self, descriptor: int, start: int, end: int | None) -> None:
        self._descriptor = descriptor
        self._at = start
        self._end = os.fstat(descriptor).st_size if end is None else end

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._descriptor >= 0 and self._at < self._end:
            piece = os.pread(self._descriptor, min(_PIECE, self._end - self._at), self._at)
            self._at += len(piece)
            if piece:
                return piece
        self.close()
        raise StopIteration

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _holds(path: Path, digest: Digest) -> bool:
    """Say whether the file is there and still has its bytes: a damaged one is replaced."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest.hex
    except FileNotFoundError:
        return False


def _modified(path: Path) -> int:
    """Return when a file was last written, in ms; one that is gone counts as new."""
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return time.time_ns()


def _sync(descriptor: int) -> None:
    """Make it last. On macOS fsync alone leaves it in the disk's cache."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _disk_errors():
            _sync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise StorageUnavailable(
            f"the disk does not take it: {os.strerror(error.errno)}", retry_after=60
        ) from error


def _missing(digest: Digest) -> NotFound:
    return NotFound(f"there is no artifact {digest}")
