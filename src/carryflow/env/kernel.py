"""The inner loop of the environment: N accounts, one step each, compiled.

One step of one account: trade at the prices of the row on which the decision is made; move to the next row;
take part in the settlements between; pay for what is borrowed; survive the marks between, or be liquidated;
be valued, told about, and shown the new row.
"""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import PARTS, Column, delta_base, equity, residual
from carryflow.core.compiled import compiled
from carryflow.env.action import NEARLY_ONE
from carryflow.env.layout import ROW_WIDTH, Floats, Row, Rule, Seat, Status, Term, Told
from carryflow.env.prefetch import prefetch
from carryflow.env.reward import (
    drawdown,
    drawdown_penalty_bp,
    portfolio_change_bp,
    transaction_costs_bp,
    turnover_penalty_bp,
    updated_variance,
    volatility_penalty_bp,
)
from carryflow.env.trade import begin, bring_to, elapse, follow, margin_left, margin_ratio, position

Integers = NDArray[np.int64]

_HALF_ROW = ROW_WIDTH // 2
_FRESH, _RUNNING, _STRANDED, _TERMINATED, _TRUNCATED = (float(status) for status in Status)
_FUNDING, _BASIS, _FEES, _SLIPPAGE, _BORROW, _LIQUIDATION = (
    int(Told.PARTS) + PARTS.index(part)
    for part in ("funding", "basis", "fees", "slippage", "borrow", "liquidation")
)


@compiled
def seat_accounts(
    books: Floats,
    accounts: Integers,
    tape: Integers,
    start: Integers,
    fraction: Floats,
    bars: int,
    status: float,
    terms: Floats,
    market: Floats,
    rules: Floats,
) -> None:
    """Open accounts anew (k,): each on a row of its tape, for at most `bars` steps."""
    for j in range(len(accounts)):
        take_seat(books[accounts[j]], tape[j], start[j], fraction[j], bars, status, terms, market, rules)


@compiled
def seat_ended(
    books: Floats,
    tape: Integers,
    start: Integers,
    fraction: Floats,
    first: int,
    bars: int,
    terms: Floats,
    market: Floats,
    rules: Floats,
) -> None:
    """Open every account whose episode has ended anew; the next step only shows it.

    They take the starts one after another from `first` on; or, if that is negative, each account its own.
    """
    for i in range(len(books)):
        if books[i, Seat.STATUS] >= _TERMINATED:
            j = i
            if first >= 0:
                j = first
                first += 1
            take_seat(books[i], tape[j], start[j], fraction[j], bars, _FRESH, terms, market, rules)


@compiled
def take_seat(
    account: Floats,
    tape: int,
    start: int,
    fraction: float,
    bars: int,
    status: float,
    terms: Floats,
    market: Floats,
    rules: Floats,
) -> None:
    """Open an account on row `start` of a tape, for at most `bars` steps."""
    own = terms[tape]
    account[Seat.SPOT_LOT] = own[Term.SPOT_LOT]
    account[Seat.PERP_LOT] = own[Term.PERP_LOT]
    account[Seat.MIN_NOTIONAL] = own[Term.MIN_NOTIONAL]
    begin(account, own[Term.KIND], fraction, market[int(own[Term.OFFSET]) + start], rules)
    account[Seat.CURSOR] = own[Term.OFFSET] + start
    account[Seat.LAST] = own[Term.OFFSET] + min(start + bars, int(own[Term.ROWS]) - 1)
    account[Seat.STATUS] = status
    account[Seat.TAPE] = tape


