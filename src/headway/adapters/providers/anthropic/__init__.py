"""Versions that call an upstream which speaks Anthropic's API, hosted or one's own."""

from typing import Final

from headway.adapters.hosted import base_of, deadlines, hidden_of, passed_of, settings_of
from headway.adapters.providers.anthropic.chat import AnthropicUpstream
from headway.gateway.exchange import Default, Native, Prepared, Release
from headway.gateway.ports import Around
from headway.kernel.errors import Unsupported
from headway.registry.target import COUNT, HostedTarget
from headway.wire.framing import FieldLines, request_head, write_fields

_PATHS: Final = {
    "anthropic_messages": b"/v1/messages",
    "anthropic_count_tokens": b"/v1/messages/count_tokens",
}
"""By format of the caller, what follows the base URL, which may end in /v1 or not."""
_USUAL_VERSION: Final = Default(
    b"anthropic-version", FieldLines(b"anthropic-version: 2023-06-01\r\n")
)
"""For callers that name none, as those of another dialect never do."""
_BETA: Final = b"anthropic-beta"
_VERSION: Final = b"anthropic-version"


class Anthropic:
    """The plug-in `anthropic`."""

    name = "anthropic"

    def prepare(self, release: Release, around: Around) -> Prepared:
        """Return how this version is called; `Refused` if its credential must not go there."""
        target = release.target
        if not isinstance(target, HostedTarget):
            raise Unsupported(f"{release.model}@{release.version} is no target of {self.name}")
        base = base_of(target.base_url)
        fields = list(base.fields)
        secret = around.secret(target.credential, base.host) if target.credential else None
        if secret is not None:
            fields.append((b"x-api-key", secret.encode("ascii")))
        if target.api_version is not None:
            fields.append((_VERSION, target.api_version.encode("ascii")))
        lines = write_fields([*fields, (b"content-type", b"application/json")])
        root = base.path.removesuffix(b"/v1")
        settings = settings_of(target)
        own = target.api_version is not None
        passes = frozenset({_BETA} if own else {_BETA, _VERSION})
        defaults = () if own else (_USUAL_VERSION,)
        return Prepared(
            origin=base.origin,
            native={
                format_: Native(
                    request_head(b"POST", root + path, lines),
                    settings,
                    passes=passes,
                    defaults=defaults,
                )
                for format_, path in _PATHS.items()
            },
            upstream=AnthropicUpstream(),
            deadlines=deadlines(target.timeouts),
            retries=target.retries,
            hidden=hidden_of(base, secret),
            reads_on=target.when_left == COUNT,
            passed=passed_of(
                target, root + b"/v1", write_fields(fields), passes=passes, defaults=defaults
            ),
        )
