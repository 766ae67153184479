"""Rows of artifacts, and who needs them."""

from collections.abc import Sequence
from dataclasses import replace

from headway.artifacts.artifact import Artifact
from headway.kernel.errors import Conflict
from headway.registry.target import LocalTarget
from headway.testing.memory.tables import Repository, required


class MemoryArtifacts(Repository):
    def add(self, artifact: Artifact) -> bool:
        if self._t.artifacts.get(artifact.digest) is not None:
            return False
        self._t.artifacts.put(artifact.digest, artifact)
        return True

    def get(self, digest: str) -> Artifact:
        return required(self.find(digest), f"artifact {digest}")

    def find(self, digest: str) -> Artifact | None:
        return self._t.artifacts.get(digest)

    def pins(self, digest: str) -> Sequence[str]:
        return [
            f"{one.model}@{one.number}"
            for one in sorted(self._t.versions.all(), key=lambda one: one.id)
            if isinstance(one.target, LocalTarget) and one.target.artifact == digest
        ]

    def mark(self, digest: str, corrupt_at: int | None) -> bool:
        artifact = self.find(digest)
        if artifact is None or (artifact.corrupt_at is None) is (corrupt_at is None):
            return False
        self._t.artifacts.put(digest, replace(artifact, corrupt_at=corrupt_at))
        return True

    def corrupt(self) -> Sequence[str]:
        return sorted(one.digest for one in self._t.artifacts.all() if one.corrupt_at is not None)

    def remove(self, digest: str) -> None:
        self.get(digest)
        if pins := self.pins(digest):
            raise Conflict(f"{pins[0]} needs the artifact {digest}", stands_in_the_way=pins[0])
        self._t.artifacts.put(digest, None)
