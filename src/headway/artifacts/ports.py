"""What artifacts need from the outside: a store for the bytes, a table for the rows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from headway.artifacts.artifact import Artifact, Digest
from headway.outbox.event import Event


class Upload(Protocol):
    """Bytes on their way in. Nobody can see them before `commit`."""

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; hashed as they come. `StorageUnavailable` if the disk does not."""

    @property
    def size(self) -> int:
        """Return how many bytes came so far."""

    @property
    def digest(self) -> Digest:
        """Return the digest of what came so far."""

    def commit(self) -> Digest:
        """Make them last, under their digest; what is there already is never overwritten."""

    def abort(self) -> None:
        """Forget them; harmless after `commit` and when repeated."""


class Store(Protocol):
    """Bytes by digest. It knows no names, only digests."""

    def open_upload(self) -> Upload:
        """Begin an upload."""

    def open(self, digest: Digest, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return the bytes from `start` up to but without `end`, in pieces; `NotFound` at once."""

    def read_bytes(self, digest: Digest) -> bytes:
        """Return all bytes, hashed again; `NotFound`, or `Corrupt` if they are others."""

    def whole(self, digest: Digest) -> bool:
        """Say whether the bytes are there and, hashed again piece by piece, the right ones."""

    def exists(self, digest: Digest) -> bool:
        """Say whether the bytes are there."""

    def size(self, digest: Digest) -> int:
        """Return how many bytes there are, or raise `NotFound`."""

    def free_space(self) -> int:
        """Return how many bytes the disk can still take."""

    def sweep(self, *, before: int, keep: Callable[[Digest], bool]) -> int:
        """Remove what is older than `before` (ms): unfinished uploads, files `keep` says no to.

        Return how many files went.
        """


class Artifacts(Protocol):
    """The table: one row per artifact, added after its bytes last."""

    def add(self, artifact: Artifact) -> bool:
        """Store the row; False if there was one already (the older one stays)."""

    def get(self, digest: str) -> Artifact:
        """Return the row, or raise `NotFound`."""

    def find(self, digest: str) -> Artifact | None:
        """Return the row, or None."""

    def pins(self, digest: str) -> Sequence[str]:
        """Return every version (`bot@2.4.0`, in any state) whose target names it.

        Versions are never deleted, so what a route or a snapshot needs is always among them.
        """

    def mark(self, digest: str, corrupt_at: int | None) -> bool:
        """Write `Artifact.corrupt_at`; False if it was marked already, or not marked already.

        The first time that it was found stays. A row that is not there is not marked.
        """

    def corrupt(self) -> Sequence[str]:
        """Return the digests of those that are marked."""

    def remove(self, digest: str) -> None:
        """Delete the row; `NotFound` if there is none, `Conflict` if it is pinned.

        The store itself must see to it (a foreign key), since a version may come meanwhile.
        """


class Outbox(Protocol):
    def add(self, event: Event) -> None:
        """Write down what happened, to what, by whom."""


class Work(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def artifacts(self) -> Artifacts: ...
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Work]]
