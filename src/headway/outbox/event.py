"""An event: something that happened, in one sentence, in the history for ever."""

from dataclasses import dataclass

from headway.kernel.canonical import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    kind: str
    """`deployment.created`, `deployment.step`, `version.registered`, …"""
    subject: str
    """What it happened to: `deployment:dep_…`, `route:digits/production`, `model:digits`."""
    at: int
    actor: str
    """Who did it: a key's name and id, or `headway`."""
    actor_kind: str = "service"
    """`person`, `service` or `agent`."""
    why: str = ""
    """The sentence that a person reads."""
    detail: Json = None
    """State before and after, the verdict with the counters behind it."""
    deployment: str | None = None
    model: str | None = None
    environment: str | None = None
    seq: int = 0
    """Given by the store: rises with each event."""
