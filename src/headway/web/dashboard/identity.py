"""Who sits at the browser: a cookie for a session, and forms that only our own pages can send.

A form is taken if the browser says that a page of ours sent it, and if it carries the session's
token. Browsers leave `Origin` empty on forms of pages with `Referrer-Policy: no-referrer`, so
`Sec-Fetch-Site` is asked first; no script can set it.
"""

import hmac
import secrets
from contextlib import suppress
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from flask import Response, g, request

from headway.auth.policy import Caller
from headway.auth.session import LONGEST
from headway.kernel.clock import SECOND
from headway.kernel.errors import Contended, Forbidden, Unavailable
from headway.web.operation import services
from headway.web.transaction import only_reading

_READS: Final = frozenset({"GET", "HEAD"})
_SESSION: Final = "headway"
_LOGIN: Final = "headway-login"
_LOGIN_LASTS_S: Final = 900


def by_session() -> Caller:
    """Return whose session the cookie is, or raise; a change must come from a form of ours."""
    value = request.cookies.get(_name(_SESSION), "")
    found = services().sessions.authenticate(value)
    if request.method not in _READS:
        check_form(services().sessions.token(value))
    g.session = value
    return found


def used() -> None:
    """Note that a person did something just now; what the page does by itself is no use."""
    # A database that takes no writes for a moment must not keep anybody from looking.
    with suppress(Contended, Unavailable), only_reading(wanted=False):
        services().sessions.used(g.session)


def session() -> str:
    """Return the value of the session of this request."""
    value: str = g.session
    return value


def token() -> str:
    """Return what the forms of this session carry."""
    return services().sessions.token(session())


def begin_session(answer: Response, caller: Caller) -> None:
    """Give the browser a new session; the one that it had ends."""
    old = request.cookies.get(_name(_SESSION))
    with only_reading(wanted=False):
        value = services().sessions.open(caller, instead_of=old)
    _set(answer, _SESSION, value, seconds=LONGEST // SECOND, same_site="Lax")
    answer.delete_cookie(_name(_LOGIN), path="/", secure=not _at_home(), httponly=True)


def end_session(answer: Response) -> None:
    services().sessions.close(session())
    answer.delete_cookie(_name(_SESSION), path="/", secure=not _at_home(), httponly=True)


def begin_login(answer: Response, value: str) -> None:
    """Have the browser hold what the token of the form is made from."""
    _set(answer, _LOGIN, value, seconds=_LOGIN_LASTS_S, same_site="Strict")


def login_value() -> str:
    return request.cookies.get(_name(_LOGIN)) or secrets.token_urlsafe(32)


def login_token(value: str) -> str:
    return services().sessions.token(f"login {value}")


def check_login_form() -> None:
    check_form(login_token(request.cookies.get(_name(_LOGIN), "")))


def check_form(wanted: str) -> None:
    """Raise `Forbidden` for a form that no page of ours sent."""
    if not _sent_by_us():
        raise Forbidden(
            "this form was not sent by a page of Headway; if it was, something on the way changes "
            "the field Host: pass it on as the browser sent it"
        )
    if not hmac.compare_digest(request.form.get("token", "").encode(), wanted.encode()):
        raise Forbidden("this form is of an older page: load the page again, then send it")


def _sent_by_us() -> bool:
    if (site := request.headers.get("Sec-Fetch-Site")) is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("Origin", ""))
    schemes = {"http", "https"} if _at_home() else {"https"}
    return origin.scheme in schemes and origin.netloc == request.host


def _at_home() -> bool:
    """Say whether the browser runs on this machine, where plain HTTP is safe."""
    host = urlsplit(f"//{request.host}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(cookie: str) -> str:
    return cookie if _at_home() else f"__Host-{cookie}"


def _set(answer: Response, cookie: str, value: str, *, seconds: int, same_site: str) -> None:
    answer.set_cookie(
        _name(cookie),
        value,
        max_age=seconds,
        path="/",
        secure=not _at_home(),
        httponly=True,
        samesite=same_site,
    )