@compiled
def step(
    books: Floats,
    market: Floats,
    features: NDArray[np.float32],
    rules: Floats,
    window: int,
    per_bar: int,
    told: Floats,
    ends: NDArray[np.bool_],
    actions: NDArray[np.floating],
    seen: NDArray[np.float32],
) -> int:
    """Step every account, tell of it, and show it where it then stands.

    Args:
        books: accounts with their seats (N, SEAT_WIDTH).
        market: rows of all tapes (n, ROW_WIDTH).
        features: scaled features of all tapes, flat, `per_bar` numbers a row.
        rules: what the settings fix.
        window: numbers of an observation before the account's own.
        per_bar: features of a bar.
        told: filled with what happened (N, TOLD_WIDTH).
        ends: filled with whether each episode is terminated, and whether it is truncated (2, N).
        actions: fractions, with margin ratios beside them or without (N, 1 or 2).
        seen: filled with observations (N, window + 2 or more, see `show`); of no rows: nobody looks.

    Returns:
        The number of episodes that have ended; or, before anything is done, −1 − i for the first account i
        whose fraction is not in [−1, 1] or whose margin ratio is out of its range.

    An account whose episode has ended rests: its reward is 0.
    """
    chooses_margin = actions.shape[1] > 1
    for i in range(len(books)):
        if not abs(actions[i, 0]) <= NEARLY_ONE:  # NaN compares false
            return -1 - i
        if chooses_margin and not rules[Rule.MARGIN_MIN] <= actions[i, 1] <= rules[Rule.MARGIN_MAX]:
            return -1 - i
    ended = 0
    for i in range(len(books)):
        account, row = books[i], told[i]
        status = account[Seat.STATUS]
        if _RUNNING <= status <= _STRANDED:
            share = rules[Rule.SPOT_SHARE]
            if chooses_margin:
                share = 1.0 / (1.0 + actions[i, 1])
            await_row(int(account[Seat.CURSOR]) + 2, market, features, per_bar)
            live(account, min(max(actions[i, 0], -1.0), 1.0), share, market, rules, row)
            status = account[Seat.STATUS]
        else:
            row[:] = 0.0
            if status == _FRESH:
                account[Seat.STATUS] = _RUNNING
        ends[0, i] = status == _TERMINATED
        ends[1, i] = status == _TRUNCATED
        ended += status >= _TERMINATED
        if len(seen):
            show(account, features, rules, window, per_bar, seen[i])
    return ended


@compiled(inlined=True)
def await_row(row: int, market: Floats, features: NDArray[np.float32], per_bar: int) -> None:
    """Ask for the market and the features of the row that the next step will move to."""
    if row < len(market):
        prefetch(market[row], 0)
        prefetch(market[row], _HALF_ROW)
        prefetch(features, row * per_bar)
        prefetch(features, (row + 1) * per_bar - 1)


@compiled(inlined=True)
def live(account: Floats, target: float, share: float, market: Floats, rules: Floats, told: Floats) -> None:
    """Take one account through one step, and tell of it by `Told`."""
    booked = parts_of(account)
    before, traded = account[Seat.WORTH], account[Column.TURNOVER]
    cursor = int(account[Seat.CURSOR])
    stranded = account[Seat.STATUS] == _STRANDED
    if not stranded:
        follow(account, target, share, market[cursor], rules)
    cursor += 1
    row = market[cursor]
    liquidated = elapse(account, row, rules)
    if liquidated or stranded:
        # a spot leg without its hedge is a bet that nobody chose: it goes as soon as something trades
        account[Seat.STATUS] = _STRANDED
        if row[Row.TRADABLE] != 0.0:
            account[Seat.WORTH] = equity(account)
            bring_to(account, 0.0, account[Seat.SHARE], row, rules)
            account[Seat.STATUS] = _TERMINATED
    worth = equity(account)
    arrive(account, cursor, worth)
    funding, basis, fees, slippage, borrow, liquidation = parts_of(account)
    told[_FUNDING] = funding - booked[0]
    told[_BASIS] = basis - booked[1]
    told[_FEES] = fees - booked[2]
    told[_SLIPPAGE] = slippage - booked[3]
    told[_BORROW] = borrow - booked[4]
    told[_LIQUIDATION] = liquidation - booked[5]
    told[Told.PROFIT] = worth - before
    appraise(account, account[Column.TURNOVER] - traded, rules, told)


