"""Deployments with their leases, intents, rollbacks and vetoes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from headway.deployments.deployment import ACTIVE, FINISHED, Deployment
from headway.deployments.intent import Intent
from headway.deployments.rollback import Rollback
from headway.kernel.errors import Conflict, NotFound
from headway.testing.memory.pages import newest_first
from headway.testing.memory.tables import (
    Leased,
    Repository,
    as_stored,
    required,
    route_key,
    same_name,
)
from headway.tracking.measurement import Veto

_NEVER: Final = 1 << 62


class MemoryDeployments(Repository):
    def add(self, deployment: Deployment) -> None:
        if self._t.deployments.get(deployment.id) is not None:
            raise Conflict(f"there is a deployment {deployment.id} already")
        self._write(Leased(deployment, 0, self._t.clock()))

    def get(self, deployment_id: str) -> Deployment:
        return self._leased(deployment_id).deployment

    def active(self, model: str, environment: str) -> Deployment | None:
        found = self._t.active.get(route_key(model, environment))
        return None if found is None else self.get(found)

    def list(
        self,
        *,
        model: str | None,
        environment: str | None,
        states: Sequence[str],
        before: str | None,
        limit: int,
    ) -> Sequence[Deployment]:
        found = [
            one
            for one in self._all()
            if same_name(model, one.model)
            and same_name(environment, one.environment)
            and (not states or one.state in states)
        ]
        return newest_first(found, before=before, limit=limit)

    def claim(self, *, owner: str, lease: int) -> Sequence[Deployment]:
        now = self._t.clock()
        claimed: list[Deployment] = []
        for leased in self._t.deployments.all():
            one = leased.deployment
            free = not now < leased.lease_until <= now + 2 * lease
            due = leased.wake_at <= now or one.lease_owner
            if one.state not in FINISHED and free and due:
                one = replace(one, lease_owner=owner, fence=one.fence + 1)
                self._t.deployments.put(one.id, Leased(one, now + lease, _NEVER))
                claimed.append(one)
        return sorted(claimed, key=lambda one: one.id)

    def save(self, deployment: Deployment, *, wake_in: int) -> Deployment:
        leased = self._leased(deployment.id)
        if not deployment.lease_owner or _claim(leased.deployment) != _claim(deployment):
            raise Conflict(f"somebody else took over the deployment {deployment.id}; look again")
        saved = replace(deployment, revision=deployment.revision + 1, lease_owner="")
        self._write(Leased(saved, 0, min(leased.wake_at, self._t.clock() + wake_in)))
        return saved

    def release(self, deployment: Deployment, *, wake_in: int) -> None:
        leased = self._t.deployments.get(deployment.id)
        if leased is None or not deployment.lease_owner:
            return
        stored = leased.deployment
        if (stored.fence, stored.lease_owner) == (deployment.fence, deployment.lease_owner):
            wake_at = min(leased.wake_at, self._t.clock() + wake_in)
            given_back = Leased(replace(stored, lease_owner=""), 0, wake_at)
            self._t.deployments.put(stored.id, given_back)

    def update(self, deployment: Deployment) -> Deployment:
        leased = self._leased(deployment.id)
        stored = leased.deployment
        if stored.revision != deployment.revision:
            raise Conflict(f"somebody else changed the deployment {deployment.id}; look again")
        saved = replace(
            deployment,
            revision=deployment.revision + 1,
            fence=stored.fence,
            lease_owner=stored.lease_owner,
        )
        self._write(Leased(saved, leased.lease_until, self._t.clock()))
        return saved

    def wake(self, deployment_id: str) -> bool:
        leased = self._t.deployments.get(deployment_id)
        if leased is not None:
            self._t.deployments.put(deployment_id, replace(leased, wake_at=self._t.clock()))
        return leased is not None

    def _all(self) -> Iterator[Deployment]:
        return (leased.deployment for leased in self._t.deployments.all())

    def _leased(self, deployment_id: str) -> Leased:
        return required(self._t.deployments.get(deployment_id), f"deployment {deployment_id!r}")

    def _write(self, leased: Leased) -> None:
        one = leased.deployment
        route = route_key(one.model, one.environment)
        holder = self._t.active.get(route)
        if one.state in ACTIVE:
            if holder not in {None, one.id}:
                raise Conflict(
                    f"the deployment {holder} of {one.model}/{one.environment} is active",
                    stands_in_the_way=holder,
                )
            self._t.active.put(route, one.id)
        elif holder == one.id:
            self._t.active.put(route, None)
        kept = replace(one, facts=as_stored(one.facts), progress=as_stored(one.progress))
        self._t.deployments.put(one.id, replace(leased, deployment=kept))


def _claim(one: Deployment) -> tuple[int, int, str]:
    return one.revision, one.fence, one.lease_owner


class MemoryIntents(Repository):
    def add(self, intent: Intent) -> None:
        if not MemoryDeployments(self._t).wake(intent.deployment):
            raise NotFound(f"there is no deployment {intent.deployment!r}")
        added = replace(
            intent, id=self._t.store.number("intents"), detail=as_stored(intent.detail)
        )
        self._t.intents.put(added.id, (added, False))

    def waiting(self, deployment_id: str) -> Sequence[Intent]:
        return [
            intent
            for _, (intent, settled) in sorted(self._t.intents.items())
            if intent.deployment == deployment_id and not settled
        ]

    def settle(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            self._t.intents.put(intent.id, (intent, True))


class MemoryRollbacks(Repository):
    def add(self, rollback: Rollback) -> None:
        if self._t.rollbacks.get(rollback.id) is not None:
            raise Conflict(f"there is a rollback {rollback.id} already")
        self._t.rollbacks.put(rollback.id, rollback)
        self._t.rollbacks_due.put(rollback.id, 0)

    def get(self, rollback_id: str) -> Rollback:
        return required(self._t.rollbacks.get(rollback_id), f"rollback {rollback_id!r}")

    def save(self, rollback: Rollback, *, wake_in: int = 0) -> Rollback:
        if self.get(rollback.id).revision != rollback.revision:
            raise Conflict(f"somebody else changed the rollback {rollback.id}; look again")
        saved = replace(rollback, revision=rollback.revision + 1)
        self._t.rollbacks.put(rollback.id, saved)
        self._t.rollbacks_due.put(rollback.id, self._t.clock() + wake_in)
        return saved

    def due(self) -> Sequence[Rollback]:
        now = self._t.clock()
        found = [
            one
            for one in self._t.rollbacks.all()
            if one.finished_at is None
            and one.deployment is None
            and (self._t.rollbacks_due.get(one.id) or 0) <= now
        ]
        return sorted(found, key=lambda one: one.id)

    def wake(self, rollback_id: str) -> None:
        if (woken := self._t.rollbacks.get(rollback_id)) is not None:
            self.save(woken)

    def list(
        self, *, model: str | None, environment: str | None, before: str | None, limit: int
    ) -> Sequence[Rollback]:
        found = [
            one
            for one in self._t.rollbacks.all()
            if same_name(model, one.model) and same_name(environment, one.environment)
        ]
        return newest_first(found, before=before, limit=limit)


class MemoryVetoes(Repository):
    def of(self, deployment: str) -> Sequence[Veto]:
        known = sorted(self._t.vetoes.items())
        return [veto for _, veto in known if veto.deployment == deployment]
