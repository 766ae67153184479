"""What an upstream's behaviour means: for the caller a problem, for the judge an outcome. Pure.

An answer is good only when its own protocol says that it is complete. Everything else is
somebody's doing, and this page says whose.
"""

import math
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import orjson

from headway.gateway.exchange import Complaint, Fields, Problem
from headway.gateway.limits import LONGEST_RETRY_AFTER
from headway.gateway.tally import is_word
from headway.tracking.measurement import Outcome
from headway.wire.sending import Failure, FailureKind

_REFUSED: Final = frozenset({400, 404, 409, 413, 415, 422})
"""The upstream refuses what we found well-formed: the caller's doing, or the version's."""
_RETRYABLE_STATUS: Final = frozenset({429, 500, 502, 503, 504, 529})
_RETRYABLE_KINDS: Final = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.TIMEOUT_CONNECT,
        FailureKind.CLOSED_BEFORE_ANSWER,
        FailureKind.CUT,
        FailureKind.PROTOCOL,
    }
)
_TIMEOUTS: Final = frozenset(
    {
        FailureKind.TIMEOUT_CONNECT,
        FailureKind.TIMEOUT_FIRST,
        FailureKind.TIMEOUT_IDLE,
        FailureKind.TIMEOUT_TOTAL,
    }
)
_WORDS: Final = {
    Outcome.VERSION: "this version is not able to answer",
    Outcome.GATEWAY: "the process that runs this model is not ready",
    Outcome.REFUSED: "the model refuses this request",
}
_WORDS_ELSEWHERE: Final = {
    **_WORDS,
    Outcome.VERSION: "the provider does not have the model that this version asks for",
}
_OUR_CREDENTIAL: Final = frozenset({401, 403})
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}
_ANSWERED: Final = frozenset({Outcome.OK, Outcome.REFUSED, Outcome.VERSION})
_LEFT: Final = {None: Outcome.GONE, 500: Outcome.GATEWAY}


def of_call(refused: int | None) -> Outcome:
    """Return what a call is that ended by itself, by the status with which the engine refused it.

    None: its caller left. Any but our own fault is of a body that could not be taken.
    """
    return _LEFT.get(refused, Outcome.CALLER)


def fared_well(outcome: Outcome, status: int) -> bool | None:
    """Say how a provider fared: a 429 is an answer; None: it was not its doing."""
    if outcome is Outcome.PROVIDER:
        return status == 429
    return True if outcome in _ANSWERED else None


def unreadable(words: str) -> Problem:
    """Return the problem of an answer that cannot be one."""
    return Problem(502, f"the provider's answer {words}", Outcome.PROVIDER, "upstream_error")


def of_status(
    status: int, *, local: bool, said: bytes | None, code: str | None = None
) -> tuple[Outcome, int]:
    """Return the outcome of an answer whose status is not 200, and the status for the caller.

    `said` is the header Headway-Outcome, by which our runner tells who is at fault. `code` is what
    the error's body names itself: `model_not_found` means that the version asks for a model which
    its provider does not have.
    """
    if local:
        named = _OUTCOMES.get((said or b"").decode("latin-1"))
        if named is not None:
            return named, status if 400 <= status <= 599 else 502
        if status in _REFUSED:
            return Outcome.REFUSED, status
        return Outcome.GATEWAY, 503
    if status in {400, 404} and code == "model_not_found":
        return Outcome.VERSION, 502
    if status in _REFUSED:
        return Outcome.REFUSED, status
    if status == 408:
        return Outcome.PROVIDER, 504
    if status == 429 or 500 <= status <= 599:
        return Outcome.PROVIDER, status
    # 401 and 403 too: it is our credential that was refused, not the caller's key.
    return Outcome.PROVIDER, 502


class Refused(NamedTuple):
    """An answer that says no."""

    status: int
    headers: Fields
    body: bytes


class Refusal(NamedTuple):
    """What such an answer is for the caller."""

    problem: Problem
    body: bytes | None
    """The provider's words in the bytes in which it said them; None: the problem is told."""
    wait: float | None
    """For how many seconds the provider asks to be left alone, if it says."""


