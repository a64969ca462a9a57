"""The inner loop of the portfolio environment: N portfolios of K coins, one step each, compiled.

A portfolio is K rows of the ledger, one a coin, whose wallets are one: only the sums of the spot wallets and
of the margin wallets mean anything, a single row's may be negative. Each row opens with an equal part of the
capital, so that in every row, and hence in the sum, the parts of profit explain the change of equity. One
more row, the last, is the pool's: of its columns only the seat is used.

What a coin trades, and what befalls it, is said by `env.trade`, as of one account; here is what its being one
of several changes: whose equity sizes it, what limits it, and whose margin keeps it alive.
"""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import FIRST_PART, LINEAR_KIND, N_PARTS, Column, equity
from carryflow.core.compiled import compiled
from carryflow.core.ledger import accrue_borrow, mark_to_market, rebalance_wallets, settle
from carryflow.core.liquidation import deleverage, is_group_liquidated, liquidate_group
from carryflow.env.action import NEARLY_ONE
from carryflow.env.kernel import appraise, arrive
from carryflow.env.layout import SEAT_WIDTH, Floats, Row, Rule, Seat, Status, Term, Told
from carryflow.env.portfolio.limits import grant
from carryflow.env.portfolio.report import show_portfolio, summarise
from carryflow.env.trade import affordable, begin, bring_to, coins_held, is_bare, position

_BRACKETS = len(Rule)
_HELD, _GRANTED, _WORST, _CLOSING = range(
    SEAT_WIDTH - 4, SEAT_WIDTH
)  # what a step notes down, behind the seat
_HALVINGS = 54  # of a way, until its halves are one number
_FRESH, _RUNNING, _STRANDED, _TERMINATED, _TRUNCATED = (float(status) for status in Status)


@compiled
def pooled_equity(coins: Floats) -> float:
    """Return what a portfolio is worth (quote); `coins` are its rows without the pool's."""
    worth = 0.0
    for k in range(len(coins)):
        worth += equity(coins[k])
    return worth


@compiled
def trade(pool: Floats, coins: Floats, wanted: Floats, limits: Floats, row: Floats, rules: Floats) -> float:
    """Bring every coin towards what the limits leave of the `wanted` fractions; return what they took away.

    The coins are sized on the equity of all, and paid from one pair of wallets, which are evened out together
    whenever something traded. A hedge that is broken is mended by an equal part of that equity, so that all
    together are never barer than a single account would be.
    """
    share, worth = rules[Rule.SPOT_SHARE], pool[Seat.WORTH]
    held, granted = coins[:, _HELD], coins[:, _GRANTED]
    for k in range(len(coins)):
        coins[k, Seat.WORTH] = worth
        held[k] = position(coins[k], share, worth)
    cut = grant(wanted, held, row[:, Row.TRADABLE], limits[0], limits[1], limits[2], granted)
    traded = False
    for k in range(len(coins)):
        coin, before = coins[k], coins[k, Column.TURNOVER]
        if granted[k] != held[k]:
            bring_to(coin, affordable(coin, granted[k], share, row[k], rules), share, row[k], rules)
        elif row[k, Row.TRADABLE] != 0.0 and is_bare(coin, worth / len(coins), row[k]):
            bring_to(coin, coins_held(coin), share, row[k], rules)
        traded = traded or coin[Column.TURNOVER] != before
    if traded:
        for k in range(len(coins)):
            rebalance_wallets(coins[k], share)
    return cut


