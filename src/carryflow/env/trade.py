"""What an account does at a row and what happens to it until the next, compiled: one account at a time.

An account here is a ledger row with its seat behind it (`layout.Column`, then `layout.Seat`). An inverse
pair is margined by its own coins: what is bought goes into the perpetual's wallet, all of equity can be in
the trade, and a margin ratio that is asked for is not heard. It knows no reverse: the coins that a reverse
trade would sell short are the margin it would need, so that a negative target means flat.
"""

from math import inf

from carryflow.core.account import (
    LINEAR_KIND,
    Account,
    Column,
    delta_base,
    equity,
    margin_balance,
    open_account,
    perp_notional,
    settle_price,
)
from carryflow.core.compiled import compiled
from carryflow.core.hedge import (
    hedged_fraction,
    inverse_orders,
    pair_orders,
    pair_quantity,
    should_resize,
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
from carryflow.core.liquidation import deleverage, is_liquidated, liquidate, liquidation_mark
from carryflow.core.slippage import slippage_rate
from carryflow.env.layout import Floats, Row, Rule, Seat

HEDGE_TOLERANCE = 0.01
"""Coins without a hedge that are put up with until the next resize (fraction of equity)."""

_BRACKETS = len(Rule)


@compiled
def fill_price(reference: float, qty: float, rate: float) -> float:
    """Return the price at which an order fills that loses `rate`: worse than the reference for either side.

    >>> fill_price(100.0, 2.0, 0.0001), fill_price(100.0, -2.0, 0.0001)
    (100.01, 99.99)
    """
    return reference * (1.0 + rate) if qty > 0.0 else reference * (1.0 - rate)


@compiled
def spot_slippage(notional: float, row: Floats, rules: Floats) -> float:
    """Return what a spot order of `notional` (quote) loses to the reference at a row (fraction)."""
    return slippage_rate(notional, row[Row.SPOT_HALF_SPREAD], row[Row.SPOT_DEPTH], rules[Rule.TAKER_SHARE])


@compiled
def perp_slippage(notional: float, row: Floats, rules: Floats) -> float:
    """Return what a perpetual order of `notional` (quote) loses to the reference at a row (fraction)."""
    return slippage_rate(notional, row[Row.PERP_HALF_SPREAD], row[Row.PERP_DEPTH], rules[Rule.TAKER_SHARE])


@compiled
def coins_held(account: Account) -> float:
    """Return the coins of the pair (base, signed): the spot leg; of an inverse pair its margin as well."""
    coins: float = account[Column.SPOT_QTY]
    if account[Column.KIND] != LINEAR_KIND:
        coins += margin_balance(account, account[Column.MARK])
    return coins


@compiled(inlined=True)
def position(account: Account, share: float, worth: float) -> float:
    """Return the fraction of capital in the hedged trade, were `share` of equity in the spot wallet."""
    coins = coins_held(account)
    return hedged_fraction(coins, account[Column.SPOT_PRICE], share, worth) if coins != 0.0 else 0.0


@compiled
def buy_spot(account: Account, order: float, row: Floats, rules: Floats) -> None:
    """Fill a spot order (base, signed) at a row; where the venue keeps coins as its fee, of a purchase."""
    if order == 0.0:
        return
    reference = row[Row.SPOT]
    price = fill_price(reference, order, spot_slippage(abs(order) * reference, row, rules))
    fee_base = rules[Rule.BASE_FEE] * order if order > 0.0 else 0.0
    fee_quote = rules[Rule.SPOT_FEE] * abs(order) * price if fee_base == 0.0 else 0.0
    fill_spot(account, order, reference, price, fee_quote, fee_base)


@compiled
def buy_perp(account: Account, order: float, row: Floats, rules: Floats) -> None:
    """Fill a perpetual order (base, inverse: quote; signed) at a row."""
    if order == 0.0:
        return
    reference = row[Row.PERP]
    if account[Column.KIND] == LINEAR_KIND:
        price = fill_price(reference, order, perp_slippage(abs(order) * reference, row, rules))
        fill_perp(account, order, reference, price, rules[Rule.PERP_FEE] * abs(order) * price)
    else:
        price = fill_price(reference, order, perp_slippage(abs(order), row, rules))
        fill_perp(account, order, reference, price, rules[Rule.PERP_FEE] * abs(order) / price)


@compiled
def bring_to(account: Account, coins: float, share: float, row: Floats, rules: Floats) -> None:
    """Trade both legs at a row's prices until the pair has `coins` and their hedge, as venues accept it.

    Then the wallets are evened out: `share` of equity into the spot wallet; of an inverse pair, all coins
    into the perpetual's.
    """
    linear = account[Column.KIND] == LINEAR_KIND
    if linear:
        spot_order, perp_order = pair_orders(
            account[Column.SPOT_QTY],
            account[Column.PERP_QTY],
            coins,
            account[Seat.SPOT_LOT],
            account[Seat.PERP_LOT],
            rules[Rule.BASE_FEE],
            row[Row.SPOT],
            row[Row.PERP],
            account[Seat.MIN_NOTIONAL],
        )
    else:
        held, fee = account[Column.SPOT_QTY] + margin_balance(account, row[Row.PERP]), rules[Rule.PERP_FEE]
        if coins < held:  # what it costs to buy the perpetual back is paid in coins that cannot be sold too
            costs = fee + perp_slippage((held - coins) * row[Row.PERP], row, rules)
            held, fee = held - costs * (held - coins), 0.0
        spot_order, perp_order = inverse_orders(
            held,
            account[Column.PERP_QTY],
            coins,
            account[Seat.SPOT_LOT],
            account[Seat.PERP_LOT],
            rules[Rule.BASE_FEE],
            fee,
            row[Row.SPOT],
            row[Row.PERP],
            account[Seat.MIN_NOTIONAL],
        )
    if spot_order == 0.0 and perp_order == 0.0:
        return
    account[Seat.SHARE] = share
    if linear:
        buy_spot(account, spot_order, row, rules)
        buy_perp(account, perp_order, row, rules)
        rebalance_wallets(account, share)
    elif spot_order > 0.0:
        buy_spot(account, spot_order, row, rules)
        transfer(account, account[Column.SPOT_QTY])
        buy_perp(account, perp_order, row, rules)
    else:
        buy_perp(account, perp_order, row, rules)
        transfer(account, account[Column.SPOT_QTY] + spot_order)
        buy_spot(account, spot_order, row, rules)


@compiled(inlined=True)
def follow(account: Account, target: float, share: float, row: Floats, rules: Floats) -> None:
    """Bring the account towards the target fraction, if the market is open and it is worth a trade.

    Worth a trade is a target further off than the hysteresis, or exactly 0, or a hedge that is broken, which
    is mended at the size that the coins have. Another share of equity in the spot wallet than before is no
    trade: only cash moves.
    """
    if account[Column.KIND] != LINEAR_KIND:
        share, target = 1.0, max(target, 0.0)
    worth = account[Seat.WORTH]
    resizes = should_resize(target, position(account, share, worth), rules[Rule.HYSTERESIS])
    if (resizes or is_bare(account, worth, row)) and row[Row.TRADABLE] != 0.0:
        trade(account, target, share, resizes, row, rules)
    elif share != account[Seat.SHARE] and row[Row.TRADABLE] != 0.0:
        move_cash(account, share)


@compiled(inlined=True)
def is_bare(account: Account, worth: float, row: Floats) -> bool:
    """Say whether more coins lack their hedge than is put up with, on a capital of `worth` (quote)."""
    bare = abs(delta_base(account))
    return bare > 0.0 and bare * row[Row.PERP] > HEDGE_TOLERANCE * worth


@compiled
def move_cash(account: Account, share: float) -> None:
    """Move cash until `share` of equity is in the spot wallet, or what its coins are worth, if that is more.

    So the spot wallet never borrows to fill the other.
    """
    coins = account[Column.SPOT_QTY] * account[Column.SPOT_PRICE]
    share = max(share, coins / account[Seat.WORTH])
    account[Seat.SHARE] = share
    rebalance_wallets(account, share)


@compiled
def trade(account: Account, target: float, share: float, resizes: bool, row: Floats, rules: Floats) -> None:
    """Resize both legs to the target fraction; or only mend the hedge."""
    if resizes:
        coins = affordable(account, target, share, row, rules)
    else:
        coins, share = coins_held(account), account[Seat.SHARE]
    bring_to(account, coins, share, row, rules)


@compiled
def affordable(account: Account, target: float, share: float, row: Floats, rules: Floats) -> float:
    """Return the coins of a pair at the target fraction, what it costs to get there set aside (base)."""
    if target == 0.0:
        return 0.0
    worth = account[Seat.WORTH]
    traded = abs(target * share * worth - coins_held(account) * row[Row.SPOT])
    costs = rules[Rule.SPOT_FEE] / (1.0 - rules[Rule.BASE_FEE]) + rules[Rule.PERP_FEE]
    costs += spot_slippage(traded, row, rules) + perp_slippage(traded, row, rules)
    coarser = account[Seat.SPOT_LOT]
    if account[Column.KIND] == LINEAR_KIND:
        coarser = max(coarser, account[Seat.PERP_LOT])
    return pair_quantity(
        target, worth, share, costs, row[Row.SPOT], row[Row.PERP], coarser, account[Seat.MIN_NOTIONAL]
    )


@compiled(inlined=True)
def elapse(account: Account, row: Floats, rules: Floats) -> bool:
    """Live from the row before to this one; say whether the perpetual was liquidated on the way.

    What the venue auto-deleverages of a short goes first, at the mark of the row before, so that its coins
    live through the interval without a hedge. Then come the settlements and the interest on what is borrowed.
    The position must survive the worst mark of the interval; if it does not, it is closed where its margin
    was gone (`core.liquidation.liquidation_mark`). Last, both legs are valued at the row.
    """
    if row[Row.DELEVERAGED] > 0.0 and account[Column.PERP_QTY] < 0.0:
        deleverage(account, row[Row.DELEVERAGED], account[Column.MARK])
    settle(account, row[Row.SETTLEMENT_CASH])
    accrue_borrow(account, rules[Rule.BORROW_APR] * row[Row.YEARS])
    worst = row[Row.MARK_HIGH] if account[Column.PERP_QTY] < 0.0 else row[Row.MARK_LOW]
    liquidated = False
    if margin_balance(account, worst) <= rules[Rule.STEEPEST] * perp_notional(account, worst):
        liquidated = meet_margin_call(account, worst, rules)
    mark_to_market(account, row[Row.SPOT], row[Row.MARK])
    return liquidated


@compiled
def meet_margin_call(account: Account, mark: float, rules: Floats) -> bool:
    """Let the venue liquidate the account on its way to a mark, if that takes the margin; say if it did."""
    brackets = rules[_BRACKETS:].reshape((-1, 2))
    if not is_liquidated(account, mark, brackets):
        return False
    mark_to_market(account, account[Column.SPOT_PRICE], liquidation_mark(account, mark, brackets))
    liquidate(account, rules[Rule.LIQUIDATION_FEE])
    return True


@compiled
def begin(account: Account, kind: float, fraction: float, row: Floats, rules: Floats) -> None:
    """Open an account at a row, with a position inherited at the reference prices, free of cost.

    The lots and the least notional must be in its seat.
    """
    capital = rules[Rule.CAPITAL]
    spot_lot, perp_lot, smallest = account[Seat.SPOT_LOT], account[Seat.PERP_LOT], account[Seat.MIN_NOTIONAL]
    share, coarser = rules[Rule.SPOT_SHARE], max(spot_lot, perp_lot)
    if kind != LINEAR_KIND:
        share, coarser, fraction = 1.0, spot_lot, max(fraction, 0.0)
    open_account(account, kind, capital, share, row[Row.SPOT], row[Row.MARK])
    account[Seat.SPOT_LOT], account[Seat.PERP_LOT], account[Seat.MIN_NOTIONAL] = spot_lot, perp_lot, smallest
    account[Seat.SHARE] = share
    coins = pair_quantity(fraction, capital, share, 0.0, row[Row.SPOT], row[Row.PERP], coarser, smallest)
    if kind == LINEAR_KIND:
        spot_order, perp_order = pair_orders(
            0.0, 0.0, coins, spot_lot, perp_lot, 0.0, row[Row.SPOT], row[Row.PERP], smallest
        )
    else:
        spot_order, perp_order = inverse_orders(
            0.0, 0.0, coins, spot_lot, perp_lot, 0.0, 0.0, row[Row.SPOT], row[Row.MARK], smallest
        )
    fill_spot(account, spot_order, row[Row.SPOT], row[Row.SPOT], 0.0, 0.0)
    if kind != LINEAR_KIND:
        transfer(account, spot_order)
    fill_perp(account, perp_order, row[Row.MARK], row[Row.MARK], 0.0)
    rebalance_wallets(account, share)
    account[Column.TURNOVER] = 0.0
    account[Seat.PEAK] = account[Seat.WORTH] = equity(account)


@compiled
def margin_ratio(account: Account) -> float:
    """Return the margin of the perpetual over its notional, both on the mark; infinite without a position."""
    size = abs(account[Column.PERP_QTY])
    if size == 0.0:
        return inf
    mark = account[Column.MARK]
    return margin_balance(account, mark) / perp_notional(account, mark)


@compiled
def margin_left(account: Account, worth: float) -> float:
    """Return the margin over the notional of a full position: what the ratio of the last trade became."""
    balance = margin_balance(account, account[Column.MARK]) * settle_price(account)
    left: float = balance / (account[Seat.SHARE] * worth)
    return left
