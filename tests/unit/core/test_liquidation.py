"""What the venue takes, when, and at which price; all on the mark."""

import numpy as np
import pytest

from carryflow.core.account import (
    INVERSE_KIND,
    LINEAR_KIND,
    Column,
    equity,
    margin_balance,
    open_account,
    residual,
)
from carryflow.core.costs import BINANCE_BTCUSDT
from carryflow.core.ledger import fill_perp, fill_spot, mark_to_market
from carryflow.core.liquidation import (
    deleverage,
    is_group_liquidated,
    is_liquidated,
    liquidate,
    liquidate_group,
    liquidation_mark,
)
from carryflow.core.margin import bracket_table

BRACKETS = bracket_table(*zip(*BINANCE_BTCUSDT, strict=True))
ONE_PERCENT = bracket_table([0.0], [0.01])


def hedged(spot: float, margin: float, qty: float, kind: float = LINEAR_KIND) -> np.ndarray:
    """Open an account at prices of 100: `qty` coins of spot, as many short, `margin` quote under them."""
    row = np.zeros(len(Column))
    open_account(row, kind, spot + margin, spot / (spot + margin), 100.0, 100.0)
    fill_spot(row, qty, 100.0, 100.0, 0.0, 0.0)
    fill_perp(row, -qty if kind == LINEAR_KIND else -100.0 * qty, 100.0, 100.0, 0.0)
    return row


def require(row: np.ndarray, **columns: float) -> None:
    for name, value in columns.items():
        assert row[Column[name.upper()]] == pytest.approx(value, abs=1e-9), name
    assert residual(row) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.pitfall("P13")
@pytest.mark.pitfall("P06")
@pytest.mark.parametrize(("leverage", "minute"), [(5.0, 7), (1.0, None)])
def test_a_squeeze_of_thirty_percent_in_ten_minutes(leverage: float, minute: int | None) -> None:
    """A short at 5× is gone when the mark passes 119.52, in the seventh minute; the last price was first."""
    row = hedged(10_000.0, 10_000.0 / leverage, 100.0)
    gone = None
    for step in range(1, 11):
        mark = 100.0 + 3.0 * step
        mark_to_market(row, mark, mark)
        last = 1.03 * mark
        if gone is None and is_liquidated(row, row[Column.MARK], BRACKETS):
            gone = step
            liquidate(row, 0.0125)
            # 2 000 − 100 · 21 is gone; the insurance fund bears the 100 and gets no fee
            require(row, perp_qty=0.0, perp_wallet=0.0, liquidation=100.0)
        if step == 6 and leverage == 5.0:
            assert is_liquidated(row, last, BRACKETS), "the last price has passed it, the mark has not"
    assert gone == minute
    require(row, spot_qty=100.0, spot_cash=0.0)
    assert equity(row) == pytest.approx(13_000.0 if minute else 20_000.0)


@pytest.mark.pitfall("P13")
def test_a_liquidation_takes_the_fee_and_closes_at_the_mark() -> None:
    row = hedged(5000.0, 5000.0, 50.0)
    mark_to_market(row, 100.0, 198.5)
    assert is_liquidated(row, 198.5, ONE_PERCENT)
    liquidate(row, 0.005)
    # 5 000 − 50 · 98.5 = 75 is left, the fee is 49.625
    require(row, perp_qty=0.0, perp_wallet=25.375, liquidation=-49.625, basis=-4925.0)
    require(row, turnover=5000.0 + 5000.0 + 50.0 * 198.5)
    liquidate(row, 0.005)
    require(row, perp_wallet=25.375, liquidation=-49.625)


@pytest.mark.pitfall("P13")
def test_the_insurance_fund_bears_what_the_wallet_cannot() -> None:
    row = hedged(5000.0, 5000.0, 50.0)
    mark_to_market(row, 100.0, 220.0)
    liquidate(row, 0.005)
    require(row, perp_qty=0.0, perp_wallet=0.0, liquidation=1000.0, basis=-6000.0)
    assert equity(row) == pytest.approx(5000.0)


def test_liquidation_begins_where_the_balance_equals_the_maintenance_margin() -> None:
    row = hedged(5000.0, 5000.0, 50.0)
    row[Column.PERP_WALLET] = 1050.0  # at 120: 1 050 − 1 000 = 50 ≤ 50 · 120 · r ⇔ r ≥ 1/120
    assert is_liquidated(row, 120.0, bracket_table([0.0], [0.0625])), "375 needed, 50 there"
    row[Column.PERP_WALLET] = 1375.0
    assert is_liquidated(row, 120.0, bracket_table([0.0], [0.0625])), "exactly at it"
    row[Column.PERP_WALLET] = 1375.5
    assert not is_liquidated(row, 120.0, bracket_table([0.0], [0.0625]))


