"""The catalogue: every feature there is, what it means, and the one function that computes it.

Batch, stream, training and serving all compute a feature through its entry here, and settings choose among
the names. To add a feature, write a function from `AlignedHours` to one float64 per bar and give it an entry;
frame, store and stream know features only by this table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from carryflow.features import book, carry, liquidity, sentiment, shocks, volatility
from carryflow.features.alignment import AlignedHours

Compute = Callable[[AlignedHours], NDArray[np.float64]]
"""From the bars of a ticker to one number per bar (n,), NaN while a window fills or where nobody recorded."""

Clock = Literal["bar", "funding", "sentiment"]
"""What dates a feature: the bar's close, the newest settlement that took part, or the newest sentiment."""

BAR_AGE_HOURS = 3.0
FUNDING_AGE_HOURS = 8.0 + BAR_AGE_HOURS
SENTIMENT_AGE_HOURS = sentiment.MAX_AGE.total_seconds() / 3600 + BAR_AGE_HOURS
"""Oldest features that may still be acted on: a bar may come two bars late, funding settles every 8 hours at
the slowest, and a daily series skips a day now and then."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Describe one feature.

    Attributes:
        name: what settings, spec and columns call it.
        unit: what one of it is.
        sign: what a positive or a high value means.
        formula: how it is made, in one line.
        source: paper or venue page of the formula.
        compute: the function; None for a fitted feature, which the scaler computes.
        clock: what dates it.
        max_age_hours: oldest that may still be acted on, by its clock (hours).
        recorded: whether it exists only in bars that somebody watched.

    """

    name: str
    unit: str
    sign: str
    formula: str
    source: str
    compute: Compute | None
    clock: Clock = "bar"
    max_age_hours: float = BAR_AGE_HOURS
    recorded: bool = False

    @property
    def fitted(self) -> bool:
        """Say whether the scaler computes it, from raw features and what the training rows said."""
        return self.compute is None


_BINANCE = "Binance, Introduction to Binance Futures Funding Rates"
_OWN = "carryflow"


def _funding(name: str, formula: str, compute: Compute, source: str = _BINANCE) -> Feature:
    return Feature(name, "1/year", "+ pays shorts", formula, source, compute, "funding", FUNDING_AGE_HOURS)


def _carry(width_hours: int) -> Feature:
    formula = f"sum of rates / sum of hours paid for, settled in {width_hours} h, x 8760"
    compute = partial(carry.trailing_carry_apr, width_hours=width_hours)
    return _funding(f"carry_{width_hours}h_apr", formula, compute)


def _volatility(name: str, formula: str, source: str, compute: Compute) -> Feature:
    return Feature(name, "1/sqrt(year)", "high: prices move", formula, source, compute)


_ABDL = "Andersen, Bollerslev, Diebold and Labys 2003"
_PARKINSON = "Parkinson 1980"
_RANGE_FORMULA = "sqrt(mean ln^2(high / low) over {} h / (4 ln 2) x bars a year), perpetual"