@compiled
def elapse_together(coins: Floats, row: Floats, rules: Floats) -> bool:
    """Live from the row before to this one, as `trade.elapse`; say whether the venue closed the perpetuals.

    All must survive the worst mark of each in the interval at once, on their margin together. Those marks
    need not have come at one instant; where coins move together they nearly do, and where they do not, this
    errs on the careful side.
    """
    worst, closing = coins[:, _WORST], coins[:, _CLOSING]
    brackets = rules[_BRACKETS:].reshape((-1, 2))
    for k in range(len(coins)):
        if row[k, Row.DELEVERAGED] > 0.0 and coins[k, Column.PERP_QTY] < 0.0:
            deleverage(coins[k], row[k, Row.DELEVERAGED], coins[k, Column.MARK])
        settle(coins[k], row[k, Row.SETTLEMENT_CASH])
        accrue_borrow(coins[k], rules[Rule.BORROW_APR] * row[k, Row.YEARS])
        worst[k] = row[k, Row.MARK_HIGH] if coins[k, Column.PERP_QTY] < 0.0 else row[k, Row.MARK_LOW]
    liquidated = is_group_liquidated(coins, worst, brackets)
    if liquidated:
        find_closing_marks(coins, worst, brackets, closing)
        for k in range(len(coins)):
            mark_to_market(coins[k], coins[k, Column.SPOT_PRICE], closing[k])
        liquidate_group(coins, rules[Rule.LIQUIDATION_FEE])
    for k in range(len(coins)):
        mark_to_market(coins[k], row[k, Row.SPOT], row[k, Row.MARK])
    return liquidated


@compiled
def find_closing_marks(coins: Floats, worst: Floats, brackets: Floats, closing: Floats) -> None:
    """Fill in the marks on which the venue closes coins that are liquidated on their way to their `worst`.

    As of one account (`core.liquidation.liquidation_mark`): where the margin of all is gone, their marks
    moving in step; at the marks where they began, if it was gone before they moved.
    """
    alive, gone = -1.0, 1.0  # parts of the way; the first that is asked about is none of it
    for _ in range(_HALVINGS):
        part = 0.5 * (alive + gone)
        for k in range(len(coins)):
            closing[k] = coins[k, Column.MARK] + part * (worst[k] - coins[k, Column.MARK])
        if not is_group_liquidated(coins, closing, brackets):
            alive = part
        else:
            gone = part
            if part == 0.0:
                break
    for k in range(len(coins)):
        closing[k] = coins[k, Column.MARK] + gone * (worst[k] - coins[k, Column.MARK])


@compiled
def sell_out(coins: Floats, row: Floats, rules: Floats) -> bool:
    """Sell the coins that a liquidation left without a hedge, where they trade; say whether all went."""
    everything = True
    for k in range(len(coins)):
        if row[k, Row.TRADABLE] != 0.0:
            coins[k, Seat.WORTH] = equity(coins[k])
            bring_to(coins[k], 0.0, coins[k, Seat.SHARE], row[k], rules)
        else:
            everything = everything and coins[k, Column.SPOT_QTY] == 0.0
    return everything


@compiled
def live_together(
    rows: Floats, wanted: Floats, limits: Floats, market: Floats, rules: Floats, told: Floats
) -> float:
    """Take one portfolio through one step, tell of it by `Told`, and return what the limits cut back."""
    coins, pool = rows[:-1], rows[-1]
    before, traded, cut = pool[Seat.WORTH], 0.0, 0.0
    told[:] = 0.0
    for k in range(len(coins)):
        traded -= coins[k, Column.TURNOVER]
        for part in range(N_PARTS):
            told[Told.PARTS + part] -= coins[k, FIRST_PART + part]
    cursor = int(pool[Seat.CURSOR])
    stranded = pool[Seat.STATUS] == _STRANDED
    if not stranded:
        cut = trade(pool, coins, wanted, limits, market[cursor], rules)
    cursor += 1
    liquidated = elapse_together(coins, market[cursor], rules)
    if liquidated or stranded:
        pool[Seat.STATUS] = _STRANDED
        if sell_out(coins, market[cursor], rules):
            pool[Seat.STATUS] = _TERMINATED
    worth = pooled_equity(coins)
    arrive(pool, cursor, worth)
    for k in range(len(coins)):
        traded += coins[k, Column.TURNOVER]
        for part in range(N_PARTS):
            told[Told.PARTS + part] += coins[k, FIRST_PART + part]
    told[Told.PROFIT] = worth - before
    appraise(pool, traded, rules, told)
    return cut