@compiled(inlined=True)
def arrive(account: Floats, cursor: int, worth: float) -> None:
    """Stand the account on a row with what it is worth there; its episode may be over with that."""
    account[Seat.WORTH] = worth
    account[Seat.CURSOR] = cursor
    if worth <= 0.0:
        account[Seat.STATUS] = _TERMINATED
    elif account[Seat.STATUS] != _TERMINATED and cursor >= account[Seat.LAST]:
        account[Seat.STATUS] = _TRUNCATED


@compiled(inlined=True)
def parts_of(account: Floats) -> tuple[float, float, float, float, float, float]:
    """Return what is booked so far, by `core.ledger.PARTS`."""
    return (
        account[Column.FUNDING],
        account[Column.BASIS],
        account[Column.FEES],
        account[Column.SLIPPAGE],
        account[Column.BORROW],
        account[Column.LIQUIDATION],
    )


@compiled(inlined=True)
def appraise(account: Floats, traded: float, rules: Floats, told: Floats) -> None:
    """Fill in the terms of the reward and the reward, from the parts of profit that are told already."""
    scale, worth = rules[Rule.BP_PER_QUOTE], account[Seat.WORTH]
    change = portfolio_change_bp(told[_FUNDING], told[_BASIS], told[_BORROW], told[_LIQUIDATION], scale)
    costs = transaction_costs_bp(told[_FEES], told[_SLIPPAGE], scale)
    account[Seat.PEAK] = max(account[Seat.PEAK], worth)
    account[Seat.VARIANCE] = updated_variance(account[Seat.VARIANCE], change - costs, rules[Rule.VOL_ALPHA])
    volatility = volatility_penalty_bp(account[Seat.VARIANCE], rules[Rule.LAMBDA_VOL])
    fallen = drawdown_penalty_bp(drawdown(worth, account[Seat.PEAK]), rules[Rule.LAMBDA_DD])
    turned = turnover_penalty_bp(traded, scale, rules[Rule.LAMBDA_TO])
    told[Told.TERMS] = change
    told[Told.TERMS + 1] = costs
    told[Told.TERMS + 2] = volatility
    told[Told.TERMS + 3] = fallen
    told[Told.TERMS + 4] = turned
    told[Told.REWARD] = change - costs - (volatility + fallen + turned)


@compiled(inlined=True)
def show(
    account: Floats,
    features: NDArray[np.float32],
    rules: Floats,
    window: int,
    per_bar: int,
    seen: NDArray[np.float32],
) -> None:
    """Write an observation: `window` scaled features up to the account's row, then position and drawdown.

    Where a policy chooses it, the margin that is left comes after them. What `seen` has room for beyond that
    is left alone.
    """
    end = (int(account[Seat.CURSOR]) + 1) * per_bar
    rows = features[end - window : end]
    for k in range(window):
        seen[k] = rows[k]
    seen[window] = position(account, account[Seat.SHARE], account[Seat.WORTH])
    seen[window + 1] = drawdown(account[Seat.WORTH], account[Seat.PEAK])
    if rules[Rule.SHOWS_MARGIN] != 0.0:
        seen[window + 2] = margin_left(account, account[Seat.WORTH])


@compiled
def show_all(
    books: Floats,
    features: NDArray[np.float32],
    rules: Floats,
    window: int,
    per_bar: int,
    seen: NDArray[np.float32],
) -> None:
    """Write the observation of every account (N, window + 2 or more)."""
    for i in range(len(books)):
        show(books[i], features, rules, window, per_bar, seen[i])


@compiled(allocates=True)
def survey(books: Floats) -> Floats:
    """Return equity, position, drawdown, margin ratio, unhedged coins and residual of each account (6, N)."""
    found = np.empty((6, len(books)))
    for i in range(len(books)):
        account = books[i]
        worth = equity(account)
        found[0, i] = worth
        found[1, i] = position(account, account[Seat.SHARE], worth)
        found[2, i] = drawdown(worth, account[Seat.PEAK])
        found[3, i] = margin_ratio(account)
        found[4, i] = delta_base(account)
        found[5, i] = residual(account)
    return found
