"""What passes between a caller's format and a version's provider, as plain data.

    bytes ── Format.read ──> Ask ── Speaker.write ──> bytes for the provider
                              │                          with the speaker's head
    bytes <── Format.fault ── Problem      Speaker.whole / watch <── what the provider answered

A format knows how callers write; a provider knows where a version is and how it is spoken to. Both
meet here and never each other. Where the version's provider speaks the caller's own format, bytes
pass; where both can hold a chat, it is translated (`speech.py` makes the speakers of a version
when a view is compiled).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeAlias

from headway.gateway.chat import Answer, Chat, Event
from headway.kernel.canonical import Json
from headway.registry.prompt import Template
from headway.registry.target import LocalTarget, Target
from headway.routing.assignment import UnitHints
from headway.tracking.measurement import Outcome
from headway.tracking.price import Timeline, rates_at
from headway.wire.framing import FieldLines
from headway.wire.origin import Origin
from headway.wire.sending import Deadlines

Fields: TypeAlias = Mapping[bytes, bytes]
"""The fields of a request's head by name in lower case; of those that stand twice the first."""

_UP: Final = frozenset({b"accept", b"traceparent", b"tracestate", b"x-request-id"})
_UP_WITH_BODIES: Final = frozenset(
    {b"content-type", b"content-disposition", b"idempotency-key", b"openai-beta"}
)
NO_TOKENS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request has no good answer: what the caller is told, and how it is counted."""

    status: int
    detail: str
    outcome: Outcome
    code: str
    """One word for programs: `model_not_found`, `upstream_timeout`."""
    param: str | None = None
    """Which field of the request is meant, if one is."""
    retry_after: float | None = None
    """Seconds."""


class NotAnswered(Exception):
    """A request that ends here, with the problem that says so."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Ask:
    """What a format read of one request; fields are plain because one is made per request."""

    __slots__ = ("body", "document", "hints", "model", "ref", "stream", "wants_usage")

    def __init__(
        self,
        body: bytes,
        document: dict[str, Json] | None,
        model: str,
        ref: str | None,
        hints: UnitHints,
        *,
        stream: bool = False,
        wants_usage: bool = False,
    ) -> None:
        self.body = body
        self.document = document
        """The parsed body; None if the format had no need to parse it."""
        self.model = model
        self.ref = ref
        """What stood behind the @: a version, an alias or a range."""
        self.stream = stream
        self.wants_usage = wants_usage
        """The caller itself asked for usage on its stream."""
        self.hints = hints


class Whole(NamedTuple):
    """What an answer in one piece says of itself."""

    error: str | None
    """Not None: it is a failure, whatever its status says; in words for the caller."""
    tokens: Mapping[str, int] = NO_TOKENS
    served_by: str = ""
    body: bytes | None = None
    """What the caller reads; None: the bytes as they came."""
    fields: bytes | None = None
    """Lines of the caller's head that say of what kind the body is; None: JSON."""


class Complaint(NamedTuple):
    """What the body of a provider's refusal says, as far as it can be read."""

    message: str = ""
    code: str | None = None
    param: str | None = None
    body: bytes | None = None
    """The body as callers of this format read it; None: it must be written anew."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a version adds to a request."""

    model: str = ""
    """The name that the upstream knows."""
    template: Template | None = None
    """The system text, which goes before the caller's."""
    variables: Mapping[str, str | None] = field(default_factory=dict)
    """Declared variables of the text with their defaults; None: a request must bring a value."""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    """For what a request leaves open."""
    locked: Mapping[str, Json] = field(default_factory=dict)
    """Whatever a request says."""
    tools: tuple[Mapping[str, Json], ...] = ()

    @property
    def only_model(self) -> bool:
        """Nothing but the model's name changes."""
        return not (self.template or self.parameters or self.locked or self.tools)


NO_SETTINGS: Final = Settings()


@dataclass(frozen=True, slots=True)
class Release:
    """A version as a gateway knows it."""

    model: str
    version: str
    digest: str
    state: str
    target: Target
    prices: Timeline = ()
    """Of what it calls; empty: nobody knows them."""

    def cost(self, tokens: Mapping[str, int], at: int) -> int | None:
        """Return nano-dollars of what was used then (ms); None: nobody knows."""
        rates = rates_at(self.prices, at)
        return None if rates is None else rates.cost(tokens)

    @property
    def artifact(self) -> str | None:
        """The 64 hex digits of the artifact that runs here, if one does."""
        if isinstance(self.target, LocalTarget):
            return self.target.artifact.removeprefix("sha256:")
        return None


