"""Each settlement is paid once, to whoever held before it, and never guessed."""

import numpy as np
import pytest

from carryflow.core.costs import YEAR_MS
from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.core.funding import HOURS_PER_YEAR, annualise, settlement_cash, settlement_cash_per_base
from carryflow.core.instrument import ContractType

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def month() -> dict[str, np.ndarray]:
    """A month of settlements every 8 h, whose rates and marks all differ."""
    rng = np.random.default_rng(5)
    settle_ms = np.arange(1, 91) * 8 * HOUR_MS
    return {"settle_ms": settle_ms, "rate": rng.normal(1e-4, 1e-4, 90), "mark": rng.uniform(1e4, 2e4, 90)}


@pytest.mark.pitfall("P01")
@pytest.mark.parametrize("bar_ms", [60_000, 5 * 60_000, HOUR_MS, 6 * HOUR_MS, 8 * HOUR_MS, DAY_MS])
def test_bars_of_any_size_pay_the_same_funding(month: dict[str, np.ndarray], bar_ms: int) -> None:
    close_ms = np.arange(0, 30 * DAY_MS + 1, bar_ms)
    cash = settlement_cash_per_base(close_ms, **month)
    assert cash.sum() == pytest.approx(-(month["rate"] * month["mark"]).sum(), rel=1e-12)


@pytest.mark.pitfall("P01")
def test_gaps_between_bars_lose_no_settlement(month: dict[str, np.ndarray]) -> None:
    hourly = np.arange(0, 30 * DAY_MS + 1, HOUR_MS)
    kept = np.random.default_rng(1).random(len(hourly)) < 0.2
    kept[[0, -1]] = True
    assert settlement_cash_per_base(hourly[kept], **month).sum() == pytest.approx(
        settlement_cash_per_base(hourly, **month).sum(), rel=1e-12
    )


@pytest.mark.pitfall("P01")
def test_a_settlement_pays_who_decided_before_it_and_not_who_decides_at_it() -> None:
    close_ms = np.array([7, 8, 9]) * HOUR_MS
    at_eight = settlement_cash_per_base(close_ms, close_ms[1:2], np.array([0.001]), np.array([100.0]))
    assert at_eight.tolist() == [0.0, pytest.approx(-0.1), 0.0]
    coins = settlement_cash(
        ContractType.INVERSE, close_ms, close_ms[1:2], np.array([0.001]), np.array([100.0])
    )
    assert coins.tolist() == [0.0, pytest.approx(-0.00001), 0.0]
    before_the_first = settlement_cash_per_base(close_ms, close_ms[:1], np.array([0.001]), np.array([100.0]))
    assert before_the_first.tolist() == [0.0, 0.0, 0.0]
    after_the_last = settlement_cash_per_base(
        close_ms, close_ms[2:] + 1, np.array([0.001]), np.array([100.0])
    )
    assert after_the_last.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.pitfall("P03")
def test_an_interval_that_changes_under_a_position_pays_the_sum_of_its_settlements() -> None:
    settle_ms = np.array([8, 16, 20, 24, 25, 26, 27, 28]) * HOUR_MS
    rate = np.array([8.0, 8.0, 4.0, 4.0, 1.0, 1.0, 1.0, 1.0]) * 1e-4
    cash = settlement_cash_per_base(np.arange(30) * HOUR_MS, settle_ms, rate, np.full(8, 1000.0))
    assert cash.sum() == pytest.approx(-2.8)
    assert np.flatnonzero(cash).tolist() == [8, 16, 20, 24, 25, 26, 27, 28]


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize(
    ("missing", "given"),
    [("rate", np.nan), ("rate", np.inf), ("mark", np.nan), ("mark", 0.0), ("mark", -1.0)],
)
def test_a_missing_rate_or_mark_is_an_error_that_names_the_hour(
    month: dict[str, np.ndarray], missing: str, given: float
) -> None:
    month[missing][3] = given
    with pytest.raises(CoverageError, match=r"1 of 90 settlements .* 1970-01-02T08:00Z"):
        settlement_cash_per_base(np.arange(0, 30 * DAY_MS, HOUR_MS), **month)


def test_instants_out_of_order_are_refused(month: dict[str, np.ndarray]) -> None:
    month["settle_ms"][5] = month["settle_ms"][4]
    with pytest.raises(MarketDataError, match="settlement instants must increase"):
        settlement_cash_per_base(np.arange(0, 30 * DAY_MS, HOUR_MS), **month)
    with pytest.raises(MarketDataError, match="interval must be positive"):
        annualise(0.0001, 0.0)


def test_a_year_has_365_days_whatever_the_interval() -> None:
    assert annualise(0.0001, 8.0) == pytest.approx(0.0001 * 3 * 365)
    assert annualise(0.0001, 1.0) == pytest.approx(0.0001 * 24 * 365)
    assert (HOURS_PER_YEAR, YEAR_MS) == (8_760, 31_536_000_000)
