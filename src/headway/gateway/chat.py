"""A chat as every dialect can say it: what stands between two that do not know each other.

    caller's bytes ── Dialect.chat ──> Chat ── Upstream.write ──> bytes for the provider
    caller's bytes <── Dialect.answer ── Answer <── Upstream.answer ── the provider's bytes
    caller's events <── Telling.tell ── Event ... <── Reading.feed ── the provider's events

Only meaning stands here. What a dialect knows and this page does not is kept under `extra` where
it stood and written there again: the other side takes it, or refuses it by name. What cannot be
said in the other dialect without changing what is asked is refused by `Untranslatable`, which
names the field; nothing is dropped that would change an answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

from headway.kernel.canonical import Json


class Untranslatable(Exception):
    """A request that cannot be said in the provider's dialect; `param` is the field's name."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"`{param}` {why}")
        self.param = param


class Untellable(Exception):
    """An answer that cannot be said in the caller's dialect; the text says why, for the caller."""


# What a message is made of


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a document: by URL, or in base64 with its media type."""

    kind: Literal["image", "document"]
    url: str = ""
    data: str = ""
    media_type: str = ""
    name: str = ""
    detail: str = ""
    """How closely to look, in OpenAI's words."""
    extra: Mapping[str, Json] = field(default_factory=dict)


def split_data_url(url: str) -> tuple[str, str]:
    """Split `data:image/png;base64,…` into its media type and data; nothing for other URLs."""
    if not url.startswith("data:"):
        return "", ""
    head, comma, data = url[5:].partition(",")
    media_type, _, coding = head.rpartition(";")
    if not comma or coding != "base64":
        return "", ""
    return media_type, data


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning that a model showed; `signature` proves to its provider that it is its own."""

    text: str = ""
    signature: str = ""
    sealed: str = ""
    """Reasoning that only the provider can read, instead of a text."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model's own no, in words."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str
    """JSON text as the model wrote it; it may be broken."""
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    parts: tuple[Text | Media, ...]
    failed: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)


Part: TypeAlias = Text | Media | Thinking | Refusal | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]
    extra: Mapping[str, Json] = field(default_factory=dict)


# What is asked


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str = ""
    schema: Mapping[str, Json] | None = None
    strict: bool | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    kind: Literal["auto", "none", "any", "tool"] = "auto"
    name: str = ""
    """The function that must be called, with `tool`."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The answer must be JSON of this form."""

    schema: Mapping[str, Json]
    name: str = "answer"
    description: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """One request. None and empty mean that the caller left it open."""

    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    most_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    schema: Schema | None = None
    effort: str | None = None
    """How long to think, in words: none, minimal, low, medium, high, ..."""
    user: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    stream: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)
    """Fields of the request that nobody here knows, by name."""


# What is answered


class Stop(StrEnum):
    """Why an answer ends where it ends."""

    END = "end"
    LENGTH = "length"
    TOOLS = "tools"
    SEQUENCE = "sequence"
    REFUSED = "refused"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One complete answer."""

    parts: tuple[Part, ...]
    stop: Stop = Stop.END
    stopped_by: str | None = None
    """Which of the stop sequences, where the provider says so."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """By class, see `tokens.py`."""
    id: str = ""
    model: str = ""
    """What the provider says that answered."""
    served_by: str = ""
    created: int = 0
    """Seconds UTC; 0 if the provider does not say."""
    extra: Mapping[str, Json] = field(default_factory=dict)


# What is answered, as it comes


class Began(NamedTuple):
    """The first event of a stream."""

    id: str
    model: str
    created: int
    tokens: Mapping[str, int]
    """What is known so far."""


class PartBegan(NamedTuple):
    """A part of the answer begins; numbers rise from 0."""

    number: int
    part: Text | Thinking | Refusal | ToolCall
    """Its beginning; a `ToolCall` has id and name here."""


class More(NamedTuple):
    """More of a part: of its text, or of the JSON text of a call's arguments."""

    number: int
    text: str


class Signed(NamedTuple):
    """The signature of a part that is `Thinking`."""

    number: int
    signature: str


class PartEnded(NamedTuple):
    number: int


class Ended(NamedTuple):
    """The last event of a stream that is complete."""

    stop: Stop
    stopped_by: str | None
    tokens: Mapping[str, int]


Event: TypeAlias = Began | PartBegan | More | Signed | PartEnded | Ended
