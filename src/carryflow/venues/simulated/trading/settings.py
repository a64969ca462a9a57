"""What the simulated exchange charges, asks for and allows those who trade on it."""

from typing import Annotated

from pydantic import Field

from carryflow.core.section import Section


class TradingSettings(Section):
    """Set the venue's fees, margin and limits."""

    spot_maker_bp: Annotated[float, Field(ge=0, le=1000, description="spot fee of resting orders (bp)")] = 10
    spot_taker_bp: Annotated[float, Field(ge=0, le=1000, description="spot fee of crossing orders (bp)")] = 10
    perp_maker_bp: Annotated[
        float, Field(ge=0, le=1000, description="perpetual fee of resting orders (bp)")
    ] = 2
    perp_taker_bp: Annotated[
        float, Field(ge=0, le=1000, description="perpetual fee of crossing orders (bp)")
    ] = 5
    fee_in_base: Annotated[
        bool, Field(description="the fee of a spot purchase is taken in the coin bought, as Binance does")
    ] = True
    leverage: Annotated[
        int, Field(ge=1, le=125, description="leverage of a perpetual until it is set: notional over margin")
    ] = 20
    liquidation_fee_rate: Annotated[
        float, Field(ge=0, lt=1, description="what the venue keeps of a liquidation (fraction of notional)")
    ] = 0.0125
    latency_ms: Annotated[
        int, Field(ge=0, le=60_000, description="time from an order's arrival to its match (ms)")
    ] = 0
    spot_orders_per_10s: Annotated[
        int, Field(gt=0, description="spot orders that an account may send in ten seconds")
    ] = 100
    perp_orders_per_10s: Annotated[
        int, Field(gt=0, description="perpetual orders that an account may send in ten seconds")
    ] = 300
    spot_weight_per_minute: Annotated[
        int, Field(gt=0, description="weight of requests to spot that an address may send in a minute")
    ] = 6000
    perp_weight_per_minute: Annotated[
        int, Field(gt=0, description="weight of requests to futures that an address may send in a minute")
    ] = 2400
