"""The one ledger: what a trade, a settlement, a loan and a move of the market do to an account.

An account is one row of a float64 array whose columns `Column` names; N accounts are an (N, len(Column))
array. It holds a spot leg, paid from a spot wallet, and a linear perpetual, margined in a wallet of its own:

    equity = spot_cash + spot_qty · spot_price + perp_wallet + perp_qty · (mark − perp_entry)

Each event also books the part of profit that it made, so that at any time, to rounding,

    equity − opening = funding + basis + fees + slippage + borrow + liquidation

where costs are negative. `basis` is the price profit of both legs, spot on the spot reference price and
perpetual on the mark; `slippage` is what fills lost to their reference price. Quantities are signed base
coins, all money is quote.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from carryflow.core.compiled import compiled
from carryflow.core.margin import margin_balance

Account = NDArray[np.float64]
"""One row of the ledger, (len(Column),)."""


class Column(IntEnum):
    """Name the columns of an account."""

    SPOT_QTY = 0
    SPOT_CASH = 1
    SPOT_PRICE = 2  # reference price at which the spot leg is valued
    PERP_QTY = 3
    PERP_ENTRY = 4
    PERP_WALLET = 5
    MARK = 6  # mark price at which the perpetual is valued
    OPENING = 7
    TURNOVER = 8  # notional traded in both legs, ever
    FUNDING = 9  # this and the following are the parts of profit, in the order of PARTS
    BASIS = 10
    FEES = 11
    SLIPPAGE = 12
    BORROW = 13
    LIQUIDATION = 14


PARTS: tuple[str, ...] = ("funding", "basis", "fees", "slippage", "borrow", "liquidation")
"""The parts of profit, in the order of their columns."""

FIRST_PART = int(Column.FUNDING)
N_PARTS = len(PARTS)


@compiled
def open_account(account: Account, capital: float, spot_share: float, spot_price: float, mark: float) -> None:
    """Begin anew: capital split over the two wallets, no position, no history."""
    account[:] = 0.0
    account[Column.SPOT_CASH] = spot_share * capital
    account[Column.PERP_WALLET] = capital - spot_share * capital
    account[Column.SPOT_PRICE] = spot_price
    account[Column.MARK] = mark
    account[Column.OPENING] = capital


@compiled
def equity(account: Account) -> float:
    """Return what the account is worth at its last marks (quote)."""
    spot: float = account[Column.SPOT_CASH] + account[Column.SPOT_QTY] * account[Column.SPOT_PRICE]
    return spot + margin_balance(
        account[Column.PERP_WALLET],
        account[Column.PERP_QTY],
        account[Column.PERP_ENTRY],
        account[Column.MARK],
    )


@compiled
def residual(account: Account) -> float:
    """Return the profit that no part explains (quote): rounding, or a bug."""
    explained = account[Column.OPENING]
    for part in range(N_PARTS):
        explained += account[FIRST_PART + part]
    unexplained: float = equity(account) - explained
    return unexplained


@compiled
def mark_to_market(account: Account, spot_price: float, mark: float) -> None:
    """Value both legs anew; the change is basis."""
    account[Column.BASIS] += account[Column.SPOT_QTY] * (spot_price - account[Column.SPOT_PRICE])
    account[Column.BASIS] += account[Column.PERP_QTY] * (mark - account[Column.MARK])
    account[Column.SPOT_PRICE] = spot_price
    account[Column.MARK] = mark


@compiled
def fill_spot(account: Account, qty: float, reference: float, price: float, fee: float) -> None:
    """Buy (`qty` > 0) or sell spot at `price`, when the reference was `reference`, for a `fee` in quote."""
    mark_to_market(account, reference, account[Column.MARK])
    account[Column.SPOT_QTY] += qty
    account[Column.SPOT_CASH] -= qty * price + fee
    account[Column.SLIPPAGE] += qty * (reference - price)
    account[Column.FEES] -= fee
    account[Column.TURNOVER] += abs(qty) * price


@compiled
def fill_perp(account: Account, qty: float, reference: float, price: float, fee: float) -> None:
    """Buy or sell the perpetual at `price`; what the fill closes is realised into the wallet.

    The position is worth its mark at once, so the distance of the mark from the reference is basis.
    """
    held = account[Column.PERP_QTY]
    if qty == 0.0:
        return
    if held == 0.0 or (held > 0.0) == (qty > 0.0):
        account[Column.PERP_ENTRY] = (held * account[Column.PERP_ENTRY] + qty * price) / (held + qty)
    else:
        closed = -qty if abs(qty) < abs(held) else held
        account[Column.PERP_WALLET] += closed * (price - account[Column.PERP_ENTRY])
        if abs(qty) > abs(held):
            account[Column.PERP_ENTRY] = price
    account[Column.PERP_QTY] = held + qty
    account[Column.PERP_WALLET] -= fee
    account[Column.SLIPPAGE] += qty * (reference - price)
    account[Column.BASIS] += qty * (account[Column.MARK] - reference)
    account[Column.FEES] -= fee
    account[Column.TURNOVER] += abs(qty) * price


@compiled
def transfer(account: Account, to_perp: float) -> None:
    """Move cash from the spot wallet to the perpetual's (negative: back)."""
    account[Column.SPOT_CASH] -= to_perp
    account[Column.PERP_WALLET] += to_perp


@compiled
def rebalance_wallets(account: Account, spot_share: float) -> None:
    """Move cash until the spot wallet with its coins holds `spot_share` of equity."""
    spot = account[Column.SPOT_CASH] + account[Column.SPOT_QTY] * account[Column.SPOT_PRICE]
    transfer(account, spot - spot_share * equity(account))


@compiled
def settle(account: Account, cash_per_base: float) -> None:
    """Receive funding: `cash_per_base` is what a long of one coin receives (negative at a positive rate)."""
    cash = account[Column.PERP_QTY] * cash_per_base
    account[Column.PERP_WALLET] += cash
    account[Column.FUNDING] += cash


@compiled
def accrue_borrow(account: Account, rate: float) -> None:
    """Pay interest of `rate` (fraction of value, for the time passed) on spot coins sold short."""
    if account[Column.SPOT_QTY] < 0.0:
        interest = account[Column.SPOT_QTY] * account[Column.SPOT_PRICE] * rate
        account[Column.SPOT_CASH] += interest
        account[Column.BORROW] += interest


@compiled
def liquidate(account: Account, fee_rate: float) -> None:
    """Let the venue close the perpetual at the mark and keep its fee.

    A wallet never goes below zero: the insurance fund bears the rest, which is booked against the fee.
    """
    qty = account[Column.PERP_QTY]
    mark = account[Column.MARK]
    account[Column.PERP_WALLET] += qty * (mark - account[Column.PERP_ENTRY])
    account[Column.PERP_QTY] = 0.0
    fee = fee_rate * abs(qty) * mark
    loss = min(fee, account[Column.PERP_WALLET])
    account[Column.PERP_WALLET] -= loss
    account[Column.LIQUIDATION] -= loss
    account[Column.TURNOVER] += abs(qty) * mark
