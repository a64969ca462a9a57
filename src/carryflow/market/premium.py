"""How a perpetual's premium over spot becomes the rate that longs pay to shorts.

Source: Binance, "Introduction to Binance Futures Funding Rates":
F = P̄ + clamp(I − P̄, −0.05 %, 0.05 %), where P̄ = (1·P₁ + 2·P₂ + … + n·Pₙ) / (1 + 2 + … + n) averages the
premium index over the interval, later minutes weighing more, and I is the interest of 0.01 % per 8 hours.
Capped at ±2 %.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

INTERVAL_HOURS = 8
INTEREST_PER_INTERVAL = 0.0001
CLAMP = 0.0005
CAP = 0.02


def average_premium(premium: Floats) -> Floats:
    """Average premium indices `(…, n)`, oldest first, with linearly growing weights; return `(…,)`.

    >>> float(average_premium(np.array([0.0, 0.0, 0.0006])))
    0.0003
    """
    weights = np.arange(1.0, premium.shape[-1] + 1.0)
    averages: Floats = (premium * weights).sum(axis=-1) / weights.sum()
    return averages


def settled_rate(premium: Floats) -> Floats:
    """Return the funding rate per interval `(…,)` that premium indices `(…, n)` lead to.

    Positive: longs pay shorts. Inside ±5 bp of the interest the rate is the interest itself; beyond, it
    follows the premium at a distance of 5 bp.

    >>> settled_rate(np.array([[0.0003] * 8, [0.0010] * 8, [-0.0009] * 8, [0.05] * 8])).round(8).tolist()
    [0.0001, 0.0005, -0.0004, 0.02]
    """
    average = average_premium(premium)
    rate = average + np.clip(INTEREST_PER_INTERVAL - average, -CLAMP, CLAMP)
    capped: Floats = np.clip(rate, -CAP, CAP)
    return capped