class Default(NamedTuple):
    """A field that a request to a provider has unless the caller brings its own."""

    name: bytes
    line: FieldLines
    beside: bytes = b""
    """The name of a field with which it is `other` instead."""
    other: FieldLines = FieldLines(b"")


@dataclass(frozen=True, slots=True)
class Native:
    """How a version is spoken to in a format that its provider speaks itself."""

    head: bytes = field(repr=False)
    """The request line and the fields that are always the same, each line ended, no blank line
    yet. It may hold a secret."""
    settings: Settings = NO_SETTINGS
    passes: frozenset[bytes] = frozenset()
    """Names of fields that go on as callers send them, beside those that every provider gets."""
    defaults: tuple[Default, ...] = ()
    answers: "Answers | None" = None
    """What reads the upstream's answers; None: the format does."""
    up: frozenset[bytes] = field(init=False, repr=False)
    """All that goes on of a caller's head; everything else is ours to say."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "up", _UP | self.passes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """How a provider's other paths are called, which callers use as they are."""

    paths: tuple[str, ...]
    """Without a slash around them; what lies below one is allowed too."""
    base: bytes
    """What stands before the path at the provider, with a slash at its end."""
    lines: FieldLines = field(repr=False)
    """Fields that are always the same. They may hold a secret."""
    model: str
    """The name that the provider knows."""
    query: bytes = b""
    """What every query there says, as in `api-version=1`."""
    passes: frozenset[bytes] = frozenset()
    defaults: tuple[Default, ...] = ()
    up: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "up", _UP | _UP_WITH_BODIES | self.passes)

    def allows(self, path: str) -> bool:
        return any(each in self.paths for each in prefixes(path))


def prefixes(path: str) -> Iterator[str]:
    """Yield `files`, `files/file-7` and `files/file-7/content` of the last."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)
    yield path


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """How a version is called, made once before any request comes.

    `native`: by the name of a format. A format that is missing is one that the provider does not
    speak; then callers of a chat format are translated by `upstream`, if there is one, into the
    native format of its name.
    """

    origin: Origin = field(repr=False)
    native: Mapping[str, Native]
    upstream: "Upstream | None" = None
    speakers: "Mapping[str, Speaker]" = field(default_factory=dict, repr=False)
    """By format; made of the above when a view is compiled."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    retries: int = 0
    hidden: tuple[bytes, ...] = field(default=(), repr=False)
    """What must never stand in an answer: the credential, the address."""
    reads_on: bool = False
    """An answer whose caller left is read to its end, for the tokens that it costs."""
    passed: Passed | None = None
    """How other paths of the provider are passed through, if they may be."""
    metadata: bytes = field(default=b"", repr=False)
    """The head of a GET for a description of its inputs and outputs; none: nobody can be asked."""
    readiness: bytes = field(default=b"", repr=False)
    """The head of a GET that is answered well if it is ready; none: it is."""
    local: bool = False
    """It runs in our own runner: its silence is our fault, not the version's."""
    fault: str = ""
    """Why it cannot be called at all: the version's own configuration is wrong."""


NOWHERE: Final = Origin("unix", "")


def unusable(fault: str) -> Prepared:
    """Return what stands for a version that cannot be called."""
    return Prepared(origin=NOWHERE, native={}, fault=fault)


class Answers(Protocol):
    """Reads answers of a format for one version; methods as those of `Format`."""

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole: ...

    def complaint(self, body: bytes) -> Complaint: ...


