"""What comes next in a deployment: one pure function of everything that it may depend on.

Reasons to go back come first and wait for nothing: what a person asked, a gateway's veto, a hit
`never` limit, the verdict "worse". Then what people asked otherwise, then the end of the present
step. Whatever is not known (no data, no answer, a clock that jumped) holds: it never passes and
never fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from headway.deployments.checks import Answer
from headway.deployments.deployment import ACTIVE, Deployment, Progress, State, Undo
from headway.deployments.facts import guards_of
from headway.deployments.intent import Intent, Verb
from headway.deployments.plan import Check, Else, Healthy, Requests, Send, Step, Until, Watch
from headway.judge.verdict import Finding, Verdict
from headway.kernel.clock import MINUTE, SECOND
from headway.kernel.quantity import WHOLE_BP, format_duration
from headway.outbox.actor import HEADWAY, Actor
from headway.tracking.measurement import MOST_UNITS, Veto

SOON: Final = 500
"""When to look again while a proof, a veto or an answer may come at any time, ms."""
LATER: Final = 5 * SECOND
FIRST_PAUSE: Final = SECOND
LONGEST_PAUSE: Final = 30 * SECOND
ANSWER_WITHIN: Final = MINUTE
"""A restored version that does not answer in this time has failed, ms."""
PROBE_EVERY: Final = 5 * SECOND
GOOD_ANSWERS: Final = 20
FROZEN: Final = (
    f"the evidence is frozen: more than {MOST_UNITS:,} conversations, users or other units came, "
    "and no event of such a unit counts any more"
)
_FIRST_RETRY: Final = 5 * SECOND
_LONGEST_RETRY: Final = 5 * MINUTE
_PART: Final = 10
"""Between two tries to go back it is looked ten times whether the version is there again."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Change nothing; look again in so many ms."""

    wake_in: int = SOON


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these checks of the present step once more."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Enter:
    """Go into the step of that number, counted from 1."""

    number: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Stay in the step although its time is over; it ends when its proof comes."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Publish the present shares again, with thresholds that can be known by now."""

    thresholds_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Freeze:
    """Tell, once, that nothing more of sticky units counts."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Stay where it is until somebody resumes; the reasons to go back stay armed."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on; the time that it was paused does not count."""


@dataclass(frozen=True, slots=True)
class Succeed:
    """Make the candidate the stable version of the whole route."""


@dataclass(frozen=True, slots=True)
class GoBack:
    """Publish the route as it was before; automatic unless a person asked."""

    automatic: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the restored version once more whether it answers."""


@dataclass(frozen=True, slots=True)
class GoneBack:
    """Everybody is back, and the restored version answers."""


@dataclass(frozen=True, slots=True)
class FailBack:
    """The restored version does not answer in time: tell people, try again later."""


@dataclass(frozen=True, slots=True)
class TryBack:
    """Try to go back again; `further`: to the next target of the chain."""

    further: bool


@dataclass(frozen=True, slots=True)
class Abandon:
    """End a failed rollback where it stands."""


Act: TypeAlias = (
    Wait
    | Ask
    | Enter
    | Hold
    | Fit
    | Freeze
    | Pause
    | Resume
    | Succeed
    | GoBack
    | Probe
    | GoneBack
    | FailBack
    | TryBack
    | Abandon
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    act: Act
    because: str
    actor: Actor = HEADWAY
    settles: tuple[Intent, ...] = ()
    """What was asked and is dealt with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that a decision may depend on."""

    deployment: Deployment
    progress: Progress
    now: int
    verdict: Verdict | None = None
    stable: bool = True
    """Whether the route had a stable version when this began."""
    switched_off: bool = False
    """Whether somebody switched the route off since this moved it."""
    measured: int = 0
    """Units of the candidate that were measured under the shares of the present step."""
    intents: tuple[Intent, ...] = ()
    """Not yet settled, oldest first."""
    vetoes: tuple[Veto, ...] = ()
    failed: Mapping[str, Answer] = field(default_factory=dict)
    """By check that is being asked again: what came of it the time before."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By check: what came of the last time that the present step's checks were asked."""
    behind: tuple[str, ...] = ()
    """Living gateways that have not taken over yet what was published last."""
    probe: Answer | None = None
    """What the restored version said to the last probe."""
    good: int = 0
    """Good answers of the restored version, today."""
    targets: int = 0
    """How many versions are left to fall back to."""
    thresholds_ms: Mapping[str, float] = field(default_factory=dict)
    """Thresholds that can be known by now, and are not fixed yet."""
    frozen: bool = False
    """Whether there were more units than are remembered: none of their events counts any more."""
    steady: bool = True
    """False: the clock jumped since the last look. Nothing advances; rollbacks never wait."""


