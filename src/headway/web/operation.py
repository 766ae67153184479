"""One decorator declares an operation; a view without it stops the start.

Who may, what comes in, what goes out, which errors: the declaration checks each request, and the
OpenAPI document is written from it. A view is what is left: call one service, shape, answer.
"""

import hashlib
import hmac
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial, update_wrapper
from typing import Any, Final, Literal, TypeVar, cast

from flask import Flask, Request, Response, current_app, g, request

from headway.auth.policy import Caller, check, may
from headway.auth.role import Permission, Role
from headway.kernel.canonical import Json
from headway.kernel.errors import (
    Conflict,
    Fault,
    Invalid,
    PreconditionRequired,
    StorageUnavailable,
    Unauthenticated,
    Undone,
    Unsupported,
)
from headway.kernel.ids import new_id
from headway.kernel.repeats import repeated
from headway.outbox.answer import KEPT, Answer, Scope
from headway.services import Services
from headway.web import errors
from headway.web.live import Viewers
from headway.web.patience import Failures
from headway.web.reading import read_json, whole_body
from headway.web.schemas import Body, Query, Shown
from headway.web.transaction import Joined, attempt, only_reading, whole_request
from headway.web.validation import read_body, read_query

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
FORM: Final = "application/x-www-form-urlencoded"
BODY_LIMIT: Final = 1 << 20

ETAG_PATTERN: Final = r'^("[0-9]{1,15}"|\*)$'
IDEMPOTENCY_PATTERN: Final = r"^[ -~]{1,255}$"

_PAUSES: Final = (0.02, 0.05, 0.1)
"""Seconds at most before each repeat of what was undone."""
_READS: Final = frozenset({"GET", "HEAD"})
_EXTENSION: Final = "headway"
_ETAG: Final = re.compile(r'(?:W/)?"([0-9]{1,15})"\Z')
_KEY: Final = re.compile(IDEMPOTENCY_PATTERN.replace("$", r"\Z"))
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_REPLAYED: Final = ("Location", "ETag")

