"""What is asked of a version before any user's traffic reaches it.

A check builds what is to be asked (`ask`) and reads what came of it (`read`); it is carried out
outside of any transaction, by whoever carries messages of the kind `check`. To add your own, name
an object with these two methods under the entry point group `headway.checks`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from headway.kernel.canonical import Json
from headway.registry.model import Version


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a check."""

    ok: bool
    detail: str = ""
    """Why not, in words for a person."""
    final: bool = False
    """Whether to ask again would be in vain: the plan's `else` decides at once."""

    @classmethod
    def read(cls, answer: Json) -> Self:
        """Read `{"ok", "detail", "final"}`; anything else is a failure that says so."""
        if isinstance(answer, Mapping) and isinstance(answer.get("ok"), bool):
            ok = answer["ok"] is True
            detail = str(answer.get("detail") or "")[:1024]
            return cls(ok, detail, final=not ok and answer.get("final") is True)
        return cls(ok=False, detail="the answer could not be read")


class CheckKind(Protocol):
    def ask(self, version: Version) -> Mapping[str, Json] | None:
        """Return what is to be asked; None: there is nothing to ask, and it passes."""

    def read(self, answer: Json) -> Answer:
        """Say what came of it."""
