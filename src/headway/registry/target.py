"""What a version calls: a provider and a model there, or an artifact and its runtime."""

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never
from urllib.parse import SplitResult, urlsplit

from headway.artifacts.artifact import Digest
from headway.kernel.canonical import Json
from headway.kernel.clock import HOUR, SECOND
from headway.kernel.errors import Fault, Invalid
from headway.kernel.names import check_name, nearest, unknown_word
from headway.kernel.quantity import format_duration
from headway.registry.document import (
    as_array,
    as_duration,
    as_object,
    as_text,
    check_json,
    kind_of,
    only,
    under,
)
from headway.registry.prompt import Prompt, prompt_from_document

PROVIDERS: Final = ("anthropic", "inference_v2", "openai")
RUNTIMES: Final = ("onnx",)
LONGEST_TIMEOUT: Final = 24 * HOUR
MOST_RETRIES: Final = 4
"""With the first try, the most calls that one request may cost."""
COUNT: Final = "count"
WHEN_LEFT: Final = (COUNT, "cancel")
"""`count` costs what the rest of an answer costs and tells all tokens; `cancel` saves it, and what
the provider had not told by then stays unknown."""
_MOST_TOOLS: Final = 128
_MOST_PARAMETERS: Final = 64

_CREDENTIAL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HOST: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?\Z"
)
_NOT_PARAMETERS: Final = {
    "model": "the target's `model` says which",
    "messages": "the caller's; a system text goes into `prompt`",
    "input": "the caller's",
    "system": "the target has a field `prompt` for it",
    "instructions": "the target has a field `prompt` for it",
    "prompt": "the target has a field `prompt` of its own",
    "tools": "the target has a field `tools` of its own",
    "stream": "the caller's",
    "stream_options": "the gateway asks for usage by itself",
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Milliseconds: to connect, to the first byte, between two reads, for the whole request."""

    connect: int = 5 * SECOND
    first: int = 60 * SECOND
    idle: int = 30 * SECOND
    total: int = 600 * SECOND

    def document(self) -> dict[str, Json]:
        return {
            "connect": format_duration(self.connect),
            "first": format_duration(self.first),
            "idle": format_duration(self.idle),
            "total": format_duration(self.total),
        }


@dataclass(frozen=True, slots=True)
class HostedTarget:
    """A language model behind a provider's API: OpenAI's, Anthropic's, or any that speaks so.

    `parameters` are written as the provider writes them: defaults for the request but for the
    `locked` ones, which win. `credential` is a name, never a value. `tools` are added to the
    caller's, ours winning on the same name: functions as OpenAI's chat writes them, whatever the
    provider; anything else is the provider's own. `api_version` is what the provider calls its
    API's version (`anthropic-version`, Azure's `api-version`). `apis` are those of an openai
    provider; None: what is known of its host.
    """

    provider: str
    base_url: str
    model: str
    credential: str | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    locked: tuple[str, ...] = ()
    prompt: Prompt | None = None
    tools: tuple[Mapping[str, Json], ...] = ()
    api_version: str | None = None
    apis: tuple[str, ...] | None = None
    passes: tuple[str, ...] = ()
    """Other paths below the base URL that callers may use as they are, as in `files`."""
    when_left: str = COUNT
    """What becomes of an answer whose caller left: read to its end, or ended (`WHEN_LEFT`)."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: int = 2

    def document(self) -> dict[str, Json]:
        """Write it in full, so that it stands for itself when a default changes.

        What is not there is left out: a field that comes later changes no digest.
        """
        optional: dict[str, Json] = {
            "credential": self.credential,
            "parameters": self.parameters,
            "locked": list(self.locked),
            "prompt": self.prompt.document() if self.prompt else None,
            "tools": list(self.tools),
            "api_version": self.api_version,
            "apis": list(self.apis) if self.apis else None,
            "passes": list(self.passes),
            "when_left": self.when_left if self.when_left != COUNT else None,
        }
        return {
            "provider": self.provider,
            "base_url": self.base_url,
            "model": self.model,
            **{key: value for key, value in optional.items() if value},
            "timeouts": self.timeouts.document(),
            "retries": self.retries,
        }


