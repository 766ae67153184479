"""What the outside is told of deployments and rollbacks: messages to webhooks."""

from collections.abc import Iterable, Mapping
from typing import Final

from headway.deployments.deployment import Deployment
from headway.deployments.describe import basis
from headway.deployments.rollback import Rollback
from headway.kernel.canonical import Json
from headway.outbox.event import Event
from headway.outbox.message import Message

PAGED: Final = frozenset({"deployment.rollback_failed", "rollback.failed", "rollback.went_on"})
"""What somebody must know whatever a plan says: callers may be without an answer."""
_UNTOLD: Final = frozenset({"deployment.check", "deployment.fitted", "deployment.probe"})
"""What the history keeps and nobody need be woken for: something was asked once more."""


def notices(
    deployment: Deployment, event: Event, *, pages: Iterable[str] = ()
) -> tuple[Message, ...]:
    """Return the messages about a deployment: to whom its plan names, and who is paged."""
    if event.kind in _UNTOLD:
        return ()
    data: Mapping[str, Json] = {
        "deployment": deployment.id,
        "model": deployment.model,
        "environment": deployment.environment,
        "version": deployment.version,
        "state": deployment.state,
        "step": deployment.entered,
        "why": event.why,
        "actor": event.actor,
        "evidence": list(basis(event)),
    }
    return _messages(
        event,
        data,
        to=[*deployment.plan.webhooks, *(pages if event.kind in PAGED else ())],
        key=f"{deployment.id}:webhook:{deployment.revision + 1}",
        owner=deployment.id,
    )


def rollback_notices(
    rollback: Rollback, event: Event, last: Deployment | None, *, pages: Iterable[str]
) -> tuple[Message, ...]:
    """Return the messages about a rollback that no deployment waits for.

    They go to who is paged, and to whom the plan names that moved the route last.
    """
    if event.kind not in PAGED:
        return ()
    data: Mapping[str, Json] = {
        "rollback": rollback.id,
        "model": rollback.model,
        "environment": rollback.environment,
        "state": rollback.state,
        "why": event.why,
        "actor": event.actor,
    }
    return _messages(
        event,
        data,
        to=[*(last.plan.webhooks if last else ()), *pages],
        key=f"{rollback.id}:webhook:{event.kind}",
        owner=rollback.id,
    )


def _messages(
    event: Event, data: Mapping[str, Json], *, to: Iterable[str], key: str, owner: str
) -> tuple[Message, ...]:
    return tuple(
        Message(
            key=f"{key}:{i}",
            kind="webhook",
            payload={
                "url": url,
                "body": {"type": event.kind, "timestamp": event.at, "data": data},
            },
            created_at=event.at,
            deployment=owner,
        )
        for i, url in enumerate(dict.fromkeys(to))
    )
