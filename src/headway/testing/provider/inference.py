"""The Open Inference Protocol v2: metadata, readiness, inference. What is asked comes back."""

import re
import struct
from collections.abc import Iterator
from typing import Any, Final

from headway.testing.provider.reply import Received, Reply, Said, objects, sse, wrong_body

_LETTERS: Final = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""What `struct` calls a number of each type; raw tensors are little-endian."""


class Inference:
    """How such a server writes; raw tensors come back as JSON, which the protocol allows."""

    def wrong(self, request: Received) -> str:
        given = request.json.get("inputs")
        if given and not objects(given):
            return "inputs: a list of objects is expected"
        try:
            list(_tensors(request))
        except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
            return f"inputs: raw values that cannot be read ({error!r})"
        return wrong_body(request)

    def whole(self, request: Received, reply: Reply) -> dict[str, Any]:
        path = request.path.partition("?")[0].rstrip("/")
        model, version = _named(path)
        if path.endswith("/infer"):
            return self._inferred(request, reply, model, version)
        if path.endswith(("/ready", "/live")):
            return {"name": model, "ready": True} if model else {"live": True, "ready": True}
        if model:
            tensors: dict[str, Any] = {"inputs": [], "outputs": []}
            return {"name": model, "versions": [version or "1"], "platform": "scripted", **tensors}
        return {"name": "scripted", "version": "1", "extensions": []}

    def stream(self, request: Received, reply: Reply) -> list[Said] | None:  # noqa: ARG002 - the protocol's words
        return None

    def error(self, reply: Reply) -> dict[str, Any]:
        return {"error": reply.message}

    def error_event(self, reply: Reply) -> bytes:
        return sse(self.error(reply))

    def _inferred(
        self, request: Received, reply: Reply, model: str, version: str
    ) -> dict[str, Any]:
        asked = request.json
        outputs = list(_tensors(request)) if reply.outputs is None else list(reply.outputs)
        answer: dict[str, Any] = {"model_name": model, "outputs": outputs}
        if version:
            answer["model_version"] = version
        return answer | ({"id": asked["id"]} if "id" in asked else {})


def _named(path: str) -> tuple[str, str]:
    found = re.search(r"/models/([^/]+)(?:/versions/([^/]+))?", path)
    return (found[1], found[2] or "") if found else ("", "")


def _tensors(request: Received) -> Iterator[dict[str, Any]]:
    """Yield what was sent as tensors with their values, those that came raw too."""
    at = int(request.headers.get("inference-header-content-length", "0"))
    for tensor in objects(request.json.get("inputs")):
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            yield tensor
            continue
        raw = request.body[at : at + size]
        at += size
        told = {name: tensor[name] for name in ("name", "datatype", "shape")}
        yield told | {"data": list(_values(raw, tensor["datatype"]))}


def _values(raw: bytes, datatype: str) -> Iterator[Any]:
    if datatype != "BYTES":
        yield from (value for (value,) in struct.iter_unpack(f"<{_LETTERS[datatype]}", raw))
        return
    at = 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4 + size
        yield raw[at - size : at].decode()
