"""Artifacts over HTTP: bytes in, bytes out, never all of them in memory."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from headway.artifacts.artifact import Artifact, Digest
from headway.auth.role import Permission
from headway.kernel.errors import Invalid
from headway.web.operation import Reply, caller, operation, services
from headway.web.schemas import Link, Links, Shown, Time, maybe_rfc3339, rfc3339

bp: Final = Blueprint("artifacts", __name__, url_prefix="/api/v1/artifacts")

BYTES: Final = "application/octet-stream"
_PIECE: Final = 64 * 1024
_SHA256: Final = re.compile(r"(?i)sha-256=:?([A-Za-z0-9+/]{43}=):?\Z")


class ArtifactShown(Shown):
    digest: str
    size: int
    created_at: Time
    created_by: str
    corrupt_at: Time | None
    """When its stored bytes were found not to be those that were uploaded."""
    links: Links


@bp.post("")
@operation(
    Permission.ARTIFACTS_WRITE,
    "Upload a file",
    uploads=True,
    gives=ArtifactShown,
    status=201,
    also={200: "The very same bytes are stored already"},
    # A dry run of an upload would be the upload.
    changes=False,
)
def upload() -> Reply:
    if "Content-Range" in request.headers:
        raise Invalid.at("Content-Range", "a file is sent whole: in one request, from its start")
    stored = services().artifacts.upload(
        _pieces(cast("BinaryIO", request.stream)),
        actor=caller().actor,
        expected=_expected(),
        length=request.content_length,
    )
    artifact = stored.artifact
    where = url_for("artifacts.download", digest=artifact.digest)
    return Reply(body=_shown(artifact), status=201 if stored.created else 200, location=where)


@bp.get("/<digest:digest>")
@operation(
    Permission.ARTIFACTS_READ,
    "Download a file, or a part of it",
    streams=(BYTES,),
    also={206: "The part that `Range` asks for"},
    refuses=(416,),
)
def download(digest: str) -> Response:
    artifact = services().artifacts.get(digest)
    start, end, status = 0, artifact.size, 200
    if (asked := _range(artifact)) is not None:
        (start, end), status = asked, 206
    if request.method == "HEAD":
        answer = Response(status=status, content_type=BYTES)
    else:
        pieces = services().artifacts.open(digest, start=start, end=end)
        answer = Response(pieces, status, content_type=BYTES, direct_passthrough=True)
    answer.headers["Content-Length"] = str(end - start)
    if status == 206:
        answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{artifact.size}"
    answer.headers["Accept-Ranges"] = "bytes"
    answer.headers["ETag"] = f'"{artifact.digest}"'
    answer.headers["Content-Disposition"] = "attachment"
    # What a digest names never changes.
    answer.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return answer


@bp.delete("/<digest:digest>")
@operation(Permission.ARTIFACTS_WRITE, "Remove a file that no version needs", status=204)
def remove(digest: str) -> Reply:
    services().artifacts.remove(digest, actor=caller().actor, sees=caller().sees_model)
    return Reply()


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


def _range(artifact: Artifact) -> tuple[int, int] | None:
    """Return the one part that is asked for; None: everything, as HEAD always asks for."""
    asked = request.range
    if request.method == "HEAD" or asked is None:
        return None
    if asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    if (condition := request.headers.get("If-Range")) and condition != f'"{artifact.digest}"':
        return None
    start, _ = asked.ranges[0]
    if start is not None and start < -artifact.size:
        return 0, artifact.size  # the last 1,000 bytes of 300 are all of them
    found = asked.range_for_length(artifact.size)
    if found is None:
        raise RequestedRangeNotSatisfiable(length=artifact.size)
    return found


def _expected() -> Digest | None:
    """Return what the sender says of the bytes (RFC 9530 or RFC 3230), if anything."""
    for field in ("Content-Digest", "Digest"):
        if (value := request.headers.get(field)) is None:
            continue
        for part in value.split(","):
            if found := _SHA256.match(part.strip()):
                try:
                    return Digest(base64.b64decode(found[1], validate=True).hex())
                except binascii.Error:
                    break
        raise Invalid.at(field, "write sha-256 and the digest in base64, as in sha-256=:…:")
    return None


def _shown(artifact: Artifact) -> ArtifactShown:
    where = url_for("artifacts.download", digest=artifact.digest)
    return ArtifactShown(
        digest=artifact.digest,
        size=artifact.size,
        created_at=rfc3339(artifact.created_at),
        created_by=artifact.created_by,
        corrupt_at=maybe_rfc3339(artifact.corrupt_at),
        links={"download": Link(method="GET", href=where)},
    )
