"""What each event does to an account, by hand; whole statements stand in `test_statement.py`."""

import numpy as np
import pytest

from carryflow.core.account import (
    INVERSE_KIND,
    LINEAR_KIND,
    PARTS,
    Column,
    delta_base,
    equity,
    margin_balance,
    open_account,
    perp_notional,
    residual,
)
from carryflow.core.funding import settlement_cash
from carryflow.core.instrument import ContractType
from carryflow.core.ledger import (
    accrue_borrow,
    fill_perp,
    fill_spot,
    mark_to_market,
    rebalance_wallets,
    settle,
    transfer,
)


@pytest.fixture
def account() -> np.ndarray:
    """10 000 in two equal wallets; spot at 100, mark at 100.5; linear."""
    row = np.zeros(len(Column))
    open_account(row, LINEAR_KIND, 10_000.0, 0.5, 100.0, 100.5)
    return row


@pytest.fixture
def inverse() -> np.ndarray:
    """5 000 in cash and 50 coins in an inverse wallet; all prices 100."""
    row = np.zeros(len(Column))
    open_account(row, INVERSE_KIND, 10_000.0, 0.5, 100.0, 100.0)
    return row


def expect(account: np.ndarray, **columns: float) -> None:
    for name, value in columns.items():
        assert account[Column[name.upper()]] == pytest.approx(value, abs=1e-9), name
    assert residual(account) == pytest.approx(0.0, abs=1e-9)


def test_a_fill_beyond_what_is_held_closes_it_and_opens_the_other_side(account: np.ndarray) -> None:
    fill_perp(account, -20.0, 100.5, 100.5, 0.0)
    # 20 close at 109, a loss of 170; 30 open there, half below the reference
    fill_perp(account, 50.0, 109.5, 109.0, 3.0)
    expect(account, perp_qty=30.0, perp_entry=109.0, perp_wallet=4827.0, slippage=25.0, fees=-3.0)
    expect(account, basis=50 * (100.5 - 109.5), turnover=20 * 100.5 + 50 * 109.0)


@pytest.mark.pitfall("P15")
def test_a_fee_in_coins_is_worth_the_reference_and_leaves_the_cash(account: np.ndarray) -> None:
    fill_spot(account, 40.0, 100.0, 100.01, 1.0, 0.04)
    expect(account, spot_qty=39.96, spot_cash=998.6, fees=-5.0, slippage=-0.4)


@pytest.mark.pitfall("P06")
def test_value_and_margin_follow_the_mark_and_fills_do_not(account: np.ndarray) -> None:
    fill_perp(account, -40.0, 101.0, 100.99, 0.0)
    expect(account, basis=20.0, slippage=-0.4)
    assert margin_balance(account, account[Column.MARK]) == pytest.approx(5019.6)
    mark_to_market(account, 100.0, 103.5)
    expect(account, basis=-100.0)
    assert equity(account) == pytest.approx(9899.6)


def test_a_fill_of_spot_first_values_what_was_held_at_its_reference(account: np.ndarray) -> None:
    fill_spot(account, 10.0, 100.0, 100.0, 0.0, 0.0)
    fill_spot(account, -4.0, 110.0, 109.0, 0.0, 0.0)
    expect(account, spot_price=110.0, basis=100.0, slippage=-4.0, spot_cash=4436.0)


def test_a_fill_of_nothing_books_nothing(account: np.ndarray) -> None:
    fill_perp(account, -2.0, 100.0, 100.0, 0.0)
    before = account.copy()
    fill_perp(account, 0.0, 90.0, 95.0, 5.0)
    assert np.array_equal(account, before)


@pytest.mark.parametrize("column", [*(Column[part.upper()] for part in PARTS), Column.SPOT_CASH])
@pytest.mark.parametrize("kind", [LINEAR_KIND, INVERSE_KIND])
def test_a_unit_of_money_that_is_not_booked_or_not_there_is_the_residual(kind: float, column: Column) -> None:
    row = np.zeros(len(Column))
    open_account(row, kind, 10_000.0, 0.5, 100.0, 100.0)
    fill_spot(row, 3.0, 100.0, 101.0, 1.0, 0.01)
    row[column] += 1.0
    assert residual(row) == pytest.approx(1.0 if column == Column.SPOT_CASH else -1.0, abs=1e-9)


def test_adding_to_a_position_averages_its_entry(account: np.ndarray) -> None:
    fill_perp(account, 1.0, 100.0, 100.0, 0.0)
    fill_perp(account, 3.0, 104.0, 104.0, 0.0)
    expect(account, perp_qty=4.0, perp_entry=103.0, perp_wallet=5000.0)


