"""Every error as problem details (RFC 9457). The only place that knows status codes.

Nothing of the inside leaves: no traceback, no SQL, no path. What nobody foresaw is answered with
the request's id alone, and logged under it.
"""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from headway.kernel import errors
from headway.kernel.canonical import Json
from headway.kernel.errors import Fault
from headway.kernel.names import nearest
from headway.web.reading import Unreadable
from headway.web.schemas import dumps

CONTENT_TYPE: Final = "application/problem+json"
DOCS: Final = "/docs/errors"
"""Where the pages stand that `type` names."""
_ALIKE: Final = 0.8
"""Of the words of a path: the others at their places tell what is meant."""


class StillRunning(errors.Conflict):
    """The same create is being carried out at this moment."""

    retry_after = 1


class NotOverThisSocket(errors.Forbidden):
    """Somebody other than the gateway speaks to control."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of error is answered: its status, and the page of the docs that tells more."""

    status: HTTPStatus
    slug: str
    title: str


_STORAGE: Final = Kind(
    HTTPStatus.SERVICE_UNAVAILABLE, "storage-unavailable", "The database or its disk is not free"
)
KINDS: Final[Mapping[type[Exception], Kind]] = {
    Unreadable: Kind(HTTPStatus.BAD_REQUEST, "unreadable", "The request cannot be read"),
    errors.Unauthenticated: Kind(HTTPStatus.UNAUTHORIZED, "who-are-you", "Who are you?"),
    errors.Forbidden: Kind(HTTPStatus.FORBIDDEN, "not-allowed", "Not allowed"),
    errors.NotFound: Kind(HTTPStatus.NOT_FOUND, "not-found", "Nothing has that name"),
    errors.Conflict: Kind(HTTPStatus.CONFLICT, "conflict", "Something stands in the way"),
    errors.Contended: _STORAGE,
    errors.IllegalMove: Kind(HTTPStatus.CONFLICT, "illegal-move", "Not from this state"),
    errors.PreconditionFailed: Kind(
        HTTPStatus.PRECONDITION_FAILED, "changed-meanwhile", "Changed meanwhile"
    ),
    errors.TooLarge: Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "Too many bytes"),
    errors.Unsupported: Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported", "A format that is not taken"
    ),
    errors.Refused: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "refused", "Understood, but refused"),
    errors.Invalid: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "A value is wrong"),
    errors.PreconditionRequired: Kind(
        HTTPStatus.PRECONDITION_REQUIRED, "say-which-revision", "Say which revision you change"
    ),
    errors.Busy: Kind(HTTPStatus.TOO_MANY_REQUESTS, "too-much-at-once", "Too much at once"),
    errors.StorageUnavailable: _STORAGE,
    errors.Unavailable: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Something needed does not answer"
    ),
    Exception: Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "our-fault", "Our fault"),
}

