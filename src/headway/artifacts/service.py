"""What people ask of artifacts: take bytes in, give them out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from headway.artifacts.artifact import MIB, RESERVE, Artifact, Corrupt, Digest, corrupt_words
from headway.artifacts.ports import Begin, Store, Upload, Work
from headway.artifacts.refusal import HEAD, why_refused
from headway.kernel.canonical import Json
from headway.kernel.clock import DAY, Clock
from headway.kernel.errors import Conflict, Invalid, StorageUnavailable, TooLarge, Unsupported
from headway.outbox.actor import HEADWAY, Actor
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
                    _event("artifact.stored", str(digest), actor, now, detail={"size": size})
                )
                work.commit()
            elif artifact.corrupt_at is not None:
                artifact = _mark(work, artifact, None, actor, now)
                work.commit()
        return Stored(artifact, created)

    def get(self, digest: str) -> Artifact:
        """Return the row, or raise `NotFound` (`Invalid` for what is no digest)."""
        with self.begin() as work:
            return work.artifacts.get(str(Digest.parse(digest)))

    def open(self, digest: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return the bytes from `start` up to but without `end`, in pieces.

        All of them are hashed on their way: those that are not the artifact's end in `Corrupt`
        before the last piece, and so does a file that is known to be corrupt, at once. Of a part
        nobody can say whether it is right.
        """
        artifact = self.get(digest)
        name = Digest.parse(artifact.digest)
        if (start, end or artifact.size) != (0, artifact.size):
            return self.store.open(name, start=start, end=end)
        if artifact.corrupt_at is not None:
            raise Corrupt(corrupt_words(artifact.digest))
        return self._checked(name, self.store.open(name))

    def _checked(self, digest: Digest, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Hold each piece back until the next is there, and the last one until all is right."""
        seen, held = sha256(), b""
        for piece in pieces:
            seen.update(piece)
            if held:
                yield held
            held = piece
        if seen.hexdigest() != digest.hex:
            self.look_again(str(digest))
            raise Corrupt(corrupt_words(str(digest)))
        yield held

    def remove(
        self,
        digest: str,
        *,
        actor: Actor,
        why: str = "",
        sees: Callable[[str], bool] = lambda _model: True,
    ) -> None:
        """Give an artifact up: `Conflict` while a version names it. Its file goes with `sweep`.

        `sees`: of which models the asker may learn that they need it.
        """
        now = self.clock()
        with self.begin() as work:
            artifact = work.artifacts.get(str(Digest.parse(digest)))
            if pins := work.artifacts.pins(artifact.digest):
                seen = [pin for pin in pins if sees(pin.rpartition("@")[0])]
                others = f"{len(pins) - len(seen)} versions of other models"
                raise Conflict(
                    f"{artifact.digest} is needed by {', '.join(seen[:5]) or others}",
                    stands_in_the_way=seen[0] if seen else None,
                )
            work.artifacts.remove(artifact.digest)
            work.outbox.add(_event("artifact.removed", artifact.digest, actor, now, why=why))
            work.commit()

    def look_again(self, digest: str) -> Artifact | None:
        """Hash what is stored under a digest, and mark it as corrupt or as mended.

        Asked when a runner refused the bytes: what holds is what is found here, in the one place
        to which they are uploaded. None: no artifact has that digest.
        """
        with self.begin() as work:
            artifact = work.artifacts.find(digest)
        if artifact is None:
            return None
        whole = self.store.whole(Digest.parse(digest))  # may take seconds: in no transaction
        if whole is (artifact.corrupt_at is None):
            return artifact
        now = self.clock()
        with self.begin() as work:
            artifact = _mark(work, artifact, None if whole else now, HEADWAY, now)
            work.commit()
        return artifact

    def is_corrupt(self, digest: str, *, doubted: bool = False) -> bool:
        """Say whether an artifact is corrupt; of what is, or is doubted, the bytes are hashed."""
        with self.begin() as work:
            artifact = work.artifacts.find(digest)
        if artifact is not None and (doubted or artifact.corrupt_at is not None):
            artifact = self.look_again(digest)
        return artifact is not None and artifact.corrupt_at is not None

    def look_at_corrupt(self) -> int:
        """Look again at all that are marked; return how many were mended, by whatever means."""
        with self.begin() as work:
            marked = work.artifacts.corrupt()
        found = [self.look_again(digest) for digest in marked]
        return sum(artifact is not None and artifact.corrupt_at is None for artifact in found)

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


def _mark(
    work: Work, artifact: Artifact, corrupt_at: int | None, actor: Actor, now: int
) -> Artifact:
    """Mark an artifact, and tell of it and of every version that needs it; once."""
    if work.artifacts.mark(artifact.digest, corrupt_at):
        verb = "mended" if corrupt_at is None else "corrupt"
        digest = artifact.digest
        why = "" if corrupt_at is None else corrupt_words(digest)
        work.outbox.add(_event(f"artifact.{verb}", digest, actor, now, why=why))
        for version in work.artifacts.pins(digest):
            told = _event(f"version.{verb}", digest, actor, now, why=why)
            model = version.rpartition("@")[0]
            work.outbox.add(
                replace(
                    told, subject=f"version:{version}", model=model, detail={"artifact": digest}
                )
            )
    return work.artifacts.find(artifact.digest) or replace(artifact, corrupt_at=corrupt_at)


def _event(
    kind: str, digest: str, actor: Actor, at: int, *, why: str = "", detail: Json = None
) -> Event:
    return Event(
        kind=kind,
        subject=f"artifact:{digest}",
        at=at,
        actor=actor.name,
        actor_kind=actor.kind,
        why=why,
        detail=detail,
    )


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