def decide(situation: Situation) -> Decision:
    """Say what comes next."""
    match situation.deployment.state:
        case State.RUNNING | State.PAUSED:
            return _forward(situation)
        case State.ROLLING_BACK:
            return _back(situation)
        case State.ROLLBACK_FAILED:
            return _failed(situation)
        case _:
            state = situation.deployment.state
            return Decision(act=Wait(LATER), because=f"it is {state}", settles=situation.intents)


def may(state: State, verb: Verb) -> bool:
    """Say whether somebody may ask that of a deployment in this state."""
    match verb:
        case Verb.PAUSE:
            return state is State.RUNNING
        case Verb.RESUME:
            return state is State.PAUSED
        case Verb.PROMOTE | Verb.ABORT:
            return state in {State.RUNNING, State.PAUSED}
        case Verb.ROLL_BACK:
            return state in ACTIVE
        case Verb.ABANDON:
            return state is State.ROLLBACK_FAILED


# ── forward ──────────────────────────────────────────────────────────────────────────────────


def _forward(s: Situation) -> Decision:
    if back := _reason_to_go_back(s):
        return back
    if not s.steady:
        return Decision(act=Wait(), because="the clock jumped: nothing advances at this look")
    if asked := _asked(s):
        return asked
    if s.frozen and s.progress.frozen_at is None:
        return Decision(act=Freeze(), because=FROZEN)
    if s.deployment.state is State.PAUSED:
        return Decision(act=Wait(), because="paused")
    match s.deployment.step:
        case None:
            return _next(s, "started")
        case Check() as step:
            return _check(s, step)
        case Send() as step:
            return _send(s, step)
        case Watch(lasting):
            if s.now < s.deployment.since + lasting:
                return Decision(act=Wait(), because=f"watching for {format_duration(lasting)}")
            return _next(s, f"watched for {format_duration(lasting)}")


def _reason_to_go_back(s: Situation) -> Decision | None:
    for intent in s.intents:
        if intent.verb in {Verb.ABORT, Verb.ROLL_BACK}:
            verb = "aborted" if intent.verb is Verb.ABORT else "rolled back"
            said = f": {intent.why}" if intent.why else ""
            return Decision(
                act=GoBack(automatic=False),
                because=f"{verb} by {intent.actor}{said}",
                actor=Actor(intent.actor, intent.actor_kind),
                settles=s.intents,
            )
    because = None
    if s.vetoes:
        because = f"a gateway saw the limit hit: {_veto_words(s, s.vetoes[0])}"
    elif s.verdict and s.verdict.hits:
        because = f"the limit was hit: {s.verdict.hits[0].limit.words()}"
    elif s.verdict and s.verdict.finding is Finding.WORSE:
        because = f"live traffic shows the candidate to be {s.verdict.reason}"
    elif s.switched_off:
        because = "the route was switched off"
    if because is None:
        return None
    return Decision(act=GoBack(), because=because, settles=s.intents)


def _veto_words(s: Situation, veto: Veto) -> str:
    never = s.deployment.plan.judging.never
    for limit, guard in zip(never, guards_of(never), strict=True):
        if veto.metric == guard.event:
            return f"{limit.name} {limit.words()}"
    return veto.metric


def _asked(s: Situation) -> Decision | None:
    """Deal with the oldest thing that somebody asked; the others wait for the next look."""
    if not s.intents:
        return None
    intent = s.intents[0]
    settles = (intent,)
    actor = Actor(intent.actor, intent.actor_kind)
    said = f": {intent.why}" if intent.why else ""
    if not may(s.deployment.state, intent.verb):
        because = f"{intent.verb} by {intent.actor} does not fit: it is {s.deployment.state}"
        return Decision(act=Wait(0), because=because, actor=actor, settles=settles)
    match intent.verb:
        case Verb.PAUSE:
            because, act = f"paused by {intent.actor}{said}", Pause()
            return Decision(act=act, because=because, actor=actor, settles=settles)
        case Verb.RESUME:
            because = f"resumed by {intent.actor}{said}"
            return Decision(act=Resume(), because=because, actor=actor, settles=settles)
        case Verb.PROMOTE:
            because = f"promoted by {intent.actor} without its proof{said}"
            return _next(s, because, actor, settles, to_end=_to_end(intent))
        case Verb.ABORT | Verb.ROLL_BACK | Verb.ABANDON:  # dealt with before, or does not fit
            return None


