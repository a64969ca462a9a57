"""The market and the position series that every backtest here plays: made by seed, with nothing but numpy."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CAPITAL = 100_000.0
SPOT_FEE, PERP_FEE, SLIPPAGE = 0.0010, 0.0005, 0.0001


class CarrySeries(NamedTuple):
    """Hold n hours of K pairs, each (n, K).

    Attributes:
        spot: close of the spot leg (quote).
        perp: close of the perpetual (quote).
        rate: settled every eight hours, 0 between.
        target: fraction of capital wanted in the hedged trade: in above a threshold of trailing funding, out
            below another.

    """

    spot: Floats
    perp: Floats
    rate: Floats
    target: Floats

    @property
    def coins(self) -> Floats:
        """Give the coins wanted after each change of the target, NaN where it stays as it was (n, K)."""
        changed = np.diff(self.target, axis=0, prepend=0.0) != 0.0
        return np.where(changed, self.target * 0.5 * CAPITAL / self.spot, np.nan)


def carry_series(pairs: int, hours: int) -> CarrySeries:
    """Draw prices that wander and funding that comes and goes; hundreds of orders a pair in five years."""
    generator = np.random.default_rng(11)
    spot = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 0.003, (hours, pairs)), axis=0))
    perp = spot * (1.0 + generator.normal(0.0, 2e-4, (hours, pairs)))
    carry = np.zeros((hours, pairs))
    noise = generator.normal(0.0, 1.0, (hours, pairs))
    for hour in range(1, hours):
        carry[hour] = 0.98 * carry[hour - 1] + noise[hour]
    entered = np.where(carry > 8.0, 1.0, np.where(carry < -8.0, 0.0, np.nan))
    entered[0] = np.where(np.isnan(entered[0]), 0.0, entered[0])
    last = np.maximum.accumulate(np.where(np.isnan(entered), 0, np.arange(hours)[:, None]), axis=0)
    rate = np.where(np.arange(hours)[:, None] % 8 == 0, 1e-5 * carry, 0.0)
    return CarrySeries(spot, perp, rate, np.take_along_axis(entered, last, axis=0))
