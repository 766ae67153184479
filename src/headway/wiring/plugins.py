"""What comes in through entry points: our own and a stranger's, by the same door."""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from headway.artifacts.ports import Store
from headway.runner.ports import Runtime


def _entries(kind: str) -> Mapping[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"headway.{kind}"):
        if entry.name in found:
            raise RuntimeError(f"two installed packages bring {kind} called {entry.name!r}")
        found[entry.name] = entry
    return found


def load(kind: str) -> dict[str, Any]:
    """Load every plug-in of one kind (`strategies`, `checks`, `providers`, …) by name."""
    return {name: entry.load() for name, entry in _entries(kind).items()}


def runtimes() -> dict[str, Callable[[], Runtime]]:
    """Return factories that import their runtime only when its first model is loaded."""

    def factory(entry: EntryPoint) -> Callable[[], Runtime]:
        def make() -> Runtime:
            made: Runtime = entry.load()()
            return made

        return make

    return {name: factory(entry) for name, entry in _entries("runtimes").items()}


def store(name: str, folder: Path) -> Store:
    """Open the artifact store of that kind."""
    made: Store = _entries("stores")[name].load()(folder)
    return made
