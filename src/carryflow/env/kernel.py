"""The inner loop of the environment: N accounts, one step each, compiled.

One step of one account: trade at the prices of the row on which the decision is made; move to the next row;
take part in the settlements between; pay for what is borrowed; mark; be liquidated if the margin is gone.
"""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.compiled import compiled
from carryflow.core.hedge import hedged_fraction, pair_quantity, should_resize
from carryflow.core.ledger import (
    FIRST_PART,
    N_PARTS,
    Column,
    accrue_borrow,
    equity,
    fill_perp,
    fill_spot,
    liquidate,
    mark_to_market,
    open_account,
    rebalance_wallets,
    settle,
)
from carryflow.core.margin import is_liquidated
from carryflow.env.layout import Episode, Risk, Row, Rule, Status
from carryflow.env.reward import drawdown, profit_bp, risk_adjusted_reward, updated_variance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@compiled
def fill_price(reference: float, qty_base: float, slippage_rate: float) -> float:
    """Return the price at which a market order fills: worse than the reference for either side.

    >>> fill_price(100.0, 2.0, 0.0001), fill_price(100.0, -2.0, 0.0001)
    (100.01, 99.99)
    """
    return reference * (1.0 + slippage_rate) if qty_base > 0.0 else reference * (1.0 - slippage_rate)


@compiled
def resize(account: Floats, qty: float, row: Floats, rules: Floats) -> None:
    """Trade both legs to `qty` spot and `−qty` perpetual at the row's prices, then even out the wallets."""
    buy = qty - account[Column.SPOT_QTY]
    if buy != 0.0:
        price = fill_price(row[Row.SPOT], buy, rules[Rule.SPOT_SLIPPAGE])
        fill_spot(account, buy, row[Row.SPOT], price, abs(buy) * price * rules[Rule.SPOT_FEE])
    buy = -qty - account[Column.PERP_QTY]
    if buy != 0.0:
        price = fill_price(row[Row.PERP], buy, rules[Rule.PERP_SLIPPAGE])
        fill_perp(account, buy, row[Row.PERP], price, abs(buy) * price * rules[Rule.PERP_FEE])
    rebalance_wallets(account, rules[Rule.SPOT_SHARE])


@compiled
def follow(account: Floats, target: float, lot: float, row: Floats, rules: Floats) -> None:
    """Bring the account to the target fraction if that is worth a trade and the market is open."""
    worth = equity(account)
    share = rules[Rule.SPOT_SHARE]
    current = hedged_fraction(account[Column.SPOT_QTY], row[Row.SPOT], share, worth)
    if row[Row.TRADABLE] == 0.0 or not should_resize(target, current, rules[Rule.HYSTERESIS]):
        return
    qty = pair_quantity(
        target,
        worth,
        share,
        rules[Rule.PAIR_RATE],
        row[Row.SPOT],
        row[Row.PERP],
        lot,
        rules[Rule.MIN_NOTIONAL],
    )
    resize(account, qty, row, rules)


@compiled
def elapse(account: Floats, row: Floats, rules: Floats) -> bool:
    """Live from the row before to this one; say whether the perpetual was liquidated."""
    settle(account, row[Row.SETTLEMENT_CASH])
    accrue_borrow(account, rules[Rule.BORROW_APR] * row[Row.YEARS])
    mark_to_market(account, row[Row.SPOT], row[Row.MARK])
    if not is_liquidated(
        account[Column.PERP_WALLET],
        account[Column.PERP_QTY],
        account[Column.PERP_ENTRY],
        account[Column.MARK],
        rules[Rule.MAINTENANCE],
    ):
        return False
    liquidate(account, rules[Rule.LIQUIDATION_FEE])
    if row[Row.TRADABLE] != 0.0:
        resize(account, 0.0, row, rules)  # a spot leg without its hedge is a bet that nobody chose
    return True