@dataclass(frozen=True, slots=True)
class InferenceTarget:
    """A model at a server that speaks the Open Inference Protocol v2: KServe, Triton, MLServer.

    `model` is the name that the server knows, `model_version` its version there, if one is meant.
    """

    base_url: str
    model: str
    model_version: str | None = None
    credential: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: int = 2

    @property
    def provider(self) -> str:
        return "inference_v2"

    def document(self) -> dict[str, Json]:
        optional = {"model_version": self.model_version, "credential": self.credential}
        return {
            "provider": self.provider,
            "base_url": self.base_url,
            "model": self.model,
            **{key: value for key, value in optional.items() if value},
            "timeouts": self.timeouts.document(),
            "retries": self.retries,
        }


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """An artifact (`sha256:…`) and the runtime that runs it."""

    runtime: str
    artifact: str
    timeouts: Timeouts = field(default_factory=Timeouts)

    def document(self) -> dict[str, Json]:
        return {
            "runtime": self.runtime,
            "artifact": self.artifact,
            "timeouts": self.timeouts.document(),
        }


Target: TypeAlias = HostedTarget | InferenceTarget | LocalTarget


def components_of(target: Target) -> dict[str, Json]:
    """Return the parts of a target that have a digest each, as documents."""
    match target:
        case HostedTarget():
            parts: dict[str, Json] = {
                "prompt": target.prompt.document() if target.prompt else None,
                "tools": list(target.tools),
                "parameters": (
                    {"parameters": target.parameters, "locked": list(target.locked)}
                    if target.parameters
                    else None
                ),
            }
            return {name: part for name, part in parts.items() if part}
        case InferenceTarget() | LocalTarget():
            return {}
        case _:
            assert_never(target)


def target_from_document(
    document: Json,
    *,
    pointer: str = "",
    providers: Collection[str] = PROVIDERS,
    runtimes: Collection[str] | None = None,
) -> Target:
    """Read a target, or raise `Invalid`.

    `runtimes` are those that are installed; None takes any name, for what is stored already.
    """
    fields = as_object(document, pointer=pointer)
    if "provider" in fields and "runtime" in fields:
        raise Invalid.at(pointer, f"has a `provider` and a `runtime`: {_EITHER}")
    if "provider" not in fields and "runtime" not in fields:
        raise Invalid.at(pointer, _EITHER + _meant(fields, ("provider", "runtime")))
    if "runtime" in fields:
        return _local(fields, pointer, runtimes)
    provider = as_text(fields["provider"], pointer=under(pointer, "provider"), longest=128)
    if provider not in providers:
        raise Invalid.at(
            under(pointer, "provider"), unknown_word(provider, providers, what="provider")
        )
    if provider == "inference_v2":
        return _inference(fields, pointer)
    return _hosted(provider, fields, pointer)


_EITHER: Final = (
    'a target has either a `provider` (a model elsewhere, as in "openai") '
    'or a `runtime` (one that runs here, as in "onnx")'
)


def _meant(fields: Mapping[str, Json], known: Collection[str]) -> str:
    for word in fields:
        if guess := nearest(word, known):
            return f"; did you mean {guess!r} by {word[:64]!r}?"
    return ""


APIS: Final = ("chat", "embeddings", "responses")
"""What an openai provider may offer."""
_HOSTED_FIELDS: Final = (
    "provider",
    "base_url",
    "model",
    "credential",
    "parameters",
    "locked",
    "prompt",
    "tools",
    "api_version",
    "apis",
    "passes",
    "when_left",
    "timeouts",
    "retries",
)
_API_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_PASSED: Final = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)*\Z")
_MOST_PASSED: Final = 32
_OWN_PATHS: Final = frozenset(
    {"chat", "completions", "embeddings", "messages", "models", "responses"}
)
"""What gateways answer by themselves, by the first word of the path."""
_KEPT: Final = ("chat/completions", "messages/batches", "responses")
"""Of these what lies below: things that providers keep, under ids of theirs."""


