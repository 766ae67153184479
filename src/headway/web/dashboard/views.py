"""The page, its live part, and what may be done from it."""

import hashlib
import time
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

from flask import Blueprint, Response, redirect, request
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import Field

from headway.auth.policy import check
from headway.auth.role import Permission
from headway.deployments.deployment import ACTIVE
from headway.deployments.forecast import duration_words
from headway.deployments.intent import Verb
from headway.kernel.errors import (
    Conflict,
    Forbidden,
    HeadwayError,
    Invalid,
    NotFound,
    Unauthenticated,
)
from headway.snapshots.snapshot import PREVIOUS
from headway.web import errors
from headway.web.dashboard import identity, page, words
from headway.web.live import Finished, Said
from headway.web.operation import (
    FORM,
    caller,
    client_address,
    operation,
    services,
    state,
)
from headway.web.schemas import Body, FreeText, Name, Query, dumps, shaped
from headway.web.transaction import only_reading

bp: Final = Blueprint("dashboard", __name__)

POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
_HTML: Final = "text/html; charset=utf-8"
_MOVING_S: Final = 2.0
"""How often the page is told to look while something moves."""
_QUIET_S: Final = 10.0
_CHECK_S: Final = 5.0
"""How often a page that is followed is asked whether its session still stands."""
_BY_ITSELF: Final = frozenset({"dashboard.parts", "dashboard.live"})
"""What the page asks for, not a person: these are told plainly that a session ended."""

