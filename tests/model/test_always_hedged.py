"""Always hedged on recorded hours: the product's path against a recomputation that shares no code with it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.costs import CostSettings
from carryflow.core.funding import annualise
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import MarketTape, load_tapes
from carryflow.features.dataset import write_dataset
from carryflow.features.frame import build_frame
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import Split
from carryflow.market.data import DataSettings
from carryflow.market.store import read_leg

Reader = Callable[[Path, str, np.ndarray], tuple[np.ndarray, ...]]

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
START = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(2025, 4, 30, tzinfo=UTC)
START_MS, END_MS = (round(moment.timestamp() * 1000) for moment in (START, END))
SPOT_FEE, PERP_FEE, DRIFT = 0.0010, 0.0005, 0.25

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def bitcoin(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> MarketTape:
    """BTC's tape as the product makes it: legs, unified frame, dataset, tape."""
    legs = [read_leg(real_data / "crypto", leg, "BTC") for leg in ("spot", "perp")]
    frame = build_frame(legs[0], legs[1], "BTC", DataSettings(tickers=("BTC",)))
    spec = FeatureSpec.of(FeatureSettings(), sentiment=False)
    split = Split(START_MS, START_MS + YEAR_MS, START_MS + YEAR_MS + 48 * HOUR_MS, END_MS)
    folder = tmp_path_factory.mktemp("dataset")
    write_dataset(frame, spec, split, "recorded", folder)
    return load_tapes(folder)["BTC"].slice(START_MS, END_MS + 1)


@pytest.fixture(scope="module")
def hedged(bitcoin: MarketTape) -> HedgedSimulator:
    """One account that wants +1 in every hour, at taker fees and without slippage."""
    costs = CostSettings(
        spot_taker_bp=1e4 * SPOT_FEE, perp_taker_bp=1e4 * PERP_FEE, spot_slippage_bp=0, perp_slippage_bp=0
    )
    simulator = HedgedSimulator([bitcoin], 1, EnvSettings(costs=costs, hysteresis=DRIFT))
    simulator.reset(0, 0, bitcoin.first)
    while simulator.running[0]:
        simulator.step([1.0])
    return simulator


def recomputed_growth(folder: Path, read_plainly: Reader) -> float:
    """Compound the hedge in plain numpy, from the files alone: equity at the end for 1 at the start.

    Between two resizings q coins are held long spot and short perpetual, so equity is what it was, plus q
    times the change of (spot − perp), plus q times the rate · mark of every settlement. The next resizing
    comes when the coins are worth a quarter more or less than half of equity. Prices are those of the bar
    that closes at each hour.
    """
    hours = np.arange(START_MS, END_MS + 1, HOUR_MS)
    spot_close, perp_close, _, received = read_plainly(folder, "BTC", hours)
    equity, coins, now = 1.0, 0.0, 0
    while now < len(hours) - 1:
        wanted = 0.5 * equity / spot_close[now]
        traded = abs(wanted - coins)
        equity -= traded * (spot_close[now] * SPOT_FEE + perp_close[now] * PERP_FEE)
        coins = wanted
        later = slice(now + 1, None)
        path = equity + coins * (
            (spot_close - perp_close)[later] - (spot_close - perp_close)[now] + np.cumsum(received[later])
        )
        drifted = np.flatnonzero(np.abs(coins * spot_close[later] / (0.5 * path) - 1.0) > DRIFT)
        step = int(drifted[0]) if len(drifted) else len(path) - 1
        equity, now = float(path[step]), now + 1 + step
    return equity


def yearly(growth: float) -> float:
    """Give the rate earned a year on the capital employed: the logarithm of growth over the years.

    It is what the trade pays on a fixed capital, its profits withdrawn; reinvested they compound to 7.1 %.
    """
    return float(np.log(growth) * YEAR_MS / (END_MS - START_MS))


@pytest.mark.pitfall("P01")
def test_the_simulator_agrees_with_an_independent_recomputation(
    hedged: HedgedSimulator, real_data: Path, read_plainly: Reader
) -> None:
    simulated = yearly(hedged.equity[0] / 100_000.0)
    recomputed = yearly(recomputed_growth(real_data / "crypto", read_plainly))
    assert abs(simulated - recomputed) < 0.001
    assert simulated == pytest.approx(0.069, abs=0.001)
    assert recomputed == pytest.approx(0.069, abs=0.001)


def test_it_starts_and_ends_where_it_says(bitcoin: MarketTape, hedged: HedgedSimulator) -> None:
    assert bitcoin.decision_ms[bitcoin.first] == START_MS
    assert hedged.now_ms[0] == END_MS
    assert (~bitcoin.tradable).sum() == 32, "the halts of spot trading are held through"


def test_nearly_all_of_it_is_funding_and_the_books_balance(hedged: HedgedSimulator) -> None:
    hedged.check_books()
    profit = hedged.equity[0] - 100_000.0
    parts = {part: float(quote[0]) for part, quote in hedged.attribution.items()}
    assert parts["funding"] / profit == pytest.approx(1.0, abs=0.06)
    assert parts["borrow"] == parts["liquidation"] == 0.0
    assert -0.001 * profit < parts["slippage"] < 0.0, "50 000 hardly move a book of Bitcoin"
    assert -0.05 * profit < parts["fees"] < 0.0


@pytest.mark.parametrize(("ticker", "percent"), [("BTC", 15.3), ("ETH", 18.6), ("ADA", 18.4)])
def test_mean_annual_funding_is_that_of_the_literature(real_data: Path, ticker: str, percent: float) -> None:
    """He, Manela, Ross and von Wachter, "Fundamentals of Perpetual Futures", table B.1."""
    first, last = datetime(2020, 1, 8, tzinfo=UTC), datetime(2024, 3, 11, 23, tzinfo=UTC)
    perp = read_leg(real_data / "crypto", "perp", ticker).filter(pl.col("timestamp").is_between(first, last))
    mean = perp["funding_rate"].drop_nulls().mean()
    assert isinstance(mean, float)
    assert 100 * annualise(mean, interval_hours=8) == pytest.approx(percent, abs=0.05)
