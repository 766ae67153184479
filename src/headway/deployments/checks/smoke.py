"""`smoke`: one request is answered. It is made from the signature; `metadata.example` wins.

What is asked is `{"api": <which>, "request": <body>, "variables": {<name>: <text>}}`, in the words
that the version's own provider takes, so that nothing but the version is tried. It is answered by
`{"ok", "detail"}`. A probe after a rollback asks the same.

    api          path                        a body has
    chat         /v1/chat/completions        messages
    responses    /v1/responses               input
    embeddings   /v1/embeddings              input
    messages     /v1/messages                messages, max_tokens
    infer        /v2/models/{model}/infer    inputs
    ready        /v2/models/{model}/versions/{version}/ready: whose inputs nobody knows here
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from headway.deployments.checks import Answer
from headway.kernel.canonical import Json
from headway.registry.model import Version
from headway.registry.target import APIS, HostedTarget, InferenceTarget, LocalTarget

_DEEPEST: Final = 8
_SHORT_ANSWER: Final = 1024
"""Tokens."""
_USUAL: Final = ("chat", "responses", "embeddings")
"""Which API is asked where nothing says more: the first of these that the provider offers."""
_ZEROS: Final[Mapping[str, Json]] = {"BOOL": False, "BYTES": ""}


@dataclass(frozen=True, slots=True)
class Smoke:
    def ask(self, version: Version) -> Mapping[str, Json] | None:
        return {**question_of(version), "host": _host_of(version)}

    def read(self, answer: Json) -> Answer:
        return Answer.read(answer)


smoke: Final = Smoke()


def _host_of(version: Version) -> str:
    """Return whom the version calls: its base URL's host and port, with no path or password."""
    if isinstance(version.target, LocalTarget):
        return ""
    return urlsplit(version.target.base_url).netloc.rpartition("@")[2]


def question_of(version: Version) -> Mapping[str, Json]:
    """Return one harmless request that the version should be able to answer."""
    example = version.metadata.get("example")
    match version.target:
        case LocalTarget() | InferenceTarget() as target:
            if not isinstance(example, Mapping):
                example = {"inputs": _tensors(version.signature.input)}
            unknown = isinstance(target, InferenceTarget) and example == {"inputs": []}
            api = "ready" if unknown else "infer"
            return {"api": api, "request": example, "variables": {}}
        case HostedTarget() as target:
            if not isinstance(example, Mapping):
                example = None
            made = example_of(version.signature.input) if example is None else example
            body = dict(made) if isinstance(made, Mapping) else {}
            api = _api_of(target, body)
            if example is None:
                body = _filled(api, body)
            if api == "messages" and "max_tokens" not in {*body, *target.parameters}:
                body["max_tokens"] = _tokens_for(target)
            return {"api": api, "request": body, "variables": _variables(target)}


def _api_of(target: HostedTarget, body: Mapping[str, Json]) -> str:
    """Say which API takes this body: what the body shows, else the first that is offered."""
    if target.provider == "anthropic":
        return "messages"
    apis = target.apis or APIS
    takes = ("chat",) if "messages" in body else ("embeddings", "responses")
    offered = [api for api in takes if api in apis] if {"messages", "input"} & body.keys() else []
    return offered[0] if offered else next(api for api in _USUAL if api in apis)


def _filled(api: str, body: Mapping[str, Json]) -> dict[str, Json]:
    """Put something into the body that can be answered, where the signature asks for nothing."""
    field, something = (
        ("messages", [{"role": "user", "content": "Say ok."}])
        if api in ("chat", "messages")
        else ("input", "Say ok.")
    )
    return {**body, field: body.get(field) or something}


def _tokens_for(target: HostedTarget) -> int:
    """Return a limit for one short answer, after the thinking that the version asks for."""
    thinking = target.parameters.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return _SHORT_ANSWER + (budget if isinstance(budget, int) else 0)


def _variables(target: HostedTarget) -> Mapping[str, Json]:
    """Return a value for every variable of the prompt that has none of its own."""
    declared = target.prompt.variables if target.prompt is not None else {}
    return {name: "smoke" for name, variable in declared.items() if variable.default is None}


def _tensors(schema: Mapping[str, Json]) -> list[Json]:
    """Return one tensor of zeros per input; a dimension of any size has the size 1."""
    properties = schema.get("properties")
    tensors: list[Json] = []
    for name, tensor in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(tensor, Mapping) or "datatype" not in tensor:
            continue
        shape = tensor.get("shape")
        sizes = [
            size if isinstance(size, int) and size >= 0 else 1
            for size in (shape if isinstance(shape, list | tuple) else [1])
        ]
        count = 1
        for size in sizes:
            count *= size
        zero = _ZEROS.get(str(tensor["datatype"]), 0)
        tensors.append(
            {
                "name": name,
                "datatype": str(tensor["datatype"]),
                "shape": sizes,
                "data": [zero] * count,
            }
        )
    return tensors


def example_of(schema: Json, depth: int = 0) -> Json:
    """Return a small value that a JSON Schema allows, as far as its simple words tell."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    for word in ("const", "default"):
        if word in schema:
            fixed: Json = schema[word]
            return fixed
    for word in ("examples", "enum"):
        values = schema.get(word)
        if isinstance(values, list | tuple) and values:
            listed: Json = values[0]
            return listed
    kind = schema.get("type")
    if isinstance(kind, list | tuple) and kind:
        kind = kind[0]
    match kind:
        case "object":
            return _object(schema, depth)
        case "array":
            least = schema.get("minItems")
            count = least if isinstance(least, int) else 0
            return [example_of(schema.get("items"), depth + 1) for _ in range(min(count, 1000))]
        case "string":
            least = schema.get("minLength")
            return "ok".ljust(min(least, 1000), ".") if isinstance(least, int) else "ok"
        case "integer" | "number":
            least = schema.get("minimum")
            return least if isinstance(least, int | float) else 0
        case "boolean":
            return False
        case None if "properties" in schema:
            return _object(schema, depth)
        case _:
            return None


def _object(schema: Mapping[str, Json], depth: int) -> dict[str, Json]:
    properties = schema.get("properties")
    required = schema.get("required")
    names = required if isinstance(required, list | tuple) else ()
    known = properties if isinstance(properties, Mapping) else {}
    return {str(name): example_of(known.get(str(name)), depth + 1) for name in names}
