"""The market that tells what the quote coin is worth."""

from decimal import Decimal

import polars as pl

from carryflow.market.schema import TIMESTAMP
from carryflow.venues.simulated.filters import MarketFilters
from carryflow.venues.simulated.market import VenueMarket
from carryflow.venues.simulated.prices import leg_bars

DOLLAR = "USDC"
"""The coin that stands for a dollar."""

_TICK = 0.0001
_LEAST, _MOST = Decimal("0.001"), Decimal(1000)
_TURNOVER = 10_000_000.0


def dollar_market(quote: str, dollars: Decimal, bar_ms: int) -> VenueMarket:
    """Return a spot market in which a dollar has always cost `1 / dollars` of the quote coin.

    Its one bar closed in 1970, so that it stands still until it is listed anew.

    Raises:
        ValueError: it is no price that can be told in ticks.
    """
    if not (dollars.is_finite() and _LEAST <= dollars <= _MOST):
        raise ValueError(f"dollars must be a price from {_LEAST} to {_MOST}, was {dollars}")
    price = round(1 / float(dollars), 4)
    columns = {name: [price] for name in ("open", "high", "low", "close")} | {"volume": [_TURNOVER]}
    table = pl.DataFrame({"timestamp": pl.Series([0]).cast(TIMESTAMP), **columns})
    unseen = {"bid": float("nan"), "ask": float("nan")}
    return VenueMarket(
        leg="spot",
        ticker=DOLLAR,
        quote=quote,
        bar_ms=bar_ms,
        open_ms=table["timestamp"].dt.epoch("ms").to_numpy(),
        columns={name: table[name].to_numpy() for name in columns}
        | {name: pl.Series([value]).to_numpy() for name, value in unseen.items()},
        filters=MarketFilters(tick=_TICK, lot=1.0, min_notional=5.0),
        prices={"trade": leg_bars(table, bar_ms)},
        standing=True,
    )
