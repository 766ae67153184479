"""The guard of all that goes out, as the settings say."""

from pathlib import Path
from typing import Final

from headway.adapters.outbound import Outbound, read_allow, tls_context

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def outbound(*, host: str, port: int, allow: str, ca: Path | None) -> Outbound:
    """Return the guard of all that goes out, for who listens on this host and port."""
    return Outbound(
        allow=read_allow(allow),
        loopback_open=host in _LOOPBACK,
        own_ports=frozenset({port}),
        tls=tls_context(ca) if ca else None,
    )
