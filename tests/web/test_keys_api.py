"""Keys, as an administrator meets them."""

from typing import Any

import pytest
from tests.web.world import Api, MakeApi, World


def test_a_key_is_shown_once(admin: Api) -> None:
    made = admin("POST", "/keys", {"name": "ci", "role": "deployer", "models": ["bot-*"]})
    secret = made.get_json()["key"]
    assert made.status_code == 201
    assert secret.startswith(f"hw_{made.get_json()['id']}_")

    for path in (f"/keys/{made.get_json()['id']}", "/keys"):
        assert secret not in admin("GET", path).get_data(as_text=True)
    shown = admin.done("GET", made.headers["Location"].removeprefix("/api/v1"))
    assert (shown["role"], shown["models"]) == ("deployer", ["bot-*"])


def test_keys_are_listed_page_by_page_the_newest_first(admin: Api, world: World) -> None:
    for name in ("a", "b", "c"):
        world.now += 1
        admin.done("POST", "/keys", {"name": name, "role": "viewer"})
    first = admin.done("GET", "/keys?limit=2")
    second = admin.done("GET", f"/keys?limit=2&after={first['next']}")

    assert [k["name"] for k in first["items"] + second["items"]] == ["c", "b", "a", "admin"]
    assert second["next"] is None


def test_a_revoked_key_stays_in_the_list(admin: Api) -> None:
    made = admin.done("POST", "/keys", {"name": "ci", "role": "viewer"})
    revoked = admin.done("DELETE", f"/keys/{made['id']}")

    assert revoked["revoked_at"] == "2026-01-01T00:00:00.000Z"
    assert revoked["links"] == {}
    assert made["id"] in [key["id"] for key in admin.done("GET", "/keys")["items"]]


def test_nobody_gives_what_they_have_not(api: MakeApi) -> None:
    narrow = api("admin", models=("bot-*",))
    body = {"name": "wide", "role": "admin"}

    assert narrow("POST", "/keys", body).status_code == 403
    assert narrow("POST", "/keys", body | {"models": ["bot-a"]}).status_code == 201


def test_what_reaches_further_than_the_own_key_is_not_there(api: MakeApi, admin: Api) -> None:
    wide = admin.done("POST", "/keys", {"name": "wide", "role": "viewer"})
    narrow = api("admin", models=("bot-*",))

    assert narrow("GET", f"/keys/{wide['id']}").status_code == 404
    assert narrow("DELETE", f"/keys/{wide['id']}").status_code == 404
    assert wide["id"] not in [key["id"] for key in narrow.done("GET", "/keys")["items"]]


def test_the_last_admin_key_cannot_be_revoked(admin: Api) -> None:
    (only,) = admin.done("GET", "/keys")["items"]
    assert admin("DELETE", f"/keys/{only['id']}").status_code == 409


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "ci", "role": "deploier"}, "/role"),
        ({"name": "ci", "role": "viewer", "models": []}, "/models"),
        ({"name": "ci", "role": "viewer", "models": ["a/b"]}, "/models/0"),
        ({"name": "ci", "role": "viewer", "expires_at": "tomorrow"}, "/expires_at"),
        ({"name": "ci", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"name": "\n\x07", "role": "viewer"}, "/name"),
    ],
)
def test_a_wrong_key_is_refused_where_it_is_wrong(
    admin: Api, body: dict[str, Any], pointer: str
) -> None:
    answer = admin("POST", "/keys", body)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [pointer]


@pytest.mark.parametrize("role", ["viewer", "caller", "deployer"])
def test_only_administrators_see_keys(api: MakeApi, role: str) -> None:
    assert api(role)("GET", "/keys").status_code == 403
    assert api(role)("POST", "/keys", {"name": "x", "role": "viewer"}).status_code == 403
