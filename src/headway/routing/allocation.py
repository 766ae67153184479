"""Who gets which bucket, and how few of them move when shares change.

A unit's bucket never changes while the salt stays. Shares change by handing buckets over at the
edges of segments, so an arm that grows only gains units and an arm that shrinks only loses them.

The hash (`hash_version` 1) is MurmurHash3 x86_32 with seed 0 over the UTF-8 text `<salt>:<unit>`,
brought to 0..9999 by multiplication. It is frozen by vectors in `tests/routing/vectors.json`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import mmh3

from headway.kernel.errors import Invalid
from headway.kernel.quantity import WHOLE_BP
from headway.routing.route import Segment

BUCKETS: Final = WHOLE_BP
"""One bucket is 0.01 % of the units."""


def bucket(salt: str, unit: str) -> int:
    """Return the bucket of a unit, 0..9999."""
    return bucket_of(f"{salt}:{unit}")


def bucket_of(text: str) -> int:
    """Return the bucket of `<salt>:<unit>`, 0..9999."""
    # Never hand mmh3 a str: on half a surrogate pair (which JSON can write) it kills the process.
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-8", "replace")
    return int(mmh3.mmh3_32_uintdigest(data)) * BUCKETS >> 32


def check_shares(shares: Mapping[str, int], *, pointer: str = "") -> None:
    """Raise `Invalid` unless every share is positive (basis points) and they sum to 10,000."""
    for arm, share in shares.items():
        if share <= 0:
            raise Invalid.at(pointer, f"the share of {arm!r} is {share}; at least 1 (0.01 %)")
    if (total := sum(shares.values())) != WHOLE_BP:
        raise Invalid.at(pointer, f"the shares sum to {total:,} basis points instead of 10,000")


def lay_out(shares: Mapping[str, int]) -> tuple[Segment, ...]:
    """Return fresh segments, one per arm, in the order given. Raises `Invalid` as `reshare`."""
    check_shares(shares)
    return tuple(Segment(arm, share) for arm, share in shares.items())


def reshare(segments: Sequence[Segment], shares: Mapping[str, int]) -> tuple[Segment, ...]:
    """Return segments with these shares (basis points) that move the fewest possible buckets.

    An arm that is not in `shares` gives everything away. Buckets are handed over next to where
    the receiver has some already, so that shares which shrink again give back what came last.
    Raises `Invalid` unless the shares are positive and sum to 10,000.
    """
    check_shares(shares)
    if not segments:
        return lay_out(shares)
    owned: dict[str, int] = {}
    for segment in segments:
        owned[segment.arm] = owned.get(segment.arm, 0) + segment.share_bp
    surplus = {arm: had - shares.get(arm, 0) for arm, had in owned.items()}
    missing = {arm: share - owned.get(arm, 0) for arm, share in shares.items()}
    runs = [_Run(segment.arm, segment.share_bp) for segment in segments]
    # From the last run to the first: what joins at the end was given from the end.
    for place in range(len(runs) - 1, -1, -1):
        giver = runs[place]
        while (spare := min(surplus[giver.arm], giver.width)) > 0:
            taker, before = _taker(runs, giver, missing)
            given = min(spare, missing[taker])
            giver.width -= given
            at = runs.index(giver)
            runs.insert(at if before else at + 1, _Run(taker, given))
            surplus[giver.arm] -= given
            missing[taker] -= given
    return _joined(runs)


@dataclass(slots=True, eq=False)
class _Run:
    """A segment while it is being cut; itself, whatever it holds."""

    arm: str
    width: int


def _taker(runs: list[_Run], giver: _Run, missing: Mapping[str, int]) -> tuple[str, bool]:
    """Return who takes from this run and whether from its beginning: a neighbour, if one may."""
    place = runs.index(giver)
    for beside, before in ((runs[place + 1 :], False), (runs[:place][::-1], True)):
        neighbour = next((run.arm for run in beside if run.width), None)
        if neighbour is not None and missing.get(neighbour, 0) > 0:
            return neighbour, before
    return next(arm for arm, lacks in missing.items() if lacks > 0), False


def _joined(runs: Sequence[_Run]) -> tuple[Segment, ...]:
    joined: list[Segment] = []
    for run in runs:
        if not run.width:
            continue
        if joined and joined[-1].arm == run.arm:
            joined[-1] = Segment(run.arm, joined[-1].share_bp + run.width)
        else:
            joined.append(Segment(run.arm, run.width))
    return tuple(joined)
