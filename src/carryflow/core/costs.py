"""What a venue charges: fees by tier, slippage, the interest of a borrowed coin, and the rules of margin."""

from itertools import pairwise
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from carryflow.core.section import Section

BP = 1e-4
"""One basis point."""

YEAR_MS = 365 * 24 * 3_600_000
"""A year of 365 days, the year of every annual rate here (ms)."""


class FeeTier(NamedTuple):
    """Hold a tier's fees (bp of notional)."""

    spot_maker_bp: float
    spot_taker_bp: float
    perp_maker_bp: float
    perp_taker_bp: float


FEE_TIERS: tuple[FeeTier, ...] = (
    FeeTier(10.0, 10.0, 2.0, 5.0),
    FeeTier(9.0, 10.0, 1.6, 4.0),
    FeeTier(8.0, 10.0, 1.4, 3.5),
    FeeTier(4.2, 6.0, 1.2, 3.2),
    FeeTier(4.2, 5.4, 1.0, 3.0),
    FeeTier(3.6, 4.8, 0.8, 2.7),
    FeeTier(3.0, 4.2, 0.6, 2.5),
    FeeTier(2.4, 3.6, 0.4, 2.2),
    FeeTier(1.8, 3.0, 0.2, 2.0),
    FeeTier(1.2, 2.4, 0.0, 1.7),
)
"""Binance's tiers, regular to VIP 9: spot and USDⓈ-M futures, without the discount for paying in BNB.

https://www.binance.com/en/fee/schedule and https://www.binance.com/en/fee/futureFee
"""


class CostSettings(Section):
    """Price the trades and the loans."""

    fee_tier: Annotated[
        int, Field(ge=0, lt=len(FEE_TIERS), description="fee tier of the venue; 0 is everybody's")
    ] = 0
    spot_taker_bp: Annotated[
        float | None,
        Field(ge=0, le=1000, description="taker fee of the spot leg (bp of notional); null: the tier's"),
    ] = None
    spot_maker_bp: Annotated[
        float | None,
        Field(ge=-10, le=1000, description="maker fee of the spot leg (bp of notional); null: the tier's"),
    ] = None
    perp_taker_bp: Annotated[
        float | None,
        Field(ge=0, le=1000, description="taker fee of the perpetual leg (bp of notional); null: the tier's"),
    ] = None
    perp_maker_bp: Annotated[
        float | None,
        Field(
            ge=-10, le=1000, description="maker fee of the perpetual leg (bp of notional); null: the tier's"
        ),
    ] = None
    maker_share: Annotated[
        float,
        Field(ge=0, le=1, description="share of each leg that rests until it fills: maker fee, no slippage"),
    ] = 0.0
    fee_in_base: Annotated[
        bool, Field(description="the venue takes the fee of a spot purchase in the coin bought")
    ] = False
    spot_slippage_bp: Annotated[
        float, Field(ge=0, le=1000, description="half the spot spread where no book was recorded (bp)")
    ] = 1.0
    perp_slippage_bp: Annotated[
        float, Field(ge=0, le=1000, description="half the perpetual spread where no book was recorded (bp)")
    ] = 1.0
    spot_depth_share: Annotated[
        float,
        Field(
            gt=0,
            description="spot value resting within 10 bp a side where no book was recorded (share of a mean "
            "hour's turnover)",
        ),
    ] = 0.022
    perp_depth_share: Annotated[
        float,
        Field(
            gt=0,
            description="perpetual value resting within 10 bp a side where no book was recorded (share of a "
            "mean hour's turnover)",
        ),
    ] = 0.0072
    borrow_apr: Annotated[
        float, Field(ge=0, le=10, description="interest on a borrowed coin (fraction of its value a year)")
    ] = 0.06

    @property
    def spot_fee_rate(self) -> float:
        """Fee of the spot leg, maker and taker blended (fraction of notional)."""
        tier = FEE_TIERS[self.fee_tier]
        taker = tier.spot_taker_bp if self.spot_taker_bp is None else self.spot_taker_bp
        maker = tier.spot_maker_bp if self.spot_maker_bp is None else self.spot_maker_bp
        return BP * (self.maker_share * maker + self.taker_share * taker)

    @property
    def perp_fee_rate(self) -> float:
        """Fee of the perpetual leg, maker and taker blended (fraction of notional)."""
        tier = FEE_TIERS[self.fee_tier]
        taker = tier.perp_taker_bp if self.perp_taker_bp is None else self.perp_taker_bp
        maker = tier.perp_maker_bp if self.perp_maker_bp is None else self.perp_maker_bp
        return BP * (self.maker_share * maker + self.taker_share * taker)

    @property
    def taker_share(self) -> float:
        """Share of each leg that crosses the spread."""
        return 1.0 - self.maker_share


class Bracket(NamedTuple):
    """Say from which notional on which maintenance rate counts."""

    floor_quote: float
    rate: float


BINANCE_BTCUSDT: tuple[Bracket, ...] = (
    Bracket(0.0, 0.004),
    Bracket(50_000.0, 0.005),
    Bracket(600_000.0, 0.0065),
    Bracket(3_000_000.0, 0.01),
    Bracket(12_000_000.0, 0.02),
    Bracket(70_000_000.0, 0.025),
    Bracket(100_000_000.0, 0.05),
    Bracket(230_000_000.0, 0.1),
    Bracket(480_000_000.0, 0.125),
    Bracket(600_000_000.0, 0.15),
    Bracket(800_000_000.0, 0.25),
    Bracket(1_200_000_000.0, 0.5),
)
"""Brackets of Binance's BTCUSDT perpetual, as its leverageBracket endpoint gave them in 2024.

https://www.binance.com/en/futures/trading-rules/perpetual/leverage-margin
"""


class MarginSettings(Section):
    """Set the venue's margin rules."""

    brackets: Annotated[
        tuple[Bracket, ...],
        Field(
            min_length=1,
            description="maintenance margin of every coin: [notional from which it counts (quote), rate "
            "(fraction)], ...; the default is BTC's, and venues ask more for smaller coins",
        ),
    ] = BINANCE_BTCUSDT
    liquidation_fee_rate: Annotated[
        float, Field(ge=0, lt=1, description="what the venue keeps of a liquidation (fraction of notional)")
    ] = 0.0125

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        floors, rates = zip(*self.brackets, strict=True)
        if floors[0] != 0 or any(before >= after for before, after in pairwise(floors)):
            raise ValueError(f"brackets must begin at 0 and ascend, were {floors}")
        if any(before >= after for before, after in pairwise((0.0, *rates, 1.0))):
            raise ValueError(f"rates must ascend between 0 and 1, were {rates}")
        return self
