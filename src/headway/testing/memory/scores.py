"""Scores, once per request and name."""

from collections.abc import Sequence

from headway.testing.memory.tables import Repository, route_key
from headway.tracking.measurement import Score, ScoreMean


class MemoryScores(Repository):
    def add(self, scores: Sequence[Score]) -> Sequence[bool]:
        return [self._add(score) for score in scores]

    def _add(self, score: Score) -> bool:
        key = (score.request_id, score.name)
        if self._t.scores.get(key) is not None:
            return False
        self._t.scores.put(key, score)
        return True

    def delays(self, *, model: str, environment: str, name: str, since: int) -> Sequence[int]:
        found = [one for one in self._of(model, environment, since) if one.name == name]
        newest = sorted(found, key=lambda one: (one.at, one.request_id), reverse=True)
        return [one.age for one in newest[:10_000]]

    def means(self, *, model: str, environment: str, since: int) -> Sequence[ScoreMean]:
        groups: dict[tuple[str, str], list[float]] = {}
        for one in self._of(model, environment, since):
            groups.setdefault((one.version, one.name), []).append(one.value)
        return [
            ScoreMean(version=key[0], name=key[1], n=len(values), mean=sum(values) / len(values))
            for key, values in sorted(groups.items())
        ]

    def prune(self, *, before: int, limit: int) -> int:
        old = [key for key, one in self._t.scores.items() if one.at < before][:limit]
        for key in old:
            self._t.scores.put(key, None)
        return len(old)

    def _of(self, model: str, environment: str, since: int) -> list[Score]:
        return [
            one
            for one in self._t.scores.all()
            if route_key(one.model, one.environment) == route_key(model, environment)
            and one.at >= since
        ]
