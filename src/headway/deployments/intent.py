"""An intent: what somebody asked of a running deployment; a row, so that it waits for no lease."""

from dataclasses import dataclass
from enum import StrEnum

from headway.kernel.canonical import Json


class Verb(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    ROLL_BACK = "roll_back"
    """A rollback asked for by a person while a deployment is active: never refused."""
    ABANDON = "abandon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    deployment: str
    verb: Verb
    actor: str
    """The key's name and id."""
    actor_kind: str
    """`person`, `service` or `agent`."""
    why: str
    at: int
    detail: Json = None
    """`{"to": "end"}` of a promotion; the target of a rollback."""
    id: int = 0
    """Given by the store; rises."""
