"""A seeded market: hourly spot and perpetual tables whose funding follows the exchange's own formula.

What makes it worth learning from: the crowd's mood (neutral, bull, bear) moves the perpetual's premium for
days, the premium mean-reverts around the mood's level with noise, and funding follows the premium with a
lag. Volatility has regimes of its own and jumps; spreads widen and depth thins when it rises.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from zlib import crc32

import numpy as np
import polars as pl
from pydantic import Field

from carryflow.core.leg import Leg
from carryflow.core.section import Section
from carryflow.market.coins import COINS, Coin, require_known, tick_size
from carryflow.market.data import UtcDatetime, to_ms
from carryflow.market.premium import INTERVAL_HOURS, Floats, settled_rate
from carryflow.market.regimes import mood_levels, regime_path
from carryflow.market.schema import BAR_MS, TIMESTAMP, validate_leg

_WARM_UP = 48
_VOLATILITY_LEVELS = np.array([0.5, 0.85, 1.6])
_VOLATILITY_NEXT = np.array([[0.0, 0.9, 0.1], [0.6, 0.0, 0.4], [0.2, 0.8, 0.0]])
_VOLATILITY_HOURS = 120.0
_MARKET_SHARE = 0.7
_JUMPS_PER_HOUR = 1 / 150
_PREMIUM_HALF_LIFE_HOURS = 5.0
_PERP_SHARE = 6.0


class SyntheticSettings(Section):
    """Shape the synthetic market."""

    seed: int = Field(7, ge=0, description="seed of every draw; the same seed gives the same market")
    start: UtcDatetime = Field(datetime(2025, 1, 1, tzinfo=UTC), description="first hour (UTC, on the hour)")
    hours: int = Field(4380, ge=INTERVAL_HOURS, description="length of the market, hours (4380 = six months)")
    mood_days: float = Field(10.0, gt=0, description="mean length of a neutral, bull or bear spell, days")
    premium_noise_bp: float = Field(1.5, ge=0, description="hourly noise of the premium, basis points")


def synthetic_market(
    settings: SyntheticSettings, tickers: Sequence[str]
) -> dict[tuple[Leg, str], pl.DataFrame]:
    """Return the tables of both legs of every ticker, in the market's schema, books and marks included.

    A ticker's hours depend on the settings and its own name only, never on which other tickers are asked
    for.

    Raises:
        UnknownTickerError: a ticker is not one of `COINS`.
    """
    require_known(tickers, COINS, "the synthetic market")
    hours = settings.hours + _WARM_UP
    shared = _generator(settings.seed, "the whole market").standard_normal(hours)
    tables: dict[tuple[Leg, str], pl.DataFrame] = {}
    for ticker in tickers:
        rng = _generator(settings.seed, ticker)
        tables["spot", ticker], tables["perp", ticker] = _coin_tables(COINS[ticker], settings, shared, rng)
    return tables


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, crc32(name.encode())]))


def _coin_tables(
    coin: Coin, settings: SyntheticSettings, shared: Floats, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw one coin's (spot, perp) tables; `shared` `(hours,)` are the standard shocks all coins feel."""
    hours = len(shared)
    stress = _VOLATILITY_LEVELS[regime_path(hours, _VOLATILITY_NEXT, _VOLATILITY_HOURS, rng)]
    stress = stress * np.exp(0.15 * rng.standard_normal(hours))
    sigma = coin.volatility / np.sqrt(24 * 365) * stress
    level, mood = mood_levels(hours, settings.mood_days * 24, rng)
    premium = _mean_revert(
        level, settings.premium_noise_bp * 1e-4 * np.sqrt(stress) * rng.standard_normal(hours)
    )
    index = coin.price * np.exp(np.cumsum(_returns(sigma, mood, shared, rng)))
    tick = tick_size(coin.price)
    spot = _bars(index, sigma, tick, rng) | _flow(coin, stress, index, 1.0, rng)
    perp_close = index * (1 + premium)
    perp = _bars(perp_close, sigma, tick, rng) | _flow(coin, stress, perp_close, _PERP_SHARE, rng)
    mark = np.round(index * (1 + (premium + np.roll(premium, 1)) / 2), 8)
    perp |= {"mark_open": np.roll(mark, 1), "mark_close": mark, "funding_rate": _funding(premium)}
    return _table(spot, settings.start, "spot"), _table(perp, settings.start, "perp")


