"""Who carries out what waits in the outbox: checks, probes, webhooks.

A smoke request and a probe go the way of a caller's request, through a gateway, pinned to the
version and marked as a check: what passes there is what a caller would meet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from headway.adapters.notifiers.webhook import Webhook
from headway.adapters.runners import Runners
from headway.kernel.canonical import Json
from headway.kernel.errors import HeadwayError, Unavailable
from headway.outbox.message import Message

_TIMEOUT: Final = httpx2.Timeout(60.0, connect=3.0)


@dataclass(frozen=True, slots=True)
class ThroughGateway:
    """Asks a gateway as control may: pinned to a version, whoever the route would choose."""

    url: str
    hop_secret: str = field(repr=False)

    def ask(self, payload: Mapping[str, Any]) -> Json:
        """Send `payload["request"]` to its version; say whether it was answered."""
        body = dict(payload["request"])
        model, version = str(payload["model"]), str(payload["version"])
        path = f"/v2/models/{model}/infer"
        if "inputs" not in body:
            path, body = "/v1/chat/completions", body | {"model": model}
        headers = {
            "Headway-Check": version,
            "Headway-Hop": self.hop_secret,
            "Headway-Environment": str(payload["environment"]),
        }
        try:
            answer = httpx2.post(
                f"{self.url}{path}", json=body, headers=headers, timeout=_TIMEOUT, trust_env=False
            )
        except httpx2.HTTPError as error:
            raise Unavailable(f"no gateway answers: {type(error).__name__}") from error
        ok = answer.status_code == 200
        detail = "" if ok else f"{version} answered {answer.status_code}: {answer.text[:300]}"
        return {"ok": ok, "detail": detail}


@dataclass(frozen=True, slots=True)
class Carriers:
    """One method per kind of message."""

    runners: Runners
    gateway: ThroughGateway
    webhook: Webhook

    def check(self, message: Message) -> Json:
        payload = _payload(message)
        match payload["check"]:
            case "loads":
                told = self.runners.load(str(payload["artifact"]))
                bad = [f"{runner}: {words}" for runner, words in told.items() if words != "ok"]
                return {"ok": not bad, "detail": "; ".join(bad)}
            case "smoke":
                return self.gateway.ask(payload)
            case other:
                raise HeadwayError(f"nobody here carries out the check {other!r}")

    def probe(self, message: Message) -> Json:
        return self.gateway.ask(_payload(message))

    def notify(self, message: Message) -> Json:
        return self.webhook.deliver(key=message.key, payload=_payload(message))


def _payload(message: Message) -> Mapping[str, Any]:
    if not isinstance(message.payload, Mapping):
        raise HeadwayError(f"the message {message.key} holds nothing to carry out")
    return message.payload