class Watch(Protocol):
    """Looks at a stream as it passes. `feed` returns what may go to the caller now.

    After a failure `error` says which; after the format's own last event `done` is set. `started`
    is set by the first content, which is what time to first token means.
    """

    @property
    def started(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def error(self) -> str | None: ...
    @property
    def tokens(self) -> Mapping[str, int]: ...
    @property
    def served_by(self) -> str: ...

    def feed(self, data: bytes) -> bytes: ...

    def end(self, *, by_close: bool) -> bytes | None:
        """Take the end of the body; return the last bytes for the caller, None if it is cut."""


class Format(Protocol):
    """A dialect that callers speak."""

    @property
    def name(self) -> str: ...

    @property
    def ends_by_framing(self) -> bool:
        """Only the framing of an answer says that it is whole, its bytes do not."""

    def read(self, body: bytes, headers: Fields, model: str | None) -> Ask:
        """Read a request; `model` is the name that stood in the path, if one did.

        Raises `NotAnswered` with outcome `caller`.
        """

    def attributes(self, ask: Ask, headers: Fields) -> Mapping[str, Json]:
        """Return what conditions of a route may ask for."""

    def writer(self, settings: Settings) -> "Write":
        """Return what writes bodies for an upstream that speaks this format too.

        Made once per version, so that what is always the same is decided before a request comes.
        """

    def whole(self, ask: Ask, body: bytes, headers: Fields) -> Whole:
        """Look at a complete answer with a good status; `headers` are those of the upstream."""

    def watch(self, ask: Ask) -> Watch | None:
        """Return what looks at the answer as a stream; None: this format has none."""

    def fault(self, problem: Problem) -> bytes:
        """Write a problem as the body of an answer, `application/json`."""

    def fault_event(self, problem: Problem) -> bytes:
        """Write a problem as an event of a stream that has begun."""

    def complaint(self, body: bytes) -> Complaint:
        """Read the body of an upstream's refusal, written in this format."""


Write = Callable[[Ask, Fields], bytes]
"""Returns the body for the upstream. Raises `NotAnswered` if a variable is missing."""


class Telling(Protocol):
    """Writes a stream for a caller, event by event, in the caller's dialect."""

    def tell(self, event: Event) -> bytes:
        """Return the bytes that say so; none for what this dialect does not tell."""


class Dialect(Format, Protocol):
    """A format in which a chat can be held, so that it can be translated."""

    def chat(self, ask: Ask) -> Chat:
        """Return what is asked. Raises `Untranslatable`, or `NotAnswered` for what is wrong."""

    def answer(self, ask: Ask, answer: Answer) -> bytes:
        """Write a complete answer."""

    def telling(self, ask: Ask) -> Telling:
        """Return what writes the answer to this request as a stream."""


class Reading(Protocol):
    """Reads a provider's stream. Attributes as those of `Watch`."""

    @property
    def done(self) -> bool: ...
    @property
    def error(self) -> str | None: ...
    @property
    def tokens(self) -> Mapping[str, int]: ...
    @property
    def served_by(self) -> str: ...

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes; return the events that they complete, the last one `Ended`."""

    def end(self, *, by_close: bool) -> list[Event]:
        """Take the end of the body; if the stream is complete only now, `done` is set."""


class Upstream(Protocol):
    """A provider's side of a chat that is translated."""

    @property
    def name(self) -> str:
        """Return the format that the provider speaks, one of `Prepared.native`."""

    def write(self, chat: Chat, settings: Settings, values: Mapping[str, str]) -> bytes:
        """Return the request's body; `values` are those of the prompt's variables.

        Raises `Untranslatable`.
        """

    def answer(self, body: bytes) -> "Answer | str":
        """Read a complete answer; a text says, in words for the caller, why it is none."""

    def reading(self) -> Reading:
        """Return what reads one stream."""

    def complaint(self, body: bytes) -> Complaint:
        """Read the body of a refusal; `Complaint.body` is always None."""


class Speaker(Protocol):
    """How callers of one format are answered by one version; made when a view is compiled."""

    @property
    def native(self) -> Native: ...
    @property
    def write(self) -> Write: ...

    @property
    def whole(self) -> Callable[[Ask, bytes, Fields], Whole]:
        """Looks at a complete answer with a good status."""

    @property
    def watch(self) -> Callable[[Ask], Watch | None]:
        """Returns what turns the provider's stream into the caller's; None: there is none."""

    @property
    def complaint(self) -> Callable[[bytes], Complaint]:
        """Reads the body of the provider's refusal."""


def split_pin(name: str) -> tuple[str, str | None]:
    """Split `digits@1.0.0` into the model and what it is pinned to."""
    model, at, ref = name.partition("@")
    return model, (ref if at else None)