@compiled
def begin(
    account: Floats,
    risk: Floats,
    episode: Integers,
    cursor: int,
    last: int,
    fraction: float,
    lot: float,
    row: Floats,
    rules: Floats,
) -> None:
    """Open an account at a row, with a position inherited at the reference prices, free of cost."""
    capital, share = rules[Rule.CAPITAL], rules[Rule.SPOT_SHARE]
    open_account(account, capital, share, row[Row.SPOT], row[Row.MARK])
    qty = pair_quantity(
        fraction, capital, share, 0.0, row[Row.SPOT], row[Row.PERP], lot, rules[Rule.MIN_NOTIONAL]
    )
    fill_spot(account, qty, row[Row.SPOT], row[Row.SPOT], 0.0)
    fill_perp(account, -qty, row[Row.MARK], row[Row.MARK], 0.0)
    rebalance_wallets(account, share)
    account[Column.TURNOVER] = 0.0
    risk[Risk.PEAK] = capital
    risk[Risk.VARIANCE] = 0.0
    risk[Risk.LOT] = lot
    episode[Episode.CURSOR] = cursor
    episode[Episode.LAST] = last
    episode[Episode.STATUS] = Status.RUNNING


@compiled
def advance(
    accounts: Floats,
    risks: Floats,
    episodes: Integers,
    market: Floats,
    rules: Floats,
    actions: Floats,
    rewards: Floats,
    profits: Floats,
    parts: Floats,
) -> int:
    """Step every running account; fill rewards (bp), profits and their parts (quote) in place.

    Returns −1; or, before anything is done, the index of the first action that is no fraction in [−1, 1].
    An account whose episode has ended rests: its reward is 0.
    """
    for i in range(len(accounts)):
        if not abs(actions[i]) <= 1.0 + 1e-6:  # NaN compares false
            return i
    for i in range(len(accounts)):
        account, risk, episode = accounts[i], risks[i], episodes[i]
        if episode[Episode.STATUS] != Status.RUNNING:
            rewards[i] = 0.0
            profits[i] = 0.0
            parts[i, :] = 0.0
            continue
        for part in range(N_PARTS):
            parts[i, part] = -account[FIRST_PART + part]
        before = equity(account)
        traded = account[Column.TURNOVER]
        cursor = episode[Episode.CURSOR]
        follow(account, min(max(actions[i], -1.0), 1.0), risk[Risk.LOT], market[cursor], rules)
        liquidated = elapse(account, market[cursor + 1], rules)
        episode[Episode.CURSOR] = cursor + 1
        worth = equity(account)
        for part in range(N_PARTS):
            parts[i, part] += account[FIRST_PART + part]
        profits[i] = worth - before

        profit = profit_bp(worth - before, rules[Rule.CAPITAL])
        risk[Risk.PEAK] = max(risk[Risk.PEAK], worth)
        risk[Risk.VARIANCE] = updated_variance(risk[Risk.VARIANCE], profit, rules[Rule.VOL_SPAN])
        rewards[i] = risk_adjusted_reward(
            profit,
            risk[Risk.VARIANCE] ** 0.5,
            1e4 * drawdown(worth, risk[Risk.PEAK]),
            1e4 * (account[Column.TURNOVER] - traded) / rules[Rule.CAPITAL],
            rules[Rule.LAMBDA_VOL],
            rules[Rule.LAMBDA_DD],
            rules[Rule.LAMBDA_TO],
        )
        if liquidated or worth <= 0.0:
            episode[Episode.STATUS] = Status.TERMINATED
        elif cursor + 1 >= episode[Episode.LAST]:
            episode[Episode.STATUS] = Status.TRUNCATED
    return -1


@compiled
def observe(
    accounts: Floats,
    risks: Floats,
    episodes: Integers,
    features: NDArray[np.float32],
    rules: Floats,
    per_bar: int,
    window: int,
    out: NDArray[np.float32],
) -> None:
    """Write each account's observation: `window` scaled features up to its row, then position and drawdown.

    `features` is flat, `per_bar` numbers a row, tape after tape.
    """
    for i in range(len(accounts)):
        end = (episodes[i, Episode.CURSOR] + 1) * per_bar
        seen, row = features[end - window : end], out[i]
        for k in range(window):
            row[k] = seen[k]
        worth = equity(accounts[i])
        qty, price = accounts[i, Column.SPOT_QTY], accounts[i, Column.SPOT_PRICE]
        row[window] = hedged_fraction(qty, price, rules[Rule.SPOT_SHARE], worth) if qty != 0.0 else 0.0
        row[window + 1] = drawdown(worth, risks[i, Risk.PEAK])
