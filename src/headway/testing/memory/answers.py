"""Answers kept for a repeat."""

from headway.kernel.errors import Conflict
from headway.outbox.answer import KEPT, Answer, Scope
from headway.testing.memory.tables import Repository


class MemoryAnswers(Repository):
    def find(self, scope: Scope) -> Answer | None:
        return self._t.answers.get(scope)

    def put(self, answer: Answer) -> None:
        kept = self.find(answer.scope)
        if kept is not None and kept.created_at > answer.created_at - KEPT:
            raise Conflict("the same request was answered meanwhile; ask again")
        self._t.answers.put(answer.scope, answer)

    def prune(self, *, before: int, limit: int) -> int:
        old = [one.scope for one in self._t.answers.all() if one.created_at < before][:limit]
        for scope in old:
            self._t.answers.put(scope, None)
        return len(old)
