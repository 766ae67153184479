"""What runners keep in memory: told every few seconds, and to one that starts anew at once."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from headway.adapters.runners import Runners
from headway.artifacts.service import ArtifactService
from headway.registry.ports import Versions
from headway.registry.target import LocalTarget
from headway.registry.version import SemVer
from headway.snapshots.ports import Snapshots

_EVERY: Final = 5.0


class Work(Protocol):
    @property
    def snapshots(self) -> Snapshots: ...
    @property
    def versions(self) -> Versions: ...

    def now(self) -> int:
        """Return the store's own time, milliseconds UTC."""


@dataclass(slots=True)
class Pins:
    """Have the runners keep what a route serves, or a snapshot may bring back."""

    begin: Callable[[], AbstractContextManager[Work]]
    runners: Runners
    artifacts: ArtifactService
    corrupt: Callable[[str], object]
    """Told the digest of what is not what it says, as often as a runner meets it."""
    monotonic: Callable[[], float] = time.monotonic
    _born: tuple[object, ...] = ()
    """Of the runners that were told."""
    _due: float = 0.0

    def look(self) -> None:
        """Tell them if it is time, or if one of them is new and knows nothing."""
        born = self.runners.born()
        now = self.monotonic()
        if now >= self._due or born != self._born:
            self._born, self._due = born, now + _EVERY
            self._tell()

    def _tell(self) -> None:
        with self.begin() as work:
            pinned = work.snapshots.warm_versions(now=work.now())
            targets = [work.versions.get(model, SemVer.parse(v)).target for model, v in pinned]
        kept = {target.artifact for target in targets if isinstance(target, LocalTarget)}
        for digest in self.runners.pin(sorted(kept)):
            found = self.artifacts.look_again(digest)
            if found is not None and found.corrupt_at is not None:
                self.corrupt(digest)
