"""What it takes to trade a pair: how finely its legs may be ordered, and what trading them has cost."""

from dataclasses import dataclass, fields
from math import inf

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import MarketDataError

Floats = NDArray[np.float64]

WIDEST_BP = 1e4
"""A half-spread of as much would sell for nothing; every recorded one is narrower (bp)."""


@dataclass(frozen=True, slots=True)
class PairLots:
    """Say how finely the two legs may be ordered.

    Attributes:
        spot_base: step of a spot order (base coin); 0: any quantity.
        perp: step of a perpetual order (base coin; of an inverse contract, quote notional); 0: any quantity.
        min_notional_quote: smallest order (quote); None: the settings say.

    """

    spot_base: float = 0.0
    perp: float = 0.0
    min_notional_quote: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no venue asks for.

        Raises:
            MarketDataError: a step or the smallest order is negative, infinite or NaN.

        """
        for field in fields(self):
            size = getattr(self, field.name)
            if size is not None and not 0.0 <= size < inf:
                raise MarketDataError(
                    f"{field.name} must be finite and at least 0, was {size}; ask the venue for its terms"
                )


@dataclass(frozen=True, slots=True, eq=False)
class Liquidity:
    """Hold what n decisions would have cost to trade, as far as anybody recorded it: NaN where nobody did.

    Each array is float64 (n, 2): spot, perpetual.

    Attributes:
        half_spread_bp: half of the quoted spread (basis points of the mid), below `WIDEST_BP`.
        depth_quote: value resting within 10 bp of the mid, on the thinner side (quote).
        turnover_quote: mean value traded an hour, over the day before (quote).

    """

    half_spread_bp: Floats
    depth_quote: Floats
    turnover_quote: Floats

    def __post_init__(self) -> None:
        """Refuse what are no such arrays; of which rows one cannot trade on, a tape says.

        Raises:
            MarketDataError: the arrays are not float64 (n, 2).

        """
        n = np.size(self.half_spread_bp) // 2
        for field in fields(self):
            require_array(field.name, getattr(self, field.name), np.float64, (n, 2))

    def of(self, rows: NDArray[np.integer] | slice | list[int]) -> "Liquidity":
        """Give some of the rows."""
        return Liquidity(*(getattr(self, field.name)[rows] for field in fields(self)))


def lots_of(rows: pl.DataFrame) -> PairLots:
    """Read the order sizes of the newest row; 0 where nobody recorded the venue's terms."""
    spot, perp, smallest = rows.select("SpotLot", "PerpLot", "MinNotional").row(-1)
    return PairLots(spot or 0.0, perp or 0.0, smallest)


def liquidity_of(rows: pl.DataFrame) -> Liquidity:
    """Read what trading cost at each row of a dataset or of the unified frame."""
    spread, depth, turnover = (
        rows.select(pl.col(f"Spot{what}", f"Perp{what}").cast(pl.Float64)).to_numpy()
        for what in ("Spread", "Depth", "Turnover")
    )
    return Liquidity(half_spread_bp=spread / 2, depth_quote=depth, turnover_quote=turnover)


def require_array(name: str, values: object, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """Require an array of this type and shape.

    Raises:
        MarketDataError: it is another, or none at all.

    """
    if isinstance(values, np.ndarray) and values.dtype == dtype and values.shape == shape:
        return
    found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
    raise MarketDataError(f"{name} is {found}, expected an array {dtype.__name__} {shape}; convert it")