def passed_by(path: str) -> str | None:
    """Return the word in `passes` that lets a path below /v1 through; None: there is none."""
    first = path.partition("/")[0]
    if first not in _OWN_PATHS:
        return first
    return next((each for each in _KEPT if f"{path}/".startswith(f"{each}/")), None)


def _hosted(provider: str, fields: Mapping[str, Json], pointer: str) -> HostedTarget:
    article = "an" if provider[:1] in "aeiou" else "a"
    only(
        fields,
        _HOSTED_FIELDS,
        required=("base_url", "model"),
        what=f"{article} {provider} target",
        pointer=pointer,
    )
    parameters = _parameters(fields.get("parameters", {}), under(pointer, "parameters"))
    prompt = fields.get("prompt")
    base_url, model = _where(fields, pointer)
    return HostedTarget(
        provider=provider,
        base_url=base_url,
        model=model,
        credential=_credential(fields.get("credential"), under(pointer, "credential")),
        parameters=parameters,
        locked=_locked(fields.get("locked", []), parameters, under(pointer, "locked")),
        prompt=(
            prompt_from_document(prompt, pointer=under(pointer, "prompt"))
            if prompt is not None
            else None
        ),
        tools=_tools(fields.get("tools", []), under(pointer, "tools")),
        api_version=_api_version(fields.get("api_version"), under(pointer, "api_version")),
        apis=_apis(provider, fields.get("apis"), under(pointer, "apis")),
        passes=_passes(fields.get("passes", []), under(pointer, "passes")),
        when_left=_when_left(fields.get("when_left", COUNT), under(pointer, "when_left")),
        timeouts=timeouts_from_document(
            fields.get("timeouts", {}), pointer=under(pointer, "timeouts")
        ),
        retries=_retries(fields.get("retries", 2), under(pointer, "retries")),
    )


def _inference(fields: Mapping[str, Json], pointer: str) -> InferenceTarget:
    only(
        fields,
        ("provider", "base_url", "model", "model_version", "credential", "timeouts", "retries"),
        required=("base_url", "model"),
        what="an inference_v2 target",
        pointer=pointer,
    )
    base_url, model = _where(fields, pointer)
    version = fields.get("model_version")
    return InferenceTarget(
        base_url=base_url,
        model=model,
        model_version=(
            as_text(version, pointer=under(pointer, "model_version"), longest=128)
            if version is not None
            else None
        ),
        credential=_credential(fields.get("credential"), under(pointer, "credential")),
        timeouts=timeouts_from_document(
            fields.get("timeouts", {}), pointer=under(pointer, "timeouts")
        ),
        retries=_retries(fields.get("retries", 2), under(pointer, "retries")),
    )


def _where(fields: Mapping[str, Json], pointer: str) -> tuple[str, str]:
    """Return the base URL and the model's name there."""
    at = under(pointer, "base_url")
    base_url = check_base_url(as_text(fields["base_url"], pointer=at, longest=2048), pointer=at)
    return base_url, as_text(fields["model"], pointer=under(pointer, "model"), longest=256)


def _api_version(value: Json, pointer: str) -> str | None:
    if value is None:
        return None
    text = as_text(value, pointer=pointer, longest=64)
    if not _API_VERSION.match(text):
        raise Invalid.at(pointer, 'must be a version as providers write it, as in "2023-06-01"')
    return text


