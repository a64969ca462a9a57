"""Where venues differ behind ccxt's one interface: a row each, so that the code that asks has no branches.

Sources, besides ccxt 4.5.84's own classes: Binance "USDⓈ-M futures: market data endpoints", Bybit V5
"Market", OKX V5 "Public data" and "Market data", Deribit "Market data".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from carryflow.core.leg import Leg
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.settings import VenueName

Entry = Mapping[str, Any]
"""One entry of ccxt's funding rate history; `info` holds the venue's own words."""


def _until(start_ms: int, end_ms: int) -> dict[str, Any]:
    return {"until": end_ms - 1}


def _after(start_ms: int, end_ms: int) -> dict[str, Any]:
    """OKX pages by `after` (older than) and ccxt does not translate `until` for it."""
    return {"after": end_ms}


def _unified_rate(entry: Entry) -> Any:
    return entry["fundingRate"]


def _hour_of_interest(entry: Entry) -> Any:
    """Return what Deribit charged in the hour.

    ccxt's `fundingRate` is `interest_8h`, the rate of the last eight hours; a payment of it every hour would
    be about eight times what was paid.
    """
    return entry["info"]["interest_1h"]


@dataclass(frozen=True, slots=True)
class FundingHistory:
    """Say how a venue gives settled funding.

    Attributes:
        page: most settlements in one answer.
        newest_first: whether an answer that is full holds the newest of the range; else the oldest.
        window_ms: longest range of one request (ms); None where a range may be as long as it likes.
        kept_ms: how far back the venue's history reaches (ms); None: to the listing.
        bounds: the end of a range [start, end) in the words of ccxt's or the venue's parameters.
        rate: the rate that settled (fraction per interval), of one entry.

    """

    page: int
    newest_first: bool = False
    window_ms: int | None = None
    kept_ms: int | None = None
    bounds: Callable[[int, int], dict[str, Any]] = _until
    rate: Callable[[Entry], Any] = _unified_rate


@dataclass(frozen=True, slots=True)
class Dialect:
    """Describe one venue.

    Attributes:
        ccxt_class: its class in ccxt.
        options: what the class is told, so that it loads spot and linear perpetuals only.
        funding: how settled funding is given.
        bars: most bars of traded prices in one answer.
        price_bars: most bars of the mark or index price in one answer.
        levels: most levels of the order book in one answer, by leg.
        finds_first: whether asking for bars since 1970 finds the first one.
        sizes_in_contracts: whether sizes in books and market lists count contracts; else they count base
            coins (quote units of an inverse contract).
        marks_with_funding: whether ccxt's funding rate brings the mark and the index price along.
        predicts: whether ccxt's funding rate is the venue's prediction of the next settlement.
        interval_hours: the hours between settlements of contracts of which the venue states none.
        weights_per_minute: weight of requests that the venue takes in a minute, by a part of their
            addresses; where it tells in its answers how much has been used.

    """

    ccxt_class: str
    funding: FundingHistory
    bars: int
    price_bars: int
    levels: Mapping[Leg, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    finds_first: bool = False
    sizes_in_contracts: bool = True
    marks_with_funding: bool = True
    predicts: bool = True
    interval_hours: float | None = None
    weights_per_minute: Mapping[str, int] = field(default_factory=dict)


_BINANCE = Dialect(
    ccxt_class="binance",
    options={"fetchMarkets": {"types": ["spot", "linear"]}},
    funding=FundingHistory(page=1000),
    bars=1000,
    price_bars=1000,
    levels={"spot": 5000, "perp": 1000},
    finds_first=True,
    weights_per_minute={"/api/v3/": 6000, "/fapi/": 2400},
    interval_hours=8.0,  # `fundingInfo` lists only the contracts that were moved away from it
)

DIALECTS: dict[VenueName, Dialect] = {
    "simulated": _BINANCE,
    "binance": _BINANCE,
    "bybit": Dialect(
        ccxt_class="bybit",
        options={"fetchMarkets": {"types": ["spot", "linear"]}},
        funding=FundingHistory(page=200, newest_first=True),
        bars=1000,
        price_bars=1000,
        levels={"spot": 200, "perp": 500},
    ),
    "okx": Dialect(
        ccxt_class="okx",
        options={"fetchMarkets": {"types": ["spot", "swap"]}},
        funding=FundingHistory(page=100, newest_first=True, kept_ms=90 * 24 * HOUR_MS, bounds=_after),
        bars=300,
        price_bars=100,
        marks_with_funding=False,
        levels={"spot": 400, "perp": 400},
    ),
    "deribit": Dialect(
        ccxt_class="deribit",
        funding=FundingHistory(page=744, window_ms=744 * HOUR_MS, rate=_hour_of_interest),
        bars=1000,
        price_bars=1000,
        levels={"spot": 1000, "perp": 1000},
        sizes_in_contracts=False,
        marks_with_funding=False,
        predicts=False,  # its funding rate value is the mean of the past eight hours
        interval_hours=1.0,
    ),
}
