"""What a shock strikes: a calm seeded market, or hours that were recorded."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.env.liquidity import PairLots
from carryflow.env.stress.course import Bars, reprice
from carryflow.env.stress.market import StressMarket
from carryflow.env.stress.scenario import LONGEST_HOURS
from carryflow.features.build import ORDER_SIZES, with_order_sizes
from carryflow.features.frame import WARM_UP_HOURS, build_frame
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.contracts import read_contracts
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.schema import TIMESTAMP
from carryflow.market.store import read_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.market.timeframe import HOUR_MS

Legs = tuple[pl.DataFrame, pl.DataFrame]
"""Spot table and perpetual table."""

AFTER_HOURS = LONGEST_HOURS
"""How long a play goes on after the shock: long enough to leave, to forget and to come back."""

HISTORY_HOURS = 4380
"""Hours that say what is ordinary, which is what a scaler is fitted on (six months)."""

SHOCK = datetime(2025, 2, 1, 9, tzinfo=UTC)
"""When the shock strikes the calm market: an hour after a settlement."""

_ANY_QUANTITY = PairLots()

_DRAWN_BEFORE_HOURS = 1017
"""Hours that are drawn before the shock, however few are wanted, so that all meet the same market."""

_MOVES_KEPT = 0.25
"""Part of the ordinary price moves that a calm market keeps, so that nobody is liquidated by chance."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Hold what is struck: a seeded calm market, or recorded hours.

    Attributes:
        ticker: the coin.
        history: hours that say what is ordinary, both legs.
        market: gives the market to strike, from a seed and the hours wanted before the shock.

    """

    ticker: str
    history: Legs
    market: Callable[[int, int], StressMarket]

    @classmethod
    def synthetic(cls, ticker: str, seed: int = 7) -> "Ground":
        """Take the seeded synthetic market; raises as `calm_market` does."""
        return cls(ticker, ordinary_legs(ticker, seed), partial(calm_market, ticker))

    @classmethod
    def recorded(cls, folder: Path, ticker: str, at_ms: int) -> "Ground":
        """Take a folder's hours around an instant (UTC, milliseconds); raises as `recorded_legs` does."""
        legs, lots = recorded_legs(folder, ticker, at_ms), recorded_lots(folder, ticker, at_ms)
        past = pl.col("timestamp").dt.epoch("ms") < at_ms
        spot, perp = (table.filter(past) for table in legs)
        return cls(ticker, (spot, perp), lambda _, before: cut_market(legs, ticker, at_ms, before, lots))

    def scaler(self, spec: FeatureSpec, data: DataSettings) -> Scaler:
        """Fit a scaler on the history.

        Raises:
            MarketDataError: the history is no longer than the warm-up.

        """
        hours = len(self.history[1])
        if hours <= WARM_UP_HOURS:
            raise MarketDataError(
                f"{self.ticker}: {hours} hours before the shock are no more than the warm-up of "
                f"{WARM_UP_HOURS}; choose a later instant"
            )
        features = FeatureSettings(lookback=spec.lookback, names=spec.names)
        rows = build_frame(*self.history, self.ticker, data, features=features)
        return Scaler.fit(rows.select(spec.published).to_numpy(), spec)


def calm_market(ticker: str, seed: int, before_hours: int) -> StressMarket:
    """Draw a calm market around `SHOCK`: funding at its interest, quiet prices, whole books.

    Raises:
        UnknownTickerError: the synthetic market has no such coin.

    """
    drawn = max(before_hours, _DRAWN_BEFORE_HOURS)
    settings = SyntheticSettings(
        seed=seed,
        start=SHOCK - timedelta(hours=drawn),
        hours=drawn + AFTER_HOURS,
        mood_days=1e6,  # one mood throughout
        premium_noise_bp=0.5,
    )
    spot, perp = _legs(settings, ticker)
    opens, closes = (spot[name].to_numpy() for name in ("open", "close"))
    at_open, at_close = ((price / opens[0]) ** (_MOVES_KEPT - 1.0) for price in (opens, closes))
    by = Bars(at_open, at_close, np.maximum(at_open, at_close), np.minimum(at_open, at_close))
    quiet = reprice(perp, by).with_columns(
        mark_open=pl.col("mark_open") * by.open, mark_close=pl.col("mark_close") * by.close
    )
    return cut_market((reprice(spot, by), quiet), ticker, to_ms(SHOCK), before_hours)


def ordinary_legs(ticker: str, seed: int) -> Legs:
    """Draw six months of the synthetic market, moods and all; raises as `calm_market` does."""
    return _legs(SyntheticSettings(seed=seed, hours=HISTORY_HOURS), ticker)


def recorded_legs(folder: Path, ticker: str, at_ms: int) -> Legs:
    """Read the recorded hours that a shock at `at_ms` (UTC) needs: the history before it and what follows.

    Raises:
        MarketDataError: the folder lacks the ticker, or has no hours there.

    """
    start, end = at_ms - HISTORY_HOURS * HOUR_MS, at_ms + AFTER_HOURS * HOUR_MS
    spot, perp = (read_leg(folder, leg, ticker, start, end) for leg in ("spot", "perp"))
    if perp.is_empty() or spot.is_empty():
        raise MarketDataError(
            f"{folder} has no hours of {ticker} around {datetime.fromtimestamp(at_ms / 1e3, UTC):%Y-%m-%d}; "
            "`carryflow data check` shows what it has"
        )
    return spot, perp


def recorded_lots(folder: Path, ticker: str, at_ms: int) -> PairLots:
    """Read how finely one could order at an instant (UTC ms); any quantity where nobody recorded terms."""
    instant = pl.DataFrame({"KnownAt": [at_ms]}).cast(TIMESTAMP)
    sizes = with_order_sizes(instant, read_contracts(folder), ticker).select(ORDER_SIZES)
    spot, perp, smallest = sizes.row(0)
    return PairLots(spot or 0.0, perp or 0.0, smallest)


def cut_market(
    legs: Legs, ticker: str, at_ms: int, before_hours: int, lots: PairLots = _ANY_QUANTITY
) -> StressMarket:
    """Cut hours around the shock; raises as `StressMarket.calm` does."""
    kept = pl.col("timestamp").dt.epoch("ms") >= at_ms - before_hours * HOUR_MS
    spot, perp = (table.filter(kept) for table in legs)
    return StressMarket.calm(ticker, spot, perp, at_ms, lots)


def _legs(settings: SyntheticSettings, ticker: str) -> Legs:
    tables = synthetic_market(settings, [ticker])
    return tables["spot", ticker], tables["perp", ticker]
