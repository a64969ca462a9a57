"""The audit: every feature, the scaler, the windows and the observations, tried for look-ahead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError, SettingsError
from carryflow.features.alignment import align_legs, feature_bar_ms
from carryflow.features.causality import Leak, Market, differences, find_leaks, futures
from carryflow.features.custom import CustomFeature, values_of
from carryflow.features.dataset import Dataset, split_rows, write_dataset
from carryflow.features.frame import build_frame
from carryflow.features.sentiment import with_sentiment
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.features.windows import window_view
from carryflow.market.data import DataSettings

Observe = Callable[[Dataset, str], Mapping[str, NDArray[np.generic]]]
"""From a dataset and a ticker to what was observed, by name: arrays (m, …) that end with the last row."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Hold what a policy learns from and sees of one ticker, for the audit.

    Attributes:
        dates: opens of the n bars.
        trained_until: open of the last bar in the training part.
        scaler: every number that was fitted, by name.
        seen: by name, arrays (m, …) whose last row belongs to the last bar, the one before to the bar before,
            and so on: `window`, and what was observed.

    """

    dates: pl.Series
    trained_until: datetime
    scaler: Mapping[str, object]
    seen: Mapping[str, NDArray[np.generic]]


def audit_features(
    functions: Mapping[str, CustomFeature],
    spot: pl.DataFrame,
    perp: pl.DataFrame,
    ticker: str,
    data: DataSettings,
    generator: np.random.Generator,
    *,
    sentiment: pl.DataFrame | None = None,
    cuts: int = 6,
) -> list[Leak]:
    """Try features by name on the bars of one ticker, the future changed after the bars of `draw_bars`.

    Args:
        functions: from `AlignedHours` to float64 (n,), by name; the catalogue's `compute`, or a user's own.
        spot: spot leg.
        perp: perpetual leg.
        ticker: the coin.
        data: length of the bars, and what may be missing.
        generator: draws bars and the other future.
        sentiment: `timestamp, value`, for features that read it; its stamps say when it was known, and those
            after a bar have another future, too.
        cuts: bars after which the future is changed.

    Returns:
        The leaks; empty for honest features.

    Raises:
        SettingsError: a function raises, gives something else than one float64 per bar, gives other values
            for the same bars, or gives no number at any of the bars tried, so that nothing would be proven.
        CoverageError: the legs cannot be aligned, or sentiment is missing.

    """
    whole = data.model_copy(update={"start": None, "end": None})

    market = Market(spot, perp, sentiment, feature_bar_ms(data.timeframe))

    def compute(told: Market) -> pl.DataFrame:
        hours = align_legs(told.spot, told.perp, ticker, whole)
        if told.sentiment is not None:
            hours = with_sentiment(hours, told.sentiment)
        values = {name: values_of(function, hours, name) for name, function in functions.items()}
        return pl.DataFrame({"Date": hours.table["Date"], **values})

    told, again = compute(market), compute(market)
    for name, _ in differences(told, again):
        raise SettingsError(
            f"{name} gives other values when it is asked again for the same bars, so that no leak could be "
            "told from chance; seed what it draws, and keep nothing between calls"
        )
    dates = draw_bars(market, told["Date"][len(told) // 3], generator, cuts)
    for name in functions:
        if not told.filter(pl.col("Date").is_in(dates))[name].is_finite().any():
            raise SettingsError(
                f"{name} gives no number at any of the bars tried, {dates[0]:%Y-%m-%d %H:%M} to "
                f"{dates[-1]:%Y-%m-%d %H:%M}, and nothing would be proven; give it a longer history, or books"
            )
    return find_leaks(compute, market, dates, generator)


def audit_dataset(
    spot: pl.DataFrame,
    perp: pl.DataFrame,
    ticker: str,
    data: DataSettings,
    features: FeatureSettings,
    split: SplitSettings,
    generator: np.random.Generator,
    *,
    sentiment: pl.DataFrame | None = None,
    observe: Observe | None = None,
    cuts: int = 4,
) -> list[Leak]:
    """Try the dataset of one ticker as it is built, split, scaled and cut into windows for training.

    Args:
        spot: spot leg.
        perp: perpetual leg.
        ticker: the coin.
        data: length of the bars, and what may be missing.
        features: what a policy sees.
        split: where training ends; the end is kept, whatever the future.
        generator: draws bars and the other future.
        sentiment: `timestamp, value`, or None.
        observe: plays the dataset and gives what an account observed, to be tried, too.
        cuts: bars after the training part after which the future is changed.

    Returns:
        The leaks, of `scaler`, `window` and what `observe` names; empty for an honest dataset.

    Raises:
        MarketDataError: the legs make no dataset.
        SettingsError: features and sentiment do not go together, or the embargo is shorter than a window.

    """
    whole = data.model_copy(update={"start": None, "end": None})
    market = Market(spot, perp, sentiment, feature_bar_ms(data.timeframe))
    spec = FeatureSpec.of(features, sentiment=sentiment is not None, timeframe=data.timeframe)

    def frame_of(told: Market) -> pl.DataFrame:
        return build_frame(told.spot, told.perp, ticker, whole, told.sentiment, features)

    frame = frame_of(market)
    parts = split_rows(frame, split, spec.lookback)

    def learn(told: Market) -> Learned:
        with TemporaryDirectory(prefix="audit-") as folder:
            dataset = write_dataset(frame_of(told), spec, parts, "audit", Path(folder))
            seen: dict[str, NDArray[np.generic]] = {
                "window": np.array(window_view(dataset.scaled(ticker), spec.lookback))
            }
            if observe is not None:
                seen |= observe(dataset, ticker)
            trained = parts.in_train(dataset.known_at_ms(ticker))
            dates = dataset.rows(ticker)["Date"]
            return Learned(dates, dates.filter(pl.Series(trained))[-1], dataset.scaler.to_json(), seen)

    trained = parts.in_train(frame["KnownAt"].dt.epoch("ms").to_numpy())
    after = frame["Date"].filter(pl.Series(~trained))[0]
    return audit_learning(learn, market, draw_bars(market, after, generator, cuts), generator)


def audit_learning(
    learn: Callable[[Market], Learned],
    market: Market,
    dates: Sequence[datetime],
    generator: np.random.Generator,
) -> list[Leak]:
    """Try scaler, windows and observations as `find_leaks` tries features.

    The training part ends where it ended, whatever the future: `learn` is given a market and keeps the
    split. What comes after the training part must not move the scaler by a bit, and what comes after a date
    must not move what is seen at the date or before it.

    Args:
        learn: from a market to what is tried.
        market: what it is tried on.
        dates: bars after which the future is changed, at or after the end of the training part; that end is
            always tried, too.
        generator: draws the other future.

    Returns:
        The leaks, the newest date of each only; `scaler` is dated by the end of the training part.

    Raises:
        SettingsError: a date lies in the training part, whose own later bars may move the scaler.

    """
    told = learn(market)
    early = [date for date in dates if date < told.trained_until]
    if early:
        raise SettingsError(
            f"{min(early):%Y-%m-%d %H:%M} lies in the training part, which ends with the bar of "
            f"{told.trained_until:%Y-%m-%d %H:%M} and whose later bars the scaler knows; try later dates"
        )
    leaks = []
    tried = sorted({told.trained_until, *dates})
    for date, future, later in futures(market, tried, generator):
        try:
            retold = learn(later)
        except CoverageError:  # what was known at the date does not do without what came after it
            leaks.append(Leak("Date", date, future))
            continue
        if retold.scaler != told.scaler:
            leaks.append(Leak("scaler", told.trained_until, future))
        for name, seen in told.seen.items():
            when = _moved(told.dates, seen, retold.dates, retold.seen[name], date)
            if when is not None:
                leaks.append(Leak(name, when, future))
    return leaks


def draw_bars(market: Market, first: datetime, generator: np.random.Generator, count: int) -> list[datetime]:
    """Draw bars from `first` on, in order, after which to change the future.

    Half of them are the last before a settlement: a rate used one bar too early shows at no other. Where
    there is sentiment, a third are, and a third the last before a value of it. At all of them both legs
    trade: after a bar in a halt, a market that is cut would end before it.

    Raises:
        SettingsError: there are no such bars.

    """
    both = market.perp.filter(pl.col("timestamp").is_in(market.spot["timestamp"].implode()))
    later = both.filter(pl.col("timestamp") >= first).with_columns(
        before_settlement=pl.col("funding_rate").shift(-1).is_not_null()
    )[:-1]
    wanted = [later.filter("before_settlement")["timestamp"]]
    if market.sentiment is not None:
        stamps = market.sentiment.select(pl.col("timestamp") - pl.duration(milliseconds=market.bar_ms))
        wanted.append(later.join(stamps, on="timestamp", how="semi")["timestamp"])
    share = count // (len(wanted) + 1)
    sizes = [share] * len(wanted) + [count - share * len(wanted)]
    drawn = [
        bars.sample(min(n, len(bars)), seed=int(generator.integers(2**32)))
        for bars, n in zip([*wanted, later["timestamp"]], sizes, strict=True)
    ]
    bars = pl.concat(drawn).unique().sort().to_list()
    if not bars:
        raise SettingsError(f"no bar after {first:%Y-%m-%d %H:%M} has a later one; give a longer history")
    return bars


def _moved(
    dates: pl.Series,
    told: NDArray[np.generic],
    later_dates: pl.Series,
    retold: NDArray[np.generic],
    until: datetime,
) -> datetime | None:
    """Give the newest date up to `until` at which two arrays, aligned at their ends, differ; None if none."""
    known, known_later = dates.tail(len(told)), later_dates.tail(len(retold))
    rows, later_rows = int((known <= until).sum()), int((known_later <= until).sum())
    if not known.head(rows).equals(known_later.head(later_rows)):
        return until
    differ = np.array([told[k].tobytes() != retold[k].tobytes() for k in range(rows)], dtype=np.bool_)
    return known[int(np.flatnonzero(differ)[-1])] if differ.any() else None
