"""Keys, as an administrator meets them."""

from typing import Any

import pytest
from tests.web.world import Api, MakeApi, World

from headway.tracking.measurement import Batch


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


# Paths and limits


def test_a_key_is_made_with_paths_and_limits_and_shows_them_everywhere(admin: Api) -> None:
    limits = {"requests_per_minute": 60, "concurrent_requests": 4, "usd_per_day": 2.5}
    body = {"name": "shop", "role": "caller", "paths": ["/v1/*"], "limits": limits}
    whole = {"tokens_per_minute": None, "usd_per_month": None, **limits}

    made = admin.done("POST", "/keys", body)

    (listed,) = (key for key in admin.done("GET", "/keys")["items"] if key["id"] == made["id"])
    for shown in (made, listed, admin.done("GET", f"/keys/{made['id']}")):
        assert shown["paths"] == ["/v1/*"]
        assert shown["limits"] == whole


def test_a_key_without_limits_has_none_and_may_call_every_path(admin: Api) -> None:
    made = admin.done("POST", "/keys", {"name": "shop", "role": "caller"})

    assert made["paths"] == ["*"]
    assert set(made["limits"].values()) == {None}
    assert admin.done("GET", f"/keys/{made['id']}")["use"] is None


def test_limits_are_changed_one_by_one(admin: Api) -> None:
    limits = {"requests_per_minute": 60, "usd_per_month": 100}
    made = admin.done("POST", "/keys", {"name": "shop", "role": "caller", "limits": limits})
    patch = {"limits": {"requests_per_minute": None, "tokens_per_minute": 5000}}

    changed = admin.done("PATCH", f"/keys/{made['id']}", patch)

    kept = {name: value for name, value in changed["limits"].items() if value is not None}
    assert kept == {"tokens_per_minute": 5000, "usd_per_month": 100.0}
    gone = admin.done("PATCH", f"/keys/{made['id']}", {"limits": None})
    assert set(gone["limits"].values()) == {None}


def test_a_change_of_what_somebody_else_changed_is_refused(admin: Api) -> None:
    made = admin("POST", "/keys", {"name": "shop", "role": "caller"})
    path, seen = f"/keys/{made.get_json()['id']}", {"If-Match": made.headers["ETag"]}

    first = admin("PATCH", path, {"paths": ["/v1/*"]}, headers=seen)
    second = admin("PATCH", path, {"paths": ["/v2/*"]}, headers=seen)

    assert (first.status_code, second.status_code) == (200, 412)
    assert admin("GET", path).headers["ETag"] == first.headers["ETag"] != made.headers["ETag"]


@pytest.mark.parametrize(
    ("limits", "pointer"),
    [
        ({"requests_per_minute": 0}, "/limits/requests_per_minute"),
        ({"requests_per_minute": 1.5}, "/limits/requests_per_minute"),
        ({"usd_per_day": -1}, "/limits/usd_per_day"),
        ({"usd_per_week": 1}, "/limits/usd_per_week"),
    ],
)
def test_a_wrong_limit_is_refused_where_it_is_wrong(
    admin: Api, limits: dict[str, Any], pointer: str
) -> None:
    body = {"name": "shop", "role": "caller", "limits": limits}
    answer = admin("POST", "/keys", body)

    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [pointer]


def test_a_key_shows_what_it_used_on_all_gateways_in_the_present_windows(
    admin: Api, world: World
) -> None:
    limits = {
        "requests_per_minute": 60,
        "concurrent_requests": 4,
        "usd_per_day": 2.5,
        "usd_per_month": 10,
    }
    made = admin.done("POST", "/keys", {"name": "shop", "role": "caller", "limits": limits})
    minute, key = world.now, made["id"]
    for boot, n in (("one", 3), ("two", 4)):
        used = {
            ("requests/minute", minute, key): n,
            ("requests/minute", minute - 60_000, key): 50,
            ("usd/day", minute, key): 600_000_000,
            ("usd/month", minute, key): 1_000_000_000,
            ("unpriced/month", minute, key): 1,
        }
        with world.begin() as work:
            work.gateways.start(boot=boot, host="h", pid=1)
            work.gateways.flush(
                Batch(
                    boot=boot,
                    seq=1,
                    applied_generation=1,
                    spender=boot,
                    windows=used,
                    under_way={key: 1},
                )
            )
            work.commit()

    use = admin.done("GET", f"/keys/{key}")["use"]

    assert use["requests_per_minute"] == {
        "used": 7,
        "limit": 60,
        "since": "2026-01-01T00:00:00.000Z",
        "until": "2026-01-01T00:01:00.000Z",
        "unpriced": 0,
    }
    assert use["tokens_per_minute"] is None
    assert (use["usd_per_day"]["used"], use["usd_per_day"]["unpriced"]) == (1.2, 0)
    assert (use["usd_per_month"]["used"], use["usd_per_month"]["unpriced"]) == (2.0, 2)
    assert use["usd_per_month"]["until"] == "2026-02-01T00:00:00.000Z"
    assert use["concurrent_requests"] == 2


def test_a_revoked_key_is_changed_no_more(admin: Api) -> None:
    made = admin.done("POST", "/keys", {"name": "shop", "role": "caller"})
    admin.done("DELETE", f"/keys/{made['id']}")

    assert admin("PATCH", f"/keys/{made['id']}", {"name": "x"}).status_code == 409


def test_a_key_is_never_used_before_it_was_made(admin: Api, world: World) -> None:
    world.now += 12_345
    made = admin.done("POST", "/keys", {"name": "shop", "role": "caller"})
    minute = world.now // 60_000 * 60_000
    with world.begin() as work:
        work.keys.used(made["id"], minute)
        work.commit()

    shown = admin.done("GET", f"/keys/{made['id']}")

    assert shown["last_used"] == made["created_at"]
