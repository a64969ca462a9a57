"""Whatever happens to an account, the parts explain its profit and its wallets add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryflow.core.account import (
    INVERSE_KIND,
    LINEAR_KIND,
    PARTS,
    Account,
    Column,
    equity,
    open_account,
    residual,
)
from carryflow.core.ledger import (
    accrue_borrow,
    fill_perp,
    fill_spot,
    mark_to_market,
    rebalance_wallets,
    settle,
    transfer,
)
from carryflow.core.liquidation import deleverage, liquidate, liquidate_group

CAPITAL = 100_000.0
BOTH_KINDS = pytest.mark.parametrize("kind", [LINEAR_KIND, INVERSE_KIND], ids=["linear", "inverse"])

quantities = st.integers(-5_000_000, 5_000_000).map(lambda lots: lots / 10_000)
prices = st.floats(20.0, 500.0)
fees = st.floats(0.0, 50.0)


def events(kind: float) -> st.SearchStrategy[tuple[object, tuple[float, ...]]]:
    """Draw an event and its arguments, in the units of the kind."""
    unit = 1.0 if kind == LINEAR_KIND else 100.0  # an inverse contract is quote, a wallet's money coins
    perps = quantities.map(lambda qty: unit * qty)
    return st.one_of(
        st.tuples(st.just(fill_spot), st.tuples(quantities, prices, prices, fees, st.floats(0.0, 0.5))),
        st.tuples(st.just(fill_perp), st.tuples(perps, prices, prices, st.floats(0.0, 50.0 / unit))),
        st.tuples(st.just(mark_to_market), st.tuples(prices, prices)),
        st.tuples(st.just(settle), st.tuples(st.floats(-5.0 / unit**2, 5.0 / unit**2))),
        st.tuples(st.just(accrue_borrow), st.tuples(st.floats(0.0, 0.001))),
        st.tuples(st.just(rebalance_wallets), st.tuples(st.floats(0.1, 0.9))),
        st.tuples(st.just(liquidate), st.tuples(st.floats(0.0, 0.02))),
        st.tuples(st.just(deleverage), st.tuples(st.floats(-0.5, 1.5), prices)),
        st.tuples(st.just(transfer), st.tuples(st.floats(-1e4 / unit, 1e4 / unit))),
    )


def opened(kind: float) -> Account:
    account = np.zeros(len(Column))
    open_account(account, kind, CAPITAL, 0.5, 100.0, 100.0)
    return account


def worth(account: Account) -> float:
    """Say what the account would bring, were both legs closed at their last marks (quote)."""
    book = {column.name.lower(): float(account[column]) for column in Column}
    spot = book["spot_cash"] + book["spot_qty"] * book["spot_price"]
    qty, entry, mark = book["perp_qty"], book["perp_entry"], book["mark"]
    if book["kind"] == LINEAR_KIND:
        return spot + book["perp_wallet"] + qty * (mark - entry)
    gained = qty / entry - qty / mark if qty else 0.0
    return spot + (book["perp_wallet"] + gained) * book["spot_price"]


def require_books(account: Account) -> None:
    parts = sum(float(account[Column[part.upper()]]) for part in PARTS)
    assert abs(worth(account) - CAPITAL - parts) <= 1e-9 * CAPITAL
    assert abs(equity(account) - worth(account)) <= 1e-9 * CAPITAL
    stolen = account.copy()
    stolen[Column.SPOT_CASH] -= 1.0
    assert abs(residual(stolen) + 1.0) <= 1e-9 * CAPITAL


@BOTH_KINDS
@given(data=st.data())
def test_the_parts_explain_the_profit_to_a_billionth_of_capital(kind: float, data: st.DataObject) -> None:
    account = opened(kind)
    for event, arguments in data.draw(st.lists(events(kind), max_size=40)):
        event(account, *arguments)  # type: ignore[operator]
        require_books(account)


@BOTH_KINDS
@given(data=st.data())
def test_moves_between_wallets_make_and_lose_nothing(kind: float, data: st.DataObject) -> None:
    account = opened(kind)
    fill_spot(account, data.draw(quantities), 100.0, 100.0, 0.0, 0.0)
    worth, coins = equity(account), account[Column.SPOT_QTY]
    cash = account[Column.SPOT_CASH]
    for amount in data.draw(st.lists(st.floats(-1e6, 1e6), max_size=10)):
        transfer(account, amount)
    rebalance_wallets(account, data.draw(st.floats(0.1, 0.9)))
    assert equity(account) == pytest.approx(worth, abs=1e-9 * CAPITAL)
    if kind == LINEAR_KIND:
        assert account[Column.SPOT_QTY] == coins
        assert account[Column.SPOT_CASH] + account[Column.PERP_WALLET] == pytest.approx(cash + 0.5 * CAPITAL)
    else:
        assert account[Column.SPOT_CASH] == cash
        assert account[Column.SPOT_QTY] + account[Column.PERP_WALLET] == pytest.approx(
            coins + 500.0, abs=1e-6
        )
    assert [account[Column[part.upper()]] for part in PARTS] == [0.0] * len(PARTS)


@BOTH_KINDS
@given(fills=st.lists(st.tuples(quantities, prices), min_size=1, max_size=20))
def test_a_perpetual_that_is_closed_again_leaves_only_what_was_paid(
    kind: float, fills: list[tuple[float, float]]
) -> None:
    account = opened(kind)
    begun = account[Column.PERP_WALLET]
    received = 0.0  # quote for base coins, or base coins for quote
    for size, price in fills:
        qty = size if kind == LINEAR_KIND else 100.0 * size
        fill_perp(account, qty, price, price, 0.0)
        received += -qty * price if kind == LINEAR_KIND else qty / price
    qty = -account[Column.PERP_QTY]
    fill_perp(account, qty, 100.0, 100.0, 0.0)
    received += -qty * 100.0 if kind == LINEAR_KIND else qty / 100.0
    assert account[Column.PERP_QTY] == 0.0
    assert abs(account[Column.PERP_WALLET] - (begun + received)) <= 1e-9 * CAPITAL


@pytest.mark.pitfall("P13")
@given(
    legs=st.lists(st.tuples(quantities, prices, st.floats(-1e4, 1e4)), min_size=1, max_size=6),
    fee_rate=st.floats(0.0, 0.02),
)
def test_a_group_keeps_what_its_wallets_hold_together_and_never_less_than_nothing(
    legs: list[tuple[float, float, float]], fee_rate: float
) -> None:
    accounts = np.stack([opened(LINEAR_KIND) for _ in legs])
    for account, (qty, price, margin) in zip(accounts, legs, strict=True):
        transfer(account, margin - account[Column.PERP_WALLET])
        fill_perp(account, qty, 100.0, 100.0, 0.0)
        mark_to_market(account, 100.0, price)
    pool = sum(margin + qty * (price - 100.0) for qty, price, margin in legs)
    fee = fee_rate * sum(abs(qty) * price for qty, price, _ in legs)
    flat = all(qty == 0.0 for qty, _, _ in legs)
    liquidate_group(accounts, fee_rate)
    left = accounts[:, Column.PERP_WALLET].sum()
    assert left == pytest.approx(pool if flat else max(pool - fee, 0.0), abs=1e-9 * CAPITAL)
    for account in accounts:
        assert account[Column.PERP_QTY] == 0.0
        require_books(account)
