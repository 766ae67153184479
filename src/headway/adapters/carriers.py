"""Who carries out what waits in the outbox: checks, probes, webhooks.

A smoke request and a probe go the way of a caller's request, through a gateway, pinned to the
version and marked as a check: what passes there is what a caller would meet.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx2

from headway.adapters.notifiers.webhook import Webhook
from headway.adapters.runners import Runners
from headway.artifacts.artifact import corrupt_words
from headway.kernel.canonical import Json
from headway.kernel.errors import HeadwayError, Unavailable
from headway.outbox.message import Message
from headway.registry.api import PATHS

_TIMEOUT: Final = httpx2.Timeout(60.0, connect=3.0)


@dataclass(frozen=True, slots=True)
class ThroughGateway:
    """Asks a gateway as control may: pinned to a version, whoever the route would choose."""

    url: str
    secret: str = field(repr=False)

    def ask(self, payload: Mapping[str, Any]) -> Json:
        """Send `payload["request"]` to its version; say whether it was answered."""
        api, model, version = (str(payload[name]) for name in ("api", "model", "version"))
        path = PATHS[api].format(model=quote(model, safe=""), version=quote(version, safe="+"))
        headers = {
            "Headway-Check": version,
            "Headway-Hop": self.secret,
            "Headway-Environment": str(payload["environment"]),
        }
        if payload["variables"]:
            headers["Headway-Variables"] = json.dumps(payload["variables"])
        body = dict(payload["request"]) | ({} if api == "infer" else {"model": model})
        try:
            answer = httpx2.request(
                "GET" if api == "ready" else "POST",
                f"{self.url}{path}",
                json=None if api == "ready" else body,
                headers=headers,
                timeout=_TIMEOUT,
                trust_env=False,
            )
        except httpx2.HTTPError as error:
            raise Unavailable(f"no gateway answers: {type(error).__name__}") from error
        ok = answer.status_code == 200
        host = f" (its base URL is at {payload['host']})" if payload.get("host") else ""
        detail = (
            ""
            if ok
            else f"{version} answered {path} with {answer.status_code}: {_words(answer)}{host}"
        )
        return {"ok": ok, "detail": detail}


class IsCorrupt(Protocol):
    """Says whether the stored bytes of an artifact are others than those that were uploaded."""

    def __call__(self, digest: str, *, doubted: bool) -> bool:
        """`doubted`: somebody says that they are; else it is what is known of them."""


@dataclass(frozen=True, slots=True)
class Carriers:
    """One method per kind of message."""

    runners: Runners
    is_corrupt: IsCorrupt
    gateway: ThroughGateway
    webhook: Webhook

    def check(self, message: Message) -> Json:
        payload = _payload(message)
        match payload["check"]:
            case "loads":
                return self._load(str(payload["artifact"]))
            case "smoke":
                return self.gateway.ask(payload)
            case other:
                raise HeadwayError(f"nobody here carries out the check {other!r}")

    def _load(self, artifact: str) -> Json:
        loaded = self.runners.load(artifact)
        # A runner may hold what the disk has lost since; it would not after its next start.
        if self.is_corrupt(artifact, doubted=loaded.corrupt):
            return {"ok": False, "detail": corrupt_words(artifact), "final": True}
        bad = [f"{runner}: {words}" for runner, words in loaded.refused.items()]
        return {"ok": not bad, "detail": "; ".join(bad)}

    def probe(self, message: Message) -> Json:
        return self.gateway.ask(_payload(message))

    def notify(self, message: Message) -> Json:
        return self.webhook.deliver(key=message.key, payload=_payload(message))


def _words(answer: httpx2.Response) -> str:
    """Return what an answer says is wrong, without the JSON around it where that is known."""
    try:
        error = answer.json()["error"]
        said = error if isinstance(error, str) else error["message"]
    except (ValueError, LookupError, TypeError):
        said = answer.text
    return str(said)[:300]


def _payload(message: Message) -> Mapping[str, Any]:
    if not isinstance(message.payload, Mapping):
        raise HeadwayError(f"the message {message.key} holds nothing to carry out")
    return message.payload
