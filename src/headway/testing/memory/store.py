"""What is committed, and what one work sees of a table."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Any, Generic, TypeVar

from headway.kernel.errors import Conflict
from headway.tracking.measurement import MOST_UNITS

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class Store:
    """What is committed."""

    unit_cap: int = MOST_UNITS
    tables: dict[str, dict[Any, Any]] = field(default_factory=dict)
    numbers: dict[str, "count[int]"] = field(default_factory=dict)
    generation: int = 0
    lock: Lock = field(default_factory=Lock)

    def number(self, of: str) -> int:
        """Return the next number, as a sequence of a database gives it: never given back."""
        with self.lock:
            return next(self.numbers.setdefault(of, count(1)))


class Rows(Generic[K, V]):
    """One table as one work sees it: what is committed, under what it wrote itself."""

    def __init__(self, name: str, committed: dict[K, V]) -> None:
        self._name = name
        self._committed = committed
        self._found: dict[K, V | None] = {}
        self._written: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        return self._written[key] if key in self._written else self._committed.get(key)

    def items(self) -> list[tuple[K, V]]:
        """Return every row, oldest first."""
        merged: dict[K, V | None] = {**self._committed, **self._written}
        return [(key, row) for key, row in merged.items() if row is not None]

    def all(self) -> list[V]:
        return [row for _, row in self.items()]

    def put(self, key: K, row: V | None) -> None:
        """Write a row; None deletes it."""
        self._found.setdefault(key, self._committed.get(key))
        self._written[key] = row

    def check(self) -> None:
        for key, found in self._found.items():
            if self._committed.get(key) is not found:
                raise Conflict(f"somebody else wrote {self._name} {key!r} first; look again")

    def publish(self) -> None:
        for key, row in self._written.items():
            if row is None:
                self._committed.pop(key, None)
            else:
                self._committed[key] = row
        self._found.clear()
        self._written.clear()
