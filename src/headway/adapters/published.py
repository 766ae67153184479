"""Published prices of providers' models, from the package genai-prices.

Its tables take 100 MB and two seconds to load. So they are read in a process of their own, when a
version calls an upstream of which nobody asked before: `python -m headway.adapters.published`
reads upstreams from its input, and writes what is known of them.

Prices by the length of the context are taken at their base, prices by the time of day at their
standard; search, sound and pictures are not tokens. Who needs it exactly sets prices of his own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import Any, Final

from headway.kernel.money import MICRO_OF_DOLLAR
from headway.tracking.price import Dated, Rates, Timeline
from headway.tracking.price_service import Upstream

_PACKAGE: Final = "genai-prices"
_PATIENCE: Final = 60
_RATES: Final = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}


def edition() -> str:
    """Return which edition of the tables is installed."""
    return f"{_PACKAGE} {version(_PACKAGE)}"


def published(upstreams: Sequence[Upstream]) -> Mapping[Upstream, Timeline]:
    """Look upstreams up in a process of its own; what goes wrong there is raised here."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")
    }
    done = subprocess.run(  # noqa: S603 - this very program
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps(upstreams),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=_PATIENCE,
        env=environment,
    )
    return {
        Upstream(base_url, model): tuple(Dated(since, Rates(**rates)) for since, rates in dated)
        for base_url, model, dated in json.loads(done.stdout)
    }


def main() -> None:
    """Answer what is asked on standard input."""
    asked = [Upstream(*each) for each in json.load(sys.stdin)]
    found = [
        (*each, [(since, rates.document()) for since, rates in _known(each)]) for each in asked
    ]
    json.dump(found, sys.stdout)


def _known(upstream: Upstream) -> Timeline:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - see above

    try:
        _, model = get_snapshot().find_provider_model(
            upstream.model, None, None, upstream.base_url
        )
    except LookupError:
        return ()
    return tuple(_dated(model.prices))


def _dated(prices: Any) -> Iterator[Dated]:  # noqa: ANN401 - one price, or a list of conditional ones
    from genai_prices.types import StartDateConstraint  # noqa: PLC0415 - see above

    if not isinstance(prices, list):
        yield from _priced(0, prices)
        return
    found: dict[int, Dated] = {}
    for number, each in enumerate(prices):
        constraint = each.constraint
        if constraint is None or number == 0:
            since = 0  # the first also counts before any other does
        elif isinstance(constraint, StartDateConstraint):
            start = datetime.combine(constraint.start_date, time(), UTC)
            since = int(start.timestamp()) * 1000
        else:
            continue
        # Of several at one time the last counts.
        found |= {dated.since: dated for dated in _priced(since, each.prices)}
    yield from sorted(found.values(), key=lambda dated: dated.since)


def _priced(since: int, price: Any) -> Iterable[Dated]:  # noqa: ANN401 - a price of the package
    rates = {
        name: _pico(found)
        for name, attribute in _RATES.items()
        if (found := getattr(price, attribute, None)) is not None
    }
    if "input" in rates:
        yield Dated(since, Rates(**rates))


def _pico(price: Any) -> int:  # noqa: ANN401 - a decimal, or one with tiers
    base: Decimal = getattr(price, "base", price)
    return round(base * MICRO_OF_DOLLAR)


if __name__ == "__main__":
    main()
