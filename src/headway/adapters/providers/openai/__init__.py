"""Versions that call an upstream which speaks OpenAI's API, hosted or one's own."""

from typing import Final

from headway.adapters.hosted import base_of, deadlines, settings_of
from headway.adapters.providers.openai.chat import OpenAIUpstream
from headway.gateway.exchange import Native, Prepared, Release
from headway.gateway.ports import Around
from headway.kernel.errors import Unsupported
from headway.registry.target import HostedTarget
from headway.wire.framing import request_head, write_fields

_PATHS: Final = {"openai_chat": b"/chat/completions"}
"""By format of the caller, what follows the base URL."""


_PASSES: Final = frozenset({b"openai-organization", b"openai-project"})


class OpenAI:
    """The plug-in `openai`."""

    name = "openai"

    def prepare(self, release: Release, around: Around) -> Prepared:
        """Return how this version is called; `Refused` if its credential must not go there."""
        target = release.target
        if not isinstance(target, HostedTarget):
            raise Unsupported(f"{release.model}@{release.version} is no target of {self.name}")
        base = base_of(target.base_url)
        fields = [*base.fields, (b"content-type", b"application/json")]
        if target.credential is not None:
            value = around.secret(target.credential, base.host)
            fields.append((b"authorization", b"Bearer " + value.encode("ascii")))
        lines = write_fields(fields)
        settings = settings_of(target)
        return Prepared(
            origin=base.origin,
            native={
                format_: Native(
                    request_head(b"POST", base.path + path, lines), settings, passes=_PASSES
                )
                for format_, path in _PATHS.items()
            },
            upstream=OpenAIUpstream(
                limit_field="max_completion_tokens" if _is_openai(base.host) else "max_tokens"
            ),
            deadlines=deadlines(target.timeouts),
            retries=target.retries,
        )


def _is_openai(host: str) -> bool:
    """Say whether OpenAI or Azure answers there: their newer models know one name for a limit."""
    return host.endswith((".openai.com", ".openai.azure.com", ".services.ai.azure.com"))
