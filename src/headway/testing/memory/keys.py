"""Keys, what each has used, and sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from headway.auth.key import Key
from headway.auth.limits import LONGEST, SHORT, Starts, Use, Window
from headway.auth.policy import ANY
from headway.auth.role import Role
from headway.auth.session import Session
from headway.kernel.errors import Conflict
from headway.testing.memory.tables import Repository, Start, add_up, required
from headway.tracking.measurement import Others, WindowKey


class MemoryKeys(Repository):
    def add(self, key: Key) -> Key:
        if self._t.keys.get(key.id) or self._t.key_digests.get(key.digest):
            raise Conflict(f"there is a key {key.id} already")
        added = replace(key, revision=1)
        self._t.keys.put(key.id, added)
        self._t.key_digests.put(key.digest, key.id)
        self._t.changes_view()
        return added

    def get(self, key_id: str) -> Key:
        return self._used(required(self._t.keys.get(key_id), f"key {key_id!r}"))

    def by_digest(self, digest: str) -> Key | None:
        key_id = self._t.key_digests.get(digest)
        return None if key_id is None else self.get(key_id)

    def save(self, key: Key) -> Key:
        stored = self.get(key.id)
        if stored.revision != key.revision:
            raise Conflict(f"somebody else changed the key {key.id}; look again")
        saved = replace(
            stored,
            name=key.name,
            paths=key.paths,
            limits=key.limits,
            revoked_at=key.revoked_at,
            revision=key.revision + 1,
        )
        self._t.keys.put(key.id, saved)
        self._t.changes_view()
        return saved

    def list(self, *, limit: int, after: str | None = None) -> Sequence[Key]:
        newest = sorted(self._t.keys.all(), key=lambda key: (key.created_at, key.id), reverse=True)
        if after is not None:
            last = self.get(after)
            newest = [
                key for key in newest if (key.created_at, key.id) < (last.created_at, last.id)
            ]
        return [self._used(key) for key in newest[:limit]]

    def all(self) -> Sequence[Key]:
        found = [self._used(key) for key in self._t.keys.all() if key.revoked_at is None]
        return sorted(found, key=lambda key: key.id)

    def has_admin(self, now: int) -> bool:
        return any(
            key.role is Role.ADMIN and key.models == ANY and key.works_at(now)
            for key in self._t.keys.all()
        )

    def used(self, key_id: str, minute: int) -> None:
        if self._t.keys.get(key_id) and minute > (self._t.key_uses.get(key_id) or 0):
            self._t.key_uses.put(key_id, minute)

    def use(self, key_id: str, starts: Starts, *, within: int) -> Use:
        windows: dict[Window, int] = {}
        present = starts.windows()
        for (kind, at, of, _), n in self._t.key_windows.items():
            if of == key_id and (Window(kind), at) in present:
                windows[Window(kind)] = windows.get(Window(kind), 0) + n
        alive = MemorySpending(self._t).alive(within)
        return Use(starts, windows, sum(start.under_way.get(key_id, 0) for start in alive))

    def in_force(self, *, within: int) -> bool:
        alive = MemorySpending(self._t).alive(within)
        return all(start.row.applied_generation >= self._t.generation() for start in alive)

    def _used(self, key: Key) -> Key:
        return replace(key, last_used=self._t.key_uses.get(key.id) or key.last_used)


class MemorySpending(Repository):
    def add(self, spender: str, windows: Mapping[WindowKey, int]) -> None:
        add_up(
            self._t.key_windows,
            {(kind, at, key_id, spender): n for (kind, at, key_id), n in windows.items()},
        )

    def others(self, spender: str, starts: Starts) -> Others:
        windows: dict[WindowKey, int] = {}
        present = starts.windows()
        for (kind, at, key_id, who), n in self._t.key_windows.items():
            if who != spender and (Window(kind), at) in present:
                place = (kind, at, key_id)
                windows[place] = windows.get(place, 0) + n
        return Others(windows)

    def prune(self, *, before: int, limit: int) -> int:
        old = [
            place
            for place, _ in self._t.key_windows.items()
            if place[1] < (before if Window(place[0]) in SHORT else before - LONGEST)
        ][:limit]
        for place in old:
            self._t.key_windows.put(place, None)
        return len(old)

    def alive(self, within: int) -> "list[Start]":
        since = self._t.clock() - within
        return [
            start
            for start in self._t.gateways.all()
            if not start.stopped and start.row.seen_at >= since
        ]


class MemorySessions(Repository):
    def add(self, session: Session) -> None:
        if self._t.keys.get(session.key_id) is None:
            raise Conflict(f"there is no key {session.key_id!r}")
        self._t.sessions.put(session.digest, session)

    def find(self, digest: str) -> Session | None:
        return self._t.sessions.get(digest)

    def seen(self, digest: str, at: int) -> None:
        if (found := self.find(digest)) and found.seen_at < at:
            self._t.sessions.put(digest, replace(found, seen_at=at))

    def revoke(self, digest: str, at: int) -> None:
        if (found := self.find(digest)) and found.revoked_at is None:
            self._t.sessions.put(digest, replace(found, revoked_at=at))

    def prune(self, *, before: int, limit: int) -> int:
        old = [one for one in self._t.sessions.all() if one.created_at < before][:limit]
        for session in old:
            self._t.sessions.put(session.digest, None)
        return len(old)
