"""What an account is worth, bar by bar, while nothing trades: the ledger's events summed up in closed form.

Between two trades the quantities stand still, so that what a market does to an account from one row to
another depends on sums over the rows between only, which are the same for every account (`Sums`). For a
linear perpetual, with the sums C and L of settlement cash and of spot · years, at row i after row a,

    equity_i = cash + wallet + spot_qty · spot_i + perp_qty · (mark_i − entry + C_i − C_a)
             + borrow_apr · min(spot_qty, 0) · (L_i − L_a)

`core.ledger` books the same events one at a time, and is what decides: a property test holds the two
together, and no other formula for either stands anywhere.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import Account, Column, settle_price
from carryflow.core.compiled import compiled
from carryflow.core.ledger import mark_to_market
from carryflow.core.liquidation import is_liquidated

Floats = NDArray[np.float64]

CHUNK = np.uint64(32)
"""Rows that are valued together. Unsigned, as are the rows below: an index that may be negative costs a look
at its sign, and with it the eight rows that a loop takes at a time."""

_ONE = np.uint64(1)

NEARLY = 1.0 - 1e-12
"""Part of a threshold at which a row is worth a look; the ledger, which rounds otherwise, then decides."""


class Sums(IntEnum):
    """Name the sums over a market's rows, each from the first row on: the rows of an (len(Sums), n) array."""

    SETTLED = 0  # cash per contract that a long received (settle coin)
    FUNDED = 1  # the same in quote, as it is booked: an inverse contract's coins at the spot price before
    LENT = 2  # spot price at the row before · years since, what interest on a borrowed coin is paid on


def sum_market(spot: Floats, settlement_cash: Floats, years: Floats, *, linear: bool) -> Floats:
    """Sum up what a market does to all who hold in it, (len(Sums), n).

    Args:
        spot: spot reference price at each row (quote) (n,).
        settlement_cash: what a long of one contract received since the row before (settle coin) (n,).
        years: time since the row before (n,).
        linear: whether the perpetual is settled in quote.

    >>> spot, cash, years = np.array([10.0, 20.0, 20.0]), np.array([9.0, -1.0, 2.0]), np.full(3, 0.5)
    >>> sum_market(spot, cash, years, linear=True).tolist()
    [[0.0, -1.0, 1.0], [0.0, -1.0, 1.0], [0.0, 5.0, 15.0]]
    >>> sum_market(spot, cash, years, linear=False)[Sums.FUNDED].tolist()
    [0.0, -10.0, 30.0]
    """
    sums = np.zeros((len(Sums), len(spot)))
    np.cumsum(settlement_cash[1:], out=sums[Sums.SETTLED, 1:])
    if linear:
        sums[Sums.FUNDED] = sums[Sums.SETTLED]
    else:
        np.cumsum(settlement_cash[1:] * spot[:-1], out=sums[Sums.FUNDED, 1:])
    np.cumsum(spot[:-1] * years[1:], out=sums[Sums.LENT, 1:])
    return sums


@compiled(inlined=True)
def hold(
    account: Account,
    settled: float,
    funded: float,
    lent: float,
    borrow_apr: float,
    spot_price: float,
    mark: float,
) -> None:
    """Live through several rows at once: book their settlements and interest, and value both legs anew.

    Args:
        account: one row of the ledger; nothing happens to it in between.
        settled: change of `Sums.SETTLED` over these rows; so too the next two.
        funded: change of `Sums.FUNDED`.
        lent: change of `Sums.LENT`.
        borrow_apr: interest on a borrowed coin (fraction of its value a year).
        spot_price: spot reference price at the last row (quote).
        mark: mark price there.

    """
    qty = account[Column.PERP_QTY]
    account[Column.PERP_WALLET] += qty * settled
    account[Column.FUNDING] += qty * funded
    # coins that came on the way gained with the price only since they came; a linear wallet has none
    account[Column.BASIS] -= qty * (funded - settled * settle_price(account))
    if account[Column.SPOT_QTY] < 0.0:
        interest = account[Column.SPOT_QTY] * lent * borrow_apr
        account[Column.SPOT_CASH] += interest
        account[Column.BORROW] += interest
    mark_to_market(account, spot_price, mark)


