"""The ledger against a statement worked by hand, and against its own identity."""

import numpy as np
import pytest

from carryflow.core.ledger import (
    Column,
    accrue_borrow,
    equity,
    fill_perp,
    fill_spot,
    liquidate,
    mark_to_market,
    open_account,
    rebalance_wallets,
    residual,
    settle,
    transfer,
)
from carryflow.core.margin import is_liquidated, liquidation_price


@pytest.fixture
def account() -> np.ndarray:
    """10 000 in two equal wallets; spot at 100, mark at 100.5."""
    row = np.zeros(len(Column))
    open_account(row, 10_000.0, 0.5, 100.0, 100.5)
    return row


def expect(account: np.ndarray, **columns: float) -> None:
    for name, value in columns.items():
        assert account[Column[name.upper()]] == pytest.approx(value, abs=1e-9), name
    assert residual(account) == pytest.approx(0.0, abs=1e-9)


def test_a_statement_worked_by_hand(account: np.ndarray) -> None:
    # buy 40 spot at 100.01 (reference 100), 10 bp fee
    fill_spot(account, 40.0, 100.0, 100.01, 4.0004)
    expect(account, spot_qty=40.0, spot_cash=995.5996, slippage=-0.4, fees=-4.0004)
    # sell 40 perpetuals at 100.99 (reference 101, mark 100.5), 5 bp fee
    fill_perp(account, -40.0, 101.0, 100.99, 2.0198)
    expect(account, perp_qty=-40.0, perp_entry=100.99, perp_wallet=4997.9802, basis=20.0, slippage=-0.8)
    assert equity(account) == pytest.approx(10_013.1798)
    # 3 bp settle on a mark of 100: shorts of 40 receive 1.2
    settle(account, -0.03)
    expect(account, funding=1.2, perp_wallet=4999.1802)
    # spot +10, mark +9
    mark_to_market(account, 110.0, 109.5)
    expect(account, basis=60.0)
    # buy back 20 at 110.02 (reference 110): 20 · (100.99 − 110.02) is realised, the entry stays
    fill_perp(account, 20.0, 110.0, 110.02, 1.1001)
    expect(account, perp_qty=-20.0, perp_entry=100.99, perp_wallet=4817.4801, basis=50.0, slippage=-1.2)
    # sell 60 spot at 109.99: 20 short now; the fees so far are 4.0004 + 2.0198 + 1.1001 + 6.5994
    fill_spot(account, -60.0, 110.0, 109.99, 6.5994)
    expect(account, spot_qty=-20.0, spot_cash=7588.4002, slippage=-1.8, fees=-13.7197)
    # an hour at 6 % a year on 2200 borrowed
    accrue_borrow(account, 0.06 / 8760)
    expect(account, borrow=-2200 * 0.06 / 8760)
    # flip the perpetual: 20 close at 109, 30 open there
    fill_perp(account, 50.0, 109.5, 109.0, 0.0)
    expect(account, perp_qty=30.0, perp_entry=109.0, perp_wallet=4817.4801 - 20 * 8.01, slippage=23.2)
    expect(account, turnover=40 * 100.01 + 40 * 100.99 + 20 * 110.02 + 60 * 109.99 + 50 * 109.0)


def test_adding_to_a_position_averages_its_entry(account: np.ndarray) -> None:
    fill_perp(account, 1.0, 100.0, 100.0, 0.0)
    fill_perp(account, 3.0, 104.0, 104.0, 0.0)
    expect(account, perp_qty=4.0, perp_entry=103.0, perp_wallet=5000.0)


def test_transfers_move_cash_and_make_none(account: np.ndarray) -> None:
    fill_spot(account, 30.0, 100.0, 100.0, 0.0)
    transfer(account, 1500.0)
    expect(account, spot_cash=500.0, perp_wallet=6500.0)
    rebalance_wallets(account, 0.6)
    expect(account, spot_cash=3000.0, perp_wallet=4000.0)
    assert equity(account) == pytest.approx(10_000.0)


def test_coins_that_are_owned_cost_no_interest(account: np.ndarray) -> None:
    fill_spot(account, 30.0, 100.0, 100.0, 0.0)
    accrue_borrow(account, 0.06)
    expect(account, borrow=0.0, spot_cash=2000.0)


@pytest.mark.pitfall("P13")
def test_a_liquidation_takes_the_fee_and_closes_at_the_mark(account: np.ndarray) -> None:
    fill_perp(account, -50.0, 100.5, 100.5, 0.0)
    mark_to_market(account, 100.0, 199.0)
    assert is_liquidated(5000.0, -50.0, 100.5, 199.0, 0.01)
    liquidate(account, 0.005)
    # 5000 − 50 · 98.5 = 75 is left, the fee would be 49.75
    expect(account, perp_qty=0.0, perp_wallet=25.25, liquidation=-49.75, basis=-4925.0)


@pytest.mark.pitfall("P13")
def test_the_insurance_fund_bears_what_the_wallet_cannot(account: np.ndarray) -> None:
    fill_perp(account, -50.0, 100.5, 100.5, 0.0)
    mark_to_market(account, 100.0, 220.5)
    liquidate(account, 0.005)
    expect(account, perp_qty=0.0, perp_wallet=0.0, liquidation=1000.0, basis=-6000.0)
    assert equity(account) == pytest.approx(5000.0)


@pytest.mark.parametrize("qty", [-50.0, 60.0])
def test_the_liquidation_price_is_where_liquidation_begins(qty: float) -> None:
    price = liquidation_price(3000.0, qty, 100.0, 0.01)
    against = np.sign(qty)
    assert not is_liquidated(3000.0, qty, 100.0, price + 1e-6 * against, 0.01)
    assert is_liquidated(3000.0, qty, 100.0, price - 1e-6 * against, 0.01)


def test_a_long_with_more_margin_than_value_cannot_be_liquidated() -> None:
    assert np.isnan(liquidation_price(10_000.0, 10.0, 100.0, 0.01))
    assert np.isnan(liquidation_price(10_000.0, 0.0, 100.0, 0.01))