@compiled
def first_refused(actions: Floats) -> int:
    """Return the place in the actions (N, K), flattened, of the first that is not in [−1, 1]; or −1."""
    coins: int = actions.shape[1]
    for place in range(len(actions) * coins):
        if not abs(actions[place // coins, place % coins]) <= NEARLY_ONE:  # NaN compares false
            return place
    return -1


@compiled
def step_portfolios(
    books: Floats,
    market: Floats,
    features: NDArray[np.float32],
    rules: Floats,
    limits: Floats,
    actions: Floats,
    per_bar: int,
    told: Floats,
    ends: NDArray[np.bool_],
    summary: Floats,
    by_coin: Floats,
    seen: NDArray[np.float32],
) -> None:
    """Step every portfolio, tell of it, and show it where it then stands.

    Args:
        books: portfolios of K coins and the pool (N, K + 1, SEAT_WIDTH).
        market: rows of the K tapes, side by side (n, K, ROW_WIDTH).
        features: scaled features of each tape, flat (K, n · per_bar).
        rules: what the settings fix.
        limits: of one coin, and of all together, and the hysteresis of one (3,).
        actions: wanted fractions of capital, of which `first_refused` refuses none (N, K).
        per_bar: features of a bar.
        told: filled with what happened (N, TOLD_WIDTH).
        ends: filled with whether each episode is terminated, and whether it is truncated (2, N).
        summary: filled with `report.SUMMARY` (N, len(SUMMARY)).
        by_coin: filled with `report.BY_COIN` (N, K, len(BY_COIN)).
        seen: filled with observations (N, K · (window + 1) + 2).

    A portfolio whose episode has ended rests: its reward is 0.
    """
    for i in range(len(books)):
        rows, pool = books[i], books[i, -1]
        cut = 0.0
        if pool[Seat.STATUS] == _RUNNING or pool[Seat.STATUS] == _STRANDED:
            cut = live_together(rows, actions[i], limits, market, rules, told[i])
        else:
            told[i, :] = 0.0
            if pool[Seat.STATUS] == _FRESH:
                pool[Seat.STATUS] = _RUNNING
        ends[0, i] = pool[Seat.STATUS] == _TERMINATED
        ends[1, i] = pool[Seat.STATUS] == _TRUNCATED
        summarise(rows, cut, rules, told[i], summary[i], by_coin[i])
        show_portfolio(pool, features, per_bar, summary[i], by_coin[i], seen[i])


@compiled
def begin_portfolio(
    rows: Floats,
    fractions: Floats,
    cursor: int,
    last: int,
    terms: Floats,
    market: Floats,
    rules: Floats,
) -> None:
    """Open a portfolio at a row, with positions inherited at the reference prices, free of cost.

    The next step only shows it.
    """
    coins, pool = rows[:-1], rows[-1]
    share = rules[Rule.SPOT_SHARE]
    others = rules[Rule.CAPITAL] * (1.0 - 1.0 / len(coins))
    pool[:] = 0.0
    for k in range(len(coins)):
        coins[k, Seat.SPOT_LOT] = terms[k, Term.SPOT_LOT]
        coins[k, Seat.PERP_LOT] = terms[k, Term.PERP_LOT]
        coins[k, Seat.MIN_NOTIONAL] = terms[k, Term.MIN_NOTIONAL]
        # sized on the capital of all, of which the other rows then take theirs
        begin(coins[k], LINEAR_KIND, fractions[k], market[cursor, k], rules)
        coins[k, Column.OPENING] -= others
        coins[k, Column.SPOT_CASH] -= share * others
        coins[k, Column.PERP_WALLET] -= others - share * others
    pool[Seat.PEAK] = pool[Seat.WORTH] = pooled_equity(coins)
    pool[Seat.SHARE] = share
    pool[Seat.CURSOR], pool[Seat.LAST], pool[Seat.STATUS] = cursor, last, _FRESH
