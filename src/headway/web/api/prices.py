"""Prices over HTTP: what people set for the models of providers, and what a version costs."""

from decimal import Decimal
from typing import Annotated, Final, Literal

from flask import Blueprint
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from headway.auth.role import Permission
from headway.kernel.money import MICRO_OF_DOLLAR
from headway.kernel.quantity import parse_time
from headway.tracking.price import ANY_HOST, Dated, Price, Rates
from headway.web.operation import Reply, caller, operation, services
from headway.web.schemas import (
    Body,
    FreeText,
    Name,
    Page,
    Query,
    Ref,
    Shown,
    Time,
    When,
    maybe_rfc3339,
    rfc3339,
)

bp: Final = Blueprint("prices", __name__, url_prefix="/api/v1/prices")

Host = Annotated[FreeText, Field(min_length=1, max_length=253)]
UpstreamModel = Annotated[FreeText, Field(min_length=1, max_length=256)]


def _countable(rate: float) -> float:
    if 0 < rate < 1 / MICRO_OF_DOLLAR:
        raise PydanticCustomError("headway", "must be 0, or 0.000001 and more")
    return rate


Rate = Annotated[float, Field(ge=0, le=1e6), AfterValidator(_countable)]
"""What is not 0 is never taken for 0."""


class UsdPerMillion(Body):
    """Dollars for a million tokens of each class; null: as for other input, or unknown."""

    input: Rate
    output: Rate | None = None
    """Null: whoever gets output has no known cost."""
    cached: Rate | None = None
    """Input that the provider had in its cache; null: as other input."""
    cache_write: Rate | None = None
    """Input that it put there; null: as other input."""


class NewPrice(Body):
    host: Host = ANY_HOST
    """Of the base URL, as in `api.openai.com`; `*`: wherever the model is called."""
    upstream_model: UpstreamModel
    """As the provider calls it."""
    effective_from: When | None = None
    """Null: ever since."""
    usd_per_million: UsdPerMillion


class PriceShown(Shown):
    host: str
    upstream_model: str
    effective_from: Time | None
    usd_per_million: UsdPerMillion
    set_at: Time
    set_by: str


class PriceKept(PriceShown):
    called: bool
    """Some version calls a model of that name at that host; else the price has no effect yet."""


class WhichPrice(Query):
    host: Host = ANY_HOST
    upstream_model: UpstreamModel
    effective_from: When | None = None


class PresentQuery(Query):
    model: Name
    version: Ref
    """A number, an alias, `latest` or a range."""
    at: When | None = None
    """Now unless said."""


class PresentShown(Shown):
    model: str
    version: str
    at: Time
    base_url: str | None
    """Null: it runs here."""
    upstream_model: str | None
    usd_per_million: UsdPerMillion | None
    """Null: nobody knows."""
    since: Time | None
    """Null: ever since, or unknown."""
    source: Literal["own", "published", "unknown"]


@bp.get("")
@operation(
    Permission.MEASUREMENTS_READ,
    "List the prices that were set",
    gives=Page[PriceShown],
)
def listing() -> Page[PriceShown]:
    return Page[PriceShown](
        items=[_shown(price) for price in services().prices.list(by=caller())], next=None
    )


@bp.put("")
@operation(
    Permission.KEYS_WRITE,
    "Set what a provider's model costs from a time on",
    takes=NewPrice,
    gives=PriceKept,
)
def put(asked: NewPrice) -> PriceKept:
    rates = asked.usd_per_million
    price = Price(
        host=asked.host.lower(),
        model=asked.upstream_model,
        since=_since(asked.effective_from, "/effective_from"),
        rates=Rates(
            input=_pico(rates.input),
            output=None if rates.output is None else _pico(rates.output),
            cached=None if rates.cached is None else _pico(rates.cached),
            cache_write=None if rates.cache_write is None else _pico(rates.cache_write),
        ),
        set_at=0,
        set_by="",
    )
    kept = services().prices.put(price, by=caller())
    called = services().prices.is_called(kept.host, kept.model)
    return PriceKept(**dict(_shown(kept)), called=called)


@bp.delete("")
@operation(
    Permission.KEYS_WRITE,
    "Take back a price that was set",
    query=WhichPrice,
    status=204,
    refuses=(404,),
)
def remove(query: WhichPrice) -> Reply:
    since = _since(query.effective_from, "?effective_from")
    services().prices.remove(query.host.lower(), query.upstream_model, since, by=caller())
    return Reply()


@bp.get("/present")
@operation(
    Permission.MEASUREMENTS_READ,
    "Say what a version costs at a time, and who says so",
    query=PresentQuery,
    gives=PresentShown,
    refuses=(404,),
)
def present(query: PresentQuery) -> PresentShown:
    version = services().registry.version(query.model, query.version)
    at = services().clock() if query.at is None else parse_time(query.at, pointer="?at")
    number = str(version.number)
    found = services().prices.present(version.model, number, at, by=caller())
    upstream, dated = found.upstream, found.dated
    source: Literal["own", "published", "unknown"] = "own" if found.own else "published"
    return PresentShown(
        model=version.model,
        version=number,
        at=rfc3339(at),
        base_url=None if upstream is None else upstream.base_url,
        upstream_model=None if upstream is None else upstream.model,
        usd_per_million=None if dated is None else _usd(dated.rates),
        since=None if dated is None else _from(dated),
        source="unknown" if dated is None else source,
    )


def _since(text: str | None, pointer: str) -> int:
    return 0 if text is None else parse_time(text, pointer=pointer)


def _from(dated: Dated) -> str | None:
    return maybe_rfc3339(dated.since or None)


def _pico(usd_per_million: float) -> int:
    return round(Decimal(str(usd_per_million)) * MICRO_OF_DOLLAR)


def _usd(rates: Rates) -> UsdPerMillion:
    return UsdPerMillion(
        **{name: rate / MICRO_OF_DOLLAR for name, rate in rates.amounts().items()}
    )


def _shown(price: Price) -> PriceShown:
    return PriceShown(
        host=price.host,
        upstream_model=price.model,
        effective_from=maybe_rfc3339(price.since or None),
        usd_per_million=_usd(price.rates),
        set_at=rfc3339(price.set_at),
        set_by=price.set_by,
    )