def _to_end(intent: Intent) -> bool:
    return isinstance(intent.detail, Mapping) and intent.detail.get("to") == "end"


def _next(
    s: Situation,
    because: str,
    actor: Actor = HEADWAY,
    settles: tuple[Intent, ...] = (),
    *,
    to_end: bool = False,
) -> Decision:
    """Enter the next step; after the last one everything is done."""
    deployment = s.deployment
    number = deployment.entered + 1
    if to_end:
        number = max(number, deployment.whole_step)
    steps = deployment.plan.steps
    if number > len(steps):
        because = f"{deployment.version} is the stable version now: {because}"
        return Decision(act=Succeed(), because=because, actor=actor, settles=settles)
    step = steps[number - 1]
    if isinstance(step, Send) and step.share_bp < WHOLE_BP and not s.stable:
        because = "the route has no stable version to compare with: deploy directly"
        return Decision(act=GoBack(), because=because, settles=settles)
    because = f"step {number} of {len(steps)}, {step.words()}: {because}"
    return Decision(act=Enter(number), because=because, actor=actor, settles=settles)


def _check(s: Situation, step: Check) -> Decision:
    missing = [name for name in step.names if not _passed(s, name)]
    if not missing:
        return _next(s, f"{' and '.join(step.names)} passed")
    failed = [name for name in missing if name in s.answers]
    final = [name for name in failed if s.answers[name].final]
    over = bool(final) or s.now >= s.deployment.since + step.within
    if over and not (s.deployment.held_since is not None and step.else_ is Else.HOLD):
        return _overdue(s, step, _why_not(s, final or missing, step.within))
    if len(failed) == len(missing):
        pause = min(FIRST_PAUSE << min(max(s.progress.tried - 1, 0), 16), LONGEST_PAUSE)
        if s.now >= s.progress.asked_at + pause:
            because = f"{_why_not(s, missing, step.within)}; asked again"
            return Decision(act=Ask(tuple(missing)), because=because)
    return Decision(act=Wait(), because=_waits_for(s, missing))


def _waits_for(s: Situation, missing: list[str]) -> str:
    for name in missing:
        if last := s.answers.get(name) or s.failed.get(name):
            times = s.progress.tried - (name not in s.answers)
            said = f"check {name} failed {times} time{'s' if times != 1 else ''}, the last time: "
            return f"{said}{last.detail or 'no reason given'}"
    return f"waiting for check {', '.join(missing)}"


def _passed(s: Situation, name: str) -> bool:
    return name in s.progress.passed or (name in s.answers and s.answers[name].ok)


def _why_not(s: Situation, missing: list[str], within: int) -> str:
    for name in missing:
        if name in s.answers:
            return f"check {name} failed: {s.answers[name].detail or 'no reason given'}"
    return f"check {missing[0]} did not answer within {format_duration(within)}"


def _send(s: Situation, step: Send) -> Decision:
    missing = obstacle(s)
    if missing is None:
        return _next(s, _met(s, step))
    late = step.at_most is not None and s.now >= s.deployment.since + step.at_most
    if late and s.deployment.held_since is None:
        within = format_duration(step.at_most or 0)
        return _overdue(s, step, f"{missing}, not within {within}")
    if s.thresholds_ms and isinstance(step.until, Until):
        joined = ", ".join(sorted(s.thresholds_ms))
        because = f"enough was measured by now: {joined} of the latency is compared as well"
        return Decision(act=Fit(s.thresholds_ms), because=because)
    return Decision(act=Wait(), because=missing)


def obstacle(s: Situation) -> str | None:
    """Name what keeps the present `send` from ending; None: nothing. No data is an obstacle."""
    step = s.deployment.step
    if not isinstance(step, Send):
        return None
    missing = _missing(s, step)
    waits_for_units = step.until is not None or isinstance(step.at_least, Requests)
    return f"{missing}; {FROZEN}" if missing and s.frozen and waits_for_units else missing


def _missing(s: Situation, step: Send) -> str | None:
    if s.behind:
        return f"not yet taken over by {_gateways(s.behind)}"
    if step.for_ is not None and s.now < s.deployment.since + step.for_:
        return f"to last for {format_duration(step.for_)}"
    match step.at_least:
        case Requests(n):
            if s.measured < n:
                return f"to see at least {n:,} requests on the candidate"
        case int() as lasting:
            if s.now < s.deployment.since + lasting:
                return f"to last at least {format_duration(lasting)}"
        case None:
            pass
    match step.until:
        case Until() as until:
            if s.verdict is None or s.verdict.finding is not Finding.NOT_WORSE:
                return f"not yet proven: {until.words()}"
        case Healthy():
            if s.verdict is None:
                return "nothing was judged yet"
        case None:
            pass
    return None