_ENTRIES = (
    Feature(
        "spot_return",
        "ln price",
        "+ spot rose",
        "ln(spot / spot one bar ago)",
        _OWN,
        shocks.spot_return,
    ),
    Feature(
        "return_shock",
        "deviations",
        "+ unusual rise",
        "(return - mean) / deviation of the 168 h before",
        _OWN,
        shocks.return_shock,
    ),
    Feature(
        "basis_bp",
        "bp of spot",
        "+ perpetual above spot",
        "(perp - spot) / spot, the last tradable one in a halt",
        _OWN,
        lambda hours: hours["basis_bp"],
    ),
    Feature(
        "basis_z_168h",
        "deviations",
        "+ perpetual dear by the week's measure",
        "(basis - mean) / deviation of the 168 h before",
        _OWN,
        shocks.basis_z,
    ),
    Feature(
        "premium_8h_bp",
        "bp of spot",
        "+ perpetual above spot",
        "mean of basis_bp over 8 h",
        _BINANCE,
        lambda hours: hours.mean(hours["basis_bp"], 8),
    ),
    _funding("funding_last_apr", "newest settled rate / hours it paid for x 8760", carry.last_funding_apr),
    Feature(
        "funding_predicted_apr",
        "1/year",
        "+ will pay shorts",
        "(P + clamp(I - P, -5 bp, 5 bp)) / (8 / N) within 2 %, P the weighted premium since settlement",
        _BINANCE,
        carry.predicted_funding_apr,
    ),
    _carry(24),
    _carry(72),
    _carry(168),
    Feature(
        "hours_to_settlement",
        "intervals",
        "in (0, 1]; 1: just settled",
        "hours to the next settlement that a position opened now joins / newest interval",
        _BINANCE,
        carry.fraction_to_settlement,
        "funding",
        FUNDING_AGE_HOURS,
    ),
    _volatility(
        "vol_24h_apr",
        "sqrt(mean spot_return^2 over 24 h x bars a year)",
        _ABDL,
        partial(volatility.realised_volatility_apr, width_hours=24),
    ),
    _volatility(
        "vol_168h_apr",
        "sqrt(mean spot_return^2 over 168 h x bars a year)",
        _ABDL,
        partial(volatility.realised_volatility_apr, width_hours=168),
    ),
    _volatility(
        "vol_parkinson_24h_apr",
        _RANGE_FORMULA.format(24),
        _PARKINSON,
        partial(volatility.parkinson_volatility_apr, width_hours=24),
    ),
    _volatility(
        "vol_parkinson_168h_apr",
        _RANGE_FORMULA.format(168),
        _PARKINSON,
        partial(volatility.parkinson_volatility_apr, width_hours=168),
    ),
    _volatility(
        "vol_garman_klass_24h_apr",
        "sqrt(mean(ln^2(high / low) / 2 - (2 ln 2 - 1) ln^2(close / open)) x bars a year), perpetual, 24 h",
        "Garman and Klass 1980",
        partial(volatility.garman_klass_volatility_apr, width_hours=24),
    ),
    Feature(
        "vol_ratio",
        "ratio",
        "above 1: the market wakes up",
        "vol_24h_apr / vol_168h_apr",
        _OWN,
        partial(volatility.volatility_ratio, short_hours=24, long_hours=168),
    ),
    Feature(
        "spread_bp",
        "bp of mid",
        "high: dear to trade",
        "(ask - bid) / mid at the close, mean of both legs",
        "recorded book",
        book.quoted_spread_bp,
        recorded=True,
    ),
    Feature(
        "depth_10bp",
        "log10 quote",
        "high: deep",
        "log10 of the value within 10 bp of the mid, thinnest of four sides",
        "recorded book",
        book.depth_10bp,
        recorded=True,
    ),
    Feature(
        "imbalance_10bp",
        "fraction",
        "+ more rests to buy",
        "(bid - ask) / (bid + ask), perpetual's value within 10 bp of the mid",
        "Cao, Hansch and Wang 2009; recorded book",
        book.imbalance_10bp,
        recorded=True,
    ),
    Feature(
        "impact_bp",
        "bp of price",
        "high: dear to trade",
        f"daily volatility x sqrt({book.REFERENCE_NOTIONAL_QUOTE:,.0f} quote / perpetual's value of 24 h)",
        "Toth et al. 2011",
        book.impact_bp,
    ),
    Feature(
        "volume_shock",
        "ln ratio",
        "above ln 2: unusually much",
        "ln(1 + value traded / its mean over 168 h), perpetual",
        _OWN,
        shocks.volume_shock,
    ),
    Feature(
        "momentum_168h",
        "ln price",
        "+ spot rose",
        "ln(spot / spot 168 h ago)",
        "Moskowitz, Ooi and Pedersen 2012",
        partial(shocks.momentum, width_hours=168),
    ),
    Feature(
        "liquidity",
        "log10 quote/h",
        "high: cheap to trade",
        "log10(mean value an hour / mean high-low spread), over 24 h, perpetual",
        "Corwin and Schultz 2012",
        liquidity.bar_liquidity,
    ),
    Feature(
        "anomaly_score",
        "deviations",
        "0: the median hour; below 5",
        "r / (1 + r / 5), r = rms of (x - median) / (1.4826 MAD), x = spot_return, basis_bp, volume_shock",
        "Hampel 1974",
        None,
    ),
    Feature(
        "sentiment",
        "the series'",
        "the series'",
        "newest value stamped at or before the bar's open",
        "data.sentiment, such as the Fear & Greed index",
        sentiment.sentiment,
        "sentiment",
        SENTIMENT_AGE_HOURS,
    ),
)

CATALOGUE: Mapping[str, Feature] = MappingProxyType({feature.name: feature for feature in _ENTRIES})
"""Every feature by name, in the order in which they are listed."""


def compute_features(hours: AlignedHours, names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Compute features of the catalogue by name, each (n,), in the order of the names; fitted ones have none.

    >>> import polars as pl
    >>> hours = AlignedHours("BTC", pl.DataFrame({"basis_bp": [2.0]}))
    >>> compute_features(hours, ("basis_bp",))
    {'basis_bp': array([2.])}
    """
    chosen = ((name, CATALOGUE[name].compute) for name in names)
    return {name: compute(hours) for name, compute in chosen if compute is not None}


def catalogue_rows() -> Iterator[dict[str, str]]:
    """Give one row of words per feature, in order, as a person reads them.

    >>> next(row["formula"] for row in catalogue_rows() if row["name"] == "vol_ratio")
    'vol_24h_apr / vol_168h_apr'
    """
    for feature in CATALOGUE.values():
        made = "fitted on the training part" if feature.fitted else "every bar"
        yield {
            "name": feature.name,
            "unit": feature.unit,
            "sign": feature.sign,
            "formula": feature.formula,
            "source": feature.source,
            "known": "watched bars only" if feature.recorded else made,
            "clock": feature.clock,
            "max_age_hours": f"{feature.max_age_hours:g}",
        }
