"""Versions over HTTP, and how two of them compare."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from flask import Blueprint, url_for
from pydantic import Field, JsonValue

from headway.artifacts.artifact import DIGEST_PATTERN
from headway.auth.role import Permission
from headway.kernel.canonical import Json
from headway.kernel.names import NAME_PATTERN
from headway.registry.credential import needs
from headway.registry.model import State, Version
from headway.registry.ports import VersionQuery
from headway.registry.release import tag_filter
from headway.registry.requirement import Requirement
from headway.registry.target import MOST_RETRIES
from headway.registry.version import SEMVER_PATTERN
from headway.web.operation import (
    JSON,
    MERGE_PATCH,
    Reply,
    allowed,
    caller,
    if_match,
    operation,
    services,
)
from headway.web.schemas import (
    Body,
    Document,
    Link,
    Links,
    Page,
    PageQuery,
    Shown,
    Time,
    When,
    maybe_rfc3339,
    rfc3339,
)

bp: Final = Blueprint("versions", __name__, url_prefix="/api/v1/models/<name:model>/versions")

Number = Annotated[str, Field(pattern=SEMVER_PATTERN, max_length=255)]
Duration = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?\s*(ms|s|m|h|d)$")]


class TimeoutsIn(Body):
    """To connect, to the first byte, between two reads, and for the whole request."""

    connect: Duration = "5s"
    first: Duration = "60s"
    idle: Duration = "30s"
    total: Duration = "600s"


class Variable(Body):
    default: str | None = None
    description: str = ""


class PromptIn(Body):
    """A system text with `{{ name }}` and nothing else in it."""

    system: str
    variables: dict[str, Variable] = Field(default_factory=dict)


class HostedTargetIn(Body):
    """A language model behind any API that speaks as OpenAI's or Anthropic's does."""

    provider: Literal["openai", "anthropic"]
    base_url: str
    model: str
    credential: str | None = None
    """A name: HEADWAY_SECRET_<NAME> holds the value, which is never stored."""
    parameters: Document = Field(default_factory=dict)
    locked: list[str] = Field(default_factory=list)
    prompt: PromptIn | None = None
    tools: list[Document] = Field(default_factory=list)
    api_version: str | None = None
    """What the provider calls its API's version; None: the caller's, or the usual one."""
    apis: list[Literal["chat", "embeddings", "responses"]] | None = None
    """What an openai provider offers; None: what is known of its host."""
    passes: list[str] = Field(default_factory=list)
    """Other paths below the base URL that callers may use as they are, as in `files`."""
    when_left: Literal["count", "cancel"] = "count"
    """An answer whose caller left is read to its end for its tokens, or ended."""
    timeouts: TimeoutsIn = Field(default_factory=TimeoutsIn)
    retries: Annotated[int, Field(ge=0, le=MOST_RETRIES)] = 2


class InferenceTargetIn(Body):
    """A model at a server that speaks the Open Inference Protocol v2."""

    provider: Literal["inference_v2"]
    base_url: str
    model: str
    model_version: str | None = None
    credential: str | None = None
    timeouts: TimeoutsIn = Field(default_factory=TimeoutsIn)
    retries: Annotated[int, Field(ge=0, le=MOST_RETRIES)] = 2


class LocalTargetIn(Body):
    """A model that runs here."""

    runtime: Annotated[str, Field(pattern=NAME_PATTERN)]
    artifact: Annotated[str, Field(pattern=DIGEST_PATTERN)]
    timeouts: TimeoutsIn = Field(default_factory=TimeoutsIn)


class SignatureIn(Body):
    """JSON Schemas, 2020-12."""

    input: Document = Field(default_factory=dict)
    output: Document = Field(default_factory=dict)
    parameters: Document = Field(default_factory=dict)


class NewVersion(Body):
    """Either `version` or `bump`, and a target."""

    version: Number | None = None
    bump: Literal["major", "minor", "patch", "auto"] | None = None
    description: str = ""
    target: HostedTargetIn | InferenceTargetIn | LocalTargetIn
    signature: SignatureIn | None = None
    """Without one, the runner is asked what an artifact takes and gives."""
    tags: dict[str, str] = Field(default_factory=dict)
    metadata: Document = Field(default_factory=dict)


class VersionChanges(Body):
    """A JSON Merge Patch: null removes, what is not named stays."""

    description: str | None = None
    tags: dict[str, str | None] | None = None
    state: Literal["active", "deprecated", "retired", "yanked"] | None = None
    sunset: When | None = None
    successor: Number | None = None
    reason: str | None = None


class VersionsQuery(PageQuery):
    range: Annotated[str | None, Field(max_length=1024)] = None
    """Only versions that fit, as in `^2.3`."""
    state: Literal["active", "deprecated", "retired", "yanked"] | None = None
    tag: Annotated[str | None, Field(max_length=1200)] = None
    q: Annotated[str, Field(max_length=256)] = ""
    order: Literal["precedence", "-precedence", "created", "-created"] = "-precedence"


class SignatureShown(Shown):
    input: dict[str, JsonValue]
    output: dict[str, JsonValue]
    parameters: dict[str, JsonValue]


class VersionShown(Shown):
    model: str
    version: str
    description: str
    target: dict[str, JsonValue]
    signature: SignatureShown
    components: dict[str, str]
    """A digest for each part: target, prompt, tools, parameters, artifact, signature."""
    digest: str
    tags: dict[str, str]
    metadata: dict[str, JsonValue]
    state: Literal["active", "deprecated", "retired", "yanked"]
    sunset: Time | None
    successor: str | None
    reason: str
    corrupt_at: Time | None
    """When the stored bytes of its artifact were found not to be those that were uploaded."""
    created_at: Time
    created_by: str
    updated_at: Time
    revision: int
    needs: list[str]
    """Variables that gateways must have to call it, as `NAME` or `NAME=what`."""
    links: Links


@bp.get("")
@operation(Permission.MODELS_READ, "List versions", query=VersionsQuery, gives=Page[VersionShown])
def listing(model: str, query: VersionsQuery) -> Page[VersionShown]:
    page = services().registry.versions(
        VersionQuery(
            model=model,
            state=State(query.state) if query.state else None,
            tag=tag_filter(query.tag, pointer="?tag") if query.tag is not None else None,
            requirement=(
                Requirement.parse(query.range, pointer="?range")
                if query.range is not None
                else None
            ),
            q=query.q,
            order=query.order,
            limit=query.limit,
            after=query.after,
        )
    )
    return Page[VersionShown](items=[shown(version) for version in page.items], next=page.next)


@bp.post("")
@operation(
    Permission.MODELS_WRITE,
    "Register a version",
    takes=NewVersion,
    read_by_service=True,
    gives=VersionShown,
    status=201,
    also={200: "The very same version is registered already: here it is"},
    repeatable=True,
)
def register(model: str, asked: Mapping[str, Json]) -> Reply:
    registry = services().registry
    done = registry.register_version(model, registry.release(asked), actor=caller().actor)
    version = done.version
    return Reply(
        body=shown(version),
        status=201 if done.created else 200,
        revision=version.revision,
        location=_where(version),
    )


@bp.get("/<ref:ref>")
@operation(Permission.MODELS_READ, "Show a version", gives=VersionShown)
def show(model: str, ref: str) -> Reply:
    found = services().registry.version(model, ref)
    return Reply(body=shown(found), revision=found.revision)


@bp.patch("/<ref:ref>")
@operation(
    Permission.MODELS_WRITE,
    "Change description, tags or state",
    takes=VersionChanges,
    read_by_service=True,
    media=(MERGE_PATCH, JSON),
    gives=VersionShown,
    match="optional",
)
def change(model: str, ref: str, asked: Mapping[str, Json]) -> Reply:
    found = services().registry.patch_version(
        model, ref, asked, actor=caller().actor, if_match=if_match()
    )
    return Reply(body=shown(found), revision=found.revision)


def shown(version: Version) -> VersionShown:
    return VersionShown.model_validate(
        {
            "model": version.model,
            "version": str(version.number),
            "description": version.description,
            "target": version.target.document(),
            "signature": version.signature.document(),
            "components": dict(version.components),
            "digest": version.digest,
            "tags": dict(version.tags),
            "metadata": dict(version.metadata),
            "state": version.state.value,
            "sunset": maybe_rfc3339(version.sunset),
            "successor": None if version.successor is None else str(version.successor),
            "reason": version.reason,
            "corrupt_at": maybe_rfc3339(version.corrupt_at),
            "created_at": rfc3339(version.created_at),
            "created_by": version.created_by,
            "updated_at": rfc3339(version.updated_at),
            "revision": version.revision,
            "needs": list(needs(version.target)),
            "links": _links(version),
        }
    )


def _where(version: Version) -> str:
    return url_for("versions.show", model=version.model, ref=str(version.number))


def _links(version: Version) -> Links:
    here = _where(version)
    found: Links = {"model": Link(method="GET", href=url_for("models.show", model=version.model))}
    if allowed(Permission.MODELS_WRITE, model=version.model):
        found["change"] = Link(method="PATCH", href=here)
    offered = version.state in {State.ACTIVE, State.DEPRECATED} and version.corrupt_at is None
    if offered and allowed(Permission.DEPLOYMENTS_WRITE, model=version.model):
        found["deploy"] = Link(method="POST", href="/api/v1/deployments")
    return found