_pages: Final = Environment(
    loader=PackageLoader("headway.web.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.filters.update(
    share=words.share,
    rate=words.rate,
    count=words.count,
    times=words.times,
    grown=words.grown,
    ms=words.milliseconds,
    moment=words.moment,
    state=words.state,
    lasting=duration_words,
)
_pages.globals.update(interval=words.interval)

_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FILES: Final = {
    entry.name: entry.read_bytes()
    for entry in files("headway.web.dashboard").joinpath("static").iterdir()
    if entry.name.endswith(tuple(_KINDS))
}
_pages.globals["assets"] = {
    name: f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
    for name, content in _FILES.items()
}


class Asset(Query):
    v: Annotated[str, Field(max_length=64)] = ""
    """Which content is meant: another one has another address."""


class Look(Query):
    used: Literal["yes"] | None = None
    """Somebody touched the page since it looked last."""


class LoginForm(Body):
    key: Annotated[str, Field(max_length=512)]
    token: str


class Sent(Body):
    """What every form carries."""

    token: str


class Steering(Sent):
    why: FreeText = ""
    typed: Annotated[str, Field(max_length=256)] = ""
    """The version's name, where traffic is to move without a proof."""
    to: Literal["end", ""] = ""


class GoingBack(Sent):
    model: Name
    environment: Name
    revision: Annotated[str, *shaped(r"^[0-9]{1,9}$", "is no number of a revision")]
    """Which revision of the route the button was made from."""
    why: Annotated[FreeText, Field(min_length=1)]


@bp.get("/")
@operation(
    Permission.DEPLOYMENTS_READ,
    "Show models, live shares, deployments and history",
    identify=identity.by_session,
    page=True,
)
def show() -> Response:
    identity.used()
    return _render("page.html", **_read())


@bp.get("/parts")
@operation(
    Permission.DEPLOYMENTS_READ,
    "Show what of the page changes",
    query=Look,
    identify=identity.by_session,
    page=True,
)
def parts(query: Look) -> Response:
    if query.used:
        identity.used()
    return _render("parts.html", **_read())


def _read() -> dict[str, Any]:
    return {"page": page.read(services(), caller()), "token": identity.token()}


@bp.get("/live")
@operation(
    Permission.DEPLOYMENTS_READ,
    "Follow: an event says that something changed",
    identify=identity.by_session,
    page=True,
)
def live() -> Response:
    return state().viewers.follow(_follow(identity.session()))


def _follow(session: str) -> Callable[[], Iterable[Said]]:
    """Return what says, asked twice a second, whether it is time to look."""
    known, began = services(), time.monotonic()
    seen, told, checked = -1, began, began

    def look() -> Iterable[Said]:
        nonlocal seen, told, checked
        now = time.monotonic()
        with only_reading():
            if now - checked >= _CHECK_S:
                checked = now
                try:
                    known.sessions.authenticate(session)
                except Unauthenticated:
                    raise Finished from None
            last = known.history.last_number()
            moving = bool(known.deployments.list(states=[s.value for s in ACTIVE], limit=1))
        if last != seen or now - told >= (_MOVING_S if moving else _QUIET_S):
            seen, told = last, now
            return [Said(last, "changed", dumps({"at": known.clock()}))]
        return []

    return look


@bp.post("/deployments/<deployment:deployment_id>/<verb>")
@operation(
    Permission.DEPLOYMENTS_WRITE,
    "Steer a deployment",
    takes=Steering,
    media=(FORM,),
    identify=identity.by_session,
    page=True,
)
def steer(deployment_id: str, verb: str, asked: Steering) -> Response:
    identity.used()
    found = services().deployments.get(deployment_id)
    check(caller(), Permission.DEPLOYMENTS_WRITE, model=found.model, environment=found.environment)
    wanted = _verb(verb)
    if wanted is Verb.PROMOTE and asked.typed.strip() != found.version:
        raise Invalid.at("/typed", f"type {found.version} to move traffic to it without a proof")
    services().deployments.intend(
        found.id, wanted, actor=caller().actor, why=asked.why, to=asked.to or None
    )
    return _back_to_the_page()


def _verb(word: str) -> Verb:
    if word not in set(Verb) - {Verb.ROLL_BACK}:
        raise NotFound(f"a deployment cannot be asked to {word[:64]!r}")
    return Verb(word)


@bp.post("/rollbacks")
@operation(
    Permission.ROLLBACKS_WRITE,
    "Go back to what was before",
    takes=GoingBack,
    media=(FORM,),
    identify=identity.by_session,
    page=True,
)
def roll_back(asked: GoingBack) -> Response:
    identity.used()
    current = services().routing.current(asked.model, asked.environment)
    if current.revision != int(asked.revision):
        raise Conflict(
            f"{current.name} was changed meanwhile ({current.because}): look again, the way back "
            "may lead elsewhere now"
        )
    services().rollbacks.roll_back(
        model=asked.model,
        environment=asked.environment,
        to=PREVIOUS,
        why=asked.why,
        actor=caller().actor,
    )
    return _back_to_the_page()


@bp.get("/login")
@operation(Permission.PUBLIC, "Show the form to log in", page=True)
def ask() -> Response:
    return _login_form()


@bp.post("/login")
@operation(
    Permission.PUBLIC,
    "Exchange a key for a session",
    takes=LoginForm,
    media=(FORM,),
    page=True,
)
def log_in(asked: LoginForm) -> Response:
    identity.check_login_form()
    failures, address = state().failures, client_address()
    failures.check(address)
    try:
        found = services().keys.authenticate(asked.key.strip())
    except Unauthenticated:
        failures.note(address)
        return _login_form("No key that works was given.", status=401)
    if Permission.DEPLOYMENTS_READ not in found.permissions:
        said = f"The key {found.id} has the role {found.role.value}: it may not see this page."
        return _login_form(said, status=403)
    answer = _back_to_the_page()
    identity.begin_session(answer, found)
    return answer


def _login_form(said: str = "", *, status: int = 200) -> Response:
    value = identity.login_value()
    answer = _render("login.html", said=said, token=identity.login_token(value))
    answer.status_code = status
    identity.begin_login(answer, value)
    return answer


@bp.post("/logout")
@operation(
    Permission.DEPLOYMENTS_READ,
    "End the session",
    takes=Sent,
    media=(FORM,),
    identify=identity.by_session,
    page=True,
)
def log_out(asked: Sent) -> Response:  # noqa: ARG001 - the token was checked already
    answer = _go("/login")
    identity.end_session(answer)
    return answer


@bp.get("/static/<name:file>")
@operation(Permission.PUBLIC, "Return a style or a script", query=Asset, page=True)
def static(file: str, query: Asset) -> Response:  # noqa: ARG001 - only makes addresses differ
    content = _FILES.get(file)
    if content is None:
        raise NotFound(f"there is no {file!r} here")
    answer = Response(content, content_type=_KINDS[file[file.rindex(".") :]])
    answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer


def _render(template: str, **values: object) -> Response:
    return Response(_pages.get_template(template).render(**values), content_type=_HTML)


def _back_to_the_page() -> Response:
    return _go("/")


def _go(path: str) -> Response:
    answer = redirect(path, 303)
    if not isinstance(answer, Response):
        raise TypeError(type(answer))
    return answer


@bp.errorhandler(HeadwayError)
def _refused(error: HeadwayError) -> Response:
    """Tell a person what went wrong, in the words that the API would use."""
    problem = errors.ours(error)
    if isinstance(error, Unauthenticated) and request.endpoint not in _BY_ITSELF:
        return _go("/login")
    if problem.status_code >= 500 and "Retry-After" not in problem.headers:
        return problem
    title = errors.kind_of(error).title
    said = [f.detail for f in error.faults] if isinstance(error, Invalid) else [str(error)]
    answer = _render("refused.html", title=title, said=said, denied=isinstance(error, Forbidden))
    answer.status_code = problem.status_code
    if (wait := problem.headers.get("Retry-After")) is not None:
        answer.headers["Retry-After"] = wait
    return answer


@bp.after_request
def _guarded(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return answer
