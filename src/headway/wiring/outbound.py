"""The guard of all that goes out, as the settings say."""

from typing import Final

from headway.adapters.outbound import Outbound, read_allow, tls_context
from headway.settings import Settings

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def outbound(settings: Settings) -> Outbound:
    """Return the guard of all that goes out."""
    return Outbound(
        allow=read_allow(settings.outbound_allow),
        loopback_open=settings.host in _LOOPBACK,
        own_ports=frozenset({settings.port}),
        tls=tls_context(settings.outbound_ca) if settings.outbound_ca else None,
    )
