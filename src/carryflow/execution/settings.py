"""How the engine trades, and what no model may make it do."""

from typing import Annotated, Literal

from pydantic import Field

from carryflow.core.section import Section


class LimitSettings(Section):
    """Bound what may be done, whoever wants it."""

    max_ticker_notional_quote: Annotated[
        float, Field(gt=0, description="largest perpetual position of one ticker (quote)")
    ] = 100_000.0
    max_total_notional_quote: Annotated[
        float, Field(gt=0, description="largest sum of perpetual positions (quote)")
    ] = 300_000.0
    max_leverage: Annotated[
        float, Field(gt=0, le=20, description="largest perpetual notional over the futures wallet's margin")
    ] = 3.0
    min_margin_distance: Annotated[
        float,
        Field(gt=0, lt=1, description="least rise or fall of the mark to liquidation (fraction of the mark)"),
    ] = 0.15
    max_imbalance_lots: Annotated[
        float, Field(gt=0, description="largest difference of the legs at rest (coarser lots)")
    ] = 1.0
    max_orders_per_minute: Annotated[
        int, Field(gt=0, description="most orders sent in any minute; cancels and closes are not counted")
    ] = 120
    price_band_bp: Annotated[
        float,
        Field(gt=0, le=2_000, description="furthest that a limit may be beyond the mark, or index (bp)"),
    ] = 100.0
    max_daily_loss: Annotated[
        float,
        Field(gt=0, le=1, description="loss of a day (UTC) at which all is closed (fraction of capital)"),
    ] = 0.05
    max_feature_age_hours: Annotated[
        float, Field(gt=0, description="oldest decision or feature that may open a position (hours)")
    ] = 3.0
    max_feed_age_seconds: Annotated[
        float, Field(gt=0, description="oldest book or mark that an order may be priced on (seconds)")
    ] = 5.0
    max_clock_skew_ms: Annotated[
        int, Field(gt=0, le=5_000, description="furthest that this clock may be from the venue's (ms)")
    ] = 500
    max_depeg: Annotated[
        float, Field(gt=0, lt=1, description="furthest that the quote coin may be from a dollar (fraction)")
    ] = 0.01


class ExecutionSettings(Section):
    """Steer the engine."""

    live: Annotated[
        bool, Field(description="first of the two switches of real money; the other is the flag --live")
    ] = False
    capital_quote: Annotated[
        float, Field(gt=0, description="equity to trade with, divided equally among the tickers (quote)")
    ] = 100_000.0
    spot_share: Annotated[
        float, Field(gt=0, lt=1, description="part of equity in the spot wallet, the rest is margin")
    ] = 0.5
    hysteresis: Annotated[
        float, Field(ge=0, le=2, description="distance from position to decision that is worth a trade")
    ] = 0.25
    style: Annotated[
        Literal["taker", "maker_first"],
        Field(description="cross the spread at once, or rest the first leg for a while and cross then"),
    ] = "taker"
    maker_wait_seconds: Annotated[
        float, Field(gt=0, le=3600, description="how long the first leg may rest (seconds)")
    ] = 30.0
    slippage_bound_bp: Annotated[
        float, Field(gt=0, le=1_000, description="worst price of an order against the mid it is sent on (bp)")
    ] = 20.0
    unwind_bound_bp: Annotated[
        float, Field(gt=0, le=2_000, description="worst price of an order that unwinds a leg (bp of the mid)")
    ] = 80.0
    hedge_seconds: Annotated[
        float, Field(gt=0, le=3600, description="time for the second leg, from the first fill (seconds)")
    ] = 10.0
    unwind_seconds: Annotated[
        float,
        Field(gt=0, le=3600, description="time to unwind, after which a person is called (seconds)"),
    ] = 30.0
    unknown_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="time to find out what became of an order, after which a person is called (seconds)",
        ),
    ] = 60.0
    order_valid_ms: Annotated[
        int,
        Field(ge=100, le=60_000, description="how long the venue may accept an order (ms)"),
    ] = 3_000
    poll_seconds: Annotated[
        float, Field(gt=0, le=60, description="pause between two looks at an order that rests (seconds)")
    ] = 0.5
    reconcile_seconds: Annotated[
        float, Field(gt=0, le=3600, description="pause between two reconciliations (seconds)")
    ] = 60.0
    dead_man_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=3600,
            description="silence after which the venue cancels our orders; 0: never",
        ),
    ] = 120.0
    limits: LimitSettings = LimitSettings()
