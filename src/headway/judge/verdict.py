"""Is the candidate worse, not worse, or not decided yet? One pure function, and its text.

Of alpha (0.01): 0.8 for the comparison of all metrics together, 0.1 for limits here and 0.1 for
limits in the gateways. The text of a verdict holds all that it was made of; judging that again
gives the same decision.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import fsum, log
from typing import Any, Final

from headway.judge.events import Hits, log_mean_exp
from headway.judge.evidence import CANDIDATE, STABLE, Evidence
from headway.judge.limits import Ground, Limit, LimitWatch, needed_in_control
from headway.judge.question import Question
from headway.judge.result import Proof, Result, bounded, counted
from headway.judge.weighing import result_of
from headway.kernel.canonical import Json, canonical, digest
from headway.kernel.clock import MINUTE
from headway.kernel.errors import Invalid
from headway.kernel.quantity import format_percent, format_ratio

COMPARISON: Final = 0.8
"""The part of alpha that the comparison of both arms may spend."""


class Finding(StrEnum):
    WORSE = "worse"
    NOT_WORSE = "not_worse"
    """Asked whether it is so many times worse, and all metrics prove that it is not."""
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """How near a limit is: both E (logarithms), what each of them needs, and whether it acts."""

    limit: Limit
    log_rate: float
    log_worse: float
    log_needed: float
    hit: bool
    ground: Ground | None = None

    def document(self) -> dict[str, Json]:
        return {
            "metric": self.limit.metric,
            "words": self.limit.words(),
            "above": self.limit.above,
            "log_rate": self.log_rate,
            "log_worse": self.log_worse,
            "log_needed": self.log_needed,
            "hit": self.hit,
            "ground": None if self.ground is None else self.ground.document(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer. `hits` act at once, whatever the finding is.

    `log_e` is that of all metrics together, `log_needed` what "worse" wants of it. `watches` is
    the state of the limits: hand it to the next look.
    """

    finding: Finding
    reason: str
    by: str | None
    """The metric that speaks loudest for the finding."""
    log_e: float
    log_needed: float
    results: tuple[Result, ...]
    limits: tuple[LimitState, ...]
    evidence: Evidence
    question: Question
    promise: str
    reference: str = "stable"
    watches: tuple[Json, ...] = field(default=(), repr=False)

    @property
    def e(self) -> float:
        return bounded(self.log_e)

    @property
    def hits(self) -> tuple[LimitState, ...]:
        return tuple(state for state in self.limits if state.hit)

    def document(self) -> dict[str, Json]:
        """Return all of the verdict but its digest and signature."""
        return {
            "finding": self.finding,
            "reason": self.reason,
            "by": self.by,
            "e": self.e,
            "log_e": self.log_e,
            "log_needed": self.log_needed,
            "metrics": [result.document() for result in self.results],
            "limits": [state.document() for state in self.limits],
            "question": self.question.document(),
            "evidence": self.evidence.document(),
            "reference": self.reference,
            "promise": self.promise,
        }

    def text(self) -> str:
        """Return canonical JSON (RFC 8785): the document, its digest, room for a signature."""
        document = self.document()
        return canonical({**document, "digest": digest(document), "signature": None})


def judge(evidence: Evidence, question: Question) -> Verdict:
    """Say whether the candidate is worse or, if asked, proven not so many times worse."""
    results = tuple(result_of(judged, evidence, question) for judged in question.metrics)
    limits, watches = _limits(evidence, question)
    total = fsum(result.weight for result in results)
    together = (
        log_mean_exp((result.log_e, result.weight / total) for result in results)
        if total and any(result.log_e for result in results)
        else 0.0
    )
    needed = -log(COMPARISON * question.alpha)
    finding, by, reason = _find(results, limits, together, needed, question)
    return Verdict(
        finding=finding,
        reason=reason,
        by=by,
        log_e=together,
        log_needed=needed,
        results=results,
        limits=limits,
        evidence=evidence,
        question=question,
        promise=_promise(question),
        watches=watches,
    )