FRAMEWORK: Final[Mapping[int, Kind]] = {
    400: Kind(HTTPStatus.BAD_REQUEST, "unreadable", "The request cannot be read"),
    404: KINDS[errors.NotFound],
    405: Kind(HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", "Not this method"),
    413: KINDS[errors.TooLarge],
    415: KINDS[errors.Unsupported],
    416: Kind(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no-such-range", "No such bytes"),
}

STATUSES: Final = frozenset(
    int(kind.status) for kind in (*KINDS.values(), *FRAMEWORK.values()) if kind.status < 500
) | {503}
"""What may be declared as an answer of an operation; 500 is never one."""


def init_app(app: Flask) -> None:
    app.register_error_handler(errors.HeadwayError, ours)
    app.register_error_handler(HTTPException, _of_the_framework)
    app.register_error_handler(Exception, _unforeseen)


def kind_of(error: Exception) -> Kind:
    """Find the nearest ancestor that has a kind; the root of the tree has one."""
    return next(KINDS[kind] for kind in type(error).__mro__ if kind in KINDS)


def ours(error: errors.HeadwayError) -> Response:
    """Answer an error of our own tree; one without a kind of its own is our fault."""
    kind = kind_of(error)
    if kind is KINDS[Exception]:
        return _unforeseen(error)
    faults: Sequence[Fault] = ()
    if isinstance(error, errors.Invalid):
        faults = [Fault(_placed(fault.pointer), fault.detail) for fault in error.faults]
        error = errors.Invalid(faults)
    in_the_way = error.stands_in_the_way if isinstance(error, errors.Conflict) else None
    answer = problem(kind, str(error), faults=faults, stands_in_the_way=in_the_way)
    if (seconds := getattr(error, "retry_after", None)) is not None:
        answer.headers["Retry-After"] = str(seconds)
    if kind.status is HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="headway"'
    return answer


def _of_the_framework(error: HTTPException) -> Response:
    """Answer 404, 405, 413 and the like in our own form, with the framework's headers."""
    if error.response is not None and isinstance(error.response, Response):
        return error.response
    code = error.code or 500
    if code >= 500:
        return _unforeseen(error)
    kind = FRAMEWORK.get(code) or Kind(HTTPStatus(code), "unreadable", HTTPStatus(code).phrase)
    said = _nowhere() if code == HTTPStatus.NOT_FOUND else _DETAILS.get(code)
    answer = problem(kind, said or error.description or kind.title)
    for name, value in error.get_headers():
        if name in _KEPT_FIELDS:
            answer.headers[name] = value
    return answer


_KEPT_FIELDS: Final = frozenset({"Allow", "Content-Range", "Retry-After"})


_DETAILS: Final = {
    400: "the request cannot be read",
    405: "this path does not take that method; the header Allow lists those it does",
    413: "the body is larger than what is taken here",
    416: "the range lies outside of the file; the header Content-Range says how long it is",
}


def _nowhere() -> str:
    """Say that nothing is at this path, and which one was probably meant."""
    there = request.path[:256].split("/")
    rules = [rule.rule.split("/") for rule in current_app.url_map.iter_rules()]
    known = {_filled(rule, there) for rule in rules if _reads_like(rule, there)}
    guess = nearest("/".join(there), known)
    hint = f"; did you mean {guess}?" if guess else ""
    return f"nothing is here{hint}; /api/v1/openapi.json lists every path"


def _reads_like(rule: Sequence[str], there: Sequence[str]) -> bool:
    """Say whether each word of a rule is the one at its place, or nearly."""
    return all(
        part.startswith("<") or part == given or nearest(given, [part], alike=_ALIKE)
        for part, given in zip(rule, there, strict=False)
    )


def _filled(rule: Sequence[str], there: Sequence[str]) -> str:
    """Put into a rule what stands in its places, as far as there is anything."""
    given = dict(enumerate(there))
    return "/".join(
        (given.get(i) or f"{{{part[1:-1].rpartition(':')[2]}}}") if part.startswith("<") else part
        for i, part in enumerate(rule)
    )


def _unforeseen(error: Exception) -> Response:
    """Answer with the request's id alone; log where it happened, and no value of anybody's."""
    import structlog  # noqa: PLC0415 - a library of 2 MB that nothing else in here needs

    structlog.get_logger("headway.web").error(
        "unforeseen",
        request_id=request_id(),
        error=type(error).__name__,
        where=[
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-12:]
        ],
    )
    detail = "this should not have happened; it is in the log under this request id"
    return problem(KINDS[Exception], detail)


def problem(
    kind: Kind,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    stands_in_the_way: str | None = None,
) -> Response:
    body: dict[str, Json] = {
        "type": f"{DOCS}/{kind.slug}",
        "title": kind.title,
        "status": int(kind.status),
        "detail": detail,
        "errors": [{"pointer": f.pointer, "detail": f.detail} for f in faults],
        "stands_in_the_way": stands_in_the_way,
        "request_id": request_id(),
    }
    return Response(dumps(body), int(kind.status), content_type=CONTENT_TYPE)


def _placed(pointer: str) -> str:
    """Say where a wrong value stands: without a body it came with the query."""
    if request.method in {"GET", "HEAD", "DELETE"} and pointer.startswith("/"):
        return "?after" if pointer == "/cursor" else f"?{pointer[1:]}"
    return pointer


def request_id() -> str:
    """Return the id under which this request is logged."""
    found: str = g.get("request_id", "")
    return found
