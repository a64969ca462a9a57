"""Rolling statistics that depend on the rows of their own window and on nothing before.

Each window is summed anew instead of sliding a running sum: a feature is then the same to the last bit
whether the history behind it is long or short, which is what makes an hourly update equal a full rebuild.
"""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.compiled import compiled


@compiled
def rolling_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Average each value with the width − 1 before it, (n,) to (n,); NaN until the window is full.

    >>> rolling_mean(np.array([1.0, 2.0, 6.0]), 2)
    array([nan, 1.5, 4. ])
    """
    out = np.full(len(values), np.nan)
    for last in range(width - 1, len(values)):
        total = 0.0
        for row in range(last - width + 1, last + 1):
            total += values[row]
        out[last] = total / width
    return out


@compiled
def rolling_std(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Give the population standard deviation over each window, (n,) to (n,); NaN until the window is full.

    >>> rolling_std(np.array([1.0, 3.0, 3.0]), 2)
    array([nan,  1.,  0.])
    """
    out = np.full(len(values), np.nan)
    for last in range(width - 1, len(values)):
        total = 0.0
        for row in range(last - width + 1, last + 1):
            total += values[row]
        mean = total / width
        squares = 0.0
        for row in range(last - width + 1, last + 1):
            squares += (values[row] - mean) ** 2
        out[last] = np.sqrt(squares / width)
    return out


def lagged(values: NDArray[np.float64], bars: int) -> NDArray[np.float64]:
    """Give the value of so many bars ago, (n,) to (n,); NaN where there is none.

    >>> lagged(np.array([1.0, 2.0, 3.0]), 2)
    array([nan, nan,  1.])
    """
    out = np.full(len(values), np.nan)
    out[bars:] = values[: max(len(values) - bars, 0)]
    return out
