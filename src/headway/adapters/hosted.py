"""What every provider behind a base URL has in common."""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from headway.gateway.exchange import Default, Passed, Settings
from headway.kernel.clock import SECOND
from headway.registry.target import HostedTarget, Timeouts
from headway.wire.framing import FieldLines
from headway.wire.origin import Origin
from headway.wire.sending import Deadlines

_PORTS: Final = {"https": 443, "http": 80}
Fields = list[tuple[bytes, bytes]]


class Base(NamedTuple):
    """A base URL, taken apart."""

    origin: Origin
    host: str
    path: bytes
    """Without a slash at its end."""
    fields: Fields
    """Those that every request there has."""


def base_of(base_url: str) -> Base:
    """Take a checked base URL apart."""
    url = urlsplit(base_url)
    host = url.hostname or ""
    fields = [
        (b"host", url.netloc.encode("ascii")),
        (b"user-agent", b"headway"),
        (b"accept-encoding", b"identity"),
    ]
    origin = Origin(url.scheme, host, url.port or _PORTS[url.scheme])
    return Base(origin, host, url.path.rstrip("/").encode("ascii"), fields)


def hidden_of(base: Base, secret: str | None) -> tuple[bytes, ...]:
    """Return what no answer of a provider may show: where it is, and with what it was called."""
    where = dict(base.fields)[b"host"]
    return (where,) if secret is None else (where, secret.encode("ascii"))


def passed_of(
    target: HostedTarget,
    base: bytes,
    lines: FieldLines,
    *,
    query: str = "",
    passes: frozenset[bytes],
    defaults: tuple[Default, ...] = (),
) -> Passed | None:
    """Return how the other paths that a version allows are called; None: it allows none."""
    if not target.passes:
        return None
    return Passed(
        paths=target.passes,
        base=base + b"/",
        lines=lines,
        model=target.model,
        query=query.encode("ascii"),
        passes=passes,
        defaults=defaults,
    )


def deadlines(timeouts: Timeouts) -> Deadlines:
    """Return a target's time-outs as the engine counts them, in seconds."""
    return Deadlines(
        connect=timeouts.connect / SECOND,
        first_byte=timeouts.first / SECOND,
        idle=timeouts.idle / SECOND,
        total=timeouts.total / SECOND,
    )


def settings_of(target: HostedTarget) -> Settings:
    """Return what a version adds to a request, in its provider's own words."""
    locked = {name: target.parameters[name] for name in target.locked}
    prompt = target.prompt
    template = prompt.template() if prompt is not None and prompt.system else None
    needed = template.names if template is not None else frozenset()
    return Settings(
        model=target.model,
        template=template,
        variables=(
            {name: prompt.variables[name].default for name in sorted(needed)} if prompt else {}
        ),
        parameters={k: v for k, v in target.parameters.items() if k not in locked},
        locked=locked,
        tools=target.tools,
    )
