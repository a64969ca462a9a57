"""Small markets to trade on: one whose book can be reckoned in the head, and one with a whole book."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import polars as pl
import pytest

from carryflow.market.schema import PERP_COLUMNS, SPOT_COLUMNS, TIMESTAMP
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.tape import Tape, synthetic_tape
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderType, Side, TimeInForce
from carryflow.venues.simulated.trading.settings import TradingSettings

MINUTE = 60_000
START = 1_700_000_040_000

PlainFloor = Callable[..., TradingFloor]
Limit = Callable[..., OrderEntry]


def plain_tape(
    closes: Sequence[float | None], marks: Sequence[float], rates: Mapping[int, float], volume: float
) -> Tape:
    """Return minutes of BTC whose book has one level a side: bid at the close, ask one above, deep.

    Minutes without a close are not on the tape.
    """
    rows = len(closes)
    table = pl.DataFrame(
        {
            "timestamp": pl.Series([START + i * MINUTE for i in range(rows)]).cast(TIMESTAMP),
            **{name: [float(c or 0) for c in closes] for name in ("open", "high", "low", "close", "bid")},
            "ask": [(c or 0) + 1.0 for c in closes],
            "volume": [volume] * rows,
            **{name: [1e6] * rows for name in ("bid_depth", "ask_depth")},
            "mark_open": [float(m) for m in [marks[0], *marks[:-1]]],
            "mark_close": [float(m) for m in marks],
            "funding_rate": [rates.get(i) for i in range(rows)],
        }
    ).filter(pl.Series([close is not None for close in closes]))
    legs = {"spot": SPOT_COLUMNS, "perp": PERP_COLUMNS}
    tables = {
        (leg, "BTC"): table.select(
            *(
                (pl.col(name) if name in table.columns else pl.lit(None).alias(name)).cast(kind)
                for name, kind in columns.items()
            )
        )
        for leg, columns in legs.items()
    }
    return Tape("plain", tables, START + rows * MINUTE, bar_ms=MINUTE)  # type: ignore[arg-type]


@pytest.fixture
def minute() -> Callable[[int], int]:
    """Return the instant at which so many bars of the plain market have closed."""
    return lambda bars: START + bars * MINUTE


@pytest.fixture
def plain_floor() -> PlainFloor:
    """Return a maker of floors on the plain market, at the close of its first bar."""

    def make(
        closes: Sequence[float | None],
        *,
        marks: Sequence[float] | None = None,
        rates: Mapping[int, float] | None = None,
        volume: float = 0.0,
        settings: TradingSettings | None = None,
    ) -> TradingFloor:
        tape = plain_tape(closes, marks or [close or 0 for close in closes], rates or {}, volume)
        floor = TradingFloor(SimulatedVenue(tape), settings or TradingSettings())
        floor.advance(START + MINUTE)
        return floor

    return make


@pytest.fixture(scope="session")
def hours() -> Tape:
    """Return 60 synthetic hours of two coins."""
    return synthetic_tape(SyntheticSettings(hours=60), ["BTC", "ETH"])


@pytest.fixture
def floor(hours: Tape) -> TradingFloor:
    """Return a floor on the synthetic hours, after the tenth."""
    floor = TradingFloor(SimulatedVenue(hours), TradingSettings())
    floor.advance(hours.end_ms - 50 * hours.bar_ms)
    return floor


@pytest.fixture
def rich() -> Callable[[TradingFloor], VenueAccount]:
    """Return an opener of accounts with a million in each wallet and some coins."""

    def open_account(floor: TradingFloor, key: str = "rich") -> VenueAccount:
        coins = {"USDT": Decimal(1_000_000), "BTC": Decimal(10)}
        return floor.open_account(key, coins, Decimal(1_000_000))

    return open_account


@pytest.fixture
def limit() -> Limit:
    """Return a maker of limit orders on BTCUSDT."""

    def make(
        side: str,
        qty: str | Decimal,
        price: str | Decimal,
        tif: str = "IOC",
        *,
        reduce_only: bool = False,
        client_id: str = "",
        post_only: bool = False,
    ) -> OrderEntry:
        kind = OrderType.LIMIT_MAKER if post_only else OrderType.LIMIT
        return OrderEntry(
            "BTCUSDT",
            Side(side),
            kind,
            TimeInForce(tif),
            Decimal(qty),
            Decimal(price),
            reduce_only,
            client_id,
        )

    return make


@pytest.fixture
def market() -> Callable[..., OrderEntry]:
    """Return a maker of market orders on BTCUSDT."""

    def make(side: str, qty: str | Decimal, *, reduce_only: bool = False) -> OrderEntry:
        return OrderEntry(
            "BTCUSDT",
            Side(side),
            OrderType.MARKET,
            TimeInForce.GTC,
            Decimal(qty),
            reduce_only=reduce_only,
        )

    return make
