"""What the installation is."""

from headway.testing.memory.tables import Repository


class MemorySettings(Repository):
    def get(self, name: str) -> str | None:
        return self._t.settings.get(name)

    def keep(self, name: str, value: str) -> str:
        """Store a value unless there is one; return the one that is stored."""
        if (found := self._t.settings.get(name)) is not None:
            return found
        self._t.settings.put(name, value)
        return value
