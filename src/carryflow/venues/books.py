"""What rests in an order book: the touch, and the value within some distances of the mid."""

from typing import Any

import numpy as np

from carryflow.core.errors import MarketDataError
from carryflow.market.schema import DEPTH_BANDS


def book_columns(book: dict[str, Any], levels: int, contract_size: float = 1.0) -> dict[str, float | None]:
    """Return the touch of ccxt's order book, and the quote value within each band of the mid on each side.

    Sizes count contracts of `contract_size` base coins. Where the answer holds as
    many levels as were asked for and ends inside a band, what lies in the band is not known: null. Nothing
    at all within more than 5 bp of the mid is null, too.

    Raises:
        MarketDataError: a side of the book is empty.
    """
    if not book["bids"] or not book["asks"]:
        raise MarketDataError(
            f"the order book of {book.get('symbol')} is empty on one side; fetch again later"
        )
    sides = [np.array([level[:2] for level in book[side]], dtype=np.float64) for side in ("bids", "asks")]
    mid = (sides[0][0, 0] + sides[1][0, 0]) / 2
    columns: dict[str, float | None] = {"bid": float(sides[0][0, 0]), "ask": float(sides[1][0, 0])}
    for band, names in DEPTH_BANDS.items():
        reach = mid * band * (1 + 1e-9)
        for name, side in zip(names, sides, strict=True):
            away = np.abs(side[:, 0] - mid)
            value = float((side[:, 1] * side[:, 0] * contract_size)[away <= reach].sum())
            cut_off = len(side) >= levels and away[-1] <= reach
            columns[name] = None if cut_off or (value == 0 and band > min(DEPTH_BANDS)) else value
    return columns
