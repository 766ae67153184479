"""Models, versions and aliases, as a user's script meets them."""

from typing import Any

import pytest
from tests.web.world import Api, MakeApi, World
from werkzeug.test import TestResponse

OPENAI = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}


@pytest.fixture
def bot(admin: Api) -> Api:
    """A model with the versions 1.0.0, 1.1.0 and 2.0.0-rc.1."""
    admin.done("POST", "/models", {"name": "bot"})
    for number, upstream in (("1.0.0", "a"), ("1.1.0", "b"), ("2.0.0-rc.1", "c")):
        body = {"version": number, "target": OPENAI | {"model": upstream}}
        admin.done("POST", "/models/bot/versions", body)
    return admin


def test_a_model_is_found_where_its_answer_said(admin: Api) -> None:
    made = admin("POST", "/models", {"name": "Bot", "tags": {"team": "search"}})
    shown = admin("GET", made.headers["Location"].removeprefix("/api/v1"))

    assert made.status_code == 201
    assert shown.get_json() == made.get_json()
    assert shown.headers["ETag"] == made.headers["ETag"] == '"1"'
    assert shown.get_json()["created_at"] == "2026-01-01T00:00:00.000Z"


def test_a_model_shows_what_can_be_done_next_by_this_caller(bot: Api, api: MakeApi) -> None:
    assert {"versions", "register", "archive", "change"} == set(
        bot.done("GET", "/models/bot")["links"]
    )
    assert set(api("viewer").done("GET", "/models/bot")["links"]) == {"versions"}
    bot.done("DELETE", "/models/bot")
    assert "archive" not in bot.done("GET", "/models/bot")["links"]


@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ({}, []),
        (
            {"credential": "lab-7"},
            ["HEADWAY_SECRET_LAB_7", "HEADWAY_SECRET_LAB_7_HOSTS=api.example.com"],
        ),
        (
            {"credential": "openai"},
            ["HEADWAY_SECRET_OPENAI", "HEADWAY_SECRET_OPENAI_HOSTS=api.example.com"],
        ),
        (
            {"credential": "openai", "base_url": "https://eu.api.openai.com/v1"},
            ["HEADWAY_SECRET_OPENAI"],
        ),
    ],
)
def test_who_registers_a_version_is_told_what_gateways_need_for_it(
    admin: Api, more: dict[str, str], needs: list[str]
) -> None:
    admin.done("POST", "/models", {"name": "bot"})
    body = {"version": "1.0.0", "target": OPENAI | more}
    assert admin.done("POST", "/models/bot/versions", body)["needs"] == needs
    assert admin.done("GET", "/models/bot/versions/1.0.0")["needs"] == needs


def test_a_merge_patch_changes_what_it_names(admin: Api) -> None:
    admin.done("POST", "/models", {"name": "bot", "tags": {"a": "1", "b": "2"}})
    changed = admin.done(
        "PATCH",
        "/models/bot",
        {"tags": {"a": None, "c": "3"}},
        headers={"Content-Type": "application/merge-patch+json"},
    )

    assert changed["tags"] == {"b": "2", "c": "3"}
    assert changed["revision"] == 2


def test_a_change_of_an_older_revision_is_refused(admin: Api) -> None:
    admin.done("POST", "/models", {"name": "bot"})
    head = {"If-Match": '"1"'}
    admin.done("PATCH", "/models/bot", {"description": "mine"}, headers=head)
    late = admin("PATCH", "/models/bot", {"description": "yours"}, headers=head)

    assert late.status_code == 412
    assert admin.done("GET", "/models/bot")["description"] == "mine"
    bad = admin("PATCH", "/models/bot", {"description": "x"}, headers={"If-Match": "two"})
    assert (bad.status_code, bad.get_json()["errors"][0]["pointer"]) == (422, "If-Match")


def test_a_patch_with_a_typo_names_the_right_word(bot: Api) -> None:
    answer = bot("PATCH", "/models/bot/versions/1.0.0", {"stat": "retired"})
    assert answer.status_code == 422
    assert "did you mean 'state'?" in answer.get_json()["detail"]


