"""Versions at a server that speaks the Open Inference Protocol v2: KServe, Triton, MLServer."""

from typing import Final
from urllib.parse import quote

from headway.adapters.hosted import base_of, deadlines, hidden_of
from headway.gateway.exchange import Default, Native, Prepared, Release
from headway.gateway.formats.open_inference import BINARY, NAME, Renamed
from headway.gateway.ports import Around
from headway.kernel.errors import Unsupported
from headway.registry.target import InferenceTarget
from headway.wire.framing import FieldLines, request_head, write_fields

_PASSES: Final = frozenset({b"content-type", BINARY})
_DEFAULTS: Final = (
    Default(
        b"content-type",
        FieldLines(b"content-type: application/json\r\n"),
        beside=BINARY,
        other=FieldLines(b"content-type: application/octet-stream\r\n"),
    ),
)
"""KServe refuses what says nothing or the wrong thing, and clients of Triton say nothing."""


class InferenceV2:
    """The plug-in `inference_v2`."""

    name = "inference_v2"

    def prepare(self, release: Release, around: Around) -> Prepared:
        """Return how this version is called; `Refused` if its credential must not go there."""
        target = release.target
        if not isinstance(target, InferenceTarget):
            raise Unsupported(f"{release.model}@{release.version} is no target of {self.name}")
        base = base_of(target.base_url)
        fields = list(base.fields)
        secret = around.secret(target.credential, base.host) if target.credential else None
        if secret is not None:
            fields.append((b"authorization", b"Bearer " + secret.encode("ascii")))
        path = base.path.removesuffix(b"/v2") + _path(target)
        lines = write_fields(fields)
        native = Native(
            request_head(b"POST", path + b"/infer", lines),
            passes=_PASSES,
            defaults=_DEFAULTS,
            answers=Renamed(model=release.model, version=release.version, theirs=target.model),
        )
        return Prepared(
            origin=base.origin,
            native={NAME: native},
            metadata=request_head(b"GET", path, lines) + b"\r\n",
            readiness=request_head(b"GET", path + b"/ready", lines) + b"\r\n",
            deadlines=deadlines(target.timeouts),
            retries=target.retries,
            hidden=hidden_of(base, secret),
        )


def _path(target: InferenceTarget) -> bytes:
    path = f"/v2/models/{quote(target.model, safe='')}"
    if target.model_version is not None:
        path += f"/versions/{quote(target.model_version, safe='')}"
    return path.encode("ascii")
