"""Members of a request's JSON object, read with errors that name them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headway.gateway import exact
from headway.gateway.body import malformed
from headway.gateway.chat import Part, Text
from headway.gateway.exchange import NotAnswered
from headway.kernel.canonical import Json


def wrong(param: str, what: str) -> NotAnswered:
    """Return what is raised for a member that is none of what it must be: 400."""
    return malformed(f"`{param}` must be {what}", param=param, code="invalid_value")


def text(document: Mapping[str, Any], name: str) -> str | None:
    """Return a text; None if it is missing, null or empty."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(name, "a text")
    return value or None


def number(document: Mapping[str, Any], name: str) -> float | None:
    value: float | None = exact.plain(document.get(name))
    if value is not None and type(value) not in {int, float}:
        raise wrong(name, "a number")
    return value


def flag(document: Mapping[str, Any], name: str) -> bool | None:
    value = document.get(name)
    if value is not None and type(value) is not bool:
        raise wrong(name, "true or false")
    return value


def count(document: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number from 1."""
    value = document.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise wrong(name, "a whole number from 1")
    return value


def items(document: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list; an empty one if it is missing or null."""
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(name, "a list")
    return value


def model_of(document: Mapping[str, Any], path: str | None) -> str:
    """Return the model that is asked: the one in the path, if one stood there."""
    asked = path or document.get("model")
    if not isinstance(asked, str) or not asked:
        raise malformed("`model` must name a model", param="model", code="invalid_value")
    return asked


def parts(
    content: Json, at: str, read: Callable[[Mapping[str, Any], str], Part], step: str
) -> Iterator[Part]:
    """Read a content: one text, or a list of parts, each an object.

    `step` writes the place of one part, as in `[%d]`.
    """
    if content is None or content == "":
        return
    if isinstance(content, str):
        yield Text(content)
        return
    if not isinstance(content, list):
        raise wrong(at, "a text or a list of parts")
    for i, part in enumerate(content):
        where = at + step % i
        if not isinstance(part, Mapping):
            raise wrong(where, "an object")
        yield read(part, where)