V = TypeVar("V", bound=Callable[..., object])
Identify = Callable[[], Caller]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What an operation asks, takes, gives and refuses."""

    permission: Permission
    summary: str
    takes: type[Body] | None = None
    """The body. The view gets it as `asked`."""
    read_by_service: bool = False
    """The service reads the document itself: `asked` is the object as it came."""
    media: tuple[str, ...] = (JSON,)
    """What the body may be; another kind than JSON is read by the view itself."""
    uploads: bool = False
    """The body is bytes of any kind, which the view reads as they come."""
    optional_body: bool = False
    query: type[Query] | None = None
    """The parameters of the query. The view gets them as `query`."""
    gives: type[Shown] | None = None
    gives_media: str = JSON
    streams: tuple[str, ...] = ()
    """Further media types that an answer may have, if the caller accepts them."""
    status: int = 200
    also: Mapping[int, str] = field(default_factory=dict)
    """Other good answers, with what each means."""
    refuses: frozenset[int] = frozenset()
    """Statuses of errors beside those that follow from the rest of the declaration."""
    match: Literal["optional", "required"] | None = None
    """Whether a change may, or must, name the revision that it was made from."""
    repeatable: bool = False
    """A create that takes `Idempotency-Key`."""
    changes: bool = True
    """Whether a POST, PUT, PATCH or DELETE writes anything: then it may be tried by a dry run."""
    identify: Identify | None = None
    """Who asks, where that is not told by a key in the head."""
    page: bool = False
    """For people at a browser: no part of the REST API and of its document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer with more than a body."""

    body: Shown | None = None
    status: int | None = None
    revision: int | None = None
    """Sent as `ETag`."""
    location: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Given = Shown | Reply | Response


class Operation:
    """A view, and what is checked before it runs."""

    def __init__(self, declaration: Declaration, view: Callable[..., Given]) -> None:
        self.declaration = declaration
        self._view = view
        update_wrapper(self, view)

    def __call__(self, **path: Any) -> Response:  # noqa: ANN401 - whatever the URL holds
        with only_reading():
            self._admit(path)
        wishes = _wishes(self.declaration)
        arguments = {**path, **self._asked(wishes.query)}
        if wishes.dry_run:
            return _again(partial(self._tried, arguments))
        if wishes.key is not None:
            return self._once(arguments, wishes.key)
        if self.declaration.uploads:  # its bytes are gone when they have been read
            return self._answer(arguments)
        return _again(partial(self._carried_out, arguments))

    def _tried(self, arguments: Mapping[str, object]) -> Response:
        with whole_request():
            return self._answer(arguments)

    def _carried_out(self, arguments: Mapping[str, object]) -> Response:
        with only_reading(wanted=self._reads()), attempt() as this:
            try:
                return self._answer(arguments)
            except Undone as error:
                if this.committed:  # a part of it lasts: the caller must look
                    raise Conflict(str(error)) from error
                raise

    def _reads(self) -> bool:
        declared = self.declaration
        return request.method in _READS or not (declared.changes or declared.uploads)

    def _admit(self, path: Mapping[str, Any]) -> None:
        """Let nobody in whose key does not allow it: first the role, then the key's own bounds."""
        wanted = self.declaration.permission
        if wanted is Permission.PUBLIC:
            return
        g.caller = (self.declaration.identify or by_key)()
        check(g.caller, wanted)
        check(g.caller, wanted, model=path.get("model"), environment=path.get("environment"))

    def _asked(self, query: Mapping[str, list[str]]) -> dict[str, object]:
        declared = self.declaration
        arguments: dict[str, object] = {}
        further = ("dry_run",) if _may_be_tried(declared) else ()
        found = read_query(query, declared.query, further=further)
        if found is not None:
            arguments["query"] = found
        if declared.takes is not None:
            arguments["asked"] = self._body(declared.takes)
        if declared.uploads:
            check_encoding(request)
            request.max_content_length = services().artifacts.limit
        for asked in arguments.values():
            _narrow(declared.permission, asked)
        return arguments

    def _body(self, takes: type[Body]) -> object:
        declared = self.declaration
        if declared.optional_body and not request.content_length and not whole_body(request):
            return read_body({}, takes)
        check_media(request, declared.media)
        if request.mimetype == FORM:
            return read_body(_form(request), takes)
        if request.mimetype not in {JSON, MERGE_PATCH}:
            return None
        document = read_json(whole_body(request))
        return document if declared.read_by_service else read_body(document, takes)

    def _answer(self, arguments: Mapping[str, object]) -> Response:
        return _response(self.declaration, self._view(**arguments))

    def _once(self, arguments: Mapping[str, object], key: str) -> Response:
        """Carry a create out once for each key; a repeat is given the first answer again."""
        scope = Scope(key_id=caller().id, method=request.method, path=request.path, key=key)
        digest = hashlib.sha256(whole_body(request)).hexdigest()
        if (kept := _kept(scope, digest)) is not None:
            return kept
        with state().running.one(scope):
            try:
                return _again(partial(self._kept_answer, arguments, scope, digest))
            except (Conflict, StorageUnavailable):
                # Another process was faster with the same key, or the word that we committed was
                # lost on its way: then the answer is there now.
                with suppress(StorageUnavailable):
                    if (kept := _kept(scope, digest)) is not None:
                        return kept
                raise

    def _kept_answer(self, arguments: Mapping[str, object], scope: Scope, digest: str) -> Response:
        with whole_request() as whole:
            response = self._answer(arguments)
            answer = Answer(
                scope=scope,
                digest=digest,
                status=response.status_code,
                headers={k: response.headers[k] for k in _REPLAYED if k in response.headers},
                body=response.get_data(),
                created_at=services().clock(),
            )
            with services().begin() as work:
                work.idempotency.put(answer)
                work.commit()
            whole.commit()
        return response


def _again(unit: Callable[[], Response]) -> Response:
    """Carry a unit of work out, anew for as long as it is undone in favour of others, four times.

    The pauses are left to chance, so that two who met do not meet again.
    """
    return repeated(
        unit,
        tries=1 + len(_PAUSES),
        unless=lambda error: not isinstance(error, Undone),
        pause=_pause,
    )


def _pause(tried: int) -> None:
    longest = _PAUSES[tried - 1]
    time.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - no secret


def operation(
    permission: Permission,
    summary: str,
    *,
    refuses: Iterable[int] = (),
    **declared: Any,  # noqa: ANN401 - the fields of Declaration, which checks them
) -> Callable[[Callable[..., Given]], Operation]:
    """Declare a view; see `Declaration` for what may be said."""
    declaration = Declaration(
        permission=permission, summary=summary, refuses=frozenset(refuses), **declared
    )
    if undeclarable := declaration.refuses - errors.STATUSES:
        raise RuntimeError(f"no error has the status {sorted(undeclarable)}")
    return lambda view: Operation(declaration, view)


