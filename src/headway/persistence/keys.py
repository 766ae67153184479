"""API keys and the dashboard's sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import sqlalchemy as sa

from headway.auth.key import Key
from headway.auth.limits import LONGEST, SHORT, Limits, Starts, Use, Window
from headway.auth.policy import ANY, Kind
from headway.auth.role import Role
from headway.auth.session import Session
from headway.kernel.errors import Conflict, NotFound
from headway.persistence.engine import Transaction
from headway.persistence.statements import add_up, insert_new
from headway.persistence.tables import gateways, key_windows, keys, now, sessions
from headway.tracking.measurement import Others, WindowKey

_USED: Final = (
    sa.update(keys)
    .where(
        keys.c.id == sa.bindparam("used_id"),
        sa.or_(keys.c.last_used.is_(None), keys.c.last_used < sa.bindparam("minute")),
    )
    .values(last_used=sa.bindparam("minute"))
)


class SqlKeys:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, key: Key) -> Key:
        added = replace(key, revision=1)
        limits = key.limits.document()
        row = asdict(added) | {"role": str(key.role), "kind": str(key.kind), "limits": limits}
        if self._transaction.run(insert_new(self._transaction.dialect, keys), row) != 1:
            raise Conflict(f"there is a key {key.id} already")
        self._transaction.changes_view()
        return added

    def get(self, key_id: str) -> Key:
        row = self._transaction.row(sa.select(keys).where(keys.c.id == key_id))
        if row is None:
            raise NotFound(f"there is no key {key_id!r}")
        return _key(row)

    def by_digest(self, digest: str) -> Key | None:
        row = self._transaction.row(sa.select(keys).where(keys.c.digest == digest))
        return None if row is None else _key(row)

    def save(self, key: Key) -> Key:
        as_read = (keys.c.id == key.id, keys.c.revision == key.revision)
        values = {
            "name": key.name,
            "paths": key.paths,
            "limits": key.limits.document(),
            "revoked_at": key.revoked_at,
            "revision": key.revision + 1,
        }
        if self._transaction.run(sa.update(keys).where(*as_read).values(values)) != 1:
            self.get(key.id)
            raise Conflict(f"somebody else changed the key {key.id}; look again")
        self._transaction.changes_view()
        return self.get(key.id)

    def list(self, *, limit: int, after: str | None = None) -> Sequence[Key]:
        place = sa.tuple_(keys.c.created_at, keys.c.id)
        query = sa.select(keys).order_by(keys.c.created_at.desc(), keys.c.id.desc())
        if after is not None:
            last = self.get(after)
            query = query.where(place < sa.tuple_(sa.literal(last.created_at), sa.literal(after)))
        return [_key(row) for row in self._transaction.rows(query.limit(limit))]

    def all(self) -> Sequence[Key]:
        query = sa.select(keys).where(keys.c.revoked_at.is_(None)).order_by(keys.c.id)
        return [_key(row) for row in self._transaction.rows(query)]

    def has_admin(self, now: int) -> bool:
        query = sa.select(keys).where(keys.c.role == Role.ADMIN, keys.c.revoked_at.is_(None))
        admins = map(_key, self._transaction.rows(query))
        return any(key.models == ANY and key.works_at(now) for key in admins)

    def used(self, key_id: str, minute: int) -> None:
        self._transaction.run(_USED, {"used_id": key_id, "minute": minute})

    def all_used(self, uses: Sequence[tuple[str, int]]) -> None:
        """Note several uses at once, as `used` does; sorted, so that two writers cannot block."""
        if uses:
            rows = [{"used_id": key_id, "minute": minute} for key_id, minute in sorted(uses)]
            self._transaction.run(_USED, rows)

    def use(self, key_id: str, starts: Starts, *, within: int) -> Use:
        query = (
            sa.select(key_windows.c.kind, sa.func.sum(key_windows.c.n).label("n"))
            .where(_any_of(starts), key_windows.c.key_id == key_id)
            .group_by(key_windows.c.kind)
        )
        windows = {Window(row.kind): int(row.n) for row in self._transaction.rows(query)}
        rows = self._transaction.rows(sa.select(gateways.c.under_way).where(*_alive(within)))
        under_way = sum(row.under_way.get(key_id, 0) for row in rows)
        return Use(starts, windows, under_way)

    def in_force(self, *, within: int) -> bool:
        behind = gateways.c.applied_generation < self._transaction.generation()
        query = sa.select(gateways.c.boot).where(*_alive(within), behind).limit(1)
        return self._transaction.row(query) is None


def _any_of(starts: Starts) -> sa.ColumnElement[bool]:
    """Say in SQL that a row is of a present window: each of these is one read of the index."""
    each = [
        sa.and_(key_windows.c.kind == window.value, key_windows.c.at == at)
        for window, at in starts.windows()
    ]
    return sa.or_(*each)


def _alive(within: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (gateways.c.stopped_at.is_(None), gateways.c.seen_at >= now() - within)


class SqlSpending:
    """What keys with limits used, counted by all gateways together."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, spender: str, windows: Mapping[WindowKey, int]) -> None:
        """Add what one flush brings; sorted, so that two writers cannot block."""
        rows = [
            {"kind": kind, "at": at, "key_id": key_id, "spender": spender, "n": n}
            for (kind, at, key_id), n in sorted(windows.items())
        ]
        if rows:
            self._transaction.run(add_up(self._transaction.dialect, key_windows), rows)

    def others(self, spender: str, starts: Starts) -> Others:
        query = (
            sa.select(
                key_windows.c.kind,
                key_windows.c.at,
                key_windows.c.key_id,
                sa.func.sum(key_windows.c.n).label("n"),
            )
            .where(_any_of(starts), key_windows.c.spender != spender)
            .group_by(key_windows.c.kind, key_windows.c.at, key_windows.c.key_id)
        )
        return Others(
            {(row.kind, row.at, row.key_id): int(row.n) for row in self._transaction.rows(query)}
        )

    def prune(self, *, before: int, limit: int) -> int:
        """Delete windows that are over; see `headway.tracking.ports`."""
        primary = sa.tuple_(*key_windows.primary_key.columns)
        old = (
            sa.select(*key_windows.primary_key.columns)
            .where(
                sa.or_(
                    sa.and_(key_windows.c.kind.in_(sorted(SHORT)), key_windows.c.at < before),
                    sa.and_(
                        key_windows.c.kind.in_(sorted(set(Window) - SHORT)),
                        key_windows.c.at < before - LONGEST,
                    ),
                )
            )
            .limit(limit)
        )
        return self._transaction.run(sa.delete(key_windows).where(primary.in_(old)))


