"""What a ledger was worth, worked out by hand."""

import math

import numpy as np
import pytest

from carryflow.core.errors import InvariantBroken
from carryflow.evaluation.metrics import (
    DAY_HOURS,
    WEEK_HOURS,
    Split,
    drawdown,
    measure,
    period_returns,
    sharpe_ratio,
)

NOTHING = Split(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def measure_path(equity: np.ndarray):
    return measure(equity, NOTHING, traded_quote=0.0, time_in_market=0.0, liquidations=0)


def test_a_return_is_told_on_capital_and_a_year_without_compounding() -> None:
    # 30 days: 1000 → 1010 is 1 %; a year has 8760 / 720 = 12.1667 such months.
    metrics = measure_path(np.linspace(1_000.0, 1_010.0, 721))
    assert metrics.hours == 720
    assert metrics.pnl_quote == pytest.approx(10.0)
    assert metrics.return_total == pytest.approx(0.01)
    assert metrics.return_apr == pytest.approx(0.01 * 8_760 / 720)


def test_the_deepest_fall_is_measured_from_the_peak_before_it_and_not_from_the_start() -> None:
    equity = np.array([100.0, 150.0, 120.0, 140.0, 105.0, 160.0])
    assert drawdown(equity).max() == pytest.approx((150.0 - 105.0) / 150.0)
    assert measure_path(equity).max_drawdown == pytest.approx(0.3)


def test_a_sharpe_ratio_and_its_error_are_those_worked_by_hand() -> None:
    # Daily returns 1, 2, 3 %: mean 2 %, sample deviation 1 %, so SR = 2 a day and 2·√365 a year;
    # Lo's error is √((1 + 2²/2)/3) = 1 a day.
    sharpe = sharpe_ratio(np.array([0.01, 0.02, 0.03]), DAY_HOURS)
    assert sharpe is not None
    assert sharpe.ratio == pytest.approx(2.0 * math.sqrt(365.0))
    assert sharpe.error == pytest.approx(math.sqrt(365.0))
    assert sharpe.periods == 3


def test_periods_are_whole_and_the_last_one_that_is_cut_is_left_out() -> None:
    equity = np.full(1 + 24 + 24 + 23, 100.0)
    equity[25:] = 110.0  # the second day gains 10 %
    equity[-1] = 1.0  # within the third day, which is not whole
    assert period_returns(equity, DAY_HOURS) == pytest.approx([0.0, 0.1])


@pytest.mark.parametrize(
    "equity",
    [np.full(1_000, 100.0), np.full(200, 100.0), 100.0 * 1.0001 ** np.arange(24 * 7 * 5 + 1)],
    ids=["flat", "one week", "grows evenly"],
)
def test_a_sharpe_ratio_that_is_undefined_is_none_and_never_zero_or_infinite(equity: np.ndarray) -> None:
    assert measure_path(equity).sharpe_weekly is None


@pytest.mark.pitfall("P17")
def test_smooth_funding_flatters_the_daily_sharpe_and_the_weekly_tells_it() -> None:
    # Good and bad weeks alternate; within a week every day is nearly alike, so days look like many
    # independent successes where there are only twenty.
    rng = np.random.default_rng(5)
    weeks = np.repeat(np.where(np.arange(20) % 2 == 0, 4e-5, -1e-5), WEEK_HOURS)
    hourly = weeks + rng.normal(0.0, 1e-6, weeks.size)
    metrics = measure_path(1e5 * np.concatenate(([1.0], np.cumprod(1.0 + hourly))))
    assert metrics.sharpe_daily is not None
    assert metrics.sharpe_weekly is not None
    assert metrics.sharpe_monthly is not None
    assert metrics.sharpe_daily.ratio > 2.0 * metrics.sharpe_weekly.ratio
    assert metrics.sharpe_weekly.periods == 20


def test_turnover_is_told_in_capitals_a_year() -> None:
    metrics = measure(np.full(25, 1_000.0), NOTHING, traded_quote=500.0, time_in_market=0.5, liquidations=0)
    assert metrics.turnover_per_year == pytest.approx(0.5 * 365.0)


def test_a_split_adds_up_with_its_costs_negative() -> None:
    assert Split(10.0, -1.0, -2.0, -0.5, -0.25, 0.0, 1e-12).total == pytest.approx(6.25)


@pytest.mark.parametrize(
    "equity",
    [np.array([100.0]), np.array([100.0, np.nan, 101.0]), np.array([100.0, np.inf]), np.array([0.0, 1.0])],
    ids=["one value", "NaN", "infinite", "no capital"],
)
def test_a_ledger_that_cannot_be_true_is_refused_and_not_measured(equity: np.ndarray) -> None:
    with pytest.raises(InvariantBroken, match="check the ledger"):
        measure_path(equity)
