"""What a step tells of a portfolio: of the whole, of each coin, and what its policy sees next."""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import (
    FIRST_PART,
    N_PARTS,
    PARTS,
    Column,
    delta_base,
    margin_balance,
    perp_notional,
)
from carryflow.core.compiled import compiled
from carryflow.core.margin import maintenance_margin
from carryflow.env.layout import Floats, Rule, Seat, Told
from carryflow.env.reward import N_TERMS, REWARD_TERMS, drawdown
from carryflow.env.trade import position

SUMMARY: tuple[str, ...] = (
    "equity",
    "turnover",
    "drawdown",
    "used_margin",
    "cut_back",
    *PARTS,
    *REWARD_TERMS,
)
"""What a step tells of a portfolio as a whole, in order: the parts and the turnover since it was opened, the
terms of the reward of the step."""

BY_COIN: tuple[str, ...] = ("position", "delta_base", *PARTS)
"""What a step tells of each coin, in order: the fraction of capital in it, the coins without a hedge (base),
and the parts of profit since the portfolio was opened (quote)."""

_BRACKETS = len(Rule)
_EQUITY, _TURNOVER, _DRAWDOWN, _USED_MARGIN, _CUT_BACK, _PARTS = range(6)


@compiled
def used_margin(coins: Floats, brackets: Floats) -> float:
    """Return the part of the pooled margin balance that the venue asks for, ≤ 1: at 1 it liquidates."""
    asked, balance = 0.0, 0.0
    for k in range(len(coins)):
        mark = coins[k, Column.MARK]
        asked += maintenance_margin(perp_notional(coins[k], mark), brackets)
        balance += margin_balance(coins[k], mark)
    if asked == 0.0:
        return 0.0
    return asked / balance if balance > asked else 1.0


@compiled
def summarise(
    rows: Floats, cut: float, rules: Floats, told: Floats, summary: Floats, by_coin: Floats
) -> None:
    """Fill in `SUMMARY` and `BY_COIN`."""
    coins, pool = rows[:-1], rows[-1]
    summary[:] = 0.0
    summary[_EQUITY] = pool[Seat.WORTH]
    summary[_DRAWDOWN] = drawdown(pool[Seat.WORTH], pool[Seat.PEAK])
    summary[_USED_MARGIN] = used_margin(coins, rules[_BRACKETS:].reshape((-1, 2)))
    summary[_CUT_BACK] = cut
    for k in range(len(coins)):
        summary[_TURNOVER] += coins[k, Column.TURNOVER]
        by_coin[k, 0] = position(coins[k], coins[k, Seat.SHARE], pool[Seat.WORTH])
        by_coin[k, 1] = delta_base(coins[k])
        for part in range(N_PARTS):
            by_coin[k, 2 + part] = coins[k, FIRST_PART + part]
            summary[_PARTS + part] += coins[k, FIRST_PART + part]
    for term in range(N_TERMS):
        summary[_PARTS + N_PARTS + term] = told[Told.TERMS + term]


@compiled
def show_portfolio(
    pool: Floats,
    features: NDArray[np.float32],
    per_bar: int,
    summary: Floats,
    by_coin: Floats,
    seen: NDArray[np.float32],
) -> None:
    """Write an observation: of each coin its window and its position, then drawdown and used margin."""
    each = (len(seen) - 2) // len(by_coin)
    end = (int(pool[Seat.CURSOR]) + 1) * per_bar
    for k in range(len(by_coin)):
        window, ours = features[k, end - each + 1 : end], seen[k * each : (k + 1) * each]
        for number in range(each - 1):
            ours[number] = window[number]
        ours[each - 1] = by_coin[k, 0]
    seen[-2] = summary[_DRAWDOWN]
    seen[-1] = summary[_USED_MARGIN]