def _apis(provider: str, value: Json, pointer: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if provider != "openai":
        raise Invalid.at(pointer, "only an openai target says which APIs its provider offers")
    found = {
        as_text(each, pointer=under(pointer, i))
        for i, each in enumerate(as_array(value, pointer=pointer, longest=len(APIS)))
    }
    for each in sorted(found - set(APIS)):
        raise Invalid.at(pointer, unknown_word(each, APIS, what="API"))
    if not found:
        raise Invalid.at(pointer, f"must name at least one of {', '.join(APIS)}")
    return tuple(sorted(found))


def _when_left(value: Json, pointer: str) -> str:
    word = as_text(value, pointer=pointer, longest=64)
    if word not in WHEN_LEFT:
        raise Invalid.at(pointer, unknown_word(word, WHEN_LEFT, what="choice"))
    return word


def _passes(value: Json, pointer: str) -> tuple[str, ...]:
    found: set[str] = set()
    for i, each in enumerate(as_array(value, pointer=pointer, longest=_MOST_PASSED)):
        at = under(pointer, i)
        path = as_text(each, pointer=at, longest=128)
        if not _PASSED.match(path):
            raise Invalid.at(at, 'must be a path without a slash around it, as in "files"')
        if passed_by(path) is None:
            raise Invalid.at(at, f"{path!r} is answered by the gateway itself")
        found.add(path)
    return tuple(sorted(found))


def _local(
    fields: Mapping[str, Json], pointer: str, runtimes: Collection[str] | None
) -> LocalTarget:
    only(
        fields,
        ("runtime", "artifact", "timeouts"),
        required=("artifact",),
        what="a target with a runtime",
        pointer=pointer,
    )
    at = under(pointer, "runtime")
    runtime = check_name(as_text(fields["runtime"], pointer=at), what="runtime", pointer=at)
    if runtimes is not None and runtime not in runtimes:
        raise Invalid.at(at, unknown_word(runtime, runtimes, what="runtime"))
    at = under(pointer, "artifact")
    return LocalTarget(
        runtime=runtime,
        artifact=str(Digest.parse(as_text(fields["artifact"], pointer=at), pointer=at)),
        timeouts=timeouts_from_document(
            fields.get("timeouts", {}), pointer=under(pointer, "timeouts")
        ),
    )


def timeouts_from_document(document: Json, *, pointer: str = "") -> Timeouts:
    """Read time-outs; those that are missing have the usual length."""
    fields = as_object(document, pointer=pointer)
    known = ("connect", "first", "idle", "total")
    only(fields, known, what="timeouts", pointer=pointer)
    return Timeouts(
        **{
            key: as_duration(value, pointer=under(pointer, key), longest=LONGEST_TIMEOUT)
            for key, value in fields.items()
        }
    )


def check_base_url(text: str, *, pointer: str = "") -> str:
    """Return a base URL without a slash at its end, or raise `Invalid`.

    Only what it says is checked here; whether it may be called is decided when it is.
    """
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise Invalid.at(pointer, f"{text[:256]!r} is no URL: {error}") from error
    if wrong := _wrong_url(text, url, port):
        raise Invalid.at(pointer, f"{wrong}; write it as https://api.openai.com/v1")
    return text.rstrip("/")


def _wrong_url(text: str, url: SplitResult, port: int | None) -> str | None:
    host = url.hostname or ""
    if "@" in url.netloc:  # never quoted: what stands before the @ may be a password
        return "a base URL holds no user and no password; name a `credential` instead"
    if url.scheme not in {"https", "http"}:
        return f"{text[:256]!r} has no https:// (or http://) in front"
    if not text.isascii() or re.search(r"[\s\\]", text):
        return f"{text[:256]!r} holds a blank, a backslash or a character beyond ASCII"
    if "?" in text or "#" in text:
        return "a base URL has no ? and no #"
    if port == 0 or not host or not _canonical_host(host):
        return f"{url.netloc[:256]!r} is no host: a name, or an address as in 10.0.0.7 or [::1]"
    return None


def _canonical_host(host: str) -> bool:
    """Say whether a host is a name or an address in its one usual form.

    `0x7f000001`, `2130706433` and `127.1` resolve to an address as well: refused.
    """
    try:
        return str(ipaddress.ip_address(host)) == host
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2]
        named = re.search("[A-Za-z]", last) and not last.lower().startswith("0x")
        return bool(named) and len(host) <= 253 and bool(_HOST.match(host))


