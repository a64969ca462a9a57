"""The anomaly score: how unlike the week before it the last hour was."""

import numpy as np
from numpy.typing import NDArray

from carryflow.features.rolling import lagged, rolling_mean, rolling_std


def surprise(values: NDArray[np.float64], width: int, floor: float) -> NDArray[np.float64]:
    """Give each value's distance from the `width` values before it, in their standard deviations, (n,).

    The value itself is not among them. `floor` is the smallest deviation told apart, in the value's unit.

    >>> surprise(np.array([1.0, 3.0, 5.0]), width=2, floor=0.1)
    array([nan, nan,  3.])
    """
    mean = lagged(rolling_mean(values, width), 1)
    deviation = np.maximum(lagged(rolling_std(values, width), 1), floor)
    distance: NDArray[np.float64] = (values - mean) / deviation
    return distance


def anomaly_score(
    spot_return: NDArray[np.float64],
    basis_change_bp: NDArray[np.float64],
    quote_volume: NDArray[np.float64],
    width: int = 168,
) -> NDArray[np.float64]:
    """Join the surprises of return, basis and volume into one number, (n,), 0 in a perfectly usual hour.

    ln(1 + √((z_r² + z_b² + z_v²) / 3)), each z against the `width` bars before: the logarithm lets a crash be
    told from a big crash without drowning what is merely odd.

    Args:
        spot_return: logarithmic return of the spot price over the bar.
        basis_change_bp: change of the basis over the bar (basis points of spot).
        quote_volume: value traded in the bar (quote).
        width: bars that say what is usual.

    """
    squares = (
        surprise(spot_return, width, floor=1e-6) ** 2
        + surprise(basis_change_bp, width, floor=1e-2) ** 2
        + surprise(quote_volume, width, floor=1.0) ** 2
    )
    score: NDArray[np.float64] = np.log1p(np.sqrt(squares / 3))
    return score
