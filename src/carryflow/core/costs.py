"""What a venue charges: taker fees, slippage, the interest of a borrowed coin, and the rules of margin."""

from typing import Annotated

from pydantic import Field

from carryflow.core.section import Section

BP = 1e-4
"""One basis point."""

YEAR_MS = 365 * 24 * 3_600_000
"""A year of 365 days, the year of every annual rate here (ms)."""


class CostSettings(Section):
    """Price the trades and the loans."""

    spot_taker_bp: Annotated[
        float, Field(ge=0, le=1000, description="taker fee of the spot leg (bp of notional)")
    ] = 10.0
    perp_taker_bp: Annotated[
        float, Field(ge=0, le=1000, description="taker fee of the perpetual leg (bp of notional)")
    ] = 5.0
    spot_slippage_bp: Annotated[
        float, Field(ge=0, le=1000, description="how far a spot fill lies from the reference price (bp)")
    ] = 1.0
    perp_slippage_bp: Annotated[
        float, Field(ge=0, le=1000, description="how far a perpetual fill lies from the reference price (bp)")
    ] = 1.0
    borrow_apr: Annotated[
        float, Field(ge=0, le=10, description="interest on a borrowed coin (fraction of its value a year)")
    ] = 0.06

    @property
    def pair_rate(self) -> float:
        """Cost of trading both legs once (fraction of the notional of one leg)."""
        return BP * (self.spot_taker_bp + self.perp_taker_bp + self.spot_slippage_bp + self.perp_slippage_bp)


class MarginSettings(Section):
    """Set the venue's margin rules; the defaults are those of Binance's first BTCUSDT bracket."""

    maintenance_rate: Annotated[
        float,
        Field(gt=0, lt=1, description="margin below which a position is liquidated (fraction of notional)"),
    ] = 0.005
    liquidation_fee_rate: Annotated[
        float, Field(ge=0, lt=1, description="what the venue keeps of a liquidation (fraction of notional)")
    ] = 0.0125
