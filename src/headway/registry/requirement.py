"""Ranges of versions, with node-semver's meaning.

`^1.2.3  ~1.2  >=1.2 <2  1.x  1.2.3 - 2.3  ^1 || ^2`, and none for "any". A pre-release is allowed
only where the same part of the range names a pre-release of the same major.minor.patch:
`^1.2.3-rc.1` allows 1.2.3-rc.2 and 1.3.0, not 1.3.0-rc.1. Build metadata is ignored.
https://github.com/npm/node-semver#ranges
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from headway.kernel.errors import Invalid
from headway.registry.version import LONGEST, SemVer

_LONGEST_RANGE: Final = 1024
_MOST_PARTS: Final = 64

_ID: Final = r"(?:0|[1-9][0-9]*)"
_PRE: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_TAIL: Final = rf"(?:-({_PRE}(?:\.{_PRE})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_XR: Final = rf"({_ID}|[xX*])(?:\.({_ID}|[xX*])(?:\.({_ID}|[xX*]){_TAIL})?)?"
_PART: Final = re.compile(rf"(\^|~>?|>=|<=|>|<|=|)[v=\s]*{_XR}\Z")
_HYPHEN: Final = re.compile(rf"[v=\s]*{_XR}\s+-\s+[v=\s]*{_XR}\Z")
_GAP: Final = re.compile(r"(\^|~>?|>=|<=|>|<|=)\s+")
_BLANK: Final = " \t\r\n"

_TESTS: Final[Mapping[str, Callable[[SemVer, SemVer], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Comparator:
    """One bound: `>=` 1.2.0."""

    test: str
    bound: SemVer

    def allows(self, number: SemVer) -> bool:
        return _TESTS[self.test](number, self.bound)

    def __str__(self) -> str:
        return f"{self.test.removeprefix('=')}{self.bound.without_build()}"


_Bounds = tuple[Comparator, ...]
_ANY: Final = Comparator(">=", SemVer(0, 0, 0))
_NOTHING: Final = Comparator("<", SemVer(0, 0, 0, ("0",)))


@dataclass(frozen=True, slots=True)
class Requirement:
    """A range: `text` as written; allowed is what meets every bound of one of `alternatives`."""

    text: str
    alternatives: tuple[_Bounds, ...]

    @classmethod
    def parse(cls, text: str, *, pointer: str = "") -> Self:
        """Read a range, or raise `Invalid`."""
        if len(text) > _LONGEST_RANGE:
            raise Invalid.at(pointer, f"a range has at most {_LONGEST_RANGE} characters")
        alternatives = tuple(_alternative(part.strip(_BLANK)) for part in text.split("||"))
        bad = next((found for found in alternatives if isinstance(found, str)), None)
        if bad is not None:
            raise Invalid.at(
                pointer,
                f"{bad[:64]!r} is no range of versions: write it as ^2.3, ~2.3.1, 2.x, "
                ">=2.3 <3, 2.3 - 2.8, or several of them parted by ||",
            )
        bounds = tuple(found for found in alternatives if not isinstance(found, str))
        if sum(map(len, bounds)) > _MOST_PARTS:
            raise Invalid.at(pointer, f"a range has at most {_MOST_PARTS} parts")
        # What allows any release leaves the others nothing to say: `* || ^1.0.0-rc` is `*`.
        return cls(text, ((),) if () in bounds else bounds)

    def allows(self, number: SemVer) -> bool:
        return any(_meets(number, bounds) for bounds in self.alternatives)

    def best(self, numbers: Iterable[SemVer]) -> SemVer | None:
        """Return the highest number that is allowed, or None."""
        return max(filter(self.allows, numbers), default=None)

    def __str__(self) -> str:
        """Write the bounds out: `^1.2 || 3` -> `>=1.2.0 <2.0.0-0||>=3.0.0 <4.0.0-0`."""
        return "||".join(" ".join(map(str, bounds)) or "*" for bounds in self.alternatives)


def _meets(number: SemVer, bounds: _Bounds) -> bool:
    if not all(bound.allows(number) for bound in bounds):
        return False
    return number.is_release or any(
        bound.bound.prerelease and _core(bound.bound) == _core(number) for bound in bounds
    )


def _core(number: SemVer) -> tuple[int, int, int]:
    return number.major, number.minor, number.patch


def _alternative(text: str) -> _Bounds | str:
    """Return the bounds of what stands between two `||`, or the words that are not understood."""
    if found := _HYPHEN.match(text):
        low, high = _Partial.of(found.groups()[:4]), _Partial.of(found.groups()[4:])
        return tuple(dict.fromkeys((*low.from_here(), *high.up_to_here())))
    bounds: dict[Comparator, None] = {}
    for word in _GAP.sub(r"\1", text).split():
        found = _PART.match(word)
        if len(word) > LONGEST or not found:
            return word
        bounds |= dict.fromkeys(_bounds(found[1], _Partial.of(found.groups()[1:])))
    bounds.pop(_ANY, None)
    return tuple(bounds)


@dataclass(frozen=True, slots=True)
class _Partial:
    """A number of which the end may be missing or `x`."""

    major: int | None
    minor: int | None
    patch: int | None
    prerelease: tuple[str, ...]

    @classmethod
    def of(cls, groups: Iterable[str | None]) -> Self:
        *core, pre = groups
        numbers: list[int | None] = []
        for part in core:  # after the first x everything is x: 1.x.3 is 1.x
            known = part is not None and part.isdigit() and None not in numbers
            numbers.append(int(part) if part and known else None)
        major, minor, patch = numbers
        return cls(major, minor, patch, tuple(pre.split(".")) if pre and patch is not None else ())

    @property
    def low(self) -> SemVer:
        """Return the lowest number that it covers."""
        return SemVer(self.major or 0, self.minor or 0, self.patch or 0, self.prerelease)

    @property
    def whole(self) -> bool:
        return self.patch is not None

    def beyond(self) -> SemVer:
        """Return the first release above all that it covers; it has a major, but no patch."""
        return self.low.bump("major" if self.minor is None else "minor")

    def from_here(self) -> _Bounds:
        return () if self.major is None else (Comparator(">=", self.low),)

    def up_to_here(self) -> _Bounds:
        if self.major is None:
            return ()
        return (Comparator("<=", self.low),) if self.whole else (_below(self.beyond()),)


def _below(number: SemVer) -> Comparator:
    """Exclude the pre-releases of the bound as well: 2.0.0-rc.1 is not in ^1.2."""
    return Comparator("<", SemVer(number.major, number.minor, number.patch, ("0",)))


def _bounds(sign: str, partial: _Partial) -> _Bounds:
    if partial.major is None:
        return (_NOTHING,) if sign in {"<", ">"} else ()
    low = partial.low
    match sign:
        case "^":
            return Comparator(">=", low), _below(_next_breaking(partial))
        case "~" | "~>":
            by = SemVer(low.major, low.minor, low.patch).bump(
                "major" if partial.minor is None else "minor"
            )
            return Comparator(">=", low), _below(by)
        case ">" if not partial.whole:
            return (Comparator(">=", partial.beyond()),)
        case "<" if not partial.whole:
            return (_below(low),)
        case "<=" if not partial.whole:
            return (_below(partial.beyond()),)
        case "" | "=" if not partial.whole:
            return Comparator(">=", low), _below(partial.beyond())
        case _:
            return (Comparator(sign or "=", low),)


def _next_breaking(partial: _Partial) -> SemVer:
    """Return the next number in which something may break: the first part that is not 0 grows."""
    low = SemVer(partial.major or 0, partial.minor or 0, partial.patch or 0)
    if low.major or partial.minor is None:
        return low.bump("major")
    if low.minor or not partial.whole:
        return low.bump("minor")
    return low.bump("patch")
