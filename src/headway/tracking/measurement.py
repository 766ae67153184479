"""What gateways count, and the batch in which they hand it over once a second.

Sums (measurements) are of one (model, environment, version, arm, minute). Counts are evidence:
of one (deployment, epoch, arm, metric, bin, due, late). Both only ever add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import Final, TypeAlias

from headway.kernel.canonical import Json
from headway.kernel.clock import SECOND
from headway.routing.assignment import CHECKS
from headway.tracking.sketch import Sketch


class Outcome(StrEnum):
    """How a request ended; one per request."""

    OK = "ok"
    CALLER = "caller"
    """Malformed, refused before anything was sent."""
    POLICY = "policy"
    """Our refusal: key, budget, rate."""
    REFUSED = "refused"
    """The upstream refused (400, 404, 413, 422) what we found well-formed."""
    PROVIDER = "provider"
    """Upstream 5xx, 429, time-out, broken stream, refused our credential."""
    VERSION = "version"
    """The version's own configuration or artifact is at fault."""
    GATEWAY = "gateway"
    """Our fault."""
    GONE = "gone"
    """The caller left."""


UNROUTED: Final = (Outcome.CALLER, Outcome.POLICY, Outcome.GATEWAY, Outcome.GONE)
"""How a request can end before it is known which version it is for."""

ERRORS: Final = frozenset({Outcome.PROVIDER, Outcome.VERSION, Outcome.REFUSED})
"""The judge's `errors`: callers' mistakes hit both arms alike, and a comparison can tell."""

TOKEN_CLASSES: Final = ("input", "output", "cached", "cache_write", "reasoning")
"""`cached` and `cache_write` are parts of `input`, `reasoning` is one of `output`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Sums of one (model, environment, version, arm, minute)."""

    model: str
    environment: str
    version: str
    arm: str
    minute: int
    """Start of the minute, milliseconds UTC."""
    outcomes: Mapping[str, int]
    latency: Sketch
    """Milliseconds from the last byte of the request to the last byte of the answer."""
    first: Sketch
    """Milliseconds to the first content event of a stream."""
    tokens: Mapping[str, int]
    served_by: Mapping[str, int]
    """What the upstream said it was, `model` or `model fingerprint`; bounded."""
    bad: Sketch = field(default_factory=Sketch)
    """The part of `latency` that ended as one of `ERRORS`: bad requests may be the slow ones."""

    @property
    def of_callers(self) -> bool:
        """Whether callers met this. Control's checks are measured, and are nobody's traffic."""
        return self.arm != CHECKS


@dataclass(frozen=True, slots=True)
class Count:
    """One row of evidence: `n` units of one (epoch, arm, metric, bin) that count at `due`."""

    epoch: int
    """The route revision's id that assigned the requests."""
    arm: str
    metric: str
    """`errors`, `errors.first`, `latency.p50` … (bin 1), `measured` (bin 0), `latency>8000`
    (bin 0: known, 1: slower), `score.<name>` (bin 0..100: badness in hundredths)."""
    bin: int
    due: int
    """Assignment + M or L, rounded up to 5 s; milliseconds UTC. 0: folded, older than L."""
    late: bool
    """False: counted at age M. True: at age L."""
    n: int


WindowKey: TypeAlias = tuple[str, int, str]
"""What is counted (`auth.limits.Window`), the start of its window, the id of the key."""


KeyCount: TypeAlias = tuple[str, str, str]
"""The id of a key, `outcome`, `token` or `cost`, and which: an outcome, a class, `NANO` …"""
CostOf: TypeAlias = tuple[str, str, str, str]
"""Model, environment, version, and `NANO` or `UNPRICED`."""
NANO: Final = "nano_usd"
"""Nano-dollars."""
UNPRICED: Final = "unpriced"
"""Requests whose tokens have no known price."""


