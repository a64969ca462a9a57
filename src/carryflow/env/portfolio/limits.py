"""What a portfolio may hold of each coin, and of all together."""

from carryflow.core.compiled import compiled
from carryflow.core.hedge import should_resize
from carryflow.env.layout import Floats

LIMIT_GRAIN = 1e-6
"""How far beyond the limit a sum of fractions of 32 bits may come out that is meant to fill it just."""


@compiled
def equal_part(coins: int, ticker_limit: float, total_limit: float) -> float:
    """Return what each of `coins` may take, if all take alike (fraction of capital): the unit of hysteresis.

    A band of a fixed size would be out of reach for the small positions of many coins.

    >>> equal_part(25, 0.5, 1.0), equal_part(2, 0.3, 1.0)
    (0.04, 0.3)
    """
    return min(ticker_limit, total_limit / coins)


@compiled
def grant(
    wanted: Floats,
    held: Floats,
    tradable: Floats,
    ticker_limit: float,
    total_limit: float,
    hysteresis: float,
    granted: Floats,
) -> float:
    """Fill in what the limits leave of the `wanted` fractions of capital; return what they took away.

    A coin is cut to ±`ticker_limit`; reductions are granted; and what is left of `total_limit` then is shared
    out among the increases, each scaled back alike. One that is halted, or within `hysteresis` (fraction of
    capital) of what it would so be granted, keeps what is `held`, and the others share again what that
    leaves: nothing is traded for less than the hysteresis, except to exactly 0. So no trade takes the sum of
    |fraction| beyond the limit, and what prices alone have carried beyond it is not traded for that.

    >>> import numpy as np
    >>> granted = np.empty(3)
    >>> wanted, held = np.array([0.9, 0.5, -0.6]), np.array([0.0, 0.4, 0.2])
    >>> round(grant(wanted, held, np.ones(3), 0.5, 1.0, 0.25, granted), 9), granted.tolist()
    (0.9, [0.3, 0.4, -0.3])

    Half each is wanted of three coins that hold a third; what the first lost is not worth a trade:

    >>> wanted, held = np.full(3, 0.5), np.array([0.30, 0.33, 0.34])
    >>> round(grant(wanted, held, np.ones(3), 0.5, 1.0, 0.05, granted), 2), granted.tolist()
    (0.5, [0.3, 0.33, 0.34])
    """
    cut = 0.0
    for k in range(len(wanted)):
        target = min(max(wanted[k], -ticker_limit), ticker_limit)
        cut += abs(wanted[k] - target)
        trades = tradable[k] != 0.0 and should_resize(target, held[k], hysteresis)
        granted[k] = target if trades else held[k]
    part = part_of_increases(granted, held, total_limit)
    while part < 1.0:
        kept = False
        for k in range(len(wanted)):
            left = scaled_back(granted[k], held[k], part)
            if granted[k] != held[k] and not should_resize(left, held[k], hysteresis):
                cut += abs(granted[k] - left)
                granted[k] = held[k]
                kept = True
        if not kept:
            break
        part = part_of_increases(granted, held, total_limit)
    if part < 1.0:
        for k in range(len(wanted)):
            left = scaled_back(granted[k], held[k], part)
            cut += abs(granted[k] - left)
            granted[k] = left
    return cut


@compiled
def part_of_increases(targets: Floats, held: Floats, total_limit: float) -> float:
    """Return the part of all increases that the limit has room for, once the reductions are made, ≤ 1."""
    base, more = 0.0, 0.0
    for k in range(len(targets)):
        stays = staying(targets[k], held[k])
        base += stays
        more += abs(targets[k]) - stays
    room = max(total_limit - base, 0.0)
    return 1.0 if more <= room + LIMIT_GRAIN else room / more


@compiled(inlined=True)
def scaled_back(target: float, held: float, part: float) -> float:
    """Return the target with only a part of its increase."""
    stays = staying(target, held)
    size = stays + (abs(target) - stays) * part
    return size if target >= 0.0 else -size


@compiled(inlined=True)
def staying(target: float, held: float) -> float:
    """Return how much of what is held the target leaves as it is (|fraction|)."""
    return min(abs(target), abs(held)) if target * held > 0.0 else 0.0
