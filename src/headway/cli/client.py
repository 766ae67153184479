"""The REST API as commands use it: one call, an error in one line, an exit code.

Exit codes: 0 done, 1 refused by the server (4xx), 2 wrong words on the command line, 3 the server
cannot be reached or failed (5xx).
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import click
import httpx2

REFUSED: Final = 1
UNREACHABLE: Final = 3
_KEY: Final = re.compile(r"[!-~]+")
Json = Any
"""What the API answers: plain JSON."""


def path_of(*parts: object) -> str:
    """Return the path of something, each part of it by itself whatever it holds."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


class Refusal(click.ClickException):
    """The server's answer in one line."""

    exit_code = REFUSED


class NoKey(click.ClickException):
    """Nobody knows whom to ask, or as whom."""

    exit_code = 2


class Unreachable(Refusal):
    """No server, or one that failed."""

    exit_code = UNREACHABLE


class Client:
    """Speaks to one Headway as the owner of one key."""

    def __init__(self, url: str, key: str, *, timeout: float = 30.0) -> None:
        self._http = httpx2.Client(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(timeout, connect=5.0),
            trust_env=False,
        )
        self.url = url.rstrip("/")

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: object) -> Json:
        return self.call("GET", path, query=query)

    def post(self, path: str, body: Json = None, **query: object) -> Json:
        return self.call("POST", path, json={} if body is None else body, query=query)

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Json = None,
        content: bytes | Iterator[bytes] | None = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Call `/api/v1<path>`; return the JSON of the answer (None for no content)."""
        answer = self.raw(method, path, json=json, content=content, query=query, headers=headers)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise Unreachable(
                f"what answers at {self.url} is no Headway; is HEADWAY_URL right?"
            ) from None

    def raw(
        self,
        method: str,
        path: str,
        *,
        json: Json = None,
        content: bytes | Iterator[bytes] | None = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        params = {name: str(value) for name, value in (query or {}).items() if value is not None}
        with _told(self.url):
            answer = self._http.request(
                method,
                f"/api/v1{path}",
                json=json,
                content=content,
                params=params,
                headers=dict(headers or {}),
            )
        check(answer)
        return answer

    def pages(self, path: str, *, most: int, **query: object) -> list[Json]:
        """Follow `next` until `most` items are there."""
        items: list[Json] = []
        after = None
        while len(items) < most:
            page = self.get(path, limit=min(1000, most - len(items)), after=after, **query)
            items += page["items"]
            after = page["next"]
            if after is None:
                break
        return items

    def fetch(self, path: str) -> Iterator[bytes]:
        """Read what is not JSON, piece by piece."""
        with _told(self.url), self._http.stream("GET", f"/api/v1{path}") as answer:
            if answer.status_code >= 400:
                answer.read()
            check(answer)
            yield from answer.iter_bytes(1 << 16)

    def events(self, path: str) -> Iterator[Mapping[str, str]]:
        """Follow a stream of server-sent events: dicts of their fields."""
        with (
            _told(self.url),
            self._http.stream(
                "GET",
                f"/api/v1{path}",
                headers={"Accept": "text/event-stream"},
                timeout=httpx2.Timeout(None, connect=5.0),
            ) as answer,
        ):
            if answer.status_code >= 400:
                answer.read()
            check(answer)
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    value = value.removeprefix(" ")
                    fields[name] = f"{fields[name]}\n{value}" if name in fields else value
                elif fields:
                    yield fields
                    fields = {}


def check(answer: httpx2.Response) -> None:
    """Raise `Refusal` with the server's own words if it did not do it."""
    if answer.status_code < 400:
        return
    kind = Refusal if answer.status_code < 500 else Unreachable
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    words = problem.get("detail") or problem.get("title") or answer.reason_phrase
    places = [
        f"{fault['pointer']}: {fault.get('detail')}" if fault.get("pointer") else fault["detail"]
        for fault in problem.get("errors", ())
    ]
    raise kind(f"{answer.status_code}: {'; '.join(places) or words}")


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.ConnectError as error:
        raise Unreachable(
            f"no Headway answers at {url}; is `headway serve` running, and HEADWAY_URL right?"
        ) from error
    except httpx2.TimeoutException as error:
        raise Unreachable(f"Headway at {url} did not answer in time; look at its log") from error
    except httpx2.HTTPError as error:
        raise Unreachable(f"no answer from {url}: {error or type(error).__name__}") from error


def from_environment() -> Client:
    """Make the client of HEADWAY_URL and HEADWAY_KEY, or of the key file in the data folder.

    It is closed when the command that asked for it is over.
    """
    port = os.environ.get("HEADWAY_PORT", "8000")
    url = os.environ.get("HEADWAY_URL", f"http://127.0.0.1:{port}")
    key = os.environ.get("HEADWAY_KEY") or _local_key()
    if key is None:
        raise NoKey(
            "no key: set HEADWAY_KEY to the one that `headway serve` showed at its first start "
            f"(without a terminal it went into admin.key of its data folder; {_key_file()} is not "
            "there); if it is lost, make another on that machine: `headway keys create me --role "
            "admin --here`"
        )
    _check_url(url)
    if not _KEY.fullmatch(key):  # else its text would stand in an error of the HTTP client
        raise NoKey("HEADWAY_KEY holds what is in no key (a space, a line break?): hw_ and so on")
    client = Client(url, key)
    click.get_current_context().call_on_close(client.close)
    return client


def _check_url(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise NoKey(f"HEADWAY_URL is {url[:200]!r}: it begins with http:// or https://")
    try:
        found = urlsplit(url)
        there = bool(found.hostname) and found.port != 0
    except ValueError:
        there = False
    if not there:
        raise NoKey(f"HEADWAY_URL is {url[:200]!r}: write it as http://127.0.0.1:8000")
    if found.username is not None:
        raise NoKey("HEADWAY_URL names a user: the key alone says who you are, in HEADWAY_KEY")


def _key_file() -> Path:
    return Path(os.environ.get("HEADWAY_DATA", "data")) / "admin.key"


def _local_key() -> str | None:
    try:
        return _key_file().read_text("ascii").strip()
    except OSError:
        return None