@dataclass(frozen=True, slots=True)
class Others:
    """What all other gateways used, as far as the store was told."""

    windows: Mapping[WindowKey, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FirstEvent:
    """An event of a sticky unit: counts only if the unit had none with this bit before."""

    unit: int
    """Signed 64-bit hash."""
    bit: int
    """One bit, see `mask_bit`."""
    due: int
    """When it counts, as in its counts."""
    counts: tuple[Count, ...]
    """What to add, each with n = 1, if the bit is new. None: that it happened is all there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Veto:
    """A gateway's own decision to send nobody to an arm whose guard was hit."""

    deployment: str
    epoch: int
    arm: str
    metric: str
    at: int
    detail: Json
    """The counters that it used, its number and the threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything that one gateway saw since its last flush. Frozen: a repeat is the same batch."""

    boot: str
    """The id of this start of the gateway."""
    seq: int
    applied_generation: int
    measurements: tuple[Measurement, ...] = ()
    counts: Mapping[str, tuple[Count, ...]] = field(default_factory=dict)
    """Evidence of single requests, by deployment."""
    firsts: Mapping[str, tuple[FirstEvent, ...]] = field(default_factory=dict)
    """Evidence of sticky units, by deployment; the store decides which were first."""
    vetoes: tuple[Veto, ...] = ()
    key_uses: Mapping[str, int] = field(default_factory=dict)
    """Key id -> minute of its last use."""
    unrouted: Mapping[str, int] = field(default_factory=dict)
    """Requests that ended before it was known which version they are for, by outcome."""
    spender: str = ""
    """The process that answered: stays what it is when the store has forgotten its boot."""
    windows: Mapping[WindowKey, int] = field(default_factory=dict)
    """What keys with limits used since the last flush."""
    under_way: Mapping[str, int] = field(default_factory=dict)
    """Requests at this moment of keys with limits, by key; replaces what was said before."""
    key_counts: Mapping[KeyCount, int] = field(default_factory=dict)
    """What each key did since the last flush."""
    costs: Mapping[CostOf, int] = field(default_factory=dict)
    """What each version cost since the last flush."""
    dropped: int = 0
    """Records lost because the store could not take them for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRow:
    """A gateway that the store knows: the list of the living and the acknowledgement in one."""

    boot: str
    number: int
    """Rises with each start of any gateway; sets its part of the guards' budget."""
    host: str
    pid: int
    started_at: int
    seen_at: int
    """On the store's clock."""
    seq: int
    applied_generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What somebody said later of one answer."""

    request_id: str
    name: str
    value: float
    """0..1; 1 is best."""
    at: int
    """When it came, milliseconds UTC."""
    age: int
    """How old the request was then, milliseconds."""
    model: str
    environment: str
    version: str
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMean:
    version: str
    name: str
    n: int
    mean: float


FIXED_BITS: Final = {
    "measured": 0,
    "errors": 1,
    "latency": 2,
    "limits": 3,
}
"""On the bit of `measured` also hangs whether that request was bad (`errors.first`); on the bit of
`latency`, which lines the first request crossed of which it is known how slow it was; on that of
`limits` likewise, which limits on latency."""
SCORE_BITS: Final = range(16, 62)


def mask_bit(metric: str) -> int:
    """Return the bit of `first_events.mask` for a score, or for one of `FIXED_BITS`.

    Scores share 46 bits by a hash of their name: a collision loses evidence, and never adds any.
    """
    if (place := FIXED_BITS.get(metric)) is not None:
        return 1 << place
    spread = sum(byte * int(31**i) for i, byte in enumerate(metric.encode()))
    return 1 << SCORE_BITS[spread % len(SCORE_BITS)]


MOST_UNITS: Final = 2_000_000
"""Units of a deployment that are remembered: 40 MB. Beyond, its evidence of units freezes."""
DUE_STEP: Final = 5 * SECOND
"""`due` is rounded up to it, so that few rows of evidence wait at a time."""


def due_at(at: int, age: float) -> int:
    """Return when a request of that time counts, if it counts at that age (milliseconds)."""
    return ceil((at + age) / DUE_STEP) * DUE_STEP
