"""Two versions of a model side by side: order, what differs in the target, what callers notice."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from headway.kernel.canonical import Json, canonical
from headway.registry.compatibility import Compatibility, Contract, compare
from headway.registry.document import under
from headway.registry.model import Version
from headway.registry.target import HostedTarget
from headway.registry.version import Bump


@dataclass(frozen=True, slots=True)
class Change:
    """One place (JSON Pointer into the target) that differs; None: there is nothing there."""

    pointer: str
    before: Json
    after: Json


@dataclass(frozen=True, slots=True)
class Comparison:
    """`order` is -1, 0 or 1 as `old` comes before, with or after `new` by precedence.

    `components` are the parts whose digests differ. `prompt` is a unified diff of the system
    texts, line by line, empty if they are the same. `bump` is what should grow in `old`'s number.
    """

    old: Version
    new: Version
    order: Literal[-1, 0, 1]
    components: tuple[str, ...]
    target: tuple[Change, ...]
    prompt: tuple[str, ...]
    compatibility: Compatibility
    bump: Bump

    @classmethod
    def of(cls, old: Version, new: Version) -> Self:
        compatibility = compare(Contract.of(old), Contract.of(new))
        names = old.components.keys() | new.components.keys()
        return cls(
            old=old,
            new=new,
            order=-1 if old.number < new.number else int(old.number > new.number) and 1,
            components=tuple(
                sorted(n for n in names if old.components.get(n) != new.components.get(n))
            ),
            target=tuple(_changes(old.target.document(), new.target.document(), "")),
            prompt=tuple(
                difflib.unified_diff(
                    _system(old).splitlines(),
                    _system(new).splitlines(),
                    str(old.number),
                    str(new.number),
                    lineterm="",
                )
            ),
            compatibility=compatibility,
            bump=compatibility.advice(old.number),
        )


def _system(version: Version) -> str:
    target = version.target
    return target.prompt.system if isinstance(target, HostedTarget) and target.prompt else ""


def _changes(old: Json, new: Json, pointer: str) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _changes(old.get(key), new.get(key), under(pointer, key))
    elif canonical(old) != canonical(new):
        yield Change(pointer, old, new)
