"""Versions that our own runner answers, by the Open Inference Protocol on a unix socket."""

from typing import Final

from headway.adapters.hosted import deadlines
from headway.gateway.exchange import Native, Prepared, Release
from headway.gateway.formats.open_inference import NAME
from headway.gateway.ports import Around
from headway.kernel.errors import Unsupported
from headway.registry.target import LocalTarget
from headway.wire.framing import request_head, write_fields
from headway.wire.origin import Origin

_PASSES: Final = frozenset({b"inference-header-content-length"})


class Local:
    """The plug-in `local`: artifacts with a runtime.

    The path names the artifact by its digest; two headers are what the runner writes into its
    answer as `model_name` and `model_version`, so that gateways forward bytes untouched. The third
    says how long the version has, so that the runner can tell who took the time.
    """

    name = "local"

    def prepare(self, release: Release, around: Around) -> Prepared:
        """Return how this version is called, or raise `Unsupported`."""
        target, artifact = release.target, release.artifact
        if not isinstance(target, LocalTarget) or artifact is None:
            raise Unsupported(f"{release.model}@{release.version} is no target of {self.name}")
        timeouts = target.timeouts
        lines = write_fields(
            [
                (b"host", b"runner"),
                (b"headway-model", release.model.encode("ascii")),
                (b"headway-model-version", release.version.encode("ascii")),
                (b"headway-patience-ms", b"%d" % min(timeouts.first, timeouts.total)),
            ]
        )
        path = b"/v2/models/%b" % artifact.encode("ascii")
        native = Native(request_head(b"POST", path + b"/infer", lines), passes=_PASSES)
        return Prepared(
            origin=Origin("unix", around.runner),
            native={NAME: native},
            metadata=request_head(b"GET", path, lines) + b"\r\n",
            deadlines=deadlines(timeouts),
            local=True,
        )