def _credential(value: Json, pointer: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid.at(pointer, f"must be the name of a credential, not {kind_of(value)}")
    if not _CREDENTIAL.match(value) or value.lower().startswith(("sk-", "hw_", "bearer")):
        # Never quoted: somebody may have put the secret itself here.
        raise Invalid.at(
            pointer,
            'must be the name of a credential, as in "openai" for HEADWAY_SECRET_OPENAI: up to 64 '
            "of A-Z a-z 0-9 _ -, a letter first; the value itself is never stored",
        )
    return value


def _parameters(document: Json, pointer: str) -> Mapping[str, Json]:
    fields = as_object(document, pointer=pointer)
    check_json(fields, pointer=pointer)
    if len(fields) > _MOST_PARAMETERS:
        raise Invalid.at(pointer, f"at most {_MOST_PARAMETERS} parameters are taken")
    faults = [
        Fault(under(pointer, key), f"is no parameter: {why}")
        for key, why in _NOT_PARAMETERS.items()
        if key in fields
    ]
    if faults:
        raise Invalid(faults)
    return fields


def _locked(document: Json, parameters: Mapping[str, Json], pointer: str) -> tuple[str, ...]:
    found: list[str] = []
    for i, value in enumerate(as_array(document, pointer=pointer, longest=_MOST_PARAMETERS)):
        at = under(pointer, i)
        name = as_text(value, pointer=at)
        if name not in parameters:
            raise Invalid.at(at, unknown_word(name, parameters, what="parameter"))
        found.append(name)
    return tuple(sorted(set(found)))


def tool_name(tool: Mapping[str, Json]) -> str:
    """Return the name by which two tools are one; that of its kind for a tool without a name."""
    kind = tool.get("type", "")
    inner = tool.get(kind) if isinstance(kind, str) else None
    name = inner.get("name") if isinstance(inner, Mapping) else tool.get("name")
    return str(name if name is not None else kind)


def _tools(document: Json, pointer: str) -> tuple[Mapping[str, Json], ...]:
    found: dict[str, Mapping[str, Json]] = {}
    for i, value in enumerate(as_array(document, pointer=pointer, longest=_MOST_TOOLS)):
        at = under(pointer, i)
        tool = as_object(value, pointer=at)
        check_json(tool, pointer=at)
        kind = as_text(tool.get("type"), pointer=under(at, "type"), longest=64)
        if kind == "function":
            _function(tool, at)
        name = tool_name(tool)
        if name in found:
            raise Invalid.at(at, f"there are two tools with the name {name!r}")
        found[name] = tool
    return tuple(found.values())


def _function(tool: Mapping[str, Json], pointer: str) -> None:
    only(tool, ("type", "function"), required=("function",), what="a tool", pointer=pointer)
    at = under(pointer, "function")
    function = as_object(tool["function"], pointer=at)
    known = ("name", "description", "parameters", "strict")
    only(function, known, required=("name",), what="a function", pointer=at)
    name = as_text(function["name"], pointer=under(at, "name"))
    if not _TOOL_NAME.match(name):
        raise Invalid.at(under(at, "name"), "a function is named by 1 to 64 of A-Z a-z 0-9 _ -")
    as_object(function.get("parameters", {}), pointer=under(at, "parameters"))


def _retries(value: Json, pointer: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_RETRIES:
        raise Invalid.at(pointer, f"must be a whole number from 0 to {MOST_RETRIES}")
    return value
