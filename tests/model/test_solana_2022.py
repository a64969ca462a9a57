"""SOL over 2022, always hedged: the year in which the trade lost, and what it lost to."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from carryflow.cli.app import app, console
from carryflow.core.costs import CostSettings
from carryflow.env.settings import EnvSettings
from carryflow.evaluation.hours import PRICES, Eyes, read_hours
from carryflow.evaluation.replay import Replay, replay
from carryflow.market.data import DataSettings

Reader = Callable[[Path, str, np.ndarray], tuple[np.ndarray, ...]]

HOUR_MS = 3_600_000
YEAR = datetime(2022, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)
START_MS, END_MS = (round(moment.timestamp() * 1000) for moment in YEAR)
SPOT_FEE, PERP_FEE, DRIFT = 0.0010, 0.0005, 0.25
CAPITAL = 100_000.0

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def hedged(real_data: Path) -> Replay:
    """One account that wants +1 in every hour of 2022, at taker fees, in books without spread or bottom."""
    data = DataSettings(tickers=("SOL",), start=YEAR[0], end=YEAR[1])
    (tape,) = read_hours(real_data / "crypto", data, Eyes(PRICES, None)).tapes
    costs = CostSettings(
        spot_taker_bp=1e4 * SPOT_FEE,
        perp_taker_bp=1e4 * PERP_FEE,
        spot_slippage_bp=0,
        perp_slippage_bp=0,
        spot_depth_share=1e12,
        perp_depth_share=1e12,
    )
    return replay([tape], np.ones((len(tape), 1)), EnvSettings(costs=costs, hysteresis=DRIFT), closes=False)


def recomputed(folder: Path, read_plainly: Reader) -> dict[str, float]:
    """Follow the hedge in plain numpy, from the files alone: what funding, basis and fees came to (quote).

    Half of equity is coins, held against as many coins of the perpetual sold; a position that drifts a
    quarter from that is brought back, and pays for what it trades. A settlement pays rate · mark for each
    coin that stood against it at that hour. Prices are those of the bar that closes at each hour.
    """
    hours = np.arange(START_MS + HOUR_MS, END_MS, HOUR_MS)
    coins_at, perp_at, marks, received = read_plainly(folder, "SOL", hours)
    parts = {"funding": 0.0, "basis": 0.0, "fees": 0.0}
    coins = 0.0
    for now in range(len(hours)):
        if now:
            parts["funding"] += coins * received[now]
            parts["basis"] += coins * (coins_at[now] - coins_at[now - 1] - marks[now] + marks[now - 1])
        equity = CAPITAL + sum(parts.values())
        costs = 1.0 + SPOT_FEE + PERP_FEE  # set aside, so that no wallet is overdrawn
        wanted = 0.5 * equity / costs / coins_at[now]
        if now < len(hours) - 1 and abs(1.0 - coins * coins_at[now] / (0.5 * equity)) > DRIFT:
            traded = abs(wanted - coins)
            parts["fees"] -= traded * (SPOT_FEE * coins_at[now] + PERP_FEE * perp_at[now])
            parts["basis"] += (wanted - coins) * (perp_at[now] - marks[now])
            coins = wanted
    return parts


def test_it_lost_a_fifth_of_its_capital_and_most_of_that_to_funding(hedged: Replay) -> None:
    profit = hedged.equity[-1, 0] - CAPITAL
    assert profit == pytest.approx(-0.22 * CAPITAL, abs=0.005 * CAPITAL)
    parts = {name: float(quote[0]) for name, quote in hedged.parts.items()}
    assert parts["funding"] == pytest.approx(-16_750, abs=250)
    assert parts["basis"] == pytest.approx(-4_350, abs=250)
    assert parts["fees"] == pytest.approx(-540, abs=100)
    assert parts["borrow"] == parts["liquidation"] == 0.0
    assert abs(parts["slippage"]) < 1.0
    assert not hedged.terminated[0]


def test_an_independent_recomputation_finds_the_same_parts(
    hedged: Replay, real_data: Path, read_plainly: Reader
) -> None:
    for name, quote in recomputed(real_data / "crypto", read_plainly).items():
        assert hedged.parts[name][0] == pytest.approx(quote, abs=0.001 * CAPITAL), name


def test_it_begins_with_the_first_bar_and_loses_most_in_november(hedged: Replay) -> None:
    assert int(hedged.decision_ms[0]) == START_MS + HOUR_MS
    assert int(hedged.decision_ms[-1]) == END_MS - HOUR_MS
    fell = np.flatnonzero(hedged.decision_ms >= round(datetime(2022, 11, 1, tzinfo=UTC).timestamp() * 1000))[
        0
    ]
    assert hedged.equity[-1, 0] - hedged.equity[fell, 0] < 0.6 * (hedged.equity[-1, 0] - CAPITAL)


def test_the_command_prints_the_split(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = tmp_path / "ledger.parquet"
    with console.capture() as said:
        done = CliRunner().invoke(
            app,
            [
                "backtest",
                str(real_data / "crypto"),
                *("--tickers", "SOL", "--since", "2022-01-01", "--until", "2023-01-01"),
                *("--policy", "always_hedged", "--out", str(ledger)),
            ],
        )
    assert done.exit_code == 0, done.output
    told = said.get()
    for heading in ("funding", "basis", "fees", "slippage", "drawdown", "trades"):
        assert heading in told
    assert "traded 2022-01-01 01:00 UTC to 2022-12-31 23:00 UTC" in told
    rows = pl.read_parquet(ledger)
    assert rows["equity"][-1] == pytest.approx(78_200, abs=500)
    (cells,) = (line.split() for line in told.splitlines() if line.split()[:1] == ["SOL"])
    assert cells[1] == f"{rows['equity'][-1] / CAPITAL - 1:+.2%}"
