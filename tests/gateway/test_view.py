"""What a gateway knows, and how it is kept over a restart."""

import os
from pathlib import Path
from typing import Any

import pytest

from headway.gateway.exchange import Prepared, Release, unusable
from headway.gateway.view import Compiler, View, ViewFile, empty_view
from headway.kernel.errors import Refused
from headway.testing.gateway import document, route_of

TARGET = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}


def prepare(release: Release) -> Prepared:
    if release.version == "6.6.6":
        raise Refused("the credential is not for this host")
    return unusable("")


COMPILER = Compiler(prepare, b"k" * 16)


def compiled(numbers: list[str], states: dict[str, str] | None = None, **more: Any) -> View:  # noqa: ANN401 - whatever the test says
    found = document(
        keys=[],
        versions={("Bot", number): TARGET for number in numbers},
        routes=[route_of("Bot", [("stable", numbers[0], 10_000)])],
        states={("Bot", number): state for number, state in (states or {}).items()},
        **more,
    )
    return COMPILER.compile(found)


def named(view: View, ref: str) -> str | None:
    found = view.release("bot", ref)
    return None if found is None else found[0].version


def test_names_are_found_without_regard_to_case() -> None:
    view = compiled(["1.0.0"], aliases={("Bot", "Champion"): "1.0.0"})
    assert view.served("PRODUCTION", "bOT") is not None
    assert view.served("staging", "bot") is None
    assert named(view, "CHAMPION") == "1.0.0"


def test_letters_that_only_fold_to_a_name_name_nobody() -> None:
    view = compiled(["1.0.0"], aliases={("Bot", "kind"): "1.0.0"})
    assert named(view, "KIND") == "1.0.0"
    assert named(view, "\N{KELVIN SIGN}ind") is None


@pytest.mark.parametrize("name", ["1.1.0", "latest"])
def test_no_alias_takes_the_place_of_a_number_or_of_the_latest(name: str) -> None:
    view = compiled(["1.0.0", "1.1.0"], aliases={("Bot", name): "1.0.0"})
    assert named(view, name) == "1.1.0"


def test_range_takes_the_highest_that_is_offered() -> None:
    view = compiled(
        ["1.0.0", "1.2.0", "1.3.0", "1.4.0-rc.1", "2.0.0"],
        {"1.3.0": "yanked", "2.0.0": "deprecated"},
    )
    assert named(view, "^1.0") == "1.2.0"
    assert named(view, ">=1") == "2.0.0"
    assert named(view, "latest") == "1.2.0"
    assert named(view, "1.3.0") == "1.3.0"
    assert named(view, "1.4.0-rc.1+build.7") == "1.4.0-rc.1"
    assert named(view, "^3") is None
    assert named(view, "") is None


def test_latest_is_a_pre_release_only_if_there_is_nothing_else() -> None:
    assert named(compiled(["1.0.0-rc.1", "1.0.0-rc.2"]), "latest") == "1.0.0-rc.2"
    assert named(compiled(["0.9.0", "1.0.0-rc.2"]), "latest") == "0.9.0"


def test_what_is_wrong_in_one_version_or_route_stays_there() -> None:
    found = document(
        keys=[],
        versions={("bot", "1.0.0"): TARGET, ("bot", "6.6.6"): TARGET, ("bot", "7.0.0"): {"x": 1}},
        routes=[
            route_of("bot", [("stable", "1.0.0", 5_000), ("candidate", "6.6.6", 5_000)]),
            route_of("short", [("stable", "1.0.0", 9_999)], id=2),
        ],
    )
    view = COMPILER.compile(found)
    served = view.served("production", "bot")
    assert served is not None
    assert [arm.prepared.fault for arm in served.arms] == [
        "",
        "the credential is not for this host",
    ]
    assert view.served("production", "short") is None
    assert len(view.problems) == 3


def test_arm_whose_version_is_missing_cannot_be_called() -> None:
    found = document(keys=[], versions={}, routes=[route_of("bot", [("stable", "1.0.0", 10_000)])])
    served = COMPILER.compile(found).served("production", "bot")
    assert served is not None
    assert "bot@1.0.0" in served.arms[0].prepared.fault


def test_pins_are_bound_to_model_and_environment() -> None:
    found = document(
        keys=[],
        versions={("a", "1.0.0"): TARGET, ("b", "1.0.0"): TARGET},
        routes=[
            route_of("a", [("stable", "1.0.0", 10_000)]),
            route_of("b", [("stable", "1.0.0", 10_000)], id=2),
            route_of("a", [("stable", "1.0.0", 10_000)], environment="staging", id=3),
        ],
    )
    view = COMPILER.compile(found)
    a, b, staging = (
        view.served(environment, model)
        for environment, model in (("production", "a"), ("production", "b"), ("staging", "a"))
    )
    assert a is not None
    assert b is not None
    assert staging is not None
    pin = COMPILER.pin(a.route, "1.0.0", 100)
    assert COMPILER.pinned(view, a, pin, 101) is a.arms[0]
    assert COMPILER.pinned(view, b, pin, 101) is None
    assert COMPILER.pinned(view, staging, pin, 101) is None
    later = pin.replace(".1540.", ".99999.")
    assert later != pin
    for odd in ("", ".", "1.1.0.0.", "1.9.1.0.0.", "x" * 500, pin[:-1], pin + "0", "é", later):
        assert COMPILER.pinned(view, a, odd, 101) is None


@pytest.fixture
def file(tmp_path: Path) -> ViewFile:
    return ViewFile(tmp_path / "run" / "view.json")


def test_file_gives_back_what_was_kept_and_is_for_its_owner_only(file: ViewFile) -> None:
    assert file.load() is None
    file.save({"generation": 3}, number=7)
    assert file.load() == ({"generation": 3}, 7)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert list(file.path.parent.iterdir()) == [file.path]


def test_torn_file_is_no_file(file: ViewFile) -> None:
    file.save({"generation": 3, "text": "some words"}, number=7)
    whole = file.path.read_bytes()
    for length in range(len(whole)):
        file.path.write_bytes(whole[:length])
        assert file.load() is None
    file.path.write_bytes(whole.replace(b"words", b"wards"))
    assert file.load() is None


def test_write_that_fails_leaves_the_old_file(
    file: ViewFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save({"generation": 3}, number=7)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.save({"generation": 4}, number=7)
    assert file.load() == ({"generation": 3}, 7)
    assert list(file.path.parent.iterdir()) == [file.path]


def test_empty_view_serves_nobody() -> None:
    view = empty_view()
    assert view.served("production", "bot") is None
    assert view.release("bot", "latest") is None
    assert view.generation == -1