# What the application knows


@dataclass(frozen=True, slots=True)
class Running:
    """The creates with a key that are being carried out by this process."""

    _scopes: set[Scope] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def one(self, scope: Scope) -> "_One":
        return _One(self, scope)

    def enter(self, scope: Scope) -> None:
        with self._lock:
            if scope in self._scopes:
                raise errors.StillRunning("the first request with this Idempotency-Key still runs")
            self._scopes.add(scope)

    def leave(self, scope: Scope) -> None:
        with self._lock:
            self._scopes.discard(scope)


@dataclass(frozen=True, slots=True)
class _One:
    running: Running
    scope: Scope

    def __enter__(self) -> None:
        self.running.enter(self.scope)

    def __exit__(self, *_: object) -> None:
        self.running.leave(self.scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one application has beside its views."""

    services: Services
    hop_secret: bytes | None
    metrics_token: bytes | None
    failures: Failures
    viewers: Viewers
    running: Running = field(default_factory=Running)


def init_app(
    app: Flask,
    services: Services,
    *,
    hop_secret: str | None = None,
    metrics_token: str | None = None,
) -> None:
    """Hand the services to the views registered so far; call it last."""
    undeclared = sorted(
        rule.rule
        for rule in app.url_map.iter_rules()
        if not isinstance(app.view_functions[rule.endpoint], Operation)
    )
    if undeclared:
        raise RuntimeError(f"these views do not declare a permission: {', '.join(undeclared)}")
    if not isinstance(services.begin, Joined):
        raise RuntimeError(  # noqa: TRY004 - the start is refused, whatever the reason
            "the services' Begin is not wrapped in headway.web.transaction.Joined: "
            "a dry run would be a real one"
        )
    app.extensions[_EXTENSION] = State(
        services=services,
        hop_secret=hop_secret.encode() if hop_secret is not None else None,
        metrics_token=metrics_token.encode() if metrics_token else None,
        failures=Failures(services.clock),
        viewers=Viewers(),
    )
    app.before_request(_receive)
    app.after_request(_send)


def operations(app: Flask) -> Iterable[tuple[str, str, str, Operation]]:
    """Return (rule, method, endpoint, operation) of all that the application can do."""
    for rule in app.url_map.iter_rules():
        view = cast("Operation", app.view_functions[rule.endpoint])
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.rule, method, rule.endpoint, view
        if rule.methods == {"HEAD"}:
            yield rule.rule, "HEAD", rule.endpoint, view


def state() -> State:
    found: State = current_app.extensions[_EXTENSION]
    return found


def services() -> Services:
    return state().services


# What a view may ask


def caller() -> Caller:
    """Return who asks."""
    found: Caller = g.caller
    return found


def allowed(
    permission: Permission, *, model: str | None = None, environment: str | None = None
) -> bool:
    """Say whether the caller may do something else: what decides about links."""
    return may(caller(), permission, model=model, environment=environment)


def see(*, model: str | None = None, environment: str | None = None) -> bool:
    """Say whether what belongs to a model and an environment is there for the caller."""
    asks = caller()
    return (model is None or asks.sees_model(model)) and (
        environment is None or asks.sees_environment(environment)
    )


def if_match() -> int | None:
    """Return the revision that the caller names in `If-Match`; None: none, or any (`*`)."""
    value = request.headers.get("If-Match")
    if value is None or value.strip() == "*":
        return None
    if found := _ETAG.match(value.strip()):
        return int(found[1])
    raise Invalid.at(
        "If-Match", f'{value[:64]!r} is no ETag of ours: send it as it came, as in "12"'
    )


def by_key() -> Caller:
    """Return whose key the request presents, or raise `Unauthenticated`."""
    failures, address = state().failures, client_address()
    failures.check(address)
    try:
        return services().keys.authenticate(_presented())
    except Unauthenticated:
        failures.note(address)
        raise


def by_metrics_token() -> Caller:
    """Return the scraper if it presents its own token, else whose key it is."""
    wanted = state().metrics_token
    if wanted is not None and hmac.compare_digest(_presented().encode(), wanted):
        return Caller("scraper", "scraper", Role.ADMIN)
    return by_key()


def client_address() -> str:
    """Return where the caller is: the gateway says it, and nobody else can."""
    said = request.headers.get("Headway-Client-Addr") if state().hop_secret else None
    return said or request.remote_addr or ""


def check_media(asked: Request, media: tuple[str, ...]) -> None:
    """Refuse a body of another kind."""
    check_encoding(asked)
    if asked.mimetype not in media:
        raise Unsupported(
            f"the body is {asked.mimetype or 'of no stated kind'}; "
            f"send Content-Type: {' or '.join(media)}"
        )


def _form(asked: Request) -> dict[str, Json]:
    """Return the fields of a form; none may stand twice."""
    fields = asked.form.to_dict(flat=False)
    if twice := [name for name, values in fields.items() if len(values) > 1]:
        raise Invalid([Fault(f"/{name[:64]}", "stands twice") for name in twice])
    return {name: values[0] for name, values in fields.items()}


def check_encoding(asked: Request) -> None:
    """Refuse a body that is packed: nobody could tell how much is in it."""
    if asked.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Unsupported("a packed body (Content-Encoding) is not taken: send it as it is")


# Before and after each view


def _receive() -> None:
    given = request.headers.get("Headway-Request-Id") or request.headers.get("X-Request-ID") or ""
    g.request_id = given if _REQUEST_ID.match(given) else new_id("api")
    if (secret := state().hop_secret) is not None:
        presented = request.headers.get("Headway-Hop", "").encode()
        if not hmac.compare_digest(presented, secret):
            raise errors.NotOverThisSocket(
                "control answers the gateway alone: use the public port"
            )


def _send(response: Response) -> Response:
    response.headers["X-Request-ID"] = errors.request_id()
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _presented() -> str:
    """Return the text of the key, from either of the two places that callers use."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if other := request.headers.get("x-api-key"):
        return other.strip()
    raise Unauthenticated("present your key as 'Authorization: Bearer <key>'")


@dataclass(frozen=True, slots=True)
class _Wishes:
    dry_run: bool
    key: str | None
    query: Mapping[str, list[str]]


def _wishes(declared: Declaration) -> _Wishes:
    """Read what any change may be asked beside its own matter."""
    if declared.match == "required" and "If-Match" not in request.headers:
        raise PreconditionRequired(
            "say in If-Match which revision you change (the ETag of what you read), or * for any"
        )
    query = request.args.to_dict(flat=False)
    dry_run = _flag(query.pop("dry_run", ["false"])) if _may_be_tried(declared) else False
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.match(key):
        raise Invalid.at("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    if key is not None and not declared.repeatable and request.method == "POST":
        raise Invalid.at("Idempotency-Key", "this operation keeps no answers, and takes none")
    return _Wishes(dry_run, key if declared.repeatable and not dry_run else None, query)


def _may_be_tried(declared: Declaration) -> bool:
    return declared.changes and request.method not in _READS


def _flag(values: list[str]) -> bool:
    if len(values) != 1 or values[0] not in {"true", "false"}:
        raise Invalid.at("?dry_run", "must be true or false, once")
    return values[0] == "true"


def _narrow(permission: Permission, asked: object) -> None:
    """Hold a body or a query that names a model or an environment to the key's bounds."""
    named: dict[str, str] = {}
    for what in ("model", "environment"):
        value = asked.get(what) if isinstance(asked, Mapping) else getattr(asked, what, None)
        if isinstance(value, str):
            named[what] = value
    if named:
        check(caller(), permission, **named)


def _kept(scope: Scope, digest: str) -> Response | None:
    with only_reading(), services().begin() as work:
        kept = work.idempotency.find(scope)
    if kept is None or kept.created_at < services().clock() - KEPT:
        return None
    if kept.digest != digest:
        raise Invalid.at("Idempotency-Key", "was used with another body: take a new one")
    response = Response(kept.body, kept.status, dict(kept.headers))
    if kept.body:
        response.content_type = JSON
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _response(declared: Declaration, given: Given) -> Response:
    if isinstance(given, Response):
        return given
    reply = given if isinstance(given, Reply) else Reply(body=given)
    body = reply.body.model_dump_json(by_alias=True) if reply.body is not None else ""
    response = Response(body, reply.status or declared.status)
    if reply.body is None:
        del response.headers["Content-Type"]
    else:
        response.content_type = declared.gives_media
    if reply.revision is not None:
        response.headers["ETag"] = f'"{reply.revision}"'
    if reply.location is not None:
        response.headers["Location"] = reply.location
    response.headers.update(reply.headers)
    return response
