"""Fields of heads: what of a caller's goes on to a provider, what of a provider's comes back.

Everything else stays where it is: a field is passed because it is named here, or by the version.
"""

from math import ceil, inf
from typing import Final

from headway.gateway.exchange import Fields, Native, Passed, Problem
from headway.wire.framing import Headers

JSON_TYPE: Final = b"content-type: application/json\r\n"
_RATES: Final = (b"x-ratelimit-", b"anthropic-ratelimit-")
"""How the names begin of what comes back."""
_MOST_UNSEEN: Final = 1024
_LONGEST_UNSEEN: Final = 64
_THEIR_ID: Final = frozenset({b"x-request-id", b"request-id"})
_ID_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


def is_id(value: bytes) -> bool:
    """Say whether an id that somebody else made may be passed on: `[A-Za-z0-9._-]{1,128}`."""
    return 0 < len(value) <= 128 and not value.translate(None, _ID_LETTERS)


def upward(headers: Headers, native: Native | Passed) -> bytes:
    """Return what of the caller's head goes on; a list may stand in several fields."""
    up = native.up
    lines = [
        b"%b: %b\r\n" % (name, value)
        for name, value in headers
        if name in up and (name != b"x-request-id" or is_id(value))
    ]
    lines += [
        default.line if headers.get(default.beside) is None else default.other
        for default in native.defaults
        if headers.get(default.name) is None
    ]
    return b"".join(lines)


class Downward:
    """What of upstreams' heads callers may see; one for all requests of a gateway."""

    __slots__ = ("_unseen",)

    def __init__(self) -> None:
        self._unseen: set[bytes] = set()
        """Names that no caller sees, remembered: upstreams send the same dozens for ever."""

    def __call__(self, headers: Fields, *, limited: bool) -> bytes:
        """Return the lines of one head for its caller.

        `limited`: the caller's key has limits of ours, and what a provider says of its own would
        contradict what we say of those.
        """
        unseen = self._unseen
        if headers.keys() <= unseen:
            return b""
        lines = []
        for name, value in headers.items():
            if name in unseen:
                continue
            if name in _THEIR_ID:
                if is_id(value):
                    lines.append(b"headway-upstream-request-id: %b\r\n" % value)
            elif name.startswith(_RATES):
                if not limited:
                    lines.append(b"%b: %b\r\n" % (name, value))
            elif len(unseen) < _MOST_UNSEEN and len(name) <= _LONGEST_UNSEEN:
                unseen.add(name)
        return b"".join(lines)


def waiting(seconds: float | None) -> bytes:
    """Return the fields that say how long to wait; both official clients know the second too."""
    if seconds is None:
        return b""
    lines = b"retry-after: %d\r\n" % ceil(seconds)
    if seconds == int(seconds):
        return lines
    return b"%bretry-after-ms: %d\r\n" % (lines, seconds * 1000)


def said_with(problem: Problem) -> bytes:
    """Return the fields that go with a problem, whatever its body is written in."""
    who = b"www-authenticate: Bearer\r\n" if problem.status == 401 else b""
    return waiting(problem.retry_after) + who


def naming(request_id: bytes) -> bytes:
    """Return the fields that name a request; each official client reads one of them."""
    return b"x-request-id: %b\r\nrequest-id: %b\r\n" % (request_id, request_id)


def patience(value: bytes) -> float:
    """Return how many seconds the caller waits, as its client says."""
    try:
        seconds = float(value)
    except ValueError:
        return inf
    return seconds if seconds > 0 else inf
