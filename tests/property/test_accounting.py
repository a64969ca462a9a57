"""Whatever happens to an account, the parts explain its profit and its wallets add up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from carryflow.core.ledger import (
    PARTS,
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

CAPITAL = 100_000.0

quantities = st.floats(-500.0, 500.0)
prices = st.floats(20.0, 500.0)
fees = st.floats(0.0, 50.0)

events = st.one_of(
    st.tuples(st.just(fill_spot), st.tuples(quantities, prices, prices, fees)),
    st.tuples(st.just(fill_perp), st.tuples(quantities, prices, prices, fees)),
    st.tuples(st.just(mark_to_market), st.tuples(prices, prices)),
    st.tuples(st.just(settle), st.tuples(st.floats(-5.0, 5.0))),
    st.tuples(st.just(accrue_borrow), st.tuples(st.floats(0.0, 0.001))),
    st.tuples(st.just(transfer), st.tuples(st.floats(-1e4, 1e4))),
    st.tuples(st.just(rebalance_wallets), st.tuples(st.floats(0.1, 0.9))),
    st.tuples(st.just(liquidate), st.tuples(st.floats(0.0, 0.02))),
)


@given(st.lists(events, max_size=40))
def test_the_parts_explain_the_profit_to_a_billionth_of_capital(
    history: list[tuple[object, tuple[float, ...]]],
) -> None:
    account = np.zeros(len(Column))
    open_account(account, CAPITAL, 0.5, 100.0, 100.0)
    for event, arguments in history:
        event(account, *arguments)  # type: ignore[operator]
        profit = equity(account) - CAPITAL
        parts = sum(account[Column[part.upper()]] for part in PARTS)
        assert abs(profit - parts) <= 1e-9 * CAPITAL
        assert abs(residual(account) - (profit - parts)) <= 1e-9 * CAPITAL


@given(st.lists(st.tuples(quantities, prices), min_size=1, max_size=20))
def test_a_perpetual_that_is_closed_again_leaves_only_cash(fills: list[tuple[float, float]]) -> None:
    account = np.zeros(len(Column))
    open_account(account, CAPITAL, 0.5, 100.0, 100.0)
    paid = 0.0
    for qty, price in fills:
        fill_perp(account, qty, price, price, 0.0)
        paid += qty * price
    qty = -account[Column.PERP_QTY]
    fill_perp(account, qty, 100.0, 100.0, 0.0)
    paid += qty * 100.0
    assert account[Column.PERP_QTY] == 0.0
    assert abs(account[Column.PERP_WALLET] - (0.5 * CAPITAL - paid)) <= 1e-9 * CAPITAL
