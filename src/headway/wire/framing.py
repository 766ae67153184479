"""What may stand in an HTTP/1 message, and how we write one; pure functions on bytes.

The parser (llhttp) refuses much by itself. What it lets through and we do not is decided here:
each rule of `check_request` is one row of the framing table in the security documentation.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple, NewType
from urllib.parse import unquote_to_bytes

FieldLines = NewType("FieldLines", bytes)
"""Checked field lines, each ended by CR LF, as `write_fields` makes them; may be concatenated."""

METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields that speak of one connection and are never passed on (RFC 9110, 7.6.1)."""

_FRAMING: Final = (b"content-length", b"transfer-encoding")
_ONCE: Final = (b"host", *_FRAMING)
"""What may stand once: of two, one reader could take the first and another the second."""
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9._~-]{0,253}))(?::([0-9]{1,5}))?\Z"
)
_ODD_TARGET: Final = re.compile(rb"[^\x21-\x7e]|[#\\]")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})|%(?:2[fF]|5[cC])")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")


class Headers(list[tuple[bytes, bytes]]):
    """The fields of one head in order: (lower-case name, value).

    Append only before the first `get` or `first`, which build an index.
    """

    __slots__ = ("_first",)

    def by_name(self) -> dict[bytes, bytes]:
        """Build the index, and return it; who completes a head does, so that others find it."""
        found = self._first = dict(reversed(self))
        return found

    def first(self) -> dict[bytes, bytes]:
        """Return the fields by lower-case name; of those that stand twice the first."""
        try:
            return self._first
        except AttributeError:
            return self.by_name()

    def get(self, name: bytes) -> bytes | None:
        """Return the first value under a lower-case name, or None."""
        return self.first().get(name)

    def repeated(self, names: Iterable[bytes]) -> bytes | None:
        """Return the first of these names that stands more than once, None if none does."""
        return next((name for name in names if len(self.all(name)) > 1), None)

    def all(self, name: bytes) -> list[bytes]:
        """Return every value under a lower-case name, in order."""
        return [value for known, value in self if known == name]


class FieldNames(dict[bytes, bytes]):
    """Lower-case names of fields as they are written, remembered: the same few come for ever."""

    __slots__ = ()

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        # Callers choose names, so there must be an end to what is remembered.
        if len(self) < 1024 and len(name) <= 64:
            self[name] = lower
        return lower


LOWER: Final = FieldNames()


class Refusal(Exception):
    """A message that is not taken: the status that says so, and why; the connection ends."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class RequestFraming(NamedTuple):
    """What the fields of a request say about its body and its connection."""

    content_length: int | None
    chunked: bool
    expects_continue: bool


_NO_BODY: Final = RequestFraming(content_length=None, chunked=False, expects_continue=False)


def check_request(method: bytes, version: str, fields: Headers) -> RequestFraming:
    """Return how the body of a request is framed; raises `Refusal` for what we do not take.

    `version` is "1.0" or "1.1"; everything else is refused with 505. The target has a check of
    its own: `split_target`.
    """
    if version not in {"1.1", "1.0"}:
        raise Refusal(505, "HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in METHODS:
        raise Refusal(501, "this method is not known here")
    found = fields.by_name()
    if len(found) != len(fields) and (name := fields.repeated(_ONCE)) is not None:
        raise Refusal(400, f"more than one {name.decode('ascii').title()} field")
    length: int | None = None
    if (text := found.get(b"content-length")) is not None:
        if not text.isdigit() or len(text) > 18:
            raise Refusal(400, "Content-Length is not a number")
        length = int(text)
    coding = found.get(b"transfer-encoding")
    expects = False
    if b"expect" in found:
        if any(value.lower() != b"100-continue" for value in fields.all(b"expect")):
            raise Refusal(417, "100-continue is the only expectation that is met here")
        # A 1.0 caller cannot read an interim answer (RFC 9110, 10.1.1).
        expects = version == "1.1"
    if coding is not None:
        if version == "1.0":
            raise Refusal(400, "Transfer-Encoding is for HTTP/1.1 only")
        if coding.lower() != b"chunked":
            raise Refusal(501, "chunked is the only transfer coding that is taken")
        if length is not None:
            raise Refusal(400, "Content-Length and Transfer-Encoding exclude each other")
    host = found.get(b"host")
    if host is None:
        if version == "1.1":
            raise Refusal(400, "the Host field is missing")
    elif not is_host(host):
        raise Refusal(400, "the Host field names no host")
    if length is None and coding is None:
        return _NO_BODY
    return RequestFraming(length, coding is not None, expects)


@lru_cache(maxsize=512)
def is_host(value: bytes) -> bool:
    """Tell whether a value may stand in Host: a name, an IPv4 or [IPv6] address, and a port."""
    found = _HOST.match(value)
    return found is not None and (found[1] is None or 0 < int(found[1]) < 65536)


def split_target(target: bytes) -> tuple[str, bytes]:
    """Return the decoded path and the raw query of a request's target.

    Raises `Refusal` (400) for what is not in origin form, and for paths that two readers could
    read differently: controls, bad UTF-8, bad escapes, escaped slashes, dot segments.
    """
    # Only short targets are kept, so that nobody fills the memory through the cache.
    return _split_known(target) if len(target) <= 256 else _split(target)


def _split(target: bytes) -> tuple[str, bytes]:
    if not target.startswith(b"/"):
        raise Refusal(400, "the target must start with a slash")
    if target.startswith(b"//"):
        # Some readers take what follows for a host (RFC 3986, 4.2).
        raise Refusal(400, "the target must start with one slash")
    if _ODD_TARGET.search(target):
        raise Refusal(400, "the target holds a character that must be escaped")
    raw, _, query = target.partition(b"?")
    if b"%00" in query:
        raise Refusal(400, "the query holds a NUL")
    path = raw.decode("ascii")
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw):
            raise Refusal(400, "the path holds an escape that is not taken")
        try:
            path = unquote_to_bytes(raw).decode()
        except UnicodeDecodeError:
            raise Refusal(400, "the path is not UTF-8") from None
        if _CONTROL.search(path):
            raise Refusal(400, "the path holds a control character")
    if "/." in path and any(part in {".", ".."} for part in path.split("/")):
        raise Refusal(400, "the path holds a dot segment")
    return path, query


_split_known = lru_cache(maxsize=1024)(_split)


class AnswerFraming(NamedTuple):
    """How the body of an upstream's answer ends: after `length` bytes, chunked, or by close."""

    length: int | None
    chunked: bool


