"""What a market lets one trade: price steps, lots and minimum values, as Binance announces them."""

from dataclasses import dataclass
from math import floor, log10
from typing import Any

import numpy as np

from carryflow.core.leg import Leg
from carryflow.market.premium import Floats
from carryflow.venues.simulated.decimals import plain

_CLOSES_LOOKED_AT = 1000
_MOST_DECIMALS = 8

MAX_QTY = 9_000_000
"""Largest order (base coins)."""

FINER_THAN_TICK = 1
"""Decimals that a perpetual's price may have beyond those of its tick: BTCUSDT's are 2 and 0.1."""

SPOT_BAND = ("0.2", "5")
"""Lowest and highest limit price of a spot order, over the traded price."""

PERP_BAND = ("0.9500", "1.0500")
"""Lowest limit price of a perpetual's sale and highest of a purchase, over the mark price."""


@dataclass(frozen=True, slots=True)
class MarketFilters:
    """Hold the steps of one market: `tick` in quote, `lot` in base coin, `min_notional` in quote."""

    tick: float
    lot: float
    min_notional: float


def market_filters(leg: Leg, closes: Floats) -> MarketFilters:
    """Return the steps of a market with these closes `(rows,)`, oldest first.

    The price step is the coarsest power of ten that the newest closes all lie on, so that what was traded
    could be traded; a perpetual's lot is a hundred times spot's.

    >>> market_filters("spot", np.array([95_000.0, 95_000.5]))
    MarketFilters(tick=0.1, lot=1e-05, min_notional=5.0)
    >>> market_filters("perp", np.array([95_000.0, 95_000.5])).lot
    0.001
    """
    newest = closes[-_CLOSES_LOOKED_AT:]
    on_step = (d for d in range(_MOST_DECIMALS) if (np.round(newest, d) == newest).all())
    digits = floor(log10(newest[-1])) + (1 if leg == "spot" else -1)
    return MarketFilters(float(f"1e-{next(on_step, _MOST_DECIMALS)}"), float(f"1e{-digits}"), 5.0)


def symbol_entry(
    leg: Leg, ticker: str, quote: str, filters: MarketFilters, onboard_ms: int, halted: bool = False
) -> dict[str, Any]:
    """Return one entry of `exchangeInfo`'s symbols, in the words of the leg's own API."""
    lot = {"minQty": plain(filters.lot), "maxQty": str(MAX_QTY), "stepSize": plain(filters.lot)}
    tick = plain(filters.tick)
    listed = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", **lot},
        {"filterType": "MARKET_LOT_SIZE", **lot},
    ]
    entry: dict[str, Any] = {
        "symbol": ticker + quote,
        "status": "BREAK" if halted else "TRADING",
        "baseAsset": ticker,
        "quoteAsset": quote,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
    }
    if leg == "spot":
        minimum = {"filterType": "NOTIONAL", "minNotional": plain(filters.min_notional)}
        down, up = SPOT_BAND
        band = {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": up,
            "bidMultiplierDown": down,
            "askMultiplierUp": up,
            "askMultiplierDown": down,
            "avgPriceMins": 0,
        }
        return entry | {
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
            "quoteAssetPrecision": 8,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": True,
            "permissions": ["SPOT", "MARGIN"],
            "permissionSets": [["SPOT", "MARGIN"]],
            "filters": [*listed, minimum, band],
        }
    minimum = {"filterType": "MIN_NOTIONAL", "notional": plain(filters.min_notional)}
    down, up = PERP_BAND
    band = {
        "filterType": "PERCENT_PRICE",
        "multiplierUp": up,
        "multiplierDown": down,
        "multiplierDecimal": "4",
    }
    return entry | {
        "orderTypes": ["LIMIT", "MARKET"],
        "pair": ticker + quote,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": onboard_ms,
        "marginAsset": quote,
        "pricePrecision": max(0, round(-log10(filters.tick))) + FINER_THAN_TICK,
        "quantityPrecision": max(0, round(-log10(filters.lot))),
        "underlyingType": "COIN",
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        "filters": [*listed, minimum, band],
    }
