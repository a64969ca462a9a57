"""When a perpetual needs help: how far its liquidation is, how much cash helps, what to give up if none is.

Each coin is looked at with its own share of the futures wallet. A venue that lets all positions share one
wallet liquidates later than that, never earlier than the worst of them.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import Account, Column, margin_balance
from carryflow.core.margin import liquidation_price, maintenance_margin

GOAL = 1.5
"""What help aims at, in least distances: not to need it again at the next tick."""

_CENT = Decimal("0.01")
_SPARE = 0.98
"""Part of what would be kept that is kept: prices move while one reduces."""


@dataclass(frozen=True, slots=True)
class Relief:
    """Say what brings a pair's liquidation far enough away.

    Attributes:
        top_up_quote: cash to move into the futures wallet (quote); 0: none, or there is none.
        keep: part of the position to keep (fraction); 1: all.
    """

    top_up_quote: Decimal
    keep: float


def distance(account: Account, brackets: NDArray[np.float64]) -> float:
    """Return how far the mark may move before the perpetual is liquidated (fraction of the mark).

    Infinite without a position, or where no price liquidates it; 0 where it is too late.
    """
    held, mark = account[Column.PERP_QTY], account[Column.MARK]
    if held == 0.0 or mark <= 0.0:
        return float("inf")
    price = liquidation_price(account[Column.PERP_WALLET], held, account[Column.PERP_ENTRY], brackets)
    if np.isnan(price):
        return float("inf")
    away = price / mark - 1.0 if held < 0.0 else 1.0 - price / mark
    return max(float(away), 0.0)


def relief(
    account: Account, cash_quote: Decimal, least: float, brackets: NDArray[np.float64]
) -> Relief | None:
    """Return what to do for a pair; None: liquidation is far enough away.

    Cash of the spot wallet comes first. If that is not enough, part of the position goes, which also turns
    coins into cash.

    Args:
        account: the pair's row of the ledger, at its last mark.
        cash_quote: what it has in the spot wallet (quote).
        least: the distance below which something is done (fraction of the mark).
        brackets: the venue's margin table, see `core.margin.bracket_table` (k, 2).
    """
    if distance(account, brackets) >= least:
        return None
    held, mark = account[Column.PERP_QTY], account[Column.MARK]
    move = GOAL * least * mark
    size = abs(held)
    there = mark + move if held < 0.0 else max(mark - move, 0.0)
    needed = size * move + maintenance_margin(size * there, brackets)
    has = margin_balance(account, mark)
    missing = Decimal(repr(float(needed - has))).quantize(_CENT, ROUND_CEILING)
    affordable = max(cash_quote, Decimal(0)).quantize(_CENT, ROUND_DOWN)
    if missing <= affordable:
        return Relief(missing, 1.0)
    keep = max((float(has) + float(affordable)) / float(needed), 0.0) * _SPARE
    return Relief(affordable, min(keep, 1.0))


def surplus(account: Account, cash_quote: Decimal, spot_share: float) -> Decimal:
    """Return the cash of a flat pair that is in the wrong wallet (quote; positive: it belongs to futures).

    >>> account = np.zeros(len(Column))
    >>> account[Column.PERP_WALLET] = 400.0
    >>> surplus(account, Decimal(600), 0.5)
    Decimal('100.00')
    """
    wallet = Decimal(repr(float(account[Column.PERP_WALLET])))
    wanted = (cash_quote + wallet) * Decimal(repr(spot_share))
    return (cash_quote - wanted).quantize(_CENT, ROUND_DOWN)