def _met(s: Situation, step: Send) -> str:
    if isinstance(step.until, Until) and s.verdict:
        return f"step {s.deployment.entered} has proven {s.verdict.reason}"
    if isinstance(step.until, Healthy):
        return "healthy"
    return f"{step.words()} is done"


def _gateways(names: tuple[str, ...]) -> str:
    return f"{len(names)} gateway{'s' if len(names) > 1 else ''}"


def _overdue(s: Situation, step: Step, because: str) -> Decision:
    """Let the step's `else` decide. A time-out is not the judge's, and outside its promise."""
    match step.else_ if not isinstance(step, Watch) else Else.HOLD:
        case Else.ROLLBACK:
            return Decision(act=GoBack(), because=because)
        case Else.ADVANCE:
            said = s.deployment.plan.why
            return _next(s, f"{because}; the plan says to advance without proof ({said})")
        case Else.HOLD:
            return Decision(act=Hold(), because=because)


# ── back ─────────────────────────────────────────────────────────────────────────────────────


def _back(s: Situation) -> Decision:
    undo = s.progress.way_back
    if done := _restored(s, undo):
        return done
    if s.now >= undo.since + ANSWER_WITHIN:
        return Decision(act=FailBack(), because=_why_not_back(s, undo), settles=s.intents)
    return _probe_again(s, undo) or Decision(
        act=Wait(), because=_why_not_back(s, undo), settles=s.intents
    )


def _failed(s: Situation) -> Decision:
    undo = s.progress.way_back
    for intent in s.intents:
        if intent.verb is Verb.ABANDON:
            said = f": {intent.why}" if intent.why else ""
            return Decision(
                act=Abandon(),
                because=f"abandoned by {intent.actor}{said}",
                actor=Actor(intent.actor, intent.actor_kind),
                settles=s.intents,
            )
    if done := _restored(s, undo):
        return done
    if undo.retry_at is not None and s.now >= undo.retry_at:
        further = not s.behind and s.targets > 0
        what = (
            f"{undo.version} does not answer: on to the next one that can"
            if further
            else "trying again to go back"
        )
        because = f"{_origin(s.deployment.because)} | {what}"
        return Decision(act=TryBack(further), because=because, settles=s.intents)
    pace = max(retry_pause(undo.failures) // _PART, PROBE_EVERY)
    wake_in = pace if undo.retry_at is None else min(pace, undo.retry_at - s.now)
    return _probe_again(s, undo, every=pace) or Decision(
        act=Wait(wake_in), because=_why_not_back(s, undo), settles=s.intents
    )


def retry_pause(failures: int) -> int:
    """Return how long to wait after so many failed rollbacks, ms: 5 s, 10 s, … 5 min."""
    return min(_FIRST_RETRY << min(max(failures - 1, 0), 16), _LONGEST_RETRY)


def _restored(s: Situation, undo: Undo) -> Decision | None:
    if s.behind:
        return None
    if undo.version is None:
        because = "every gateway has switched off"
    elif s.probe and s.probe.ok:
        because = f"{undo.version} answers again"
    elif undo.good is not None and s.good - undo.good >= GOOD_ANSWERS:
        because = f"{undo.version} has given {s.good - undo.good} good answers"
    else:
        return None
    because = f"{_origin(s.deployment.because)}; {because}"
    return Decision(act=GoneBack(), because=because, settles=s.intents)


def _origin(because: str) -> str:
    """Return why it went back, without what was said of the way."""
    return because.split(" | ", 1)[0]


def _why_not_back(s: Situation, undo: Undo) -> str:
    origin = _origin(s.deployment.because)
    if s.behind:
        return f"{origin} | {_gateways(s.behind)} not back yet"
    said = f" ({s.probe.detail})" if s.probe and s.probe.detail else ""
    return f"{origin} | {undo.version} has not answered yet{said}"


def _probe_again(s: Situation, undo: Undo, *, every: int = PROBE_EVERY) -> Decision | None:
    if s.probe is None or s.probe.ok or s.now < undo.asked_at + every:
        return None
    return Decision(
        act=Probe(), because=f"{_why_not_back(s, undo)}; asked again", settles=s.intents
    )