@pytest.mark.pitfall("P13")
def test_an_account_is_closed_where_its_margin_was_gone_on_the_way_to_the_worst_mark() -> None:
    short = hedged(5000.0, 5000.0, 50.0)
    # 5 000 − 50 · (p − 100) = 0.01 · 50 · p ⇔ p = 10 000 / 50.5
    assert liquidation_mark(short, 250.0, ONE_PERCENT) == pytest.approx(10_000 / 50.5)
    mark_to_market(short, 100.0, 10_000 / 50.5)
    liquidate(short, 0.0125)
    require(short, perp_wallet=0.0, liquidation=-0.01 * 50 * 10_000 / 50.5)
    long = hedged(0.0, 10_000.0, 0.0, INVERSE_KIND)
    fill_perp(long, 10_000.0, 100.0, 100.0, 0.0)
    assert liquidation_mark(long, 40.0, BRACKETS) == pytest.approx(50.2), "100 + 100 coins, 10 040 quote"
    gone = hedged(5000.0, 40.0, 50.0)  # 50 are needed at 100: a settlement took them
    assert liquidation_mark(gone, 101.0, ONE_PERCENT) == 100.0, "where the way to the worst mark begins"


def test_without_a_position_nothing_is_liquidated() -> None:
    for kind in (LINEAR_KIND, INVERSE_KIND):
        row = np.zeros(len(Column))
        open_account(row, kind, 100.0, 1.0, 100.0, 100.0)
        assert not is_liquidated(row, 100.0, BRACKETS), "an empty wallet"
        liquidate(row, 0.01)
        deleverage(row, 0.5, 90.0)
        require(row, liquidation=0.0, turnover=0.0)
        assert not is_group_liquidated(row[None, :], np.array([100.0]), BRACKETS)


@pytest.mark.pitfall("P07")
def test_an_inverse_short_held_against_its_own_coins_is_not_liquidated_and_a_long_is() -> None:
    short = hedged(0.0, 10_000.0, 0.0, INVERSE_KIND)
    fill_perp(short, -10_000.0, 100.0, 100.0, 0.0)
    assert not is_liquidated(short, 1_000.0, BRACKETS), "10 coins are left, of 0.04 needed"
    long = hedged(0.0, 10_000.0, 0.0, INVERSE_KIND)
    fill_perp(long, 10_000.0, 100.0, 100.0, 0.0)
    # 100 + 10 000 · (1/100 − 1/p) = 0.004 · 10 000 / p ⇔ p = 50.2
    assert not is_liquidated(long, 50.21, BRACKETS)
    assert is_liquidated(long, 50.19, BRACKETS)


@pytest.mark.parametrize(
    ("kind", "closed_at", "booked"), [(LINEAR_KIND, 78.0, 2.0 * 12.5), (INVERSE_KIND, 64.0, 80.0 * 7.8125)]
)
def test_deleveraging_closes_part_of_a_short_at_a_price_that_nobody_chose(
    kind: float, closed_at: float, booked: float
) -> None:
    """12.5 of 50 at 78, the mark at 80; 2 500 of 10 000 quote at 64: 2 500 / 64 − 2 500 / 80 coins."""
    row = hedged(5000.0, 5000.0, 50.0, kind)
    if kind == INVERSE_KIND:
        fill_perp(row, -5000.0, 100.0, 100.0, 0.0)
    mark_to_market(row, 80.0, 80.0)
    held, traded, worth = row[Column.PERP_QTY], row[Column.TURNOVER], equity(row)
    deleverage(row, 0.25, closed_at)
    require(row, perp_qty=0.75 * held, perp_entry=100.0, liquidation=booked, fees=0.0, spot_qty=50.0)
    assert equity(row) == pytest.approx(worth + booked)
    assert row[Column.TURNOVER] - traded == pytest.approx(12.5 * 78 if kind == LINEAR_KIND else 2500)
    deleverage(row, 1.0, 80.0)
    require(row, perp_qty=0.0, liquidation=booked)


@pytest.mark.parametrize(
    ("fraction", "left"), [(1.5, 0.0), (np.inf, 0.0), (-0.5, -50.0), (0.0, -50.0), (np.nan, -50.0)]
)
def test_no_more_than_all_and_no_less_than_nothing_is_deleveraged(fraction: float, left: float) -> None:
    row = hedged(5000.0, 5000.0, 50.0)
    deleverage(row, fraction, 100.0)
    require(row, perp_qty=left, perp_wallet=5000.0, liquidation=0.0)


