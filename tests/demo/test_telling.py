"""The story goes on where an interrupted one stopped, and stops where one went wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headway.demo.telling import Chapter, Ending, end_leftovers, in_order

CHAPTERS = tuple(
    Chapter(version, "", "", ends, stable)
    for version, ends, stable in (
        ("1.0.0", "succeeded", "1.0.0"),
        ("1.1.0", "succeeded", "1.1.0"),
        ("2.0.0", "rolled_back", "1.1.0"),
    )
)


def ending(state: str, stable: str) -> Ending:
    return Ending("dep_1", state, "because it is so", 3.0, stable)


AS_TOLD = {chapter.version: ending(chapter.ends, chapter.stable_after) for chapter in CHAPTERS}


@dataclass
class History:
    """The deployments of a server; one that is aborted is rolled back at the second look."""

    states: dict[str, str]
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    looks: int = 0

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        if path.startswith("/deployments?"):
            assert "state=active" in path
            assert "model=digits" in path
            active = [d for d, state in self.states.items() if state != "succeeded"]
            return {"items": [{"id": d, "state": self.states[d]} for d in active], "next": None}
        self.looks += 1
        deployment = path.removeprefix("/deployments/")
        if self.looks >= 2:
            self.states[deployment] = "rolled_back"
        return {"id": deployment, "state": self.states[deployment]}

    def ask(self, path: str, body: Mapping[str, str]) -> None:
        self.asked.append((path, body))
        self.states[path.split("/")[2]] = "rolling_back"


def test_what_an_interrupted_story_left_is_ended_before_the_next_begins() -> None:
    server, told = History({"dep_1": "succeeded", "dep_2": "running"}), list[str]()

    end_leftovers(server, told.append, pause=lambda: None)

    assert server.states == {"dep_1": "succeeded", "dep_2": "rolled_back"}
    ((path, body),) = server.asked
    assert path == "/deployments/dep_2/abort"
    assert body["why"]
    assert "dep_2" in told[0]


def test_what_goes_back_already_is_only_waited_for() -> None:
    server = History({"dep_2": "rolling_back"})

    end_leftovers(server, lambda _: None, pause=lambda: None)

    assert server.asked == []
    assert server.states == {"dep_2": "rolled_back"}


def test_a_first_story_finds_nothing_to_end() -> None:
    server, told = History({}), list[str]()

    end_leftovers(server, told.append, pause=lambda: None)

    assert (server.asked, told) == ([], [])


def test_chapters_follow_one_another() -> None:
    endings = in_order(CHAPTERS, lambda chapter: AS_TOLD[chapter.version])

    assert endings == list(AS_TOLD.values())


def test_nothing_is_built_on_a_chapter_that_did_not_end_as_told() -> None:
    went = {**AS_TOLD, "1.1.0": ending("running", "a mix")}

    endings = in_order(CHAPTERS, lambda chapter: went[chapter.version])

    assert endings == [AS_TOLD["1.0.0"], went["1.1.0"]]


def test_an_ending_with_the_wrong_version_in_charge_is_not_as_told() -> None:
    assert CHAPTERS[2].went_as_told(ending("rolled_back", "1.1.0"))
    assert not CHAPTERS[2].went_as_told(ending("rolled_back", "1.0.0"))
    assert not CHAPTERS[2].went_as_told(ending("succeeded", "1.1.0"))
