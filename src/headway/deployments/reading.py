"""Reading a plan: from a document in which every scalar may be text, to what it means.

An unknown word is a fault that names the nearest known one; a word of a later version is refused,
never ignored. Each fault says where it stands (JSON Pointer).
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from headway.deployments.plan import (
    LONGEST_WARM,
    PREVIOUS,
    PRODUCTION,
    Check,
    Else,
    GoingBack,
    Healthy,
    Judging,
    Limit,
    Plan,
    Requests,
    Send,
    Step,
    Steps,
    Strategy,
    Until,
    Watch,
    format_exactly,
    format_share,
)
from headway.kernel.canonical import Json
from headway.kernel.clock import DAY, MINUTE, SECOND
from headway.kernel.errors import Fault, Invalid
from headway.kernel.names import check_name, nearest, unknown_word
from headway.kernel.quantity import (
    WHOLE_BP,
    format_duration,
    parse_duration,
    parse_percent,
    parse_share,
)
from headway.registry.document import (
    as_array,
    as_object,
    as_text,
    check_json,
    kind_of,
    only,
    under,
)
from headway.registry.model import check_alias
from headway.routing.assignment import check_unit
from headway.routing.route import LONGEST_PIN, PIN_FOR, StickTo

LONGEST: Final = 365 * DAY
MOST_STEPS: Final = 64
MOST_METRICS: Final = 32


def read_plan(
    document: Mapping[str, Json],
    strategies: Mapping[str, Strategy],
    *,
    checks: Collection[str] = ("loads", "smoke"),
) -> Plan:
    """Return the filled plan of a document in which every scalar may be text, or raise `Invalid`.

    `checks` are the names that there are. Each fault says where it stands (JSON Pointer).
    """
    return _read(document, strategies=strategies, checks=checks)


def parse_plan(text: str) -> Plan:
    """Read what `Plan.text` wrote; strategies and checks may be gone since then."""
    return _read(json.loads(text), strategies=None, checks=None)


_KEYS: Final = (
    "model",
    "to",
    "environment",
    "why",
    "strategy",
    "stick_to",
    "steps",
    "judge",
    "rollback",
    "pin_for",
    "alias",
    "conflict",
    "notify",
    "metadata",
)
_LATER_KEYS: Final = ("start", "windows", "stuck")
_LATER_VERBS: Final = ("shadow", "approve", "ask")
_LATER_METRICS: Final = ("cost", "first", "first_token", "length")
_STEP_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "check": ("check", "within", "else"),
    "send": ("send", "until", "for", "at_least", "at_most", "else"),
    "watch": ("watch",),
}
_JUDGE_KEYS: Final = (
    "sure",
    "worse",
    "never",
    "no_data",
    "floor",
    "matures",
    "weights",
    "dry_run",
)
_UNTIL: Final = re.compile(
    r"not\s+(\d{1,4}(?:\.\d{1,3})?)\s*x\s+worse(?:\s+on\s+(\S.*))?\Z", re.ASCII | re.IGNORECASE
)
_REQUESTS: Final = re.compile(r"([0-9_,]{1,12})\s+(?:requests?|units?)\Z")
_LIMIT: Final = re.compile(r">\s*(\S.*)\Z")
_LATENCY: Final = re.compile(r"latency_p(50|90|95|99)\Z")
_SCORE: Final = re.compile(r"score\.(\*|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?)\Z")
_HEADER: Final = re.compile(r"header:[A-Za-z][A-Za-z0-9-]{0,63}\Z")


def _read(
    document: Mapping[str, Json],
    *,
    strategies: Mapping[str, Strategy] | None,
    checks: Collection[str] | None,
) -> Plan:
    document = as_object(document, pointer="")
    _not_yet(document, _LATER_KEYS, pointer="")
    only(document, _KEYS, required=("model", "to"), what="a plan", pointer="")
    why = _text(document, "why", default="", longest=4096)
    strategy = _text(document, "strategy", default="canary", longest=128)
    if strategies is not None and strategy not in strategies:
        if strategy in {"rolling", "shadow", "ab"}:
            raise Invalid.at("/strategy", _later(f"the strategy {strategy!r}"))
        raise Invalid.at("/strategy", unknown_word(strategy, strategies, what="strategy"))
    if "steps" in document:
        steps = _steps(document["steps"], checks=checks, why=why)
    elif strategies is not None:
        steps = strategies[strategy]()
    else:
        raise Invalid.at("/steps", "is missing")
    if strategies is not None:
        _check_times(steps)
    _check_shares(steps)
    judging = _judging(document.get("judge", {}))
    _check_untils(steps, judging)
    _conflict(document.get("conflict", "reject"))
    metadata = as_object(document.get("metadata", {}), pointer="/metadata")
    check_json(metadata, pointer="/metadata", deepest=16, most=1_000)
    alias = document.get("alias")
    return Plan(
        model=check_name(_text(document, "model"), what="model", pointer="/model"),
        to=_to(document["to"]),
        environment=check_name(
            _text(document, "environment", default=PRODUCTION),
            what="environment",
            pointer="/environment",
        ),
        why=why,
        strategy=strategy,
        stick_to=_stick_to(document.get("stick_to")),
        steps=steps,
        judging=judging,
        going_back=_going_back(document.get("rollback", {})),
        pin_for=_pin_for(document),
        alias=None if alias is None else _alias(alias),
        notify=_notify(document.get("notify", [])),
        metadata=metadata,
        filled_in="steps" not in document,
    )


def _later(what: str) -> str:
    return f"{what} is not in this version yet"


def _not_yet(document: Mapping[str, Json], later: Collection[str], *, pointer: str) -> None:
    faults = [Fault(under(pointer, key), _later(repr(key))) for key in document if key in later]
    if faults:
        raise Invalid(faults)


def _text(
    document: Mapping[str, Json],
    key: str,
    *,
    default: str | None = None,
    pointer: str = "",
    longest: int = 256,
) -> str:
    if default is not None and key not in document:
        return default
    return as_text(
        document.get(key), pointer=under(pointer, key), longest=longest, empty=default == ""
    )


def _to(value: Json) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Invalid.at("/to", f'{value} is a number, and 1.10 would be 1.1: write "{value}"')
    return as_text(value, pointer="/to", longest=1024).strip()


def _alias(value: Json) -> str:
    return check_alias(as_text(value, pointer="/alias", longest=128), pointer="/alias")


def _stick_to(value: Json) -> str | None:
    if value is None:
        return None
    text = as_text(value, pointer="/stick_to", longest=128)
    if text in set(StickTo) or _HEADER.match(text):
        check_unit(text)
        return text
    raise Invalid.at(
        "/stick_to", unknown_word(text, [*StickTo, "header:<Name>"], what="kind of unit")
    )


def _conflict(value: Json) -> None:
    text = as_text(value, pointer="/conflict", longest=64)
    if text in {"queue", "replace"}:
        raise Invalid.at(
            "/conflict", f"{_later(repr(text))}; 'reject' is what happens when it is left out"
        )
    if text != "reject":
        raise Invalid.at(
            "/conflict", unknown_word(text, ["reject", "queue", "replace"], what="conflict")
        )


def _going_back(value: Json) -> GoingBack:
    fields = as_object(value, pointer="/rollback")
    only(fields, ("to", "keep_warm"), what="rollback", pointer="/rollback")
    to = _text(fields, "to", default=PREVIOUS, pointer="/rollback")
    if to != PREVIOUS:
        raise Invalid.at("/rollback/to", f"must be 'previous': {_later('another target')}")
    if "keep_warm" not in fields:
        return GoingBack()
    keep_warm = _duration(fields["keep_warm"], pointer="/rollback/keep_warm", most=LONGEST_WARM)
    return GoingBack(keep_warm=keep_warm)


def _pin_for(document: Mapping[str, Json]) -> int:
    if "pin_for" not in document:
        return PIN_FOR
    at = "/pin_for"
    return _duration(document["pin_for"], pointer=at, least=MINUTE, most=LONGEST_PIN)


def _notify(value: Json) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    found = []
    for i, item in enumerate(as_array(value, pointer="/notify", longest=16)):
        at = under("/notify", i)
        text = as_text(item, pointer=at, longest=2048)
        kind, _, rest = text.partition(":")
        if kind in {"slack", "pagerduty", "email"}:
            raise Invalid.at(at, _later(f"{kind!r}"))
        if kind != "webhook":
            raise Invalid.at(at, 'must be a "webhook:https://…"')
        url = urlsplit(rest)
        if url.scheme not in {"https", "http"} or not url.hostname or "@" in url.netloc:
            raise Invalid.at(at, 'is no URL of a webhook: write "webhook:https://host/path"')
        found.append(text)
    return tuple(found)


def _duration(value: Json, *, pointer: str, least: int = 1, most: int = LONGEST) -> int:
    if not isinstance(value, str):
        raise Invalid.at(pointer, f'must be a duration such as "10m", not {kind_of(value)}')
    milliseconds = parse_duration(value, pointer=pointer)
    if not least <= milliseconds <= most:
        raise Invalid.at(
            pointer, f"{value} is out of range: {format_duration(least)} to {most // DAY}d"
        )
    if milliseconds > DAY and milliseconds % SECOND:
        raise Invalid.at(pointer, f"{value} is longer than a day: write whole seconds")
    return milliseconds


def _fraction(value: Json, *, pointer: str, least: float, most: float) -> float:
    if not isinstance(value, str):
        raise Invalid.at(pointer, f'must be a percentage such as "5%", not {kind_of(value)}')
    fraction = parse_percent(value, pointer=pointer)
    if not least <= fraction <= most:
        raise Invalid.at(
            pointer, f"{value} is out of range: {format_exactly(least)} to {format_exactly(most)}"
        )
    return fraction


# ── steps ────────────────────────────────────────────────────────────────────────────────────


def _steps(value: Json, *, checks: Collection[str] | None, why: str) -> Steps:
    items = as_array(value, pointer="/steps", longest=MOST_STEPS)
    if not items:
        raise Invalid.at("/steps", "is empty: leave it out, and the strategy fills it in")
    return tuple(
        _step(as_object(item, pointer=under("/steps", i)), under("/steps", i), checks, why)
        for i, item in enumerate(items)
    )


def _step(
    fields: Mapping[str, Json], pointer: str, checks: Collection[str] | None, why: str
) -> Step:
    """Dispatch on the verb by hand: an error can then speak of the one that was meant."""
    _not_yet(fields, _LATER_VERBS, pointer=pointer)
    verbs = [key for key in fields if key in _STEP_KEYS]
    if len(verbs) != 1:
        raise Invalid.at(pointer, _verbs_wrong(fields, verbs))
    (verb,) = verbs
    only(fields, _STEP_KEYS[verb], what=f"a {verb!r} step", pointer=pointer)
    match verb:
        case "check":
            step: Step = _check(fields, pointer, checks)
        case "send":
            step = _send(fields, pointer)
        case _:
            step = Watch(_duration(fields["watch"], pointer=under(pointer, "watch"), least=0))
    if not isinstance(step, Watch) and step.else_ is Else.ADVANCE and not why:
        raise Invalid.at(
            under(pointer, "else"), "'advance' promotes without proof: the plan needs a `why`"
        )
    return step


def _verbs_wrong(fields: Mapping[str, Json], verbs: list[str]) -> str:
    if verbs:
        return f"has {len(verbs)} verbs ({', '.join(verbs)}): a step has exactly one"
    for word in fields:
        if guess := nearest(word, _STEP_KEYS):
            return f"has no verb; did you mean {guess!r} by {word[:64]!r}?"
    return f"has no verb: one of {', '.join(_STEP_KEYS)}"


def _else(fields: Mapping[str, Json], pointer: str, default: Else) -> Else:
    if "else" not in fields:
        return default
    at = under(pointer, "else")
    text = as_text(fields["else"], pointer=at, longest=64)
    if text not in set(Else):
        raise Invalid.at(at, unknown_word(text, list(Else), what="else"))
    return Else(text)


def _check(fields: Mapping[str, Json], pointer: str, checks: Collection[str] | None) -> Check:
    at = under(pointer, "check")
    value = fields["check"]
    names = []
    items = [value] if isinstance(value, str) else as_array(value, pointer=at, longest=16)
    for i, item in enumerate(items):
        name = as_text(item, pointer=under(at, i), longest=128)
        if checks is not None and name not in checks:
            raise Invalid.at(under(at, i), unknown_word(name, checks, what="check"))
        names.append(name)
    if not names or len(set(names)) != len(names):
        raise Invalid.at(at, "must name one or more checks, each once")
    within = (
        _duration(fields["within"], pointer=under(pointer, "within"))
        if "within" in fields
        else 10 * MINUTE
    )
    return Check(tuple(names), within, _else(fields, pointer, Else.ROLLBACK))


def _send(fields: Mapping[str, Json], pointer: str) -> Send:
    at = under(pointer, "send")
    if not isinstance(fields["send"], str):
        raise Invalid.at(at, f'must be a share such as "5%", not {kind_of(fields["send"])}')
    share = parse_share(fields["send"], pointer=at)
    until = _until(fields["until"], under(pointer, "until")) if "until" in fields else None
    at_least = (
        _at_least(fields["at_least"], under(pointer, "at_least")) if "at_least" in fields else None
    )
    for_ = _duration(fields["for"], pointer=under(pointer, "for")) if "for" in fields else None
    at_most = None
    if "at_most" in fields:
        at_most = _duration(fields["at_most"], pointer=under(pointer, "at_most"))
    elif "else" in fields:
        raise Invalid.at(under(pointer, "else"), "says what happens at `at_most`: name that too")
    if isinstance(until, Until) and share == WHOLE_BP:
        raise Invalid.at(
            under(pointer, "until"),
            "at 100% nothing is compared: put the proof into a step with a lesser share (99%)",
        )
    if isinstance(until, Healthy) and at_least is None:
        raise Invalid.at(
            under(pointer, "until"),
            "'healthy' wants an `at_least` (\"500 requests\"): no data is never a pass",
        )
    return Send(share, until, at_least, for_, at_most, _else(fields, pointer, Else.HOLD))


def _until(value: Json, pointer: str) -> Until | Healthy:
    text = as_text(value, pointer=pointer, longest=1024).strip()
    if text == "healthy":
        return Healthy()
    if not (found := _UNTIL.match(text)):
        raise Invalid.at(pointer, f'{text[:64]!r} is no proof: write "not 2x worse" or "healthy"')
    factor = float(found[1])
    if factor <= 1:
        raise Invalid.at(pointer, f"{factor:g}x can never be proven: it must be above 1x")
    named = tuple(part.strip() for part in (found[2] or "").split(",") if part.strip())
    for metric in named:
        _check_metric(metric, pointer)
    if len(set(named)) != len(named):
        raise Invalid.at(pointer, "names a metric twice")
    return Until(factor, named)


def _at_least(value: Json, pointer: str) -> Requests | int:
    text = as_text(value, pointer=pointer, longest=64).strip()
    if found := _REQUESTS.match(text):
        digits = found[1].replace(",", "").replace("_", "")
        if digits and int(digits):
            return Requests(int(digits))
    try:
        return _duration(text, pointer=pointer)
    except Invalid:
        raise Invalid.at(
            pointer, f'{text!r} is neither a number of requests ("500 requests") nor a duration'
        ) from None


def _check_shares(steps: Steps) -> None:
    last = 0
    for i, step in enumerate(steps):
        if isinstance(step, Send):
            if step.share_bp <= last:
                raise Invalid.at(
                    f"/steps/{i}/send",
                    f"{format_share(step.share_bp)} after {format_share(last)}: shares must grow",
                )
            last = step.share_bp
    if last != WHOLE_BP:
        raise Invalid.at(
            "/steps", f"ends with {format_share(last)} on the new version: end it by `send: 100%`"
        )


def _check_times(steps: Steps) -> None:
    """See that each step can end in the time that it has."""
    for i, step in enumerate(steps):
        if isinstance(step, Send) and step.at_most is not None and step.at_most < step.lasts:
            raise Invalid.at(
                f"/steps/{i}/at_most",
                f"{format_duration(step.at_most)} is shorter than what the step is to last at "
                f"least ({format_duration(step.lasts)}): it could never end in time",
            )


def _check_untils(steps: Steps, judging: Judging) -> None:
    """See that each proof is about something that is judged; else the step could never end."""
    for i, step in enumerate(steps):
        if not isinstance(step, Send) or not isinstance(step.until, Until):
            continue
        if not judging.worse:
            raise Invalid.at(f"/steps/{i}/until", "nothing is judged: `judge.worse` is empty")
        for metric in step.until.metrics:
            if metric in judging.worse:
                continue
            if metric.startswith("score.") and "score.*" in judging.worse:
                continue
            raise Invalid.at(
                f"/steps/{i}/until", unknown_word(metric, judging.worse, what="judged metric")
            )


# ── judge ────────────────────────────────────────────────────────────────────────────────────


def _judging(value: Json) -> Judging:
    at = "/judge"
    fields = as_object(value, pointer=at)
    only(fields, _JUDGE_KEYS, what="judge", pointer=at)
    usual = Judging()
    no_data = _text(fields, "no_data", default="hold", pointer=at)
    if no_data != "hold":
        raise Invalid.at("/judge/no_data", "must be 'hold': no data never passes and never fails")
    if fields.get("dry_run", False) not in (False, "false", "no"):
        raise Invalid.at("/judge/dry_run", _later("a judge that does not act"))
    worse = _worse(fields["worse"]) if "worse" in fields else usual.worse
    return Judging(
        sure=(
            _fraction(fields["sure"], pointer="/judge/sure", least=0.5, most=0.999999)
            if "sure" in fields
            else usual.sure
        ),
        worse=worse,
        never=_never(fields["never"]) if "never" in fields else usual.never,
        floor=(
            _fraction(fields["floor"], pointer="/judge/floor", least=0.000001, most=0.25)
            if "floor" in fields
            else usual.floor
        ),
        matures=(
            _duration(fields["matures"], pointer="/judge/matures", least=SECOND)
            if "matures" in fields
            else usual.matures
        ),
        weights=_weights(fields.get("weights", {}), worse),
    )


def _check_metric(metric: str, pointer: str) -> None:
    if metric in {"errors", "latency"} or _SCORE.match(metric):
        return
    if metric in _LATER_METRICS:
        raise Invalid.at(pointer, _later(f"{metric!r}"))
    known = ["errors", "latency", "score.*", "score.<name>"]
    raise Invalid.at(pointer, unknown_word(metric[:128], known, what="metric"))


def _worse(value: Json) -> dict[str, float]:
    at = "/judge/worse"
    fields = as_object(value, pointer=at)
    if len(fields) > MOST_METRICS:
        raise Invalid.at(at, f"names {len(fields)} metrics; at most {MOST_METRICS} are taken")
    margins = {}
    for metric, margin in fields.items():
        _check_metric(metric, under(at, metric))
        margins[metric] = (
            0.0
            if margin == "any"
            else _fraction(margin, pointer=under(at, metric), least=0.0, most=10.0)
        )
    return margins


def _never(value: Json) -> tuple[Limit, ...]:
    at = "/judge/never"
    fields = as_object(value, pointer=at)
    return tuple(_limit(name, bound, under(at, name)) for name, bound in sorted(fields.items()))


def _limit(name: str, bound: Json, pointer: str) -> Limit:
    if name == "health":
        raise Invalid.at(pointer, _later("'health'"))
    found = _LATENCY.match(name)
    if name != "errors" and not found:
        known = ["errors", *(f"latency_p{quantile}" for quantile in (50, 90, 95, 99))]
        raise Invalid.at(pointer, unknown_word(name[:128], known, what="limit"))
    text = as_text(bound, pointer=pointer, longest=64).strip()
    if not (above := _LIMIT.match(text)):
        example = "> 8s" if found else "> 10%"
        raise Invalid.at(pointer, f'{text!r} is no limit: write it as "{example}"')
    if found:
        slower = _duration(above[1], pointer=pointer)
        return Limit("latency", round(1 - int(found[1]) / 100, 2), slower)
    return Limit("errors", _fraction(above[1], pointer=pointer, least=0.0001, most=0.99))


def _weights(value: Json, worse: Mapping[str, float]) -> dict[str, float]:
    at = "/judge/weights"
    weights = {}
    for metric, weight in as_object(value, pointer=at).items():
        here = under(at, metric)
        if metric not in worse:
            raise Invalid.at(here, unknown_word(metric[:128], worse, what="judged metric"))
        weights[metric] = _number(weight, here)
    return weights


def _number(value: Json, pointer: str) -> float:
    """Read a weight, 0.001 to 1000, as a number or as its text."""
    number = value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", value):
        number = float(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Invalid.at(pointer, "must be a number such as 2")
    if not 0.001 <= number <= 1000:
        raise Invalid.at(pointer, "is out of range: 0.001 to 1000")
    return float(number)