@pytest.mark.pitfall("P13")
@pytest.mark.parametrize("kind", [LINEAR_KIND, INVERSE_KIND])
def test_deleveraging_takes_no_more_than_the_margin_balance(kind: float) -> None:
    """At a mark of 120 a short of 50 has 4 000 left; a price far above would take more than that."""
    row = hedged(5000.0, 5000.0, 50.0, kind)
    if kind == INVERSE_KIND:
        fill_perp(row, 10_000.0, 100.0, 100.0, 0.0)  # long of 5 000, for which the worst price lies below
    mark = 120.0 if kind == LINEAR_KIND else 60.0
    mark_to_market(row, 100.0, mark)
    balance = margin_balance(row, mark) * (1.0 if kind == LINEAR_KIND else 100.0)
    deleverage(row, 1.0, 300.0 if kind == LINEAR_KIND else 10.0)
    require(row, perp_qty=0.0, perp_wallet=0.0, liquidation=-balance)


def test_a_leg_in_debt_to_a_shared_wallet_is_not_made_whole_by_deleveraging() -> None:
    row = hedged(5000.0, 500.0, 50.0)
    mark_to_market(row, 100.0, 120.0)
    deleverage(row, 1.0, 120.0)
    require(row, perp_qty=0.0, perp_wallet=-500.0, liquidation=0.0)


@pytest.fixture
def group() -> np.ndarray:
    """Three accounts on one wallet of 3 000: shorts of 100 and 50 coins entered at 100, a flat one."""
    return np.stack([hedged(10_000.0, 500.0, 100.0), hedged(5000.0, 2000.0, 50.0), hedged(0.0, 500.0, 0.0)])


@pytest.mark.pitfall("P13")
def test_a_group_is_liquidated_on_the_sum_of_its_balances(group: np.ndarray) -> None:
    marks = np.array([110.0, 100.0, 1.0])
    assert is_liquidated(group[0], 110.0, ONE_PERCENT), "alone, the first would be gone"
    assert not is_group_liquidated(group, marks, ONE_PERCENT)
    # 3 000 − 100 · 28.2 = 180 ≤ 1 % of 12 820 + 5 000 = 178.2 only above 128.22
    assert not is_group_liquidated(group, np.array([128.2, 100.0, 1.0]), ONE_PERCENT)
    assert is_group_liquidated(group, np.array([128.22, 100.0, 1.0]), ONE_PERCENT)


@pytest.mark.pitfall("P13")
@pytest.mark.parametrize(("mark", "left", "booked"), [(128.0, 22.0, -178.0), (140.0, 0.0, 1000.0)])
def test_a_group_is_closed_together_and_its_sum_stops_at_nothing(
    group: np.ndarray, mark: float, left: float, booked: float
) -> None:
    """At 128: 3 000 − 2 800 = 200 less 1 % of 17 800; at 140 the fund bears the 1 000 that are missing."""
    mark_to_market(group[0], 100.0, mark)
    liquidate_group(group, 0.01)
    assert group[:, Column.PERP_QTY].tolist() == [0.0, 0.0, 0.0]
    assert group[:, Column.PERP_WALLET].sum() == pytest.approx(left, abs=1e-9)
    assert group[:, Column.LIQUIDATION].sum() == pytest.approx(booked)
    shares = group[:, Column.LIQUIDATION] / booked
    notional = np.array([100 * mark, 5000.0, 0.0])
    assert shares == pytest.approx(notional / notional.sum())
    for row in group:
        require(row)


def test_an_inverse_account_has_no_part_in_a_group(group: np.ndarray) -> None:
    inverse = hedged(0.0, 10_000.0, 0.0, INVERSE_KIND)
    fill_perp(inverse, -5000.0, 100.0, 100.0, 0.0)
    joined = np.vstack([group, inverse])
    marks = np.array([128.22, 100.0, 1.0, 100.0])
    assert is_group_liquidated(joined, marks, ONE_PERCENT)
    assert not is_group_liquidated(joined[3:], np.array([1e9]), ONE_PERCENT)
    mark_to_market(joined[0], 100.0, 128.0)
    liquidate_group(joined, 0.01)
    assert np.array_equal(joined[3], inverse)
    assert joined[:3, Column.PERP_WALLET].sum() == pytest.approx(22.0)
