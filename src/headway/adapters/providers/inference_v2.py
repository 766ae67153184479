"""Versions that our own runner answers, by the Open Inference Protocol on a unix socket."""

from headway.gateway.exchange import Prepared, Release
from headway.gateway.ports import Around
from headway.kernel.clock import SECOND
from headway.kernel.errors import Unsupported
from headway.registry.target import LocalTarget
from headway.wire.framing import request_head, write_fields
from headway.wire.upstream import Deadlines, Origin


class InferenceV2:
    """The plug-in `inference_v2`: artifacts with a runtime.

    The path names the artifact by its digest; the two headers are what the runner writes into its
    answer as `model_name` and `model_version`, so that gateways forward bytes untouched.
    """

    name = "inference_v2"

    def prepare(self, release: Release, around: Around) -> Prepared:
        """Return how this version is called, or raise `Unsupported`."""
        target, artifact = release.target, release.artifact
        if not isinstance(target, LocalTarget) or artifact is None:
            raise Unsupported(f"{release.model}@{release.version} is no target of {self.name}")
        lines = write_fields(
            [
                (b"host", b"runner"),
                (b"headway-model", release.model.encode("ascii")),
                (b"headway-model-version", release.version.encode("ascii")),
            ]
        )
        return Prepared(
            origin=Origin("unix", around.runner),
            heads={
                "open_inference": request_head(
                    b"POST", b"/v2/models/%b/infer" % artifact.encode("ascii"), lines
                )
            },
            deadlines=Deadlines(
                connect=target.timeouts.connect / SECOND,
                first_byte=target.timeouts.first / SECOND,
                idle=target.timeouts.idle / SECOND,
                total=target.timeouts.total / SECOND,
            ),
            local=True,
        )
