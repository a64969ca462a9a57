"""What the parametric book says a fill costs, against the books of Binance recorded on 2024-08-08/09.

The recording holds ten minutes, one book a second, of BTC and ETH, spot and perpetual. They calibrate
`costs.spot_depth_share`, `costs.perp_depth_share` and `core.slippage.EXPONENT`; here they must still agree.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.costs import CostSettings
from carryflow.core.slippage import slippage_rate

pytestmark = pytest.mark.real

BANDS_BP = (1, 2, 5, 10, 20)
BOOKS = [("spot", "BTC"), ("spot", "ETH"), ("perp", "BTC"), ("perp", "ETH")]
RECORDED_UNTIL = datetime(2024, 8, 8, 23, tzinfo=UTC)


def walk(band_rates: np.ndarray, cumulative_quote: np.ndarray, notional: float) -> float:
    """Return the mean distance from the mid at which an order fills in a recorded book (fraction).

    Orders are taken to rest evenly inside each band, whose outer distances are `band_rates` (fraction) and
    within which `cumulative_quote` rests (quote). NaN if the order is larger than what was recorded.

    All 100 of the first 10 bp, at 5 bp on average, and half of the 200 in the next 10 bp, at 12.5 bp:

    >>> round(1e4 * walk(np.array([1e-3, 2e-3]), np.array([100.0, 300.0]), 200.0), 4)
    8.75
    """
    if notional > cumulative_quote[-1]:
        return float("nan")
    cost, inner, filled = 0.0, 0.0, 0.0
    for outer, cumulative in zip(band_rates, cumulative_quote, strict=True):
        rests = cumulative - filled
        taken = min(notional - filled, rests)
        if taken > 0.0:
            cost += taken * (inner + 0.5 * (outer - inner) * taken / rests)
        inner, filled = outer, filled + taken
    return float(cost / notional)


def books(folder: Path, leg: str, ticker: str) -> pl.DataFrame:
    table = pl.read_parquet(folder / "aux" / "l2_1s_20240808.parquet")
    market = "spot" if leg == "spot" else "usdm_perp"
    return table.filter((pl.col("market") == market) & (pl.col("ticker") == ticker))


def hourly_turnover(folder: Path, leg: str, ticker: str) -> float:
    """Average the value traded an hour over the day before the books were recorded (quote)."""
    bars = pl.read_parquet(folder / "crypto" / f"{leg}_{ticker}.parquet").filter(
        pl.col("timestamp").is_between(RECORDED_UNTIL - timedelta(days=1), RECORDED_UNTIL, closed="left")
    )
    assert len(bars) == 24
    return float((bars["close"] * bars["volume"]).mean())  # type: ignore[arg-type]


def thin_depth(table: pl.DataFrame) -> float:
    return float(table.select(pl.min_horizontal("bid_usd_10bp", "ask_usd_10bp").median()).item())


@pytest.mark.parametrize(("leg", "ticker"), BOOKS)
def test_the_depth_of_a_book_is_the_share_of_turnover_that_the_settings_say(
    real_data: Path, leg: str, ticker: str
) -> None:
    share = thin_depth(books(real_data, leg, ticker)) / hourly_turnover(real_data, leg, ticker)
    costs = CostSettings()
    expected = costs.spot_depth_share if leg == "spot" else costs.perp_depth_share
    assert share == pytest.approx(expected, rel=0.15)


def test_the_parametric_book_costs_what_the_recorded_ones_did(real_data: Path) -> None:
    ratios = []
    for leg, ticker in BOOKS:
        table = books(real_data, leg, ticker)
        half_spread = float(table["spread_bp"].median()) / 2e4  # type: ignore[arg-type]
        for size in (100, 500, 1000):
            recorded = table.select(
                pl.mean_horizontal(f"slip_buy_{size}k_bp", f"slip_sell_{size}k_bp").median()
            ).item()
            modelled = 1e4 * slippage_rate(1e3 * size, half_spread, thin_depth(table), 1.0)
            if recorded > 0.2:  # under that an order mostly fills at the touch
                ratios.append(modelled / recorded)
    assert len(ratios) == 10
    assert all(0.5 < ratio < 2.0 for ratio in ratios)
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(("leg", "ticker"), BOOKS)
def test_walking_the_recorded_bands_gives_the_recorded_slippage(
    real_data: Path, leg: str, ticker: str
) -> None:
    table = books(real_data, leg, ticker)
    bands = np.array(BANDS_BP) * 1e-4
    resting = table.select(f"ask_usd_{band}bp" for band in BANDS_BP).to_numpy()
    walked = [1e4 * walk(bands, cumulative, 1e6) for cumulative in resting]
    assert np.nanmedian(walked) == pytest.approx(table["slip_buy_1000k_bp"].median(), rel=0.2)
