"""`loads`: every living runner can load the version's artifact and has warmed it.

The message asks for `{"check": "loads", "runtime", "artifact"}` on each runner, and is answered
by `{"ok", "detail"}`, with `"final": true` where the stored bytes are not those that were
uploaded. What runs elsewhere has nothing to load.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headway.deployments.checks import Answer
from headway.kernel.canonical import Json
from headway.registry.model import Version
from headway.registry.target import LocalTarget


@dataclass(frozen=True, slots=True)
class Loads:
    def ask(self, version: Version) -> Mapping[str, Json] | None:
        if not isinstance(version.target, LocalTarget):
            return None
        return {"runtime": version.target.runtime, "artifact": version.target.artifact}

    def read(self, answer: Json) -> Answer:
        return Answer.read(answer)


loads: Final = Loads()
