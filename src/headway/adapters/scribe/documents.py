"""How what gateways and the scribe tell each other is written as JSON, and read."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from headway.tracking.measurement import (
    Batch,
    Count,
    FirstEvent,
    Measurement,
    Others,
    Veto,
)
from headway.tracking.sketch import Sketch

_SKETCHES: Final = ("latency", "first", "bad")
_BY_WORDS: Final = ("windows", "key_counts", "costs")
"""Mappings whose keys are of several words, which JSON has not: pairs."""
_count: Final = attrgetter(*(field.name for field in fields(Count)))


def written_batch(batch: Batch) -> dict[str, Any]:
    """Return it as what `read_batch` reads; frozen, so what it holds is not copied."""
    plain = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    return plain | {
        "counts": {name: list(map(_count, counts)) for name, counts in batch.counts.items()},
        "firsts": {
            name: [(f.unit, f.bit, f.due, list(map(_count, f.counts))) for f in firsts]
            for name, firsts in batch.firsts.items()
        },
        **{name: list(plain[name].items()) for name in _BY_WORDS},
    }


def read_batch(document: Mapping[str, Any]) -> Batch:
    """Read what `written_batch` wrote."""
    read = {
        "measurements": tuple(map(_measurement, document["measurements"])),
        "counts": {name: _counts(rows) for name, rows in document["counts"].items()},
        "firsts": {
            name: tuple(FirstEvent(unit, bit, due, _counts(c)) for unit, bit, due, c in rows)
            for name, rows in document["firsts"].items()
        },
        "vetoes": tuple(Veto(**veto) for veto in document["vetoes"]),
        **{name: {tuple(key): n for key, n in document[name]} for name in _BY_WORDS},
    }
    return Batch(**{**document, **read})


def written_others(others: Others) -> dict[str, Any]:
    """Return it as what `read_others` reads."""
    return {"windows": list(others.windows.items())}


def read_others(document: Mapping[str, Any]) -> Others:
    """Read what `written_others` wrote."""
    return Others({tuple(key): n for key, n in document["windows"]})


def _measurement(document: Mapping[str, Any]) -> Measurement:
    sketches = {name: Sketch.read(document[name]) for name in _SKETCHES}
    return Measurement(**{**document, **sketches})


def _counts(rows: Sequence[Sequence[Any]]) -> tuple[Count, ...]:
    return tuple(Count(*row) for row in rows)