def test_models_are_listed_page_by_page(admin: Api) -> None:
    for name in ("a", "b", "c", "d", "e"):
        admin.done("POST", "/models", {"name": name})
    seen, after = [], ""
    while True:
        page = admin.done("GET", f"/models?limit=2{after}")
        seen += [model["name"] for model in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"

    assert seen == ["a", "b", "c", "d", "e"]


def test_models_are_found_by_tag_and_word(admin: Api) -> None:
    admin.done("POST", "/models", {"name": "a", "tags": {"team": "search"}})
    admin.done("POST", "/models", {"name": "b", "description": "answers mail"})

    def found(query: str) -> list[str]:
        return [m["name"] for m in admin.done("GET", f"/models?{query}")["items"]]

    assert found("tag=team:search") == ["a"]
    assert found("tag=team:sales") == []
    assert found("q=mail") == ["b"]
    admin.done("DELETE", "/models/a")
    assert found("") == ["b"]
    assert found("archived=any") == ["a", "b"]


def test_the_same_version_again_is_the_stored_one(bot: Api) -> None:
    body = {"version": "1.0.0", "target": OPENAI | {"model": "a"}, "description": "again"}
    again = bot("POST", "/models/bot/versions", body)
    other = bot("POST", "/models/bot/versions", body | {"target": OPENAI | {"model": "z"}})

    assert again.status_code == 200
    assert again.get_json()["description"] == ""
    assert other.status_code == 409
    assert other.get_json()["stands_in_the_way"] == "bot@1.0.0"


@pytest.mark.parametrize(
    ("ref", "number"),
    [
        ("1.0.0", "1.0.0"),
        ("latest", "1.1.0"),
        ("%5E1.0", "1.1.0"),
        ("~1.0", "1.0.0"),
        (">=1%20%3C2", "1.1.0"),
        ("1.x%20||%203", "1.1.0"),
        ("champion", "1.0.0"),
    ],
)
def test_a_version_is_found_by_number_alias_and_range(bot: Api, ref: str, number: str) -> None:
    bot.done("PUT", "/models/bot/aliases/champion", {"version": "1.0.0"})
    assert bot.done("GET", f"/models/bot/versions/{ref}")["version"] == number


def test_build_metadata_is_kept_in_the_number(bot: Api) -> None:
    body = {"version": "3.0.0+build.5", "target": OPENAI}
    made = bot("POST", "/models/bot/versions", body)

    assert made.headers["Location"].endswith("/3.0.0+build.5")
    assert bot.done("GET", "/models/bot/versions/3.0.0%2Bbuild.5")["version"] == "3.0.0+build.5"


def test_versions_are_listed_by_precedence_and_range(bot: Api) -> None:
    def numbers(query: str) -> list[str]:
        items = bot.done("GET", f"/models/bot/versions?{query}")["items"]
        return [item["version"] for item in items]

    assert numbers("") == ["2.0.0-rc.1", "1.1.0", "1.0.0"]
    assert numbers("order=precedence") == ["1.0.0", "1.1.0", "2.0.0-rc.1"]
    assert numbers("range=^1.0") == ["1.1.0", "1.0.0"]
    assert bot("GET", "/models/bot/versions?range=a.b").status_code == 422


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"version": "1.2", "target": OPENAI}, "/version", "did you mean 1.2.0?"),
        ({"target": OPENAI}, "/version", "bump"),
        ({"version": "1.2.0"}, "/target", "is missing"),
        ({"bump": "mayor", "target": OPENAI}, "/bump", "'major'"),
        ({"version": "1.2.0", "target": OPENAI | {"modle": 1}}, "/target/modle", "'model'"),
        ({"version": "1.2.0", "target": {"runtime": "onx"}}, "/target/artifact", "missing"),
        ({"version": "1.2.0", "target": OPENAI, "tag": {}}, "/tag", "'tags'"),
        (
            {"version": "1.2.0", "target": OPENAI | {"credential": "sk-123"}},
            "/target/credential",
            "",
        ),
    ],
)
def test_a_wrong_version_names_place_and_word(
    bot: Api, body: dict[str, Any], pointer: str, said: str
) -> None:
    answer = bot("POST", "/models/bot/versions", body)
    faults = {f["pointer"]: f["detail"] for f in answer.get_json()["errors"]}

    assert answer.status_code == 422
    assert said in faults[pointer]
    assert "sk-123" not in answer.get_data(as_text=True)


