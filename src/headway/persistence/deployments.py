"""Deployments, what people asked of them, ways back, and the gateways' vetoes.

A deployment is due when its `wake_at` has come. Claiming it puts `wake_at` off for ever, whoever
wakes it sets it to now, and giving it back keeps the earlier of the two: so nobody who asks for
something while it is held is overlooked. Who dies with a claim leaves its owner's name in the row;
once the lease is over it is due whatever `wake_at` says.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any, Final

import sqlalchemy as sa

from headway.deployments.deployment import FINISHED, Deployment, State
from headway.deployments.intent import Intent, Verb
from headway.deployments.reading import parse_plan
from headway.deployments.rollback import Rollback, RollbackState
from headway.kernel.errors import Conflict, NotFound
from headway.kernel.names import folded
from headway.persistence.engine import Transaction, values_of
from headway.persistence.statements import free, insert_new
from headway.persistence.tables import (
    ACTIVE,
    deployments,
    intents,
    now,
    rollbacks,
    route_key,
    vetoes,
)
from headway.tracking.measurement import Veto

_NEVER: Final = 1 << 62
_FIELDS: Final = tuple(field.name for field in fields(Deployment))
_ROLLBACK_FIELDS: Final = tuple(field.name for field in fields(Rollback))
_t: Final = deployments.c


class SqlDeployments:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, deployment: Deployment) -> None:
        row = _row(deployment) | {"lease_until": 0, "wake_at": self._transaction.now()}
        if self._transaction.run(insert_new(self._transaction.dialect, deployments), row) != 1:
            self._refuse_second(deployment)
            raise Conflict(f"there is a deployment {deployment.id} already")

    def get(self, deployment_id: str) -> Deployment:
        row = self._transaction.row(sa.select(deployments).where(_t.id == deployment_id))
        if row is None:
            raise NotFound(f"there is no deployment {deployment_id!r}")
        return _deployment(row)

    def active(self, model: str, environment: str) -> Deployment | None:
        on_route = (_t.route == route_key(model, environment), _t.state.in_(ACTIVE))
        row = self._transaction.row(sa.select(deployments).where(*on_route))
        return None if row is None else _deployment(row)

    def list(
        self,
        *,
        model: str | None,
        environment: str | None,
        states: Sequence[str],
        before: str | None,
        limit: int,
    ) -> Sequence[Deployment]:
        query = sa.select(deployments).where(*_on(deployments, model, environment, before))
        if states:
            query = query.where(_t.state.in_([str(state) for state in states]))
        rows = self._transaction.rows(query.order_by(_t.id.desc()).limit(limit))
        return [_deployment(row) for row in rows]

    def claim(self, *, owner: str, lease: int) -> Sequence[Deployment]:
        due = sa.or_(_t.wake_at <= now(), _t.lease_owner != "")
        # What another one claims at this moment is skipped, not waited for.
        open_to_all = (
            sa.select(_t.id)
            .where(_t.state.not_in(FINISHED), due, free(_t.lease_until, lease))
            .with_for_update(skip_locked=True)
        )
        claim = (
            sa.update(deployments)
            .where(_t.id.in_(open_to_all))
            .values(
                lease_owner=owner,
                lease_until=now() + lease,
                fence=_t.fence + 1,
                wake_at=_NEVER,
            )
            .returning(deployments)
        )
        claimed = map(_deployment, self._transaction.rows(claim))
        return sorted(claimed, key=lambda deployment: deployment.id)

    def save(self, deployment: Deployment, *, wake_in: int) -> Deployment:
        if deployment.state in ACTIVE:
            self._refuse_second(deployment)
        saved = replace(deployment, revision=deployment.revision + 1, lease_owner="")
        save = (
            sa.update(deployments)
            .where(*_held(deployment), _t.revision == deployment.revision)
            .values(_row(saved) | _given_back(wake_in))
        )
        if self._transaction.run(save) != 1:
            raise Conflict(f"somebody else took over the deployment {deployment.id}; look again")
        return saved

    def release(self, deployment: Deployment, *, wake_in: int) -> None:
        release = sa.update(deployments).where(*_held(deployment)).values(_given_back(wake_in))
        self._transaction.run(release)

    def update(self, deployment: Deployment) -> Deployment:
        if deployment.state in ACTIVE:
            self._refuse_second(deployment)
        row = _row(replace(deployment, revision=deployment.revision + 1))
        for held_by_another in ("fence", "lease_owner"):
            del row[held_by_another]
        update = (
            sa.update(deployments)
            .where(_t.id == deployment.id, _t.revision == deployment.revision)
            .values(row | {"wake_at": now()})
            .returning(deployments)
        )
        stored = self._transaction.row(update)
        if stored is None:
            self.get(deployment.id)
            raise Conflict(f"somebody else changed the deployment {deployment.id}; look again")
        return _deployment(stored)

    def _refuse_second(self, deployment: Deployment) -> None:
        """Name the active one of the route; the unique index decides, this finds the words."""
        if deployment.state not in ACTIVE:
            return
        query = sa.select(_t.id).where(
            _t.route == route_key(deployment.model, deployment.environment),
            _t.state.in_(ACTIVE),
            _t.id != deployment.id,
        )
        if (holder := self._transaction.scalar(query)) is not None:
            route = f"{deployment.model}/{deployment.environment}"
            raise Conflict(
                f"the deployment {holder} of {route} is active", stands_in_the_way=holder
            )


def wake(transaction: Transaction, deployment_id: str) -> bool:
    """Make a deployment due at once; False if there is none."""
    woken = sa.update(deployments).where(_t.id == deployment_id).values(wake_at=now())
    return transaction.run(woken) == 1


def wake_owner(transaction: Transaction, owner_id: str) -> None:
    """Make due at once whatever waits for an answer: a deployment, or a rollback without one.

    The rollback's revision counts it: else a look that began before the answer came would end by
    putting the next one off.
    """
    if wake(transaction, owner_id):
        return
    woken = sa.update(rollbacks).where(rollbacks.c.id == owner_id)
    transaction.run(woken.values(wake_at=now(), revision=rollbacks.c.revision + 1))


def _held(deployment: Deployment) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _t.id == deployment.id,
        _t.fence == deployment.fence,
        _t.lease_owner == deployment.lease_owner,
        _t.lease_owner != "",
    )


def _given_back(wake_in: int) -> dict[str, Any]:
    then = now() + wake_in
    return {
        "lease_owner": "",
        "lease_until": 0,
        "wake_at": sa.case((_t.wake_at < then, _t.wake_at), else_=then),
    }


def _on(
    table: sa.Table, model: str | None, environment: str | None, before: str | None
) -> list[sa.ColumnElement[bool]]:
    """Return what narrows a list down to a model, an environment, ids below `before`."""
    found: list[sa.ColumnElement[bool]] = []
    if model is not None and environment is not None:
        found.append(table.c.route == route_key(model, environment))
    elif model is not None:
        found.append(sa.func.lower(table.c.model) == folded(model))
    elif environment is not None:
        found.append(sa.func.lower(table.c.environment) == folded(environment))
    if before is not None:
        found.append(table.c.id < before)
    return found


def _row(deployment: Deployment) -> dict[str, Any]:
    row = {name: getattr(deployment, name) for name in _FIELDS}
    return row | {
        "route": route_key(deployment.model, deployment.environment),
        "plan": deployment.plan.text(),
        "state": str(deployment.state),
    }


def _deployment(row: sa.Row[Any]) -> Deployment:
    values = dict(values_of(row, _FIELDS))
    return Deployment(**values | {"plan": parse_plan(row.plan), "state": State(row.state)})


class SqlIntents:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, intent: Intent) -> None:
        if not wake(self._transaction, intent.deployment):
            raise NotFound(f"there is no deployment {intent.deployment!r}")
        row = asdict(intent) | {"verb": str(intent.verb), "settled": False}
        del row["id"]
        self._transaction.run(sa.insert(intents).values(row))

    def waiting(self, deployment_id: str) -> Sequence[Intent]:
        mine = (intents.c.deployment == deployment_id, intents.c.settled == 0)
        query = sa.select(intents).where(*mine).order_by(intents.c.id)
        names = [field.name for field in fields(Intent)]
        return [
            Intent(**{**values_of(row, names), "verb": Verb(row.verb)})
            for row in self._transaction.rows(query)
        ]

    def settle(self, intents: Sequence[Intent]) -> None:
        if intents:
            self._transaction.run(_settle([intent.id for intent in intents]))


def _settle(ids: Sequence[int]) -> sa.Update:
    return sa.update(intents).where(intents.c.id.in_(ids)).values(settled=True)


class SqlRollbacks:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, rollback: Rollback) -> None:
        row = _rollback_row(rollback)
        if self._transaction.run(insert_new(self._transaction.dialect, rollbacks), row) != 1:
            raise Conflict(f"there is a rollback {rollback.id} already")

    def get(self, rollback_id: str) -> Rollback:
        row = self._transaction.row(sa.select(rollbacks).where(rollbacks.c.id == rollback_id))
        if row is None:
            raise NotFound(f"there is no rollback {rollback_id!r}")
        return _rollback(row)

    def save(self, rollback: Rollback, *, wake_in: int = 0) -> Rollback:
        saved = replace(rollback, revision=rollback.revision + 1)
        as_read = (rollbacks.c.id == rollback.id, rollbacks.c.revision == rollback.revision)
        row = _rollback_row(saved) | {"wake_at": now() + wake_in}
        save = sa.update(rollbacks).where(*as_read).values(row)
        if self._transaction.run(save) != 1:
            self.get(rollback.id)
            raise Conflict(f"somebody else changed the rollback {rollback.id}; look again")
        return saved

    def due(self) -> Sequence[Rollback]:
        table = rollbacks.c
        alone = (table.finished_at.is_(None), table.deployment.is_(None))
        query = sa.select(rollbacks).where(*alone, table.wake_at <= now()).order_by(table.id)
        return [_rollback(row) for row in self._transaction.rows(query)]

    def list(
        self, *, model: str | None, environment: str | None, before: str | None, limit: int
    ) -> Sequence[Rollback]:
        query = sa.select(rollbacks).where(*_on(rollbacks, model, environment, before))
        rows = self._transaction.rows(query.order_by(rollbacks.c.id.desc()).limit(limit))
        return [_rollback(row) for row in rows]


def _rollback_row(rollback: Rollback) -> dict[str, Any]:
    return asdict(rollback) | {
        "route": route_key(rollback.model, rollback.environment),
        "state": str(rollback.state),
    }


def _rollback(row: sa.Row[Any]) -> Rollback:
    values = dict(values_of(row, _ROLLBACK_FIELDS))
    return Rollback(**values | {"state": RollbackState(row.state)})


class SqlVetoes:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, found: Sequence[Veto]) -> None:
        """Store vetoes and wake their deployments."""
        for deployment in sorted({veto.deployment for veto in found}):
            wake(self._transaction, deployment)
        if found:
            self._transaction.run(sa.insert(vetoes), [_veto_row(veto) for veto in found])

    def of(self, deployment: str) -> Sequence[Veto]:
        query = sa.select(vetoes).where(vetoes.c.deployment == deployment).order_by(vetoes.c.id)
        names = [field.name for field in fields(Veto)]
        return [Veto(**values_of(row, names)) for row in self._transaction.rows(query)]


def _veto_row(veto: Veto) -> dict[str, Any]:
    return {field.name: getattr(veto, field.name) for field in fields(Veto)}
