"""Times, durations and percentages as people write them: "2026-12-01T09:00:00Z", "1.5s", "5%"."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from headway.kernel.clock import DAY, HOUR, MINUTE, SECOND
from headway.kernel.errors import Invalid

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d)\Z")
_PERCENT: Final = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,6})?)\s*%\Z")
_UNITS: Final = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
WHOLE_BP: Final = 10_000
"""100 % in basis points."""

TIME_PATTERN: Final = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$"
"""RFC 3339."""
_TIME: Final = re.compile(TIME_PATTERN.replace("$", r"\Z"), re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str, *, pointer: str = "") -> int:
    """Return milliseconds UTC, or raise `Invalid`, also for a time that has no year in UTC."""
    wrong = Invalid.at(pointer, f'{text[:64]!r} is no time: write it as "2026-12-01T09:00:00Z"')
    if not _TIME.match(text):
        raise wrong
    try:
        # Python reads at most six digits of a fraction.
        short = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
        return (datetime.fromisoformat(short).astimezone(UTC) - _EPOCH) // timedelta(
            milliseconds=1
        )
    except (ValueError, OverflowError):
        raise wrong from None


def parse_duration(text: str, *, pointer: str = "") -> int:
    """Return milliseconds, or raise `Invalid`."""
    if not (found := _DURATION.match(text.strip())):
        raise Invalid.at(
            pointer, f'{text!r} is no duration: write it as "500ms", "30s", "10m", "2h", "1d"'
        )
    return round(float(found[1]) * _UNITS[found[2]])


def format_duration(milliseconds: int) -> str:
    """Write a duration in the largest unit that keeps it whole: 90000 -> "90s"."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _UNITS[unit] == 0:
            return f"{milliseconds // _UNITS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_percent(text: str, *, pointer: str = "") -> float:
    """Return a fraction (5 % -> 0.05), or raise `Invalid`."""
    if not (found := _PERCENT.match(text.strip())):
        raise Invalid.at(pointer, f'{text!r} is no percentage: write it as "5%" or "0.5%"')
    return float(found[1]) / 100


def parse_share(text: str, *, pointer: str = "") -> int:
    """Return basis points, 1 to 10,000, or raise `Invalid`: shares go in steps of 0.01 %."""
    share = parse_percent(text, pointer=pointer) * WHOLE_BP
    if abs(share - round(share)) > 1e-6 or not 1 <= round(share) <= WHOLE_BP:
        raise Invalid.at(pointer, f'{text!r} is no share: "0.01%" to "100%", in steps of 0.01 %')
    return round(share)


def format_percent(fraction: float) -> str:
    """Write a fraction as a percentage with as few digits as it needs: 0.005 -> "0.5%"."""
    return f"{round(fraction * 100, 6):g}%"


def format_ratio(ratio: float) -> str:
    """Write how many times as much something is: two digits that count, and no powers of ten."""
    if ratio >= 100:
        return f"{ratio:,.0f}"
    if 0 < ratio < 0.01:
        return "under 0.01"
    return f"{float(f'{ratio:.2g}'):g}"
