"""What a single environment tells of its account after a step, in one small array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import FIRST_PART, N_PARTS, PARTS, Column, delta_base
from carryflow.core.compiled import compiled
from carryflow.env.kernel import step
from carryflow.env.layout import Floats, Seat, Told
from carryflow.env.reward import N_TERMS, REWARD_TERMS, drawdown
from carryflow.env.trade import margin_ratio, position

STATEMENT: tuple[str, ...] = (
    "equity",
    "turnover",
    "position",
    "drawdown",
    "margin_ratio",
    "delta_base",
    *PARTS,
    *REWARD_TERMS,
)
"""What is told, in order: turnover and parts since the reset (quote), terms of the step's reward (bp)."""

REWARD, CURSOR = len(STATEMENT), len(STATEMENT) + 1
"""Two numbers more: the reward of the step (bp), and the row of the market array."""

STATEMENT_WIDTH = CURSOR + 1

_EQUITY, _TURNOVER, _POSITION, _DRAWDOWN, _MARGIN_RATIO, _DELTA, _PARTS = range(7)
_TERMS = _PARTS + N_PARTS


@compiled
def state_account(books: Floats, told: Floats, statement: Floats) -> None:
    """Fill in the `STATEMENT` of the first account, and the numbers that follow (STATEMENT_WIDTH,)."""
    account, worth = books[0], books[0, Seat.WORTH]
    statement[_EQUITY] = worth
    statement[_TURNOVER] = account[Column.TURNOVER]
    statement[_POSITION] = position(account, account[Seat.SHARE], worth)
    statement[_DRAWDOWN] = drawdown(worth, account[Seat.PEAK])
    statement[_MARGIN_RATIO] = margin_ratio(account)
    statement[_DELTA] = delta_base(account)
    for part in range(N_PARTS):
        statement[_PARTS + part] = account[FIRST_PART + part]
    for term in range(N_TERMS):
        statement[_TERMS + term] = told[0, Told.TERMS + term]
    statement[REWARD] = told[0, Told.REWARD]
    statement[CURSOR] = account[Seat.CURSOR]


@compiled
def step_alone(
    books: Floats,
    market: Floats,
    features: NDArray[np.float32],
    rules: Floats,
    window: int,
    per_bar: int,
    told: Floats,
    ends: NDArray[np.bool_],
    statement: Floats,
    wanted: Floats,
    fraction: float,
    seen: NDArray[np.float32],
) -> int:
    """Do as `kernel.step` for one account, and state it: all that a single environment needs, in one call.

    `wanted` is the action, (1, 1 or 2), into which `fraction` is written first; `seen` is one observation.
    Returns the episode's `Status`; or −1, if the action was refused.
    """
    wanted[0, 0] = fraction
    refused = step(
        books,
        market,
        features,
        rules,
        window,
        per_bar,
        told,
        ends,
        wanted,
        seen.reshape((1, -1)),
    )
    if refused < 0:
        return -1
    state_account(books, told, statement)
    return int(books[0, Seat.STATUS])


def name_statement(numbers: list[float], now_ms: int) -> dict[str, Any]:
    """Give the statement by name, with its instant (UTC ms).

    It is written out, for to pair names with numbers would take twice as long, and each step does it.

    >>> tuple(name_statement([0.0] * STATEMENT_WIDTH, 0)) == ("now_ms", *STATEMENT)
    True
    """
    (
        equity,
        turnover,
        held,
        fallen,
        margin,
        delta,
        funding,
        basis,
        fees,
        slippage,
        borrow,
        liquidation,
        change,
        costs,
        volatility,
        below_peak,
        traded,
        _,
        _,
    ) = numbers
    return {
        "now_ms": now_ms,
        "equity": equity,
        "turnover": turnover,
        "position": held,
        "drawdown": fallen,
        "margin_ratio": margin,
        "delta_base": delta,
        "funding": funding,
        "basis": basis,
        "fees": fees,
        "slippage": slippage,
        "borrow": borrow,
        "liquidation": liquidation,
        "portfolio_change_bp": change,
        "transaction_costs_bp": costs,
        "volatility_penalty_bp": volatility,
        "drawdown_penalty_bp": below_peak,
        "turnover_penalty_bp": traded,
    }
