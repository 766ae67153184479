"""Going back because somebody asks for it: never refused, whatever is running."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from headway.deployments import change
from headway.deployments.change import Target
from headway.deployments.checks import CheckKind
from headway.deployments.decision import Decision, GoBack
from headway.deployments.deployment import Deployment, Progress
from headway.deployments.look import current_route, is_corrupt, named_version, see
from headway.deployments.outcome import Outcome, going_back, started
from headway.deployments.ports import Begin, Work
from headway.deployments.restoring import publish_back
from headway.deployments.rollback import Rollback, RollbackState
from headway.deployments.writing import Writer
from headway.kernel.errors import Invalid, NotFound, Refused
from headway.kernel.ids import NewId, new_id
from headway.kernel.names import check_text
from headway.kernel.repeats import repeated
from headway.outbox.actor import Actor
from headway.routing.route import Route
from headway.snapshots.snapshot import PREVIOUS

_TRIES: Final = 20
_LOOK_BACK: Final = 500
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class RollbackService:
    begin: Begin
    checks: Mapping[str, CheckKind]
    new_id: NewId = new_id

    def roll_back(
        self, *, model: str, environment: str, to: str, why: str, actor: Actor
    ) -> Rollback:
        """Publish what was before; an active deployment goes to `rolling_back` in the same write.

        `to`: `previous`, a version (or an alias), the id of a snapshot, or a time (RFC 3339).
        Raises `NotFound` for what is not there, and no `Conflict` but that of a store which is
        held by others for seconds: who was faster is looked at.
        """
        check_text(why, pointer="/why")
        return repeated(partial(self._roll_back, model, environment, to, why, actor), tries=_TRIES)

    def leads_to(self, *, model: str, environment: str, to: str = PREVIOUS) -> Target:
        """Say where going back would lead at this moment; nothing is written.

        Raises `NotFound` or `Invalid` if there is no such way back.
        """
        with self.begin() as work:
            current = work.routes.current(work.models.get(model).name, environment)
            active = work.deployments.active(current.model, current.environment)
            return target_of(work, current, active, to)

    def get(self, rollback_id: str) -> Rollback:
        with self.begin() as work:
            return work.rollbacks.get(rollback_id)

    def list(
        self,
        *,
        model: str | None = None,
        environment: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> Sequence[Rollback]:
        """Return rollbacks, automatic ones too, with ids below `before`, newest first."""
        with self.begin() as work:
            return work.rollbacks.list(
                model=model, environment=environment, before=before, limit=limit
            )

    def _roll_back(
        self, model: str, environment: str, to: str, why: str, actor: Actor
    ) -> Rollback:
        with self.begin() as work:
            name = work.models.get(model).name
            current = current_route(work, name, environment)
            active = work.deployments.active(name, environment)
            if current is None:
                if active is not None:
                    raise Refused(
                        f"{name}/{environment} has no route yet; abort {active.id} instead"
                    )
                raise NotFound(f"there is no route {name}/{environment} to roll back")
            target = target_of(work, current, active, to)
            said = f": {why}" if why else ""
            because = f"rolled back to {target.words} by {actor.name}{said}"
            if active is not None:
                rollback = self._with(work, active, target, because, actor)
            else:
                rollback = publish_back(
                    work,
                    target,
                    current=current,
                    because=because,
                    actor=actor,
                    new_id=self.new_id,
                )
            work.commit()
        return rollback

    def _with(
        self, work: Work, active: Deployment, target: Target, because: str, actor: Actor
    ) -> Rollback:
        """Take the active deployment with it."""
        look = see(work, active, self.checks).look
        s = look.situation
        decision = Decision(
            act=GoBack(automatic=False), because=because, actor=actor, settles=s.intents
        )
        if s.progress.undo is not None:
            _supersede(work, s.progress.undo.rollback, s.now)
        base = Outcome(look=look, decision=decision, deployment=started(look), progress=s.progress)

        def save(work: Work, deployment: Deployment) -> None:
            work.deployments.update(deployment)

        written = Writer(self.checks, self.new_id).write(work, going_back(base, target), save)
        undo = Progress.read(written.progress).undo
        if undo is None:
            raise AssertionError(active.id)
        return work.rollbacks.get(undo.rollback)


def target_of(work: Work, current: Route, active: Deployment | None, to: str) -> Target:
    """Return where `previous`, a snapshot, a time or a version leads."""
    if to == PREVIOUS:
        return _previous(work, current, active)
    if to.startswith("snap_"):
        snapshot = work.snapshots.get(to)
        if (snapshot.model, snapshot.environment) != (current.model, current.environment):
            raise NotFound(f"{to} is a snapshot of {snapshot.model}/{snapshot.environment}")
        route = work.routes.get(current.model, current.environment, snapshot.revision)
        return _whole(work, current, change.to_revision(route, called=to))
    if _TIME.match(to):
        route = work.routes.at(current.model, current.environment, _time(to))
        return _whole(work, current, change.to_revision(route, called=f"at {to}"))
    version = named_version(work, current.model, to)
    return _whole(work, current, change.to_version(version, current=current))


def _whole(work: Work, current: Route, target: Target) -> Target:
    """Return a target whose version can be loaded, or raise `Refused`."""
    if _cannot_be_loaded(work, current, target.version):
        raise Refused(
            f"{current.model}@{target.version} is corrupt and cannot be loaded: upload its "
            f"artifact again, or name another version"
        )
    return target


def _cannot_be_loaded(work: Work, current: Route, version: str | None) -> bool:
    """Say so of a corrupt version, unless it is on an arm now: then it may stand in memory."""
    if version is None or version in current.versions():
        return False
    return is_corrupt(work, current.model, version)


def _previous(work: Work, current: Route, active: Deployment | None) -> Target:
    """Return what was before the last change; steps of a deployment are one change together."""
    if active is not None and active.started_at is None:  # it has moved nothing yet
        return change.to_revision(current)
    if active is not None:
        before = None
        if active.before is not None:
            before = work.routes.get(current.model, current.environment, active.before)
        return change.back_to(before, current=current)
    passed_over: dict[str | None, None] = {}
    for snapshot in work.snapshots.of(
        current.model, current.environment, before=None, limit=_LOOK_BACK
    ):
        route = work.routes.get(current.model, current.environment, snapshot.revision)
        if route.epoch is not None or route.digest == current.digest:
            continue
        target = change.to_revision(route)
        if not _cannot_be_loaded(work, current, target.version):
            return change.passing_over([f"{each}" for each in passed_over], target)
        passed_over[target.version] = None
    corrupt = f" but {', '.join(map(str, passed_over))}, which is corrupt" if passed_over else ""
    raise Invalid.at("", f"{current.name} has nothing before it{corrupt}: name a version instead")


def _time(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid.at("/to", f"{text[:64]!r} is no time: 2026-12-01T09:00:00Z") from None
    if when.tzinfo is None:
        raise Invalid.at("/to", f"{text[:64]!r} names no zone: write a Z (UTC) at its end")
    return round(when.timestamp() * 1000)


def _supersede(work: Work, rollback_id: str, now: int) -> None:
    """End a rollback that another one overtakes before it was finished."""
    row = work.rollbacks.get(rollback_id)
    if row.finished_at is None:
        work.rollbacks.save(replace(row, state=RollbackState.FAILED, finished_at=now))
