"""Ranges of versions, with node-semver's meaning."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from headway.registry.version import SemVer


@dataclass(frozen=True, slots=True)
class Requirement:
    text: str

    @classmethod
    def parse(cls, text: str, *, pointer: str = "") -> Self: ...

    def allows(self, number: SemVer) -> bool: ...

    def best(self, numbers: Iterable[SemVer]) -> SemVer | None: ...
