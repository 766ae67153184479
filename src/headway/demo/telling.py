"""What the story consists of, and how one chapter follows another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

ENDED: Final = frozenset({"succeeded", "rolled_back", "cancelled", "abandoned"})
_GOES_BACK: Final = frozenset({"rolling_back", "rollback_failed"})
_LOOKS: Final = 240


@dataclass(frozen=True, slots=True)
class Ending:
    """How a deployment ended, or stood when patience ended."""

    deployment: str
    state: str
    because: str
    seconds: float
    stable: str
    """The version that everybody got then, or `a mix`."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One deployment of the story, and how it is told to end."""

    version: str
    plan: str
    why: str
    ends: str
    stable_after: str

    def went_as_told(self, ending: Ending) -> bool:
        return (ending.state, ending.stable) == (self.ends, self.stable_after)


class Server(Protocol):
    """The REST API as it is needed here."""

    def get(self, path: str) -> Any: ...  # noqa: ANN401 - JSON

    def ask(self, path: str, body: Any) -> None: ...  # noqa: ANN401 - JSON


def in_order(chapters: Sequence[Chapter], deploy: Callable[[Chapter], Ending]) -> list[Ending]:
    """Deploy one after the other, as long as each ends as told: the next one builds on it."""
    endings = []
    for chapter in chapters:
        endings.append(deploy(chapter))
        if not chapter.went_as_told(endings[-1]):
            break
    return endings


def end_leftovers(server: Server, say: Callable[[str], None], pause: Callable[[], None]) -> None:
    """Have what an interrupted story left half-way go back: nobody will ever prove it."""
    left = server.get("/deployments?model=digits&state=active")["items"]
    for deployment in left:
        say(f"An earlier story stopped in the middle: {deployment['id']} goes back first.")
        path = f"/deployments/{deployment['id']}"
        if deployment["state"] not in _GOES_BACK:
            server.ask(f"{path}/abort", {"why": "the story was interrupted"})
        for _ in range(_LOOKS):
            if server.get(path)["state"] in ENDED:
                break
            pause()
