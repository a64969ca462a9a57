"""The knobs of the environment; light, so that reading settings loads no kernel."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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


class PortfolioSettings(Section):
    """Bound what a portfolio may hold in its hedged trades."""

    ticker_limit: Annotated[
        float, Field(gt=0, le=1, description="most that one ticker may take (|fraction| of capital)")
    ] = 0.5
    total_limit: Annotated[
        float,
        Field(gt=0, le=1, description="most that all tickers may take together (|fraction| of capital)"),
    ] = 1.0
    hysteresis: Annotated[
        float,
        Field(
            ge=0,
            le=2,
            description="distance from position to what is granted that is worth a trade in one ticker, in "
            "equal parts of capital: the total limit over the number of tickers, or the ticker limit if less",
        ),
    ] = 0.25


class EnvSettings(Section):
    """Steer the hedged account: its capital, its wallets, its trading rule and its episodes."""

    capital_quote: Annotated[float, Field(gt=0, description="equity at the start (quote currency)")] = (
        100_000.0
    )
    spot_share: Annotated[
        float,
        Field(gt=0, lt=1, description="part of equity in the spot wallet, the rest is margin"),
    ] = 0.5
    action: Annotated[
        Literal["fraction", "weights", "fraction_and_margin"],
        Field(
            description="what a policy says: the fraction of capital in the hedged trade, the weights of its "
            "two legs, or the fraction and the margin ratio of the perpetual; of a portfolio, fractions"
        ),
    ] = "fraction"
    margin_ratio_min: Annotated[
        float,
        Field(
            gt=0,
            description="least margin that a policy of fraction_and_margin may choose (perp wallet / "
            "notional of a full position)",
        ),
    ] = 0.1
    margin_ratio_max: Annotated[
        float,
        Field(
            gt=0,
            description="most margin that a policy of fraction_and_margin may choose (perp wallet / "
            "notional of a full position)",
        ),
    ] = 1.0
    hysteresis: Annotated[
        float,
        Field(
            ge=0,
            le=2,
            description="distance from position to action that is worth a trade; a portfolio has its own",
        ),
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
    portfolio: PortfolioSettings = PortfolioSettings()

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        if self.margin_ratio_min > self.margin_ratio_max:
            raise ValueError(
                f"margin_ratio_min {self.margin_ratio_min} is above margin_ratio_max "
                f"{self.margin_ratio_max}; swap them"
            )
        return self