def of_refusal(
    refused: Refused,
    read: Callable[[bytes], Complaint],
    *,
    now: int,
    local: bool,
    hidden: tuple[bytes, ...],
) -> Refusal:
    """Return an answer that says no, as far as it is true for callers.

    Words of a provider pass where they are about the caller's request. Of everything else, our
    credential and our account among it, callers learn the status and a code. `read`: of a body
    its complaint; `now`: milliseconds UTC; `hidden`: what callers must not see.
    """
    status, headers, body = refused
    wait = wait_of(headers, now)
    if b"content-encoding" in headers or shows(body, hidden):
        body = b""  # packed, which was not asked for, or not for callers
    complaint = read(body)
    said = headers.get(b"headway-outcome") if local else None
    outcome, shown = of_status(status, local=local, said=said, code=complaint.code)
    told = shown == status and (local or outcome is Outcome.REFUSED)
    known = _WORDS if local else _WORDS_ELSEWHERE
    words = known.get(outcome, f"the provider answered with status {status}")
    if status in _OUR_CREDENTIAL and outcome is Outcome.PROVIDER:
        words += ": it refuses the credential of this version"
    code = complaint.code if told else code_for_callers(shown, status, complaint.code)
    problem = Problem(
        shown,
        (complaint.message if told else "") or words,
        outcome,
        code or "upstream_error",
        complaint.param if told else None,
        retry_after=wait or (1 if outcome is Outcome.GATEWAY else None),
    )
    passes = told and outcome is Outcome.REFUSED
    return Refusal(problem, complaint.body if passes else None, wait)


def of_failure(failure: Failure, *, local: bool) -> Problem:
    """Return the problem of a request without a complete answer."""
    kind = failure.kind
    if kind is FailureKind.BUSY:
        return Problem(
            503, "too many requests are under way", Outcome.GATEWAY, "overloaded", retry_after=1
        )
    if kind is FailureKind.CLOSED:
        return Problem(503, "this gateway is stopping", Outcome.GATEWAY, "stopping", retry_after=1)
    if local:
        if kind in {FailureKind.TIMEOUT_FIRST, FailureKind.TIMEOUT_TOTAL}:
            return Problem(
                504, "the model did not answer in time", Outcome.VERSION, "model_timeout"
            )
        return Problem(
            503,
            "the process that runs this model does not answer; it is started anew",
            Outcome.GATEWAY,
            "runner_unavailable",
            retry_after=1,
        )
    if kind is FailureKind.FORBIDDEN:
        return Problem(502, failure.detail, Outcome.VERSION, "provider_not_allowed")
    if kind in _TIMEOUTS:
        return Problem(
            504, "the provider did not answer in time", Outcome.PROVIDER, "upstream_timeout"
        )
    words = {
        FailureKind.CONNECT: "the provider cannot be reached",
        FailureKind.TLS: "the provider cannot be reached securely",
        FailureKind.CLOSED_BEFORE_ANSWER: "the provider closed the connection without an answer",
        FailureKind.CUT: "the provider's answer broke off",
    }.get(kind, "the provider's answer is not understood")
    return Problem(502, words, Outcome.PROVIDER, "upstream_error")


_OF_OUR_ACCOUNT: Final = frozenset({"billing_error", "billing_not_active", "insufficient_quota"})


def wait_of(headers: Mapping[bytes, bytes], now: int) -> float | None:
    """Return for how many seconds a provider asks to be left alone, 120 at most.

    In milliseconds, in seconds, or until a date; `now` in milliseconds UTC. Nonsense and what is
    over already: None.
    """
    for name, unit in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) / unit
        except ValueError:
            seconds = _until(text.decode("latin-1"), now)
        if seconds > 0:  # a NaN is not
            return min(float(LONGEST_RETRY_AFTER), seconds)
    return None


def _until(date: str, now: int) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - now / 1000
    except (ValueError, OverflowError):
        return math.nan


def code_for_callers(shown: int, status: int, code: str | None) -> str | None:
    """Return the code of a provider's failure if it is true for callers too.

    It is not where it speaks of our credential or of what we have paid.
    """
    if shown != status or code in _OF_OUR_ACCOUNT or not is_word(code):
        return None
    return code


def may_be_tried_again(status: int) -> bool:
    """Say whether an answer with this status might be better the next time."""
    return status in _RETRYABLE_STATUS


def may_be_sent_again(failure: Failure) -> bool:
    """Say whether a request that failed so might fare better the next time."""
    return failure.kind in _RETRYABLE_KINDS


def shows(body: bytes, hidden: tuple[bytes, ...]) -> bool:
    """Say whether an error's body holds what callers must not see, written with escapes too."""
    if b"\\" in body:
        try:
            body += orjson.dumps(orjson.loads(body))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return True  # who knows what it says
    return any(secret in body for secret in hidden)
