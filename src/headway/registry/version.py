"""The number of a version: Semantic Versioning 2.0.0, to the letter.

Two numbers that differ only in build metadata are one version: they are equal, and have one hash
and one precedence key. https://semver.org/spec/v2.0.0.html
"""

import re
from dataclasses import dataclass, field
from functools import total_ordering
from typing import Final, Literal, Self, TypeAlias

from headway.kernel.errors import Invalid

Bump: TypeAlias = Literal["major", "minor", "patch"]
BUMPS: Final[tuple[Bump, ...]] = ("major", "minor", "patch")

LONGEST: Final = 255
"""Characters in a number; the specification calls more "probably overkill"."""

_NUMBER: Final = "0|[1-9][0-9]*"
_PRE: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_BUILD: Final = r"[0-9A-Za-z-]+"
SEMVER_PATTERN: Final = (
    rf"^({_NUMBER})\.({_NUMBER})\.({_NUMBER})"
    rf"(?:-({_PRE}(?:\.{_PRE})*))?(?:\+({_BUILD}(?:\.{_BUILD})*))?$"
)
_SEMVER: Final = re.compile(SEMVER_PATTERN.replace("$", r"\Z"))
_LOOSE: Final = re.compile(r"[vV=]*\s*([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?\Z")


@total_ordering
@dataclass(frozen=True, slots=True)
class SemVer:
    """`major.minor.patch[-prerelease][+build]`; compares by precedence, which ignores `build`."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, text: str, *, pointer: str = "") -> Self:
        """Read a number exactly as the specification writes it, or raise `Invalid`."""
        if len(text) > LONGEST:
            raise Invalid.at(pointer, f"a version has at most {LONGEST} characters")
        if not (found := _SEMVER.match(text)):
            raise Invalid.at(pointer, _lesson(text))
        major, minor, patch, pre, build = found.groups()
        return cls(
            int(major),
            int(minor),
            int(patch),
            tuple(pre.split(".")) if pre else (),
            tuple(build.split(".")) if build else (),
        )

    @property
    def is_release(self) -> bool:
        return not self.prerelease

    def without_build(self) -> "SemVer":
        return SemVer(self.major, self.minor, self.patch, self.prerelease)

    def precedence_key(self) -> str:
        """Return a text that sorts bytewise as versions sort by precedence, one per identity.

        Each number is written with its length before it (and the length of that length), so that
        numbers of any length sort as numbers: 9 is `119`, 10 is `1210`. A release ends in `~`,
        above every pre-release; identifiers are parted by `,`, below every character they hold.
        Sort it bytewise: SQLite does by default, PostgreSQL with `COLLATE "C"`.
        """
        core = ".".join(map(_sortable, (self.major, self.minor, self.patch)))
        if not self.prerelease:
            return f"{core}~"
        parts = (f"0{_sortable(int(p))}" if p.isdigit() else f"1{p}" for p in self.prerelease)
        return f"{core}-{','.join(parts)}"

    def early_keys(self) -> tuple[str, str]:
        """Return the keys between which those of all pre-releases of this release are."""
        core = SemVer(self.major, self.minor, self.patch).precedence_key().removesuffix("~")
        return f"{core}-", f"{core}."

    def bump(self, by: Bump) -> "SemVer":
        """Return the next release; a pre-release is followed by its own release if that fits.

        1.2.3 -> patch 1.2.4, minor 1.3.0, major 2.0.0; 2.0.0-rc.1 -> 2.0.0 by any of the three.
        """
        early = bool(self.prerelease)
        match by:
            case "major":
                return SemVer(self.major + (not (early and self.minor == self.patch == 0)), 0, 0)
            case "minor":
                return SemVer(self.major, self.minor + (not (early and self.patch == 0)), 0)
            case "patch":
                return SemVer(self.major, self.minor, self.patch + (not early))

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        if self.prerelease:
            text += f"-{'.'.join(self.prerelease)}"
        if self.build:
            text += f"+{'.'.join(self.build)}"
        return text

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, SemVer):
            return NotImplemented
        return self._rank() < other._rank()

    def _rank(self) -> tuple[int, int, int, bool, list[tuple[bool, int, str]]]:
        """Order as clause 11 of the specification says it."""
        return (
            self.major,
            self.minor,
            self.patch,
            not self.prerelease,
            [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in self.prerelease],
        )


def _sortable(number: int) -> str:
    digits = str(number)
    length = str(len(digits))
    return f"{len(length)}{length}{digits}"


def reads_as_version(text: str) -> bool:
    """Say whether somebody could take this for a version or a range: `2`, `v1.2`, `1.x`, `^2`."""
    return bool(re.match(r"[vV=^~<>*]?[0-9]+(\.([0-9]+|[xX*]))*([-+].*)?\Z|[xX*]\Z", text))


def _lesson(text: str) -> str:
    """Say what is wrong with a number, and how it would be right."""
    shown = repr(text[:64])
    start = f"{shown} is no version: "
    if not (found := _LOOSE.match(text.strip())):
        return start + "write MAJOR.MINOR.PATCH, as in 2.4.0 or 2.4.0-rc.1"
    major, minor, patch, rest = found.groups()
    likely = ".".join(part.lstrip("0") or "0" for part in (major, minor or "0", patch or "0"))
    if rest and not _SEMVER.match(likely + rest):
        return start + (
            "what follows - or + is identifiers of A-Z a-z 0-9 - parted by dots, none of them "
            "empty, and a number before + has no leading zero"
        )
    return start + f"did you mean {likely + (rest or '')}?"
