"""Versions that call an upstream which speaks OpenAI's API, hosted or one's own."""

from typing import Final
from urllib.parse import urlsplit

from headway.gateway.exchange import Prepared, Release, Settings
from headway.gateway.ports import Around
from headway.kernel.clock import SECOND
from headway.kernel.errors import Unsupported
from headway.registry.target import OpenAITarget, Timeouts
from headway.wire.framing import request_head, write_fields
from headway.wire.upstream import Deadlines, Origin

_PORTS: Final = {"https": 443, "http": 80}
_PATHS: Final = {"openai_chat": b"/chat/completions"}
"""By format of the caller, what follows the base URL."""


class OpenAI:
    """The plug-in `openai`."""

    name = "openai"

    def prepare(self, release: Release, around: Around) -> Prepared:
        """Return how this version is called; `Refused` if its credential must not go there."""
        target = release.target
        if not isinstance(target, OpenAITarget):
            raise Unsupported(f"{release.model}@{release.version} is no target of {self.name}")
        url = urlsplit(target.base_url)
        host = url.hostname or ""
        port = url.port or _PORTS[url.scheme]
        fields = [
            (b"host", url.netloc.encode("ascii")),
            (b"user-agent", b"headway"),
            (b"accept-encoding", b"identity"),
            (b"content-type", b"application/json"),
        ]
        if target.credential is not None:
            value = around.secret(target.credential, host)
            fields.append((b"authorization", b"Bearer " + value.encode("ascii")))
        lines = write_fields(fields)
        base = url.path.rstrip("/").encode("ascii")
        return Prepared(
            origin=Origin(url.scheme, host, port),
            heads={
                format_: request_head(b"POST", base + path, lines)
                for format_, path in _PATHS.items()
            },
            settings=_settings(target),
            deadlines=deadlines(target.timeouts),
            retries=target.retries,
        )


def deadlines(timeouts: Timeouts) -> Deadlines:
    """Return a target's time-outs as the engine counts them, in seconds."""
    return Deadlines(
        connect=timeouts.connect / SECOND,
        first_byte=timeouts.first / SECOND,
        idle=timeouts.idle / SECOND,
        total=timeouts.total / SECOND,
    )


def _settings(target: OpenAITarget) -> Settings:
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
