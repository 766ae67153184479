"""What people ask of artifacts: take bytes in, give them out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from headway.artifacts.artifact import MIB, RESERVE, Artifact, Digest
from headway.artifacts.ports import Begin, Store, Upload
from headway.artifacts.refusal import HEAD, why_refused
from headway.kernel.clock import DAY, Clock
from headway.kernel.errors import Conflict, Invalid, StorageUnavailable, TooLarge, Unsupported
from headway.outbox.actor import Actor
from headway.outbox.event import Event

LARGEST: Final = 10 * 1024 * MIB
_LOOK_EVERY: Final = 64 * MIB
"""How many bytes come in between two looks at the free space."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact, and whether it is new: the same bytes may come twice."""

    artifact: Artifact
    created: bool


@dataclass(frozen=True, slots=True)
class ArtifactService:
    """Artifacts. `limit` and `reserve` in bytes."""

    begin: Begin
    store: Store
    clock: Clock
    limit: int = LARGEST
    reserve: int = RESERVE

    def upload(
        self,
        chunks: Iterable[bytes],
        *,
        actor: Actor,
        expected: Digest | None = None,
        length: int | None = None,
    ) -> Stored:
        """Take bytes in as they come; one chunk is in memory at a time.

        `expected` and `length` are what the sender said, if anything: `Invalid` if the bytes are
        others. `TooLarge`, `Unsupported` for files that run code, `StorageUnavailable` when the
        disk is nearly full. Nothing is left of an upload that failed.
        """
        if length is not None and length > self.limit:
            raise self._too_large()
        self._check_space(length or 0)
        upload = self.store.open_upload()
        try:
            self._receive(chunks, upload)
            _check_complete(upload, expected, length)
            digest = upload.commit()
        except BaseException:
            upload.abort()
            raise
        return self._row(digest, upload.size, actor)

    def _receive(self, chunks: Iterable[bytes], upload: Upload) -> None:
        head: bytes | None = b""
        look_at = _LOOK_EVERY
        for chunk in chunks:
            if upload.size + len(chunk) > self.limit:
                raise self._too_large()
            if head is not None:
                head += chunk[: HEAD - len(head)]
                if len(head) >= HEAD:
                    _check_kind(head)
                    head = None
            upload.write(chunk)
            if upload.size >= look_at:
                self._check_space(0)
                look_at = upload.size + _LOOK_EVERY
        if head is not None:
            _check_kind(head)

    def _row(self, digest: Digest, size: int, actor: Actor) -> Stored:
        now = self.clock()
        with self.begin() as work:
            created = work.artifacts.add(Artifact(str(digest), size, now, actor.name))
            artifact = work.artifacts.get(str(digest))
            if not self.store.exists(digest):
                raise Conflict(f"{digest} was removed meanwhile: send it again")
            if created:
                work.outbox.add(
                    Event(
                        kind="artifact.stored",
                        subject=f"artifact:{digest}",
                        at=now,
                        actor=actor.name,
                        actor_kind=actor.kind,
                        detail={"size": size},
                    )
                )
                work.commit()
        return Stored(artifact, created)

    def get(self, digest: str) -> Artifact:
        """Return the row, or raise `NotFound` (`Invalid` for what is no digest)."""
        with self.begin() as work:
            return work.artifacts.get(str(Digest.parse(digest)))

    def open(self, digest: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return the bytes from `start` up to but without `end`, in pieces."""
        artifact = self.get(digest)
        return self.store.open(Digest.parse(artifact.digest), start=start, end=end)

    def remove(self, digest: str, *, actor: Actor, why: str = "") -> None:
        """Give an artifact up: `Conflict` while a version names it. Its file goes with `sweep`."""
        now = self.clock()
        with self.begin() as work:
            artifact = work.artifacts.get(str(Digest.parse(digest)))
            if pins := work.artifacts.pins(artifact.digest):
                raise Conflict(
                    f"{artifact.digest} is needed by {', '.join(pins[:5])}",
                    stands_in_the_way=pins[0],
                )
            work.artifacts.remove(artifact.digest)
            work.outbox.add(
                Event(
                    kind="artifact.removed",
                    subject=f"artifact:{artifact.digest}",
                    at=now,
                    actor=actor.name,
                    actor_kind=actor.kind,
                    why=why,
                )
            )
            work.commit()

    def sweep(self) -> int:
        """Remove files that are older than a day and have no row; return how many went."""

        def has_row(digest: Digest) -> bool:
            with self.begin() as work:
                return work.artifacts.find(str(digest)) is not None

        return self.store.sweep(before=self.clock() - DAY, keep=has_row)

    def _check_space(self, coming: int) -> None:
        if (free := self.store.free_space()) < self.reserve + coming:
            raise StorageUnavailable(
                f"the disk has {free // MIB:,} MiB left, and {self.reserve // MIB:,} MiB of it "
                "stay free: make room, then send it again",
                retry_after=60,
            )

    def _too_large(self) -> TooLarge:
        return TooLarge(f"an artifact has at most {self.limit:,} bytes")


def _check_kind(head: bytes) -> None:
    if why := why_refused(head):
        raise Unsupported(why)


def _check_complete(upload: Upload, expected: Digest | None, length: int | None) -> None:
    if length is not None and upload.size != length:
        raise Invalid.at("", f"{length:,} bytes were announced, {upload.size:,} came")
    if upload.size == 0:
        raise Invalid.at("", "there are no bytes in it")
    if expected is not None and upload.digest != expected:
        raise Invalid.at("", f"the digest should be {expected}, the bytes have {upload.digest}")