def judge_again(text: str) -> Verdict:
    """Judge once more from nothing but the text of a verdict.

    Raises `Invalid` when the text is none, or is not what its digest was made of.
    """
    try:
        document = json.loads(text)
        claimed = document.pop("digest")
        document.pop("signature")
        question = Question.read(document["question"])
        evidence = Evidence.read(document["evidence"])
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise Invalid.at("", f"this is not the text of a verdict: {wrong!r}") from wrong
    if digest(document) != claimed:
        raise Invalid.at("/digest", "the verdict was changed after it was written")
    return judge(evidence, question)


def _limits(
    evidence: Evidence, question: Question
) -> tuple[tuple[LimitState, ...], tuple[Json, ...]]:
    """Go on with each limit from the look before: what is new since is one sweep."""
    needed = needed_in_control(alpha=question.alpha, limits=len(question.limits) or 1)
    states: list[LimitState] = []
    watches: list[Json] = []
    for place, limit in enumerate(question.limits):
        before: Any = question.watches[place] if place < len(question.watches) else None
        watch = (
            LimitWatch.read(before["watch"], limit, needed=needed)
            if before
            else LimitWatch(limit, needed=needed)
        )
        known = before["seen"] if before else {}
        seen: dict[str, Json] = {}
        hits, sent, bad = [], 0, 0
        for tally in evidence.timely:
            epoch = str(tally.epoch.id)
            n, c, s = sums = (
                tally.of(CANDIDATE, limit.counted, 0),
                tally.of(CANDIDATE, limit.metric),
                tally.of(STABLE, limit.metric),
            )
            then_n, then_c, then_s = known.get(epoch, (0, 0, 0))
            seen[epoch] = list(sums)
            sent += n - then_n
            bad += c - then_c
            if tally.epoch.compares:
                hits.append(Hits(tally.epoch.share_bp, c - then_c, s - then_s))
        minute = evidence.now // MINUTE
        watch.sweep(
            minute,
            sent=sent,
            bad={minute: bad} if bad else {},
            hits=hits,
            alone=not question.stable,
        )
        states.append(
            LimitState(
                limit=limit,
                log_rate=watch.log_rate,
                log_worse=watch.log_worse,
                log_needed=watch.needed,
                hit=watch.hit,
                ground=watch.ground,
            )
        )
        watches.append({"watch": watch.document(), "seen": seen})
    return tuple(states), tuple(watches)


def _find(
    results: Sequence[Result],
    limits: Sequence[LimitState],
    together: float,
    needed: float,
    question: Question,
) -> tuple[Finding, str | None, str]:
    """Return the finding, the metric that it hangs on, and the reason in one sentence."""
    if results and together >= needed:
        loudest = max(results, key=lambda result: result.log_e + log(result.weight or 1e-300))
        return Finding.WORSE, loudest.metric, f"worse on {_told(loudest)}"
    acting = next((state for state in limits if state.hit), None)
    if acting:
        return Finding.UNDECIDED, acting.limit.metric, acting.limit.words()
    if question.factor is None:
        return Finding.UNDECIDED, None, "nothing proves that it is worse"
    names = question.prove or tuple(result.metric for result in results)
    asked = [result for result in results if result.metric in names]
    times = f"not {question.factor:g} times worse"
    open_ = [result for result in asked if result.proved_by is None]
    if asked and len(asked) == len(set(names)) and not open_:
        how = ", ".join(f"{result.metric} by {_HOW[result.proved_by]}" for result in asked)
        return Finding.NOT_WORSE, asked[0].metric, f"{times}: {how}"
    missing = open_[0] if open_ else None
    on = missing.metric if missing else ", ".join(names) or "any metric"
    return Finding.UNDECIDED, on, f"not yet proven: {times} on {on}"


_HOW: Final[dict[Proof | None, str]] = {
    Proof.RATIO: "comparison",
    Proof.FLOOR: "its own low rate",
}


def _told(result: Result) -> str:
    low, high = result.interval
    upper = f"to {format_ratio(high)}" if high is not None else "or more"
    return (
        f"{result.metric}: {format_ratio(low)} {upper} times the stable version's "
        f"({counted(result.metric, result.candidate_bad, result.candidate_n)} against "
        f"{counted(result.metric, result.stable_bad, result.stable_n)})"
    )


def _promise(question: Question) -> str:
    most = format_percent(question.alpha)
    said = f"at most {most} of harmless versions are called worse, however often one looks"
    if question.factor is None:
        return said
    return f"{said}; one that is {question.factor:g} times worse passes in at most {most}"
