r"""Prompt templates: `{{ name }}` and nothing else, filled in one pass.

`\{{` writes two braces. A value that holds `{{` stays as it is: what was filled in is never
looked at again. No expressions, attributes, filters, includes; no template engine.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid
from headway.kernel.names import unknown_word
from headway.registry.document import as_object, as_text, only, under

LONGEST_PROMPT: Final = 256 * 1024
"""Characters of a system text."""
LONGEST_VALUE: Final = 64 * 1024
_MOST_VARIABLES: Final = 64

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}\Z")
_OPEN: Final = re.compile(r"\\?\{\{")


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared variable; without a default each request must bring a value."""

    default: str | None = None
    description: str = ""

    def document(self) -> dict[str, Json]:
        found: dict[str, Json] = {}
        if self.default is not None:
            found["default"] = self.default
        if self.description:
            found["description"] = self.description
        return found


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a template where a variable's value goes."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: strings and slots in turn. Parse once, fill often."""

    parts: tuple[str | Slot, ...]

    @classmethod
    def parse(cls, text: str, *, pointer: str = "") -> Self:
        """Read a template, or raise `Invalid` that says where a brace is wrong."""
        return cls(tuple(_parts(text, pointer)))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts if isinstance(part, Slot))

    def fill(self, values: Mapping[str, str]) -> str:
        """Put each slot's value in its place, or raise `Invalid` that names those missing.

        Values that no slot names are passed over.
        """
        if missing := sorted(self.names - values.keys()):
            raise Invalid.at("", f"the prompt needs a value for {', '.join(missing)}")
        return "".join(values[p.name] if isinstance(p, Slot) else p for p in self.parts)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The system text that goes before the caller's, and the variables that it may name."""

    system: str
    variables: Mapping[str, Variable] = field(default_factory=dict)

    def template(self) -> Template:
        return Template.parse(self.system)

    def defaults(self) -> dict[str, str]:
        return {n: v.default for n, v in self.variables.items() if v.default is not None}

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the system text for these values; `Invalid` names those that are missing."""
        return self.template().fill(self.defaults() | dict(values))

    def document(self) -> dict[str, Json]:
        found: dict[str, Json] = {"system": self.system}
        if self.variables:
            found["variables"] = {n: v.document() for n, v in self.variables.items()}
        return found


def prompt_from_document(document: Json, *, pointer: str = "") -> Prompt:
    """Read a prompt, or raise `Invalid`; every name in its text must be declared."""
    fields = as_object(document, pointer=pointer)
    only(fields, ("system", "variables"), required=("system",), what="a prompt", pointer=pointer)
    at = under(pointer, "system")
    system = as_text(fields["system"], pointer=at, longest=LONGEST_PROMPT, empty=True)
    declared = _variables(fields.get("variables", {}), pointer=under(pointer, "variables"))
    for name in sorted(Template.parse(system, pointer=at).names - declared.keys()):
        raise Invalid.at(at, f"{unknown_word(name, declared, what='variable')}; declare it")
    return Prompt(system, declared)


def _variables(document: Json, *, pointer: str) -> dict[str, Variable]:
    fields = as_object(document, pointer=pointer)
    if len(fields) > _MOST_VARIABLES:
        raise Invalid.at(pointer, f"at most {_MOST_VARIABLES} variables are taken")
    return {name: _variable(name, fields[name], under(pointer, name)) for name in fields}


def _variable(name: str, document: Json, pointer: str) -> Variable:
    if not _VARIABLE.match(name):
        raise Invalid.at(pointer, f"{name[:128]!r} cannot name a variable: {_RULE}")
    fields = as_object(document, pointer=pointer)
    only(fields, ("default", "description"), what="a variable", pointer=pointer)
    default = fields.get("default")
    if default is not None:
        default = as_text(
            default, pointer=under(pointer, "default"), longest=LONGEST_VALUE, empty=True
        )
    description = as_text(
        fields.get("description", ""), pointer=under(pointer, "description"), empty=True
    )
    return Variable(default, description)


_RULE: Final = "A-Z a-z 0-9 _ - and no digit first"


def _parts(text: str, pointer: str) -> Iterator[str | Slot]:
    start = 0
    literal: list[str] = []
    while found := _OPEN.search(text, start):
        literal.append(text[start : found.start()])
        start = found.end()
        if found[0].startswith("\\"):
            literal.append("{{")
            continue
        end = text.find("}}", start)
        if end < 0:
            raise Invalid.at(
                pointer,
                f"the {{{{ at character {found.start()} has no }}}}; for two braces write \\{{{{",
            )
        name = text[start:end].strip(" \t")
        if not _VARIABLE.match(name):
            raise Invalid.at(
                pointer,
                f"{text[found.start() : end + 2][:64]!r} holds no name ({_RULE}); expressions and "
                "filters are not taken; for two braces write \\{{",
            )
        if any(literal):
            yield "".join(literal)
        literal = []
        yield Slot(name)
        start = end + 2
    literal.append(text[start:])
    if any(literal):
        yield "".join(literal)
