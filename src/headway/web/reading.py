"""From the bytes of a body to a document that the core may trust the shape of.

JSON is read strictly: no duplicate keys, no NaN, no half of a surrogate pair, no integer that
another program would read differently. Depth and size are measured on the bytes, without
recursion, before anything recursive sees them.

Plans may also be YAML. YAML's own rules would turn `to: 1.10` into 1.1 and `no` into false, so
every scalar is text here, and the plan converts it. Anchors, aliases, tags, merges and duplicate
keys are refused while the events are read, so that a few bytes never become many.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import yaml
from flask import Request
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from headway.kernel.canonical import Json
from headway.kernel.errors import Fault, HeadwayError, Invalid, TooLarge
from headway.registry.document import under

DEEPEST: Final = 64
MOST_NODES: Final = 100_000
LARGEST_INTEGER: Final = 2**53

YAML_BYTES: Final = 256 * 1024
YAML_DEEPEST: Final = 32

_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))

# The parser of libyaml where there is one: quicker by far, and it gives the same events.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(HeadwayError):
    """The bytes are not what their media type says."""


def whole_body(asked: Request) -> bytes:
    """Return the body, or raise `TooLarge`: of one without a length only a beginning is read."""
    body = asked.get_data()
    limit = asked.max_content_length
    if limit is not None and asked.content_length is None and len(body) >= limit:
        raise TooLarge(f"the body is larger than what is taken here: {limit:,} bytes")
    return body


def read_json(data: bytes) -> Mapping[str, Json]:
    """Return the object that a JSON text holds, or raise `Unreadable`."""
    if not data.strip():
        raise Unreadable("the body is empty; send a JSON object")
    _measure(data)
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise Unreadable(f"the body is not UTF-8: byte {error.start} is wrong") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Unreadable(f"the body is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise Unreadable(f"the body is nested more than {DEEPEST} deep") from None
    if not isinstance(value, dict):
        raise Unreadable("the body must be a JSON object: { … }")
    if b"\\u" in data:
        _refuse_half_characters(value)
    return value


def _measure(data: bytes) -> None:
    """Count depth and values on the bytes; what is no JSON is left to the parser."""
    bare = _STRINGS.sub(b"0", data)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") >= MOST_NODES:
        raise Unreadable(f"the body holds more than {MOST_NODES:,} values")
    depth = 0
    for bracket in bare.translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            raise Unreadable(f"the body is nested more than {DEEPEST} deep")
        if depth < 0:
            return


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unreadable(f"the key {twice[:64]!r} stands twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > LARGEST_INTEGER:
        raise Unreadable(f"{text[:24]} is beyond 2^53: no two programs agree on such integers")
    return value


def _number(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise Unreadable(f"{text[:24]} is too large a number")
    return value


def _constant(text: str) -> NoReturn:
    raise Unreadable(f"{text} is not JSON")


def _refuse_half_characters(value: Json) -> None:
    stack: list[Json] = [value]
    while stack:
        match stack.pop():
            case str() as text:
                if any("\ud800" <= char <= "\udfff" for char in text):
                    raise Unreadable("a string holds one half of a surrogate pair")
            case Mapping() as fields:
                stack.extend(fields)
                stack.extend(fields.values())
            case list() as items:
                stack.extend(items)
            case _:
                pass


@dataclass(frozen=True, slots=True)
class SentPlan:
    """A plan as it was sent, and on which line each part of it stands (YAML alone)."""

    document: Mapping[str, Json]
    lines: Mapping[str, int]
    """JSON Pointer -> line, from 1."""

    def placed(self, error: Invalid) -> Invalid:
        """Say the line of each fault, where it is known."""
        return Invalid([Fault(f.pointer, self._placed(f)) for f in error.faults])

    def _placed(self, fault: Fault) -> str:
        pointer = fault.pointer
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        line = self.lines.get(pointer) if pointer else None
        return fault.detail if line is None else f"line {line}: {fault.detail}"


def read_yaml(data: bytes) -> SentPlan:
    """Read a plan from YAML, every scalar as text, or raise `Unreadable` with the line."""
    if len(data) > YAML_BYTES:
        raise TooLarge(f"a plan in YAML has at most {YAML_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"the plan is not UTF-8: byte {error.start} is wrong") from None
    try:
        return _Builder().build(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Unreadable(f"{where}this is not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise Unreadable(f"the plan holds a character that YAML forbids: {error.reason}") from None
    except yaml.YAMLError:
        raise Unreadable("the plan is not YAML") from None


class _Builder:
    """Puts a document together from events; a stack instead of recursion."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._open: list[tuple[dict[str, Json] | list[Json], str]] = []
        self._key: list[tuple[str, int] | None] = []
        self._root: Json = None
        self._documents = 0
        self._nodes = 0

    def build(self, events: Iterator[Event]) -> SentPlan:
        for event in events:
            self._take(event)
        if self._documents == 0:
            raise Unreadable("the plan is empty; two lines are enough: model: … and to: …")
        if not isinstance(self._root, dict):
            raise Unreadable("line 1: a plan is a mapping, as in\nmodel: support-bot\nto: 2.4.0")
        return SentPlan(self._root, self._lines)

    def _take(self, event: Event) -> None:
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    _refuse(event, "there is a second document; a plan is one")
            case AliasEvent():
                _refuse(event, f"*{event.anchor} refers to an anchor; write the value out")
            case NodeEvent():
                self._node(event)
            case MappingEndEvent() | SequenceEndEvent():
                self._open.pop()
                self._key.pop()
            case _:
                pass

    def _node(self, event: NodeEvent) -> None:
        if event.anchor is not None:
            _refuse(event, f"&{event.anchor} is an anchor; write the value out where it is used")
        if (tag := getattr(event, "tag", None)) is not None:
            _refuse(event, f"{tag} is a tag; every value is text here and needs none")
        self._nodes += 1
        if self._nodes > MOST_NODES:
            _refuse(event, f"the plan holds more than {MOST_NODES:,} values")
        awaits_key = bool(self._open) and isinstance(self._open[-1][0], dict)
        if awaits_key and self._key[-1] is None:
            self._take_key(event)
            return
        match event:
            case ScalarEvent():
                self._put(event.value, event)
            case MappingStartEvent():
                self._enter({}, event)
            case SequenceStartEvent():
                self._enter([], event)
            case _:
                raise AssertionError(event)

    def _take_key(self, event: NodeEvent) -> None:
        if not isinstance(event, ScalarEvent):
            _refuse(event, "a key is one word, not a list or a mapping")
        fields, pointer = self._open[-1]
        if event.value == "<<" and event.implicit[0]:
            _refuse(event, "<< would merge another mapping; write its keys out")
        if isinstance(fields, dict) and event.value in fields:
            first = self._lines[under(pointer, event.value)]
            _refuse(event, f"the key {event.value[:64]!r} stands here and on line {first}")
        self._key[-1] = event.value, _line(event)

    def _enter(self, value: dict[str, Json] | list[Json], event: NodeEvent) -> None:
        if len(self._open) >= YAML_DEEPEST:
            _refuse(event, f"the plan is nested more than {YAML_DEEPEST} deep")
        pointer = self._put(value, event)
        self._open.append((value, pointer))
        self._key.append(None)

    def _put(self, value: Json, event: NodeEvent) -> str:
        """Give a value its place and return the JSON Pointer of it."""
        if not self._open:
            self._root = value
            return ""
        parent, above = self._open[-1]
        line = _line(event)
        if isinstance(parent, dict):
            # A key was there before each value: `_node` sees to it.
            key, line = self._key[-1] or ("", line)
            pointer = under(above, key)
            parent[key] = value
            self._key[-1] = None
        else:
            pointer = under(above, len(parent))
            parent.append(value)
        self._lines[pointer] = line
        return pointer


def _refuse(event: Event, why: str) -> NoReturn:
    raise Unreadable(f"line {_line(event)}: {why}")


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
