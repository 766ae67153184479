"""A key is shown once; a session stands for it, until it ends."""

import pytest
from tests.dashboard.world import OURS, Browser, Desk

from headway.kernel.clock import HOUR, MINUTE


def test_who_is_not_logged_in_is_asked_for_a_key(desk: Desk) -> None:
    answer = desk.browser().get("/")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


@pytest.mark.parametrize("path", ["/parts", "/live"])
def test_what_the_page_asks_for_itself_is_told_plainly(desk: Desk, path: str) -> None:
    assert desk.browser().get(path).status_code == 401


def test_on_this_machine_the_cookie_is_plain_and_out_of_reach_of_scripts(desk: Desk) -> None:
    answer = desk.browser().log_in(desk.key("viewer"))

    cookie = answer.headers.getlist("Set-Cookie")[0]
    assert cookie.startswith("headway=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


def test_elsewhere_the_cookie_goes_over_https_alone(desk: Desk) -> None:
    browser = Browser(desk.app.test_client(), "https://headway.example.com")

    answer = browser.log_in(desk.key("viewer"), {"Origin": "https://headway.example.com"})

    cookie = answer.headers.getlist("Set-Cookie")[0]
    assert cookie.startswith("__Host-headway=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert browser.get("/").status_code == 200


def test_elsewhere_a_page_over_plain_http_is_none_of_ours(desk: Desk) -> None:
    browser = Browser(desk.app.test_client(), "https://headway.example.com")

    answer = browser.log_in(desk.key("viewer"), {"Origin": "http://headway.example.com"})

    assert answer.status_code == 403


def test_a_key_that_does_not_work_opens_nothing(desk: Desk) -> None:
    browser = desk.browser()
    key = desk.key("viewer")

    answer = browser.log_in(key[:-1] + ("y" if key.endswith("x") else "x"))

    assert answer.status_code == 401
    assert "No key that works" in answer.text
    assert browser.get("/").status_code == 303


def test_who_guesses_has_to_wait(desk: Desk) -> None:
    browser = desk.browser()
    for _ in range(20):
        browser.log_in("hw_guess")

    answer = browser.log_in(desk.key("viewer"))

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_key_that_may_only_call_models_may_not_look(desk: Desk) -> None:
    answer = desk.browser().log_in(desk.key("caller"))

    assert answer.status_code == 403
    assert "role caller" in answer.text


def test_the_value_of_the_cookie_is_not_kept(desk: Desk) -> None:
    value = desk.browser("viewer").cookie("headway")

    assert len(value) == 43
    assert value not in repr(desk.delivery.store.tables)


def test_each_login_has_a_value_of_its_own_and_ends_the_one_before(desk: Desk) -> None:
    browser = desk.browser("viewer")
    before = browser.cookie("headway")

    browser.log_in(desk.key("deployer"))

    assert browser.cookie("headway") != before
    browser.http.set_cookie("headway", before, domain="localhost")
    assert browser.get("/").status_code == 303


def test_who_logs_out_is_out(desk: Desk) -> None:
    browser = desk.browser("viewer")
    value = browser.cookie("headway")

    browser.send("/logout")

    browser.http.set_cookie("headway", value, domain="localhost")
    assert browser.get("/").status_code == 303


def test_a_session_that_nobody_uses_ends_after_an_hour(desk: Desk) -> None:
    browser = desk.browser("viewer")
    desk.later(59 * MINUTE)
    assert browser.get("/").status_code == 200
    desk.later(59 * MINUTE)
    assert browser.get("/").status_code == 200
    desk.later(61 * MINUTE)

    assert browser.get("/").status_code == 303


def test_a_page_that_looks_by_itself_is_no_use(desk: Desk) -> None:
    browser = desk.browser("viewer")
    desk.later(31 * MINUTE)
    assert browser.get("/parts").status_code == 200
    desk.later(31 * MINUTE)

    assert browser.get("/parts").status_code == 401


def test_a_page_that_somebody_touched_is_used(desk: Desk) -> None:
    browser = desk.browser("viewer")
    desk.later(31 * MINUTE)
    assert browser.get("/parts?used=yes").status_code == 200
    desk.later(31 * MINUTE)

    assert browser.get("/parts").status_code == 200


def test_a_session_ends_after_twelve_hours_however_much_it_is_used(desk: Desk) -> None:
    browser = desk.browser("viewer")
    for _ in range(23):
        desk.later(31 * MINUTE)
        assert browser.get("/").status_code == 200
    desk.later(HOUR // 2)

    assert browser.get("/").status_code == 303


def test_a_revoked_key_takes_its_sessions_along(desk: Desk) -> None:
    desk.key("admin")
    key = desk.key("deployer")
    browser = desk.browser()
    browser.log_in(key)
    assert browser.get("/").status_code == 200

    desk.keys.revoke_on_machine(key[3:11])

    assert browser.get("/").status_code == 303


def test_no_other_site_logs_anybody_in(desk: Desk) -> None:
    answer = desk.browser().log_in(desk.key("viewer"), {"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 403


def test_a_login_form_of_another_browser_is_refused(desk: Desk) -> None:
    token = desk.browser().token("/login")

    answer = desk.browser().post("/login", {"key": desk.key("viewer"), "token": token}, OURS)

    assert answer.status_code == 403


def test_pages_say_what_a_browser_may_do_with_them(desk: Desk) -> None:
    answer = desk.browser("viewer").get("/")

    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


def test_pages_are_no_part_of_the_api(desk: Desk) -> None:
    paths = desk.app.test_client().get("/api/v1/openapi.json").get_json()["paths"]

    assert not {"/", "/login", "/parts", "/live"} & paths.keys()
