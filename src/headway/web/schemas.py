"""Words that bodies, queries and answers share: names, texts, times, pages, links, problems."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid
from headway.kernel.names import NAME_PATTERN, check_name, check_text
from headway.kernel.quantity import TIME_PATTERN, parse_time

T = TypeVar("T")
R = TypeVar("R")

CURSOR_PATTERN: Final = r"^[A-Za-z0-9_.~=-]{1,512}$"
_WHOLE: Final = re.compile(r"[0-9]{1,15}\Z")


def dumps(value: Json) -> str:
    """Write JSON as we send it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


# Times


def rfc3339(time: int) -> str:
    """Write milliseconds UTC as `2026-01-01T00:00:00.000Z`."""
    seconds, milliseconds = divmod(time, 1000)
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return f"{text}.{milliseconds:03d}Z"


def maybe_rfc3339(time: int | None) -> str | None:
    return None if time is None else rfc3339(time)


# Fields of what callers send


def _told(check: Any, *fixed: Any, **named: Any) -> AfterValidator:  # noqa: ANN401 - passed on
    """Let a check of the domain speak through pydantic, which knows the place."""

    def checked(value: str) -> str:
        try:
            check(value, *fixed, **named)
        except Invalid as error:
            detail = "; ".join(fault.detail for fault in error.faults)
            raise PydanticCustomError("headway", "{detail}", {"detail": detail}) from None
        return value

    return AfterValidator(checked)


def shaped(pattern: str, words: str) -> tuple[AfterValidator, FieldInfo]:
    """Publish a pattern, and say in words what it means to who does not meet it."""
    shape = re.compile(pattern.replace("$", r"\Z"), re.ASCII)

    def checked(value: str) -> str:
        if not shape.match(value):
            detail = {"detail": f"{value[:64]!r} {words}"}
            raise PydanticCustomError("headway", "{detail}", detail)
        return value

    return AfterValidator(checked), published(pattern)


def published(pattern: str, **more: JsonValue) -> FieldInfo:
    """Show a pattern to programs; people are told in words, by what checks it."""
    info: FieldInfo = Field(json_schema_extra={"pattern": pattern, **more})
    return info


def _whole(value: object) -> object:
    """Take a whole number as queries write it, and nothing that only looks like one."""
    if isinstance(value, str):
        return int(value) if _WHOLE.match(value) else value
    return value


Name = Annotated[str, published(NAME_PATTERN), _told(check_name, what="thing")]
ModelName = Annotated[str, published(NAME_PATTERN), _told(check_name, what="model")]
FreeText = Annotated[str, Field(max_length=4096), _told(check_text)]
Ref = Annotated[str, Field(min_length=1, max_length=1024), _told(check_text)]
"""A version, an alias, `latest`, or a range."""
When = Annotated[str, published(TIME_PATTERN, format="date-time"), _told(parse_time)]
Cursor = Annotated[str, *shaped(CURSOR_PATTERN, "is no cursor that a list gave")]
Limit = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=1000, strict=True)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=2**53, strict=True)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Document = dict[str, JsonValue]


class Body(BaseModel):
    """What a caller sends: nothing is converted, and no field is passed over in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Query(BaseModel):
    """The part of a URL after `?`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(Query):
    limit: Limit = 100
    after: Cursor | None = None
    """The `next` of the page before."""


class Shown(BaseModel):
    """What we answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Because(Body):
    """Why somebody does it, for the history."""

    why: FreeText = ""


class Link(Shown):
    method: Literal["GET", "PUT", "POST", "PATCH", "DELETE"]
    href: str


Links = dict[str, Link]


class Page(Shown, Generic[T]):
    """One page of a list. `next` is the cursor of the next page; null: this is the last."""

    items: list[T]
    next: str | None


def cut(
    rows: Sequence[R], limit: int, cursor: Callable[[R], object]
) -> tuple[list[R], str | None]:
    """Return a page of rows and the cursor of the next one; ask the store for `limit` + 1."""
    if len(rows) <= limit:
        return list(rows), None
    kept = list(rows[:limit])
    return kept, str(cursor(kept[-1]))


class ProblemFault(Shown):
    """One wrong value: JSON Pointer into the body, `?name` in the query, or a head field."""

    pointer: str
    detail: str


class Problem(Shown):
    """Problem details, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemFault]
    stands_in_the_way: str | None
    request_id: str
