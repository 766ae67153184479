"""What people ask of deployments: create, look, steer; and what a plan would do."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from headway.artifacts.artifact import corrupt_words
from headway.deployments import change, describe, forecast
from headway.deployments.checks import CheckKind
from headway.deployments.decision import decide, may
from headway.deployments.deployment import Deployment, State
from headway.deployments.facts import Facts
from headway.deployments.intent import Intent, Verb
from headway.deployments.look import (
    current_route,
    evidence_of,
    facts_of,
    judged,
    named_version,
    rate_now,
    see,
)
from headway.deployments.notices import notices
from headway.deployments.plan import Plan, Strategy
from headway.deployments.ports import Begin, Work
from headway.deployments.reading import read_plan
from headway.deployments.rollback_service import RollbackService
from headway.judge.verdict import judge_again
from headway.kernel.canonical import Json
from headway.kernel.errors import Conflict, IllegalMove, Invalid, NotFound, Refused
from headway.kernel.ids import NewId, new_id
from headway.kernel.names import check_text
from headway.kernel.repeats import repeated
from headway.outbox.actor import Actor
from headway.outbox.event import Event
from headway.registry.model import State as VersionState
from headway.registry.model import Version
from headway.registry.ports import CheckUrl
from headway.registry.service import allows_any_url
from headway.registry.target import LocalTarget

__all__ = ["DeploymentService", "RollbackService"]

_TRIES: Final = 5
"""How often to look again when somebody else creates at the same moment."""


def _is_taken(error: Conflict) -> bool:
    """Say whether a route has a deployment already, which is not over at the next look."""
    return error.stands_in_the_way is not None


@dataclass(frozen=True, slots=True)
class DeploymentService:
    """A dry run is the same service with a `begin` whose commit does nothing."""

    begin: Begin
    strategies: Mapping[str, Strategy]
    checks: Mapping[str, CheckKind]
    new_id: NewId = new_id
    read: Begin | None = None
    """Opens what only reads; a store may know a cheaper way for that."""
    check_webhook: CheckUrl = allows_any_url
    """Refuses a webhook that could never be called, when the plan comes."""

    def create(self, document: Mapping[str, Json], *, actor: Actor) -> Deployment:
        """Start a deployment by a plan.

        Raises `Invalid` for a plan that is none, `NotFound` for what it names, `Refused` for what
        cannot be deployed, and `Conflict` with `stands_in_the_way` if the route is taken.
        """
        plan = self._read(document)
        return repeated(partial(self._create, plan, actor), tries=_TRIES, unless=_is_taken)

    def _create(self, plan: Plan, actor: Actor) -> Deployment:
        with self.begin() as work:
            plan, version, _ = self._resolved(work, plan)
            now = work.now()
            if (active := work.deployments.active(plan.model, plan.environment)) is not None:
                raise Conflict(
                    f"{active.id} ({active.version}, {active.state}) is moving "
                    f"{plan.model}/{plan.environment}: one at a time",
                    stands_in_the_way=active.id,
                )
            deployment = Deployment(
                id=self.new_id("dep"),
                model=plan.model,
                environment=plan.environment,
                version=str(version.number),
                digest=version.digest,
                plan=plan,
                created_at=now,
                created_by=actor.name,
                state=State.RUNNING,
                since=now,
                because=f"created by {actor.name}",
            )
            said = f": {plan.why}" if plan.why else ""
            event = Event(
                kind="deployment.created",
                subject=deployment.subject,
                at=now,
                actor=actor.name,
                actor_kind=actor.kind,
                why=f"{version.number} is to be the stable version of "
                f"{plan.model}/{plan.environment}, by {plan.strategy}{said}",
                detail={
                    "before": None,
                    "after": deployment.remembered(),
                    "plan_digest": plan.digest,
                },
                deployment=deployment.id,
                model=deployment.model,
                environment=deployment.environment,
            )
            work.deployments.add(deployment)
            # Before its first write: the row's own revision is 0, a write makes it 1.
            work.outbox.add(event, *notices(replace(deployment, revision=-1), event))
            work.commit()
        return deployment

    def plan(self, document: Mapping[str, Json]) -> dict[str, Json]:
        """Say what a plan would do, step by step, and how long it takes; nothing is written."""
        plan = self._read(document)
        with self._reading() as work:
            plan, version, facts = self._resolved(work, plan, facts=True)
        if facts is None:
            raise AssertionError(plan.model)
        return forecast.plan_document(plan, facts, version=str(version.number))

    def get(self, deployment_id: str) -> Deployment:
        with self._reading() as work:
            return work.deployments.get(deployment_id)

    def list(
        self,
        *,
        model: str | None = None,
        environment: str | None = None,
        states: Sequence[str] = (),
        before: str | None = None,
        limit: int = 100,
    ) -> Sequence[Deployment]:
        """Return deployments with ids below `before`, newest first."""
        with self._reading() as work:
            return work.deployments.list(
                model=model, environment=environment, states=states, before=before, limit=limit
            )

    def status(self, deployment_id: str) -> dict[str, Json]:
        """Return state, shares, steps, evidence with intervals, and what happens next."""
        with self._reading() as work:
            deployment = work.deployments.get(deployment_id)
            seen = see(work, deployment, self.checks)
            expected = seen.look.facts.per_second
            rate = 0.0 if deployment.finished else rate_now(work, deployment, expected=expected)
        look = judged(seen)
        # What was fixed at the start is what is judged by; what is to come depends on today.
        facts = replace(look.facts, per_second=rate)
        look = replace(look, facts=facts)
        s = look.situation
        evidence = (
            evidence_of(seen.counts, look.facts, s.progress, s.now) if s.progress.shares else None
        )
        return describe.describe(look, evidence, seen.counts, decide(s))

    def events(self, deployment_id: str, *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        """Return the history with a `seq` above `after`, oldest first."""
        with self._reading() as work:
            work.deployments.get(deployment_id)
            return work.outbox.history(deployment=deployment_id, after=after, limit=limit)

    def why(
        self, deployment_id: str, *, after: int = 0, limit: int = 1000
    ) -> Sequence[dict[str, Json]]:
        """Return after each decision a sentence, and the counters that it was based on."""
        return [
            describe.told(event) for event in self.events(deployment_id, after=after, limit=limit)
        ]

    def verdict(self, deployment_id: str, seq: int) -> dict[str, Json]:
        """Return the verdict behind a decision, and what it comes to when judged once more.

        Raises `NotFound` if that event of the deployment stands on none.
        """
        for event in self.events(deployment_id, after=seq - 1, limit=1):
            text = describe.verdict_text(event)
            if event.seq == seq and text is not None:
                return describe.recomputed(event, text, judge_again(text))
        raise NotFound(f"no decision of {deployment_id} with the number {seq} has a verdict")

    def intend(
        self,
        deployment_id: str,
        verb: Verb,
        *,
        actor: Actor,
        why: str = "",
        to: str | None = None,
    ) -> Deployment:
        """Leave an intent; whoever holds the lease carries it out at the next look.

        Raises `IllegalMove` where the state forbids it. `to`: `end` of a promotion.
        """
        check_text(why, pointer="/why")
        if verb is Verb.PROMOTE and not why.strip():
            raise Invalid.at("/why", "is missing: a promotion without proof wants a reason")
        if to is not None and (verb is not Verb.PROMOTE or to != "end"):
            raise Invalid.at("/to", f"{to[:64]!r}: only a promotion goes on, and only to 'end'")
        with self.begin() as work:
            deployment = work.deployments.get(deployment_id)
            if not may(deployment.state, verb):
                raise IllegalMove(
                    f"deployment {deployment_id} is {deployment.state}: "
                    f"it cannot be asked to {verb.replace('_', ' ')}"
                )
            work.intents.add(
                Intent(
                    deployment=deployment_id,
                    verb=verb,
                    actor=actor.name,
                    actor_kind=actor.kind,
                    why=why,
                    at=work.now(),
                    detail={"to": to} if to else None,
                )
            )
            work.commit()
        return deployment

    def _reading(self) -> AbstractContextManager[Work]:
        return (self.read or self.begin)()

    def _read(self, document: Mapping[str, Json]) -> Plan:
        plan = read_plan(document, self.strategies, checks=tuple(self.checks))
        for place, url in enumerate(plan.webhooks):
            self.check_webhook(url, f"/notify/{place}")
        return plan

    def _resolved(
        self, work: Work, plan: Plan, *, facts: bool = False
    ) -> tuple[Plan, Version, Facts | None]:
        """Return the plan as it will be carried out, its version, and the facts if wanted."""
        model = work.models.get(plan.model)
        if model.archived:
            raise Refused(f"the model {model.name!r} is archived")
        version = named_version(work, model.name, plan.to)
        if version.state in {VersionState.RETIRED, VersionState.YANKED}:
            said = f": {version.reason}" if version.reason else ""
            raise Refused(f"{model.name}@{version.number} is {version.state}{said}")
        if version.corrupt_at is not None and isinstance(version.target, LocalTarget):
            raise Refused(
                f"{model.name}@{version.number} is corrupt: "
                f"{corrupt_words(version.target.artifact)}"
            )
        plan = replace(plan, model=model.name)
        current = current_route(work, plan.model, plan.environment)
        if work.deployments.active(plan.model, plan.environment) is None:
            # One under way has two arms by its nature: who deploys meanwhile is told of that one.
            change.check_movable(current)
        if current is not None:
            plan = replace(plan, environment=current.environment)
        if change.stable_arm(current) is None:
            plan = plan.as_first()
        found = None
        if facts:
            found = facts_of(work, plan, str(version.number), current, work.now())
        return plan, version, found