def check_answer(status: int, version: str, fields: Headers) -> AnswerFraming:
    """Return how the body of a final answer is framed; raises `Refusal` (502) for what is odd."""
    if not 200 <= status <= 599:
        raise Refusal(502, f"the upstream answered with status {status}")
    if version not in {"1.1", "1.0"}:
        raise Refusal(502, "the upstream does not speak HTTP/1.1")
    found = fields.by_name()
    if len(found) != len(fields) and fields.repeated(_FRAMING):
        raise Refusal(502, "the upstream frames its answer twice")
    length: int | None = None
    if (text := found.get(b"content-length")) is not None:
        if not text.isdigit() or len(text) > 18:
            raise Refusal(502, "the upstream's Content-Length is not one number")
        length = int(text)
    coding = found.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
        raise Refusal(502, "the upstream uses a transfer coding that is not taken")
    if coding is not None and length is not None:
        raise Refusal(502, "the upstream sent Content-Length and Transfer-Encoding")
    return AnswerFraming(length, coding is not None)


def end_to_end(fields: Headers) -> Headers:
    """Return the fields that may be passed on.

    Left out are hop-by-hop fields, what Connection names, and names with `_`, which WSGI cannot
    tell from those with `-`. Content-Length stays: whoever writes the message anew decides.
    """
    dropped = HOP_BY_HOP
    for value in fields.all(b"connection"):
        dropped |= {word.strip().lower() for word in value.split(b",")}
    return Headers(
        (name, value) for name, value in fields if name not in dropped and b"_" not in name
    )


def write_fields(fields: Iterable[tuple[bytes, bytes]]) -> FieldLines:
    """Write fields as lines; raises `ValueError` for CR, LF, NUL or another control in one."""
    lines = []
    for name, value in fields:
        if not _TOKEN.match(name) or not _VALUE.match(value):
            raise ValueError(f"the field {name[:64]!r} cannot be written")
        lines.append(b"%b: %b\r\n" % (name, value))
    return FieldLines(b"".join(lines))


def request_head(method: bytes, target: bytes, fields: FieldLines) -> bytes:
    """Write the head of a request without its blank line, so that more fields may follow.

    Raises `ValueError` for a method or target that would not stay on its line.
    """
    if not _TOKEN.match(method) or _ODD_TARGET.search(target) or not target:
        raise ValueError("this request line cannot be written")
    return b"%b %b HTTP/1.1\r\n%b" % (method, target, fields)


def phrase(status: int) -> str:
    """Return the reason phrase of a status, or an empty text for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {phrase(status)}\r\n".encode("ascii") for status in range(100, 600)
}
"""The first line of an answer, by status."""

CHUNKED: Final = FieldLines(b"transfer-encoding: chunked\r\n")
CLOSE: Final = FieldLines(b"connection: close\r\n")
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk; nothing for no bytes, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def has_no_body(method: str, status: int) -> bool:
    """Tell whether an answer never carries a body, whatever its fields say."""
    return method == "HEAD" or status in {204, 304} or 100 <= status < 200
