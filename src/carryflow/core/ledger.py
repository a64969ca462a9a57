"""The one ledger: what a trade, a settlement, a loan and a move of the market do to an account.

`core.account` says what an account is. Each event here, and each of `core.liquidation`, also books the part
of profit that it made, so that at any time, to rounding,

    equity − opening = funding + basis + fees + slippage + borrow + liquidation

where costs are negative. `basis` is the price profit of both legs, spot on the spot reference price and
perpetual on the mark; `slippage` is what fills lost to their reference price. All parts are quote: what an
inverse contract pays in coins is booked at the spot price of that instant.
"""

from carryflow.core.account import (
    LINEAR_KIND,
    Account,
    Column,
    equity,
    margin_balance,
    quote_value,
    settle_price,
    unrealised,
)
from carryflow.core.compiled import compiled


@compiled
def mark_to_market(account: Account, spot_price: float, mark: float) -> None:
    """Value both legs anew; the change is basis.

    So is what the coins in an inverse wallet gain: they are held, like spot, at the spot price.
    """
    coins = account[Column.SPOT_QTY]
    if account[Column.KIND] != LINEAR_KIND:
        coins += margin_balance(account, account[Column.MARK])
    account[Column.BASIS] += coins * (spot_price - account[Column.SPOT_PRICE])
    account[Column.SPOT_PRICE] = spot_price
    gained = unrealised(account, account[Column.PERP_QTY], account[Column.MARK], mark)
    account[Column.BASIS] += gained * settle_price(account)
    account[Column.MARK] = mark


@compiled
def fill_spot(
    account: Account, qty: float, reference: float, price: float, fee_quote: float, fee_base: float
) -> None:
    """Buy (`qty` > 0) or sell spot at `price`, when the reference was `reference`.

    Args:
        account: one row of the ledger.
        qty: coins that were ordered, signed.
        reference: price that the leg is valued at (quote).
        price: price of the fill (quote).
        fee_quote: fee taken from the cash (≥ 0).
        fee_base: fee taken in coins (≥ 0): the account holds `qty − fee_base` more than before.

    """
    mark_to_market(account, reference, account[Column.MARK])
    account[Column.SPOT_QTY] += qty - fee_base
    account[Column.SPOT_CASH] -= qty * price + fee_quote
    account[Column.SLIPPAGE] += qty * (reference - price)
    account[Column.FEES] -= fee_quote + fee_base * reference
    account[Column.TURNOVER] += abs(qty) * price


@compiled
def fill_perp(account: Account, qty: float, reference: float, price: float, fee: float) -> None:
    """Buy or sell the perpetual at `price`; what the fill closes is realised into the wallet.

    The position is worth its mark at once, so the distance of the mark from the reference is basis. The
    entry is the mean of the fills by coins: arithmetic of a linear contract, harmonic of an inverse one.

    Args:
        account: one row of the ledger.
        qty: what was bought, signed (base coins; inverse: quote); of 0 nothing is booked, not even a fee.
        reference: price that slippage is measured from (quote).
        price: price of the fill (quote).
        fee: fee taken from the wallet (settle coin, ≥ 0).

    """
    if qty == 0.0:
        return
    held = account[Column.PERP_QTY]
    entry = account[Column.PERP_ENTRY]
    if held == 0.0:
        account[Column.PERP_ENTRY] = price
    elif (held > 0.0) == (qty > 0.0):
        if account[Column.KIND] == LINEAR_KIND:
            account[Column.PERP_ENTRY] = (held * entry + qty * price) / (held + qty)
        else:
            account[Column.PERP_ENTRY] = (held + qty) / (held / entry + qty / price)
    else:
        closed = -qty if abs(qty) < abs(held) else held
        account[Column.PERP_WALLET] += unrealised(account, closed, entry, price)
        if abs(qty) > abs(held):
            account[Column.PERP_ENTRY] = price
    account[Column.PERP_QTY] = held + qty
    account[Column.PERP_WALLET] -= fee
    worth = settle_price(account)
    account[Column.SLIPPAGE] += unrealised(account, qty, price, reference) * worth
    account[Column.BASIS] += unrealised(account, qty, reference, account[Column.MARK]) * worth
    account[Column.FEES] -= fee * worth
    account[Column.TURNOVER] += quote_value(account, qty, price)


@compiled
def transfer(account: Account, to_perp: float) -> None:
    """Move what the perpetual settles in (quote; inverse: coins) from the spot wallet to its own.

    A negative amount moves back.
    """
    if account[Column.KIND] == LINEAR_KIND:
        account[Column.SPOT_CASH] -= to_perp
    else:
        account[Column.SPOT_QTY] -= to_perp
    account[Column.PERP_WALLET] += to_perp


@compiled
def rebalance_wallets(account: Account, spot_share: float) -> None:
    """Move cash until the spot wallet with its coins holds `spot_share` of equity.

    An inverse account is left as it is: its margin is coins, which cash cannot become without a trade.
    """
    if account[Column.KIND] == LINEAR_KIND:
        spot = account[Column.SPOT_CASH] + account[Column.SPOT_QTY] * account[Column.SPOT_PRICE]
        transfer(account, spot - spot_share * equity(account))


@compiled
def settle(account: Account, cash_per_contract: float) -> None:
    """Receive funding; both payments are negative at a positive rate, for a long.

    `cash_per_contract` is what a long of one base coin receives in quote or, of an inverse contract, what a
    long of one quote of notional receives in coins (`core.funding`).
    """
    cash = account[Column.PERP_QTY] * cash_per_contract
    account[Column.PERP_WALLET] += cash
    account[Column.FUNDING] += cash * settle_price(account)


@compiled
def accrue_borrow(account: Account, rate: float) -> None:
    """Pay interest of `rate` (fraction of value, for the time passed) on spot coins sold short."""
    if account[Column.SPOT_QTY] < 0.0:
        interest = account[Column.SPOT_QTY] * account[Column.SPOT_PRICE] * rate
        account[Column.SPOT_CASH] += interest
        account[Column.BORROW] += interest
