"""Backtest the carry series with nautilus_trader: its BacktestEngine on bars, two instruments a pair.

One strategy hears every bar and sends market orders when a target changes. No logging, no analysis after the
run. Answers with pair-bars per CPU second of the run alone. Stand-alone: it runs in the environment of the
peers.
"""

import sys
from decimal import Decimal
from time import process_time

import numpy as np
import pandas as pd
from carry_series import CAPITAL, PERP_FEE, SPOT_FEE, CarrySeries, carry_series
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, CurrencyType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CryptoPerpetual, CurrencyPair, Instrument
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy
from rounds import answer, rate_of

VENUE = Venue("SIM")


def instruments(pair: int) -> tuple[Instrument, Instrument]:
    """Define a pair's spot market and its perpetual."""
    coin = Currency(f"C{pair:02}", 8, 0, f"coin {pair}", CurrencyType.CRYPTO)
    common = {
        "price_precision": 4,
        "size_precision": 4,
        "price_increment": Price.from_str("0.0001"),
        "size_increment": Quantity.from_str("0.0001"),
        "ts_event": 0,
        "ts_init": 0,
        "margin_init": Decimal("0.1"),
        "margin_maint": Decimal("0.005"),
    }
    spot = CurrencyPair(
        instrument_id=InstrumentId(Symbol(f"C{pair:02}USDT"), VENUE),
        raw_symbol=Symbol(f"C{pair:02}USDT"),
        base_currency=coin,
        quote_currency=USDT,
        maker_fee=Decimal(str(SPOT_FEE)),
        taker_fee=Decimal(str(SPOT_FEE)),
        **common,
    )
    perp = CryptoPerpetual(
        instrument_id=InstrumentId(Symbol(f"C{pair:02}USDT-PERP"), VENUE),
        raw_symbol=Symbol(f"C{pair:02}USDT-PERP"),
        base_currency=coin,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        maker_fee=Decimal(str(PERP_FEE)),
        taker_fee=Decimal(str(PERP_FEE)),
        **common,
    )
    return spot, perp


class FollowCoins(Strategy):
    """Order the coins wanted after each change of the target: long spot, short perpetual."""

    def __init__(self, legs: dict[BarType, tuple[Instrument, float, dict[int, float]]]) -> None:
        """Take each leg's instrument, its sign, and its changes by time."""
        super().__init__()
        self.legs = legs
        self.held = dict.fromkeys(legs, 0.0)
        self.heard = 0

    def on_start(self) -> None:
        """Ask for every leg's bars."""
        for bars in self.legs:
            self.subscribe_bars(bars)

    def on_bar(self, bar: Bar) -> None:
        """Trade the change that this bar brings, if it brings one."""
        self.heard += 1
        instrument, sign, changes = self.legs[bar.bar_type]
        coins = changes.get(bar.ts_event)
        if coins is None:
            return
        order = sign * coins - self.held[bar.bar_type]
        self.held[bar.bar_type] = sign * coins
        self.submit_order(
            self.order_factory.market(
                instrument_id=instrument.id,
                order_side=OrderSide.BUY if order > 0 else OrderSide.SELL,
                quantity=instrument.make_qty(abs(order)),
            )
        )


def engine_of(series: CarrySeries) -> tuple[BacktestEngine, FollowCoins]:
    """Load an engine with all bars and the strategy."""
    engine = BacktestEngine(
        BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)
    )
    hours, pairs = series.spot.shape
    engine.add_venue(
        VENUE, OmsType.NETTING, AccountType.MARGIN, starting_balances=[Money(CAPITAL * pairs, USDT)]
    )
    dates = pd.date_range("2020-01-01", periods=hours, freq="h", tz="UTC")
    stamps = dates.as_unit("ns").asi8
    legs = {}
    for pair in range(pairs):
        rows = np.flatnonzero(np.isfinite(series.coins[:, pair]))
        changes = {int(stamps[row]): round(float(series.coins[row, pair]), 4) for row in rows}
        for instrument, close, sign in zip(
            instruments(pair), (series.spot, series.perp), (1.0, -1.0), strict=True
        ):
            engine.add_instrument(instrument)
            bar_type = BarType.from_str(f"{instrument.id}-1-HOUR-LAST-EXTERNAL")
            bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), close[:, pair]), index=dates)
            bars["volume"] = 1e6
            engine.add_data(BarDataWrangler(bar_type, instrument).process(bars))
            legs[bar_type] = (instrument, sign, changes)
    strategy = FollowCoins(legs)
    engine.add_strategy(strategy)
    return engine, strategy


def main(pairs: int, hours: int) -> None:
    """Answer with rounds."""
    series = carry_series(pairs, hours)
    orders = 0

    def play() -> float:
        nonlocal orders
        engine, strategy = engine_of(series)
        begun = process_time()
        engine.run()
        seconds = process_time() - begun
        orders = engine.cache.orders_total_count()
        assert strategy.heard == 2 * pairs * hours
        engine.dispose()
        return seconds

    answer(lambda: {"rate": rate_of(play, pairs * hours), "orders": orders})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