def test_a_version_that_is_yanked_says_why(bot: Api) -> None:
    path = "/models/bot/versions/1.1.0"
    assert bot("PATCH", path, {"state": "yanked"}).status_code == 422
    yanked = bot.done("PATCH", path, {"state": "yanked", "reason": "leaks"})

    assert (yanked["state"], yanked["reason"]) == ("yanked", "leaks")
    assert "deploy" not in yanked["links"]
    assert bot.done("GET", "/models/bot")["latest"] == "1.0.0"


def test_an_alias_is_made_freely_and_moved_by_who_saw_it(bot: Api) -> None:
    path = "/models/bot/aliases/champion"
    made = bot("PUT", path, {"version": "1.0.0"})
    blind = bot("PUT", path, {"version": "1.1.0"})
    moved = bot("PUT", path, {"version": "1.1.0", "why": "better"}, headers={"If-Match": '"1"'})
    late = bot("PUT", path, {"version": "1.0.0"}, headers={"If-Match": '"1"'})

    statuses = [answer.status_code for answer in (made, blind, moved, late)]
    assert statuses == [201, 428, 200, 412]
    assert made.headers["Location"].endswith(path)
    assert [c["version"] for c in moved.get_json()["history"]] == ["1.1.0", "1.0.0"]
    assert bot.done("GET", "/models/bot")["aliases"] == {"champion": "1.1.0"}


def test_any_revision_is_moved_by_a_star(bot: Api) -> None:
    path = "/models/bot/aliases/champion"
    bot.done("PUT", path, {"version": "1.0.0"})
    bot.done("PUT", path, {"version": "1.1.0"}, headers={"If-Match": "*"})
    assert (
        bot("PUT", path, {"version": "1.1.0"}, headers={"If-None-Match": "*"}).status_code == 412
    )
    assert bot("DELETE", path, headers={"If-Match": "*"}).status_code == 204
    assert bot("GET", path).status_code == 404


def test_an_alias_tells_what_it_pointed_to(bot: Api, world: World) -> None:
    path = "/models/bot/aliases/champion"
    bot.done("PUT", path, {"version": "1.0.0"})
    world.now += 60_000
    bot.done("PUT", path, {"version": "1.1.0"}, headers={"If-Match": '"1"'})

    def at(time: str) -> TestResponse:
        return bot("GET", f"{path}?at={time}")

    assert at("2026-01-01T00:00:30Z").get_json()["version"] == "1.0.0"
    assert at("2026-01-01T02:00:00%2B01:00").get_json()["version"] == "1.1.0"
    assert at("2025-12-31T23:59:59Z").status_code == 404
    assert at("yesterday").status_code == 422
    assert at("0001-01-01T00:00:00%2B23:59").status_code == 422


@pytest.mark.parametrize("year", ["0001", "0999", "9999"])
def test_a_time_is_shown_with_the_four_digits_of_its_year(bot: Api, year: str) -> None:
    asked = {"state": "deprecated", "sunset": f"{year}-12-31T22:59:59.5-01:00"}
    shown = bot.done("PATCH", "/models/bot/versions/1.0.0", asked)

    assert shown["sunset"] == f"{year}-12-31T23:59:59.500Z"


def test_no_alias_reads_as_a_version(bot: Api) -> None:
    for name in ("latest", "1.0.0", "v2", "2.x"):
        assert bot("PUT", f"/models/bot/aliases/{name}", {"version": "1.0.0"}).status_code == 422
