"""The knobs of the environment; light, so that reading settings loads no kernel."""

from typing import Annotated

from pydantic import Field

from carryflow.core.costs import CostSettings, MarginSettings
from carryflow.core.section import Section


class RiskSettings(Section):
    """Price the risks that profit alone does not show."""

    lambda_vol: Annotated[
        float, Field(ge=0, description="price of volatility (bp of reward per bp of hourly volatility)")
    ] = 0.02
    lambda_dd: Annotated[
        float, Field(ge=0, description="price of drawdown (bp of reward per bp below the peak, each step)")
    ] = 0.0
    lambda_to: Annotated[
        float, Field(ge=0, description="price of turnover over its real costs (bp of reward per bp traded)")
    ] = 0.0
    vol_span_bars: Annotated[
        int, Field(ge=1, description="span of the exponential mean behind the volatility (bars)")
    ] = 24


class EnvSettings(Section):
    """Steer the hedged account: its capital, its wallets, its trading rule and its episodes."""

    capital_quote: Annotated[float, Field(gt=0, description="equity at the start (quote currency)")] = (
        100_000.0
    )
    spot_share: Annotated[
        float,
        Field(gt=0, lt=1, description="part of equity in the spot wallet, the rest is margin"),
    ] = 0.5
    hysteresis: Annotated[
        float,
        Field(ge=0, le=2, description="distance from position to action that is worth a trade"),
    ] = 0.25
    min_notional_quote: Annotated[
        float, Field(ge=0, description="smallest legal size of a leg (quote currency)")
    ] = 10.0
    episode_bars: Annotated[int, Field(ge=1, description="longest episode in training (bars)")] = 336
    random_start: Annotated[
        bool, Field(description="begin training episodes at a random hour with a random inherited position")
    ] = True
    costs: CostSettings = CostSettings()
    margin: MarginSettings = MarginSettings()
    risk: RiskSettings = RiskSettings()
