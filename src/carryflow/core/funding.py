"""Funding of a perpetual: which settlements fall to a holder, what they pay, and what that is a year."""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.core.instrument import ContractType

HOURS_PER_YEAR = 365 * 24


def settlement_cash(
    kind: ContractType,
    close_ms: NDArray[np.int64],
    settle_ms: NDArray[np.int64],
    rate: NDArray[np.float64],
    mark: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sum, for each interval between decisions, the funding that a long of one contract receives.

    One contract is here one base coin, paid in quote; of an inverse perpetual it is one quote of notional,
    worth 1 / mark coins at the settlement and paid in coins.

    A settlement at instant s pays the holder at s, so it falls in the interval (close_ms[i−1], close_ms[i]]:
    a position opened at s is not paid, one closed at s is. Whatever the bars' size, each settlement after
    the first decision and up to the last counts exactly once; others belong to no holder here. A position
    of q contracts (short: q < 0) receives q times the result: a positive rate debits longs.

    Args:
        kind: what the perpetual is.
        close_ms: instants of decision, strictly increasing (n,).
        settle_ms: instants of settlement, strictly increasing (m,).
        rate: settled rate per interval, fraction of notional that longs pay to shorts (m,).
        mark: mark price at the settlement (quote) (m,).

    Returns:
        Cash of a long (quote; inverse: base coins), (n,); the first is 0, for nobody has yet decided.

    Raises:
        CoverageError: a settlement has no rate or no mark.
        MarketDataError: the instants do not increase.

    Two settlements of 1 bp on a mark of 20 000 fall in the last of three intervals:

    >>> ms = lambda *hours: np.array(hours) * 3_600_000
    >>> bp, mark = np.full(2, 0.0001), np.full(2, 20_000.0)
    >>> settlement_cash(ContractType.LINEAR, ms(0, 4, 7, 16), ms(8, 16), bp, mark)
    array([ 0.,  0.,  0., -4.])
    >>> settlement_cash(ContractType.INVERSE, ms(0, 4, 7, 16), ms(8, 16), bp, mark)
    array([ 0.e+00,  0.e+00,  0.e+00, -1.e-08])

    """
    interval = _interval_paid(close_ms, settle_ms, rate, mark)
    held = interval > 0
    cash = -rate[held] / mark[held] if kind is ContractType.INVERSE else -rate[held] * mark[held]
    return np.bincount(interval[held], weights=cash, minlength=len(close_ms)).astype(np.float64)


def settlement_cash_per_base(
    close_ms: NDArray[np.int64],
    settle_ms: NDArray[np.int64],
    rate: NDArray[np.float64],
    mark: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Give `settlement_cash` of a linear perpetual: what a long of one base coin receives (quote) (n,)."""
    return settlement_cash(ContractType.LINEAR, close_ms, settle_ms, rate, mark)


def _interval_paid(
    close_ms: NDArray[np.int64],
    settle_ms: NDArray[np.int64],
    rate: NDArray[np.float64],
    mark: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Say in which interval each settlement falls (m,); 0 where nobody here holds it."""
    require_increasing("decision", close_ms)
    require_increasing("settlement", settle_ms)
    holes = ~(np.isfinite(rate) & np.isfinite(mark) & (mark > 0))
    if holes.any():
        raise CoverageError(
            f"{int(holes.sum())} of {len(rate)} settlements lack a rate or a mark, first at "
            f"{name_instants(settle_ms[holes])}; fetch those hours again"
        )
    interval = np.searchsorted(close_ms, settle_ms, side="left").astype(np.int64)
    interval[interval >= len(close_ms)] = 0
    return interval


def annualise(rate_per_interval: float, interval_hours: float) -> float:
    """Turn a rate per funding interval into a simple annual rate (fraction a year of 365 days).

    >>> round(annualise(0.0001, 8), 4), round(annualise(0.0001, 1), 3)
    (0.1095, 0.876)
    """
    if not interval_hours > 0:
        raise MarketDataError(f"a funding interval must be positive, was {interval_hours} hours")
    return rate_per_interval * HOURS_PER_YEAR / interval_hours


def name_instants(instants_ms: NDArray[np.int64], most: int = 3) -> str:
    """Name a few instants for a message.

    >>> name_instants(np.array([0, 3_600_000]), most=1)
    '1970-01-01T00:00Z and 1 more'
    """
    names = [f"{np.datetime64(int(ms), 'ms').astype('datetime64[m]')}Z" for ms in instants_ms[:most]]
    more = len(instants_ms) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def require_increasing(what: str, instants_ms: NDArray[np.int64]) -> None:
    """Do nothing if the instants strictly increase.

    Raises:
        MarketDataError: one does not follow its predecessor; it is named as `what`.
    """
    wrong = np.flatnonzero(np.diff(instants_ms) <= 0)
    if len(wrong):
        raise MarketDataError(
            f"{what} instants must increase, but {name_instants(instants_ms[wrong + 1])} does not follow "
            "its predecessor; sort the rows and drop the duplicates"
        )
