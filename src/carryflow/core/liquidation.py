"""What the venue does to a position against its holder's will: liquidation and auto-deleveraging."""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import (
    LINEAR_KIND,
    Account,
    Column,
    margin_balance,
    perp_notional,
    quote_value,
    settle_price,
    unrealised,
)
from carryflow.core.compiled import compiled
from carryflow.core.margin import inverse_liquidation_price, liquidation_price, maintenance_margin


@compiled
def is_liquidated(account: Account, mark: float, brackets: NDArray[np.float64]) -> bool:
    """Say whether the margin balance has sunk to the maintenance margin, both on a mark price.

    Args:
        account: one row of the ledger.
        mark: the price asked about; the account's own mark is not looked at.
        brackets: the venue's table, see `core.margin.bracket_table` (k, 2).

    """
    qty: float = account[Column.PERP_QTY]
    if account[Column.KIND] == LINEAR_KIND:
        balance: float = account[Column.PERP_WALLET] + qty * (mark - account[Column.PERP_ENTRY])
        notional = abs(qty) * mark
    else:
        balance = margin_balance(account, mark) * mark
        notional = abs(qty)
    # most accounts are far from it: no bracket asks for more than the last one's rate
    if balance > brackets[-1, 0] * notional or qty == 0.0:
        return False
    return balance <= maintenance_margin(notional, brackets)


@compiled
def liquidation_mark(account: Account, worst: float, brackets: NDArray[np.float64]) -> float:
    """Return the mark on which the venue closes an account that is liquidated on its way to `worst`.

    On the way from the account's mark the margin is gone at one price, and it is closed there. Where a
    settlement or a loan took the margin before the way began, it is closed at the mark where it began.

    Args:
        account: one row of the ledger, liquidated on `worst`.
        worst: the mark, of those since the account's, that hurts it most (quote).
        brackets: the venue's table, see `core.margin.bracket_table` (k, 2).

    """
    wallet, qty = account[Column.PERP_WALLET], account[Column.PERP_QTY]
    if account[Column.KIND] == LINEAR_KIND:
        price = liquidation_price(wallet, qty, account[Column.PERP_ENTRY], brackets)
    else:
        price = inverse_liquidation_price(wallet, qty, account[Column.PERP_ENTRY], brackets)
    before: float = account[Column.MARK]
    if min(before, worst) <= price <= max(before, worst):
        return price
    return before


@compiled
def liquidate(account: Account, fee_rate: float) -> None:
    """Let the venue close the perpetual at the account's mark and keep its fee (fraction of the notional).

    A wallet never goes below zero: the insurance fund bears the rest, which is booked against the fee.
    """
    fee = fee_rate * _close_at_mark(account)
    loss = min(fee, account[Column.PERP_WALLET])
    account[Column.PERP_WALLET] -= loss
    account[Column.LIQUIDATION] -= loss * settle_price(account)


@compiled
def deleverage(account: Account, fraction: float, price: float) -> None:
    """Let the venue close `fraction` of the perpetual, at most all of it, at `price`, without a fee.

    How far the price lies from the account's mark is booked as liquidation: the holder did not choose it. It
    takes no more than the margin balance; the insurance fund bears the rest, as at a liquidation.
    """
    if not fraction > 0.0:
        return
    closed = min(fraction, 1.0) * account[Column.PERP_QTY]
    if closed == 0.0:
        return
    mark = account[Column.MARK]
    least = min(-margin_balance(account, mark), 0.0)
    distance = max(unrealised(account, closed, mark, price), least)
    account[Column.PERP_WALLET] += unrealised(account, closed, account[Column.PERP_ENTRY], mark) + distance
    account[Column.PERP_QTY] -= closed
    account[Column.LIQUIDATION] += distance * settle_price(account)
    account[Column.TURNOVER] += quote_value(account, closed, price)


@compiled
def is_group_liquidated(
    accounts: NDArray[np.float64], marks: NDArray[np.float64], brackets: NDArray[np.float64]
) -> bool:
    """Say whether linear accounts that share one margin wallet are liquidated together.

    They are when the sum of their margin balances has sunk to the sum of their maintenance margins. An
    inverse account has no part in it: its coins are no margin for the others.

    Args:
        accounts: rows of the ledger (K, len(Column)).
        marks: the price asked about for each (K,).
        brackets: the venue's table, see `core.margin.bracket_table` (k, 2).

    """
    balance, maintenance, held = 0.0, 0.0, False
    for i in range(len(accounts)):
        if accounts[i, Column.KIND] != LINEAR_KIND:
            continue
        balance += margin_balance(accounts[i], marks[i])
        notional = perp_notional(accounts[i], marks[i])
        maintenance += maintenance_margin(notional, brackets)
        held = held or notional > 0.0
    return held and balance <= maintenance


@compiled
def liquidate_group(accounts: NDArray[np.float64], fee_rate: float) -> None:
    """Let the venue close every perpetual of linear accounts that share one margin wallet.

    The floor of zero is that of the sum of the wallets (K, len(Column)): one of them may stay negative while
    the others bear it. Fee, or what the insurance fund bears, is shared out by notional. An inverse account
    is left as it is.
    """
    total, pool = 0.0, 0.0
    for i in range(len(accounts)):
        if accounts[i, Column.KIND] != LINEAR_KIND:
            continue
        total += perp_notional(accounts[i], accounts[i, Column.MARK])
        pool += margin_balance(accounts[i], accounts[i, Column.MARK])
    if total == 0.0:
        return
    loss_rate = min(fee_rate * total, pool) / total
    for i in range(len(accounts)):
        if accounts[i, Column.KIND] != LINEAR_KIND:
            continue
        loss = loss_rate * _close_at_mark(accounts[i])
        accounts[i, Column.PERP_WALLET] -= loss
        accounts[i, Column.LIQUIDATION] -= loss


@compiled
def _close_at_mark(account: Account) -> float:
    mark = account[Column.MARK]
    notional = perp_notional(account, mark)
    account[Column.PERP_WALLET] = margin_balance(account, mark)
    account[Column.TURNOVER] += quote_value(account, account[Column.PERP_QTY], mark)
    account[Column.PERP_QTY] = 0.0
    return notional
