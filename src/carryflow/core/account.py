"""What an account is, and what it is worth: a spot leg, a perpetual leg and a wallet for each.

An account is one row of a float64 array whose columns `Column` names; N accounts are an (N, len(Column))
array. The perpetual is linear or inverse, as `Column.KIND` says:

    linear     qty in base coins, wallet in quote     value = wallet + qty · (mark − entry)
    inverse    qty in quote, wallet in base coins     coins = wallet + qty · (1/entry − 1/mark)

Either way a long has qty > 0 and gains when the price rises. An inverse wallet's coins are worth the spot
price, so that, all money in quote,

    equity = spot_cash + spot_qty · spot_price + value        (inverse: value = coins · spot_price)
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from carryflow.core.compiled import compiled

Account = NDArray[np.float64]
"""One row of the ledger, (len(Column),)."""

LINEAR_KIND = 0.0
"""`Column.KIND` of an account whose perpetual is settled in quote."""

INVERSE_KIND = 1.0
"""`Column.KIND` of an account whose perpetual is settled in base coins."""


class Column(IntEnum):
    """Name the columns of an account."""

    SPOT_QTY = 0
    SPOT_CASH = 1
    SPOT_PRICE = 2  # reference price at which the spot leg is valued
    PERP_QTY = 3  # base coins; inverse: quote
    PERP_ENTRY = 4
    PERP_WALLET = 5  # quote; inverse: base coins
    MARK = 6  # mark price at which the perpetual is valued
    OPENING = 7
    TURNOVER = 8  # notional traded in both legs, ever
    FUNDING = 9  # this and the following are the parts of profit, in the order of PARTS
    BASIS = 10
    FEES = 11
    SLIPPAGE = 12
    BORROW = 13
    LIQUIDATION = 14
    KIND = 15  # LINEAR_KIND or INVERSE_KIND


PARTS: tuple[str, ...] = ("funding", "basis", "fees", "slippage", "borrow", "liquidation")
"""The parts of profit, in the order of their columns."""

FIRST_PART = int(Column.FUNDING)
N_PARTS = len(PARTS)


@compiled
def open_account(
    account: Account, kind: float, capital: float, spot_share: float, spot_price: float, mark: float
) -> None:
    """Begin anew: capital (quote) split over the two wallets, no position, no history.

    An inverse wallet begins with coins at the spot price, free of cost.
    """
    account[:] = 0.0
    account[Column.KIND] = kind
    account[Column.SPOT_PRICE] = spot_price
    account[Column.MARK] = mark
    account[Column.OPENING] = capital
    account[Column.SPOT_CASH] = spot_share * capital
    account[Column.PERP_WALLET] = (capital - spot_share * capital) / settle_price(account)


@compiled
def settle_price(account: Account) -> float:
    """Return what a unit of the perpetual's wallet is worth (quote): 1, or the spot price of a coin."""
    price: float = 1.0 if account[Column.KIND] == LINEAR_KIND else account[Column.SPOT_PRICE]
    return price


@compiled
def unrealised(account: Account, qty: float, since: float, price: float) -> float:
    """Return what `qty` of the perpetual gains between two prices (settle coin).

    >>> linear, inverse = np.zeros(16), np.zeros(16)
    >>> inverse[Column.KIND] = INVERSE_KIND
    >>> unrealised(linear, 3.0, 100.0, 125.0), unrealised(inverse, 1000.0, 100.0, 125.0)
    (75.0, 2.0)
    """
    if account[Column.KIND] == LINEAR_KIND:
        return qty * (price - since)
    return qty * (price - since) / (since * price)


@compiled
def margin_balance(account: Account, mark: float) -> float:
    """Return the perpetual's wallet with its unrealised profit on a mark price (settle coin)."""
    wallet: float = account[Column.PERP_WALLET]
    qty, entry = account[Column.PERP_QTY], account[Column.PERP_ENTRY]
    # the linear case stands first and whole, so that a loop over accounts is compiled without a branch
    if account[Column.KIND] == LINEAR_KIND:
        linear: float = qty * (mark - entry)
        return wallet + linear
    if qty == 0.0:
        return wallet
    return wallet + unrealised(account, qty, entry, mark)


@compiled
def perp_notional(account: Account, mark: float) -> float:
    """Return the value of the perpetual position on a mark price, whatever its side (settle coin, ≥ 0)."""
    size: float = abs(account[Column.PERP_QTY])
    return size * mark if account[Column.KIND] == LINEAR_KIND else size / mark


@compiled
def quote_value(account: Account, qty: float, price: float) -> float:
    """Return what `qty` of the perpetual is worth at a price, whatever its side (quote, ≥ 0)."""
    return abs(qty) * price if account[Column.KIND] == LINEAR_KIND else abs(qty)


@compiled
def equity(account: Account) -> float:
    """Return what the account is worth at its last marks (quote)."""
    spot: float = account[Column.SPOT_CASH] + account[Column.SPOT_QTY] * account[Column.SPOT_PRICE]
    return spot + margin_balance(account, account[Column.MARK]) * settle_price(account)


@compiled
def residual(account: Account) -> float:
    """Return the profit that no part explains (quote): rounding, or a bug."""
    explained = account[Column.OPENING]
    for part in range(N_PARTS):
        explained += account[FIRST_PART + part]
    unexplained: float = equity(account) - explained
    return unexplained


@compiled
def delta_base(account: Account) -> float:
    """Return the coins that are not hedged (base; positive: the account gains when the price rises).

    An inverse wallet is itself coins, so that a short of all coins' value at its entry leaves none, wherever
    the price then goes.
    """
    spot: float = account[Column.SPOT_QTY]
    held: float = account[Column.PERP_QTY]
    if account[Column.KIND] == LINEAR_KIND:
        return spot + held
    if held != 0.0:
        spot += held / account[Column.PERP_ENTRY]
    wallet: float = account[Column.PERP_WALLET]
    return spot + wallet