def test_transfers_move_cash_and_make_none(account: np.ndarray) -> None:
    fill_spot(account, 30.0, 100.0, 100.0, 0.0, 0.0)
    transfer(account, 1500.0)
    expect(account, spot_cash=500.0, perp_wallet=6500.0)
    rebalance_wallets(account, 0.6)
    expect(account, spot_cash=3000.0, perp_wallet=4000.0)
    assert equity(account) == pytest.approx(10_000.0)


def test_coins_that_are_owned_cost_no_interest(account: np.ndarray) -> None:
    fill_spot(account, 30.0, 100.0, 100.0, 0.0, 0.0)
    accrue_borrow(account, 0.06)
    expect(account, borrow=0.0, spot_cash=2000.0)


@pytest.mark.parametrize("kind", [LINEAR_KIND, INVERSE_KIND])
def test_an_account_opens_with_its_capital_and_nothing_else(kind: float) -> None:
    row = np.full(len(Column), np.nan)
    open_account(row, kind, 10_000.0, 0.7, 50.0, 51.0)
    expect(row, spot_cash=7000.0, perp_wallet=3000.0 if kind == LINEAR_KIND else 60.0, opening=10_000.0)
    assert equity(row) == pytest.approx(10_000.0)
    assert [row[Column[part.upper()]] for part in PARTS] == [0.0] * len(PARTS)


def test_coins_move_between_the_wallets_of_an_inverse_account(inverse: np.ndarray) -> None:
    fill_spot(inverse, 30.0, 100.0, 100.0, 0.0, 0.0)
    transfer(inverse, 20.0)
    expect(inverse, spot_qty=10.0, perp_wallet=70.0)
    rebalance_wallets(inverse, 0.9)
    expect(inverse, spot_qty=10.0, spot_cash=2000.0, perp_wallet=70.0)


@pytest.mark.pitfall("P07")
def test_the_unhedged_coins_of_an_inverse_account_count_its_margin(inverse: np.ndarray) -> None:
    fill_spot(inverse, 50.0, 100.0, 100.0, 0.0, 0.0)
    assert delta_base(inverse) == 100.0
    fill_perp(inverse, -10_000.0, 100.0, 100.0, 0.0)
    for price in (50.0, 80.0, 150.0):
        mark_to_market(inverse, price, price)
        expect(inverse, basis=0.0)
        assert delta_base(inverse) == pytest.approx(0.0, abs=1e-12)
        assert equity(inverse) == pytest.approx(10_000.0)
        assert perp_notional(inverse, price) == pytest.approx(10_000.0 / price)


def test_the_unhedged_coins_of_a_linear_account_are_the_difference_of_its_legs(account: np.ndarray) -> None:
    fill_spot(account, 30.0, 100.0, 100.0, 0.0, 0.0)
    fill_perp(account, -29.0, 100.0, 100.0, 0.0)
    assert delta_base(account) == 1.0
    assert perp_notional(account, 110.0) == pytest.approx(3190.0)


@pytest.mark.pitfall("P02")
@pytest.mark.parametrize("kind", [LINEAR_KIND, INVERSE_KIND])
@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("rate", [0.001, -0.001])
def test_longs_pay_shorts_at_a_positive_rate_and_the_two_sum_to_nothing(
    kind: float, side: float, rate: float
) -> None:
    """Size 2 coins at 100: 0.20 quote on linear, 0.002 coins on inverse, whoever pays."""
    hours = np.array([0, 8]) * 3_600_000
    contract, size = (ContractType.LINEAR, 2.0) if kind == LINEAR_KIND else (ContractType.INVERSE, 200.0)
    paid = settlement_cash(contract, hours, hours[1:], np.array([rate]), np.array([100.0]))[1]
    received = []
    for qty in (side * size, -side * size):
        row = np.zeros(len(Column))
        open_account(row, kind, 10_000.0, 0.5, 100.0, 100.0)
        fill_perp(row, qty, 100.0, 100.0, 0.0)
        wallet = row[Column.PERP_WALLET]
        settle(row, paid)
        expect(row, funding=-0.2 * np.sign(qty) * np.sign(rate))
        received.append(row[Column.PERP_WALLET] - wallet)
    assert sum(received) == 0.0
    assert abs(received[0]) == pytest.approx(0.2 if kind == LINEAR_KIND else 0.002)


@pytest.mark.pitfall("P02")
def test_long_spot_and_short_perpetual_is_paid_at_a_positive_rate(account: np.ndarray) -> None:
    fill_spot(account, 40.0, 100.0, 100.0, 0.0, 0.0)
    fill_perp(account, -40.0, 100.5, 100.5, 0.0)
    settle(account, -0.0001 * 100.5)
    expect(account, funding=0.402, perp_wallet=5000.402, spot_cash=1000.0)