def _returns(sigma: Floats, mood: Floats, shared: Floats, rng: np.random.Generator) -> Floats:
    """Draw hourly log returns: market and own shocks, jumps, and a drift that leans with the mood."""
    hours = len(sigma)
    shock = _MARKET_SHARE * shared + np.sqrt(1 - _MARKET_SHARE**2) * rng.standard_normal(hours)
    jumps = (rng.random(hours) < _JUMPS_PER_HOUR) * rng.standard_normal(hours) * 4.0
    returns: Floats = sigma * (shock + jumps + 0.02 * mood) - sigma**2 / 2
    return returns


def _mean_revert(level: Floats, noise: Floats) -> Floats:
    """Pull a series towards a moving level, with the module's half-life, while noise pushes it about."""
    keep = 0.5 ** (1 / _PREMIUM_HALF_LIFE_HOURS)
    path = np.empty_like(level)
    value = level[0]
    for i in range(len(level)):
        value = keep * value + (1 - keep) * level[i] + noise[i]
        path[i] = value
    return path


def _funding(premium: Floats) -> Floats:
    """Return the rate settled at each hour `(hours,)`, NaN where nothing settles.

    The settlement at hour T sums up the premiums at the closes of the eight bars before it.
    """
    rate = np.full(len(premium), np.nan)
    due = np.arange(INTERVAL_HOURS, len(premium), INTERVAL_HOURS)
    rate[due] = np.round(settled_rate(np.stack([premium[t - INTERVAL_HOURS : t] for t in due])), 8)
    return rate


def _bars(close: Floats, sigma: Floats, tick: float, rng: np.random.Generator) -> dict[str, Floats]:
    """Draw open, high and low around a path of closes; every price on the tick."""
    opens = np.roll(close, 1)
    opens[0] = close[0]
    reach = np.abs(rng.standard_normal((2, len(close)))) * sigma * 0.5
    high, low = np.maximum(opens, close) * (1 + reach[0]), np.minimum(opens, close) * (1 - reach[1])
    columns = {"open": opens, "high": high, "low": low, "close": close}
    return {name: _on_tick(prices, tick) for name, prices in columns.items()}


def _flow(
    coin: Coin, stress: Floats, close: Floats, share: float, rng: np.random.Generator
) -> dict[str, Floats]:
    """Draw volume (base) and the book at each close: stress brings volume, wide spreads and thin depth."""
    tick = tick_size(coin.price)
    noise = np.exp(0.3 * rng.standard_normal((4, len(close))))
    half = coin.spread_bp / 2 * 1e-4 * stress * noise[0]
    depth = coin.depth * share * stress**-1.2
    return {
        "volume": np.round(coin.turnover * share * stress**1.5 * noise[1] / close, 3),
        "bid": _on_tick(close * (1 - half) - tick / 2, tick),
        "ask": _on_tick(close * (1 + half) + tick / 2, tick),
        "bid_depth": np.round(depth * noise[2], 2),
        "ask_depth": np.round(depth * noise[3], 2),
    }


def _on_tick(prices: Floats, tick: float) -> Floats:
    decimals = round(-np.log10(tick))
    return np.maximum(np.round(prices, decimals), tick)


def _table(columns: dict[str, Floats], start: datetime, leg: Leg) -> pl.DataFrame:
    """Cut the warm-up off and stamp the rows."""
    hours = len(columns["close"]) - _WARM_UP
    stamps = to_ms(start) + BAR_MS * np.arange(hours, dtype=np.int64)
    table = pl.DataFrame({name: values[_WARM_UP:] for name, values in columns.items()}).fill_nan(None)
    table.insert_column(0, pl.Series("timestamp", stamps).cast(TIMESTAMP))
    return validate_leg(table, leg, "(synthetic)")