@compiled(inlined=True)
def is_safe(
    account: Account,
    least_settled: float,
    most_settled: float,
    lowest_mark: float,
    highest_mark: float,
    brackets: Floats,
) -> bool:
    """Say that nothing within some bounds can liquidate the account.

    The margin balance less the maintenance margin is concave in the mark, so that it is least at an end.

    Args:
        account: one row of the ledger.
        least_settled: least change of `Sums.SETTLED` to come.
        most_settled: greatest change of `Sums.SETTLED` to come.
        lowest_mark: lowest mark to come (quote).
        highest_mark: highest mark to come (quote).
        brackets: the venue's table, see `core.margin.bracket_table` (k, 2).

    """
    wallet, qty = account[Column.PERP_WALLET], account[Column.PERP_QTY]
    if qty == 0.0:
        return True
    account[Column.PERP_WALLET] = wallet + min(0.0, qty * least_settled, qty * most_settled)
    safe = not is_liquidated(account, lowest_mark, brackets)
    safe = safe and not is_liquidated(account, highest_mark, brackets)
    account[Column.PERP_WALLET] = wallet
    return safe


@compiled(inlined=True)
def value_held(
    account: Account,
    spot: Floats,
    perp: Floats,
    marked: Floats,
    lent: Floats,
    settled_before: float,
    lent_before: float,
    borrow_apr: float,
    targets: Floats,
    spot_share: float,
    hysteresis: float,
    tolerance: float,
    begin: int,
    end: int,
    worth: Floats,
) -> int:
    """Value a linear account from row to row, while nothing trades, up to the first that is worth a look.

    That is one at which the target lies further than the hysteresis from the position or wants out, at which
    coins without a hedge are worth more than is put up with, or at which the account is ruined: there the
    ledger decides.

    Args:
        account: one row of the ledger; it stands at or before row `begin`.
        spot: spot reference prices (quote) (n,).
        perp: reference prices of the perpetual (quote) (n,).
        marked: mark prices, with `Sums.SETTLED` added to each (quote) (n,).
        lent: `Sums.LENT` (n,).
        settled_before: `Sums.SETTLED` at the row on which the account stands.
        lent_before: `Sums.LENT` there.
        borrow_apr: interest on a borrowed coin (fraction of its value a year).
        targets: wanted fractions of capital in the hedged trade, in [−1, 1] (n,).
        spot_share: part of equity in the spot wallet.
        hysteresis: distance from position to target that is worth a trade.
        tolerance: coins without a hedge that are put up with (fraction of equity).
        begin: the first row to value.
        end: the row after the last.
        worth: is filled with the equity (quote) (n,).

    Returns:
        The first row that is worth a look, `end` if none is; what `worth` says from there on is of no use.

    """
    coins, qty = account[Column.SPOT_QTY], account[Column.PERP_QTY]
    fixed = account[Column.SPOT_CASH] + account[Column.PERP_WALLET]
    rate, bare = min(coins, 0.0) * borrow_apr, abs(coins + qty) / (NEARLY * tolerance)
    fixed -= qty * (account[Column.PERP_ENTRY] + settled_before) + rate * lent_before
    near = NEARLY * hysteresis
    row, last = np.uint64(begin), np.uint64(end)
    while row < last:
        stop = row + CHUNK - row % CHUNK
        found = 0
        if stop > last or stop - row < CHUNK:
            stop, found = min(stop, last), 1  # an odd end, which is looked at row by row
        elif coins == 0.0 and qty == 0.0:
            for i in range(CHUNK):
                worth[row + i] = fixed
                found += (abs(targets[row + i]) > near) | (fixed <= 0.0)
        elif rate == 0.0 and bare == 0.0:
            for i in range(CHUNK):
                held = coins * spot[row + i]
                value = fixed + held + qty * marked[row + i]
                worth[row + i] = value
                found += _is_off(targets[row + i], held, spot_share * value, near)
        else:
            for i in range(CHUNK):
                held = coins * spot[row + i]
                value = fixed + held + qty * marked[row + i] + rate * lent[row + i]
                worth[row + i] = value
                off = _is_off(targets[row + i], held, spot_share * value, near)
                found += off | (bare * perp[row + i] > value)
        if found == 0:
            row = stop
        while row < stop:
            held = coins * spot[row]
            value = fixed + held + qty * marked[row] + rate * lent[row]
            worth[row] = value
            if _is_off(targets[row], held, spot_share * value, near) or bare * perp[row] > value:
                return np.int64(row)  # type: ignore[return-value] # compiled, an int
            row += _ONE
    return end


@compiled
def _is_off(target: float, held: float, whole: float, near: float) -> bool:
    """Compare what the coins held are worth with the target's part of the `whole` spot wallet (quote)."""
    # | and not `or`: a loop without branches takes eight rows at a time
    return (abs(target * whole - held) > near * whole) | ((target == 0.0) & (held != 0.0)) | (whole <= 0.0)