def _key(row: sa.Row[Any]) -> Key:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    values |= {
        "role": Role(row.role),
        "kind": Kind(row.kind),
        "models": tuple(row.models),
        "environments": tuple(row.environments),
        "paths": tuple(row.paths),
        "limits": Limits.of(row.limits),
    }
    return Key(**values)


class SqlSessions:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, session: Session) -> None:
        self._transaction.run(sa.insert(sessions).values(asdict(session)))

    def find(self, digest: str) -> Session | None:
        row = self._transaction.row(sa.select(sessions).where(sessions.c.digest == digest))
        return None if row is None else Session(**row._mapping)  # noqa: SLF001 - public, see above

    def seen(self, digest: str, at: int) -> None:
        one = (sessions.c.digest == digest, sessions.c.seen_at < at)
        self._transaction.run(sa.update(sessions).where(*one).values(seen_at=at))

    def revoke(self, digest: str, at: int) -> None:
        still_open = (sessions.c.digest == digest, sessions.c.revoked_at.is_(None))
        self._transaction.run(sa.update(sessions).where(*still_open).values(revoked_at=at))

    def prune(self, *, before: int, limit: int) -> int:
        old = sa.select(sessions.c.digest).where(sessions.c.created_at < before).limit(limit)
        return self._transaction.run(sa.delete(sessions).where(sessions.c.digest.in_(old)))
