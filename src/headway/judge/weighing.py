"""Weighing the evidence on one metric, by its kind: a rate, a magnitude, a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, inf, log
from typing import Final

from headway.judge.events import (
    RATE_BETS,
    SCORE_BETS,
    SLOW_BETS,
    Bets,
    Hits,
    interval,
    log_e,
    log_mean_exp,
    mirrored,
)
from headway.judge.evidence import (
    CANDIDATE,
    MEASURED,
    QUANTILES,
    STABLE,
    Evidence,
    Kind,
    Tally,
    kind_of,
    slow,
)
from headway.judge.floor import log_floor, ratio_of_units
from headway.judge.question import Judged, Question
from headway.judge.result import Proof, Result
from headway.kernel.quantity import WHOLE_BP, format_ratio

ASKED: Final = 100.0
"""The E at which a difference in how often good answers are scored is taken as proven."""
_USED_UP: Final = 0.5
"""Above this part of the stable version's units, first requests alone are compared."""
_GOOD: Final = 50
"""A score of 0.5 or more is good: a badness of at most 50 hundredths."""


@dataclass(frozen=True, slots=True)
class _Test:
    """A yes/no test on one kind of event: its bets, its counts now, and those older than L."""

    bets: Bets
    current: tuple[Hits, ...]
    settled: tuple[Hits, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was counted of one arm: units and bad ones among them."""

    n: int
    bad: float


def result_of(judged: Judged, evidence: Evidence, question: Question) -> Result:
    match kind_of(judged.metric):
        case Kind.RATE:
            return _rate(judged, evidence, question)
        case Kind.MAGNITUDE:
            return _magnitude(judged, evidence, question)
        case Kind.SCORE:
            return _score(judged, evidence, question)


def _rate(judged: Judged, evidence: Evidence, question: Question) -> Result:
    metric, factor, note = judged.metric, question.factor, ""
    settled = _seen(evidence.settled, STABLE, metric)
    used_up = min(settled.bad / settled.n, 1.0) if settled.n and question.sticky else 0.0
    compared = metric
    if factor is not None and used_up > _USED_UP:
        # Units that had it count no more, so it says little of the rest: compare beginnings.
        compared = f"{metric}.first"
        note = "more than half of the units have had it: first requests alone are compared"
    elif factor is not None:
        factor = ratio_of_units(factor, used_up)
    test = _Test(RATE_BETS, _hits(evidence.current, metric), _hits(evidence.settled, compared))
    return _answer(
        judged,
        question,
        tests=(test,),
        null=1 + judged.margin,
        not_null=factor,
        factor=factor,
        seen=tuple(_seen(evidence.current, arm, metric) for arm in (CANDIDATE, STABLE)),
        alone=_seen(evidence.settled, CANDIDATE, metric),
        note=note,
    )


def _magnitude(judged: Judged, evidence: Evidence, question: Question) -> Result:
    """Judge by exceedance: the mean over p50, p90, p95 and p99, one without a threshold at 1.

    Ranks are to be the other half; while they are not counted, exceedance stands alone.
    """
    metric, factor = judged.metric, question.factor
    names = {quantile: slow(metric, quantile) for quantile in judged.quantiles}
    lines = {quantile: _line(judged, quantile, factor) for quantile in judged.quantiles}
    tests = tuple(
        _Test(
            SLOW_BETS[quantile],
            _hits(evidence.current, name),
            _beyond(evidence, names, lines[quantile], quantile),
        )
        for quantile, name in names.items()
    )
    provable = any(lines.values())
    return _answer(
        judged,
        question,
        tests=tests,
        slots=len(QUANTILES),
        null=1.0,
        not_null=1.0 if provable else None,
        factor=factor,
        seen=tuple(_seen(evidence.current, arm, *names.values()) for arm in (CANDIDATE, STABLE)),
        alone=None,
        note="" if provable or factor is None else "no threshold bears a proof of this factor",
    )


def _beyond(
    evidence: Evidence, names: Mapping[str, str], line: str | None, quantile: str
) -> tuple[Hits, ...]:
    """Return the candidate's answers beyond its line and the stable version's beyond its own."""
    if line is None:
        return ()
    if line == quantile:
        return _hits(evidence.settled, names[line])
    # Another line is known at another age: the stable version's answers wait until each older one
    # of the candidate has been counted, else the arm that is known sooner would run ahead.
    pairs = zip(evidence.settled, evidence.seasoned, strict=True)
    return tuple(
        Hits(
            mine.epoch.share_bp,
            mine.of(CANDIDATE, names[line]),
            theirs.of(STABLE, names[quantile]),
        )
        for mine, theirs in pairs
    )


def _line(judged: Judged, quantile: str, factor: float | None) -> str | None:
    """Return the furthest line of the candidate that bears a proof at this one of the stable's.

    A candidate `factor` times as slow passes `factor` times the line at least as often as the
    stable version passes the line itself, and so whatever lies nearer. Its evidence lies at
    1 + margin times each quantile. Those that joined later are compared with themselves alone:
    further ones were not counted from the beginning.
    """
    if factor is None:
        return None
    lines = dict(judged.lines)
    if quantile in lines:
        reach = factor * lines[quantile] / (1 + judged.margin)
        near = [other for other in judged.quantiles if lines.get(other, inf) <= reach]
        return max(near, key=lambda other: lines[other], default=None)
    return quantile if factor >= 1 + judged.margin else None


def _score(judged: Judged, evidence: Evidence, question: Question) -> Result:
    """Judge a score by its badness; all scores together weigh as much as one other metric."""
    metric = judged.metric
    scores = sum(kind_of(other.metric) is Kind.SCORE for other in question.metrics)
    answer = _answer(
        replace(judged, weight=judged.weight / scores),
        question,
        tests=(
            _Test(
                SCORE_BETS, _graded(evidence.current, metric), _graded(evidence.settled, metric)
            ),
        ),
        null=1 + judged.margin,
        not_null=question.factor,
        factor=question.factor,
        seen=tuple(_seen_scores(evidence.current, arm, metric) for arm in (CANDIDATE, STABLE)),
        alone=_seen_scores(evidence.settled, CANDIDATE, metric),
        note="",
    )
    # An arm whose good answers are scored more often is merely asked more often: then its bad
    # scores say nothing of its answers, in either direction.
    good = _good(evidence.current, metric)
    times = f"good answers of the candidate are scored {format_ratio(_times(good))} times as often"
    if log_e(good, null=1.0, bets=SCORE_BETS) >= log(ASKED):
        return replace(answer, log_e=min(answer.log_e, 0.0), note=times)
    if log_e(good, null=1.0, bets=mirrored(SCORE_BETS)) >= log(ASKED):
        return replace(answer, proved_by=None, note=times)
    return answer


def _answer(
    judged: Judged,
    question: Question,
    *,
    tests: Sequence[_Test],
    null: float,
    not_null: float | None,
    factor: float | None,
    seen: Sequence[_Seen],
    alone: _Seen | None,
    note: str,
    slots: int = 1,
) -> Result:
    """Work out E, E', F and the interval; E and E' are the mean over `slots`, unused ones at 1."""

    def mean(logs: list[float]) -> float:
        if not any(logs):
            return 0.0
        return log_mean_exp((value, 1 / slots) for value in [*logs, *[0.0] * (slots - len(logs))])

    def against(r: float) -> float:
        return mean([log_e(test.current, null=r, bets=test.bets) for test in tests])

    def mirror(r: float) -> float:
        return mean([log_e(test.current, null=r, bets=mirrored(test.bets)) for test in tests])

    log_not = log_alone = proved_by = None
    if not_null is not None:
        log_not = mean(
            [log_e(test.settled, null=not_null, bets=mirrored(test.bets)) for test in tests]
        )
        proved, proved_by = log_not, Proof.RATIO
        if alone is not None and question.factor is not None:
            log_alone = log_floor(
                n=alone.n, bad=alone.bad, factor=question.factor, floor=question.floor
            )
            # The mean of the two, not either: either would pass 1.15 % at 1 %.
            proved = log_mean_exp(((log_not, 0.5), (log_alone, 0.5)))
            proved_by = Proof.FLOOR if log_alone > log_not else Proof.RATIO
        if proved < -log(question.alpha):
            proved_by = None
    candidate, stable = seen
    return Result(
        metric=judged.metric,
        weight=judged.weight,
        log_e=against(null),
        log_e_not=log_not,
        log_floor=log_alone,
        interval=interval(against, mirror, alpha=question.alpha),
        candidate_bad=candidate.bad,
        stable_bad=stable.bad,
        candidate_n=candidate.n,
        stable_n=stable.n,
        n=alone.n if alone else 0,
        x=alone.bad if alone else 0.0,
        factor=factor,
        proved_by=proved_by,
        note=note,
    )


def _hits(tallies: Sequence[Tally], metric: str) -> tuple[Hits, ...]:
    """Return the bad events by epoch."""
    return tuple(
        Hits(
            tally.epoch.share_bp,
            tally.of(CANDIDATE, metric),
            tally.of(STABLE, metric),
        )
        for tally in tallies
    )


def _graded(tallies: Sequence[Tally], metric: str) -> tuple[Hits, ...]:
    """Return the scores by epoch and badness; those of no badness are neutral."""
    found = []
    for tally in tallies:
        candidate, stable = (dict(tally.bins(arm, metric)) for arm in (CANDIDATE, STABLE))
        found += [
            Hits(tally.epoch.share_bp, candidate.get(bad, 0), stable.get(bad, 0), bad / 100)
            for bad in sorted({*candidate, *stable} - {0})
        ]
    return tuple(found)


def _good(tallies: Sequence[Tally], metric: str) -> tuple[Hits, ...]:
    """Return by epoch how many good scores each arm was given."""
    return tuple(
        Hits(
            tally.epoch.share_bp,
            *(
                sum(n for bad, n in tally.bins(arm, metric) if bad <= _GOOD)
                for arm in (CANDIDATE, STABLE)
            ),
        )
        for tally in tallies
    )


def _times(hits: Sequence[Hits]) -> float:
    """Return how many times as often as expected by its share something hit the candidate."""
    compared = [hit for hit in hits if 0 < hit.share_bp < WHOLE_BP]
    expected = fsum(hit.stable * hit.share_bp / (WHOLE_BP - hit.share_bp) for hit in compared)
    return sum(hit.candidate for hit in compared) / expected if expected else 0.0


def _seen(tallies: Sequence[Tally], arm: str, *metrics: str) -> _Seen:
    return _Seen(
        sum(tally.of(arm, MEASURED, 0) for tally in tallies),
        sum(tally.of(arm, metric) for tally in tallies for metric in metrics),
    )


def _seen_scores(tallies: Sequence[Tally], arm: str, metric: str) -> _Seen:
    bins = [pair for tally in tallies for pair in tally.bins(arm, metric)]
    return _Seen(sum(n for _, n in bins), sum(bad * n for bad, n in bins) / 100)
