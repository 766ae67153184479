"""Webhooks, signed as Standard Webhooks are (github.com/standard-webhooks/standard-webhooks)."""

import base64
import hashlib
import hmac
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from headway.adapters.outbound import Audience, NotAllowed, Outbound, tls_context
from headway.kernel.canonical import Json, canonical
from headway.kernel.clock import Clock
from headway.kernel.errors import Refused, Unavailable

_PREFIX: Final = "whsec_"
_TIMEOUT: Final = httpx2.Timeout(15.0, connect=5.0)
_PORTS: Final = {"https": 443, "http": 80}


def sign(secret: str, *, message_id: str, at: int, body: bytes) -> str:
    """Return `v1,<base64>`: HMAC-SHA-256 over "id.seconds.body" with the secret's bytes."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = b".".join((message_id.encode(), str(at).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Posts a message's `payload["body"]` to its `payload["url"]`; 2xx means delivered."""

    outbound: Outbound
    clock: Clock
    secret: str | None = field(repr=False)
    """`whsec_…`; None: webhooks go unsigned."""
    tls: ssl.SSLContext | None = None

    def deliver(self, *, key: str, payload: Mapping[str, Any]) -> Json:
        """Post once; raises `Unavailable` to be asked again, `Refused` if it must not be."""
        url = str(payload["url"])
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
        body = canonical(payload["body"]).encode()
        seconds = self.clock() // 1000
        headers = {
            "content-type": "application/json",
            "host": parts.netloc,
            "webhook-id": key,
            "webhook-timestamp": str(seconds),
        }
        if self.secret is not None:
            headers["webhook-signature"] = sign(self.secret, message_id=key, at=seconds, body=body)
        try:
            ((address, port), *_) = self.outbound.resolve(
                parts.scheme, host, port, audience=Audience.NOTIFIER
            )
            shown = f"[{address}]" if ":" in address else address
            # The checked address is called; name and certificate stay those of the URL.
            with httpx2.Client(
                trust_env=False, timeout=_TIMEOUT, verify=self.tls or tls_context()
            ) as http:
                answer = http.post(
                    f"{parts.scheme}://{shown}:{port}{parts.path or '/'}"
                    + (f"?{parts.query}" if parts.query else ""),
                    content=body,
                    headers=headers,
                    extensions={"sni_hostname": host},
                    follow_redirects=False,
                )
        except NotAllowed as error:
            raise Refused(f"the webhook may not be called: {error}") from error
        except (OSError, httpx2.HTTPError) as error:
            raise Unavailable(f"the webhook does not answer: {type(error).__name__}") from error
        if not 200 <= answer.status_code < 300:
            raise Unavailable(f"the webhook answered {answer.status_code}")
        return {"status": answer.status_code}
