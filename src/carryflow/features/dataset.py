"""The dataset: what training, backtest and drift read, and nothing else of the store's.

A folder of three: the rows with their raw features (`dataset.parquet`), the scaled series as policies see it
(`series.npy`, mapped and never loaded whole), and the card that binds them (`dataset.json`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError, SchemaMismatchError, SettingsError
from carryflow.features.scaling import Scaler
from carryflow.features.series import ScaledSeries, map_series, write_series
from carryflow.features.spec import FeatureSpec
from carryflow.features.split import HOUR_MS, Split, SplitSettings
from carryflow.market.schema import name_rows

TABLE = "dataset.parquet"
CARD = "dataset.json"

MARKET_COLUMNS: tuple[str, ...] = (
    "Ticker",
    "Date",
    "KnownAt",
    "SpotPrice",
    "PerpPrice",
    "MarkPrice",
    "SettleMark",
    "FundingRate",
    "Tradable",
)
"""What the environment needs of a row beside the features: prices at KnownAt (the bar's close), and the rate
and mark of the settlement at Date (null rate: nothing settled)."""

EXECUTION_COLUMNS: tuple[str, ...] = (
    "SpotSpread",
    "PerpSpread",
    "SpotDepth",
    "PerpDepth",
    "SpotTurnover",
    "PerpTurnover",
    "SpotLot",
    "PerpLot",
    "MinNotional",
)
"""What it costs to trade at KnownAt, as far as anybody recorded it (null: nobody did): quoted spread (basis
points), quote value within 10 bp of the mid on the thinner side, mean quote value traded an hour; the steps
of an order's size (base coin), and its smallest value (quote). The environment pays; no policy sees them.
"""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Hold the rows of all tickers with what is needed to read them.

    Attributes:
        frame: one row per ticker and bar, sorted by Ticker and Date: MARKET_COLUMNS, EXECUTION_COLUMNS, then
            the raw features (float32) that the spec publishes.
        spec: names and order of the features.
        scaler: fitted on the training rows.
        split: which decisions are for training and which for test.
        market_version: hash of the market tables that the rows came from.
        bar_ms: length of a bar (milliseconds).
        series: the scaled features, mapped from disk.

    """

    frame: pl.DataFrame
    spec: FeatureSpec
    scaler: Scaler
    split: Split
    market_version: str
    bar_ms: int
    series: ScaledSeries

    @property
    def tickers(self) -> tuple[str, ...]:
        """Name the tickers, sorted."""
        return tuple(self.frame["Ticker"].unique().sort())

    def rows(self, ticker: str) -> pl.DataFrame:
        """Give one ticker's rows, by Date.

        Raises:
            MarketDataError: the dataset has no such ticker.

        """
        rows = self.frame.filter(pl.col("Ticker") == ticker)
        if rows.is_empty():
            raise MarketDataError(f"the dataset has no ticker {ticker!r}; it has {', '.join(self.tickers)}")
        return rows

    def known_at_ms(self, ticker: str) -> NDArray[np.int64]:
        """Give one ticker's decision times (n,) in UTC milliseconds, one bar apart."""
        return self.rows(ticker)["KnownAt"].dt.epoch("ms").to_numpy()

    def raw(self, ticker: str) -> NDArray[np.float32]:
        """Give one ticker's raw features, float32 (n, P)."""
        return self.rows(ticker).select(self.spec.published).to_numpy(order="c")

    def scaled(self, ticker: str) -> NDArray[np.float32]:
        """View one ticker's features as a policy sees them, float32 (n, F), mapped read-only from disk."""
        return self.series.of(ticker)


def split_rows(frame: pl.DataFrame, settings: SplitSettings, lookback: int) -> Split:
    """Split the common history: the test ends with the ticker that ends first.

    Raises:
        SettingsError: the embargo is shorter than a window.
        MarketDataError: too little is left to learn from, or a ticker has no window in the training part.

    """
    bar_ms = _bar_ms(frame)
    if settings.embargo_hours * HOUR_MS < lookback * bar_ms:
        raise SettingsError(
            f"an embargo of {settings.embargo_hours} h lets windows of {lookback} bars span both parts; "
            f"set split.embargo_hours={-(-lookback * bar_ms // HOUR_MS)} or more"
        )
    known_at = pl.col("KnownAt").dt.epoch("ms")
    spans = (
        frame.group_by("Ticker")
        .agg(known_at.min().alias("first"), known_at.max().alias("last"))
        .sort("Ticker")
    )
    start_ms = spans["first"].to_numpy().min()
    end_ms = spans["last"].to_numpy().min() + bar_ms
    split = Split.before(int(end_ms), int(start_ms), settings)
    for ticker, first_ms, _ in spans.iter_rows():
        if first_ms + lookback * bar_ms >= split.train_end_ms:
            raise MarketDataError(
                f"{ticker} has no window before the training part ends; fetch more of it or leave it out"
            )
    return split


def write_dataset(
    frame: pl.DataFrame, spec: FeatureSpec, split: Split, market_version: str, out_dir: Path
) -> Dataset:
    """Fit the scaler on the training rows, and write table, series and card: a reader sees all or none.

    Raises:
        MarketDataError: a ticker's bars are not one apart, or a feature is missing somewhere.

    """
    unrecorded = [pl.lit(None, pl.Float64).alias(name) for name in EXECUTION_COLUMNS if name not in frame]
    rows = (
        frame.with_columns(unrecorded)
        .select(
            *MARKET_COLUMNS,
            *EXECUTION_COLUMNS,
            *(pl.col(name).cast(pl.Float32) for name in spec.published),
        )
        .sort("Ticker", "Date")
    )
    bar_ms = _bar_ms(rows)
    _require_whole(rows, spec, bar_ms)
    training = rows.filter(split.in_train(rows["KnownAt"].dt.epoch("ms").to_numpy()))
    scaler = Scaler.fit(training.select(spec.published).to_numpy(), spec)
    out_dir.mkdir(parents=True, exist_ok=True)
    # A card never stands beside a table or a series that it does not describe: it goes first and comes last.
    (out_dir / CARD).unlink(missing_ok=True)
    with write_atomically(out_dir / TABLE) as temporary:
        rows.write_parquet(temporary)
    card = {
        "spec": json.loads(spec.to_json()),
        "spec_hash": spec.hash,
        "scaler": scaler.to_json(),
        "split": split.to_json(),
        "market_version": market_version,
        "tickers": rows["Ticker"].unique().sort().to_list(),
        "bar_ms": bar_ms,
        "series": write_series(out_dir, _scaled(rows, spec, scaler), (len(rows), len(spec.names))),
    }
    with write_atomically(out_dir / CARD) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")
    return Dataset(rows, spec, scaler, split, market_version, bar_ms, map_series(out_dir, card))


def read_dataset(folder: Path) -> Dataset:
    """Read what `write_dataset` wrote.

    Raises:
        MarketDataError: there is no dataset, or its writing was cut short.
        SchemaMismatchError: the card names a spec whose hash is not the one stored.

    """
    card_path = folder / CARD
    if not card_path.is_file():
        raise MarketDataError(f"no dataset in {folder}: {CARD} is not there; build the training set again")
    card = json.loads(card_path.read_text())
    spec = FeatureSpec.from_json(json.dumps(card["spec"]))
    spec.require(card["spec_hash"], str(card_path))
    frame = pl.read_parquet(folder / TABLE)
    missing = [name for name in (*MARKET_COLUMNS, *EXECUTION_COLUMNS, *spec.published) if name not in frame]
    if missing:
        raise SchemaMismatchError(f"{folder / TABLE} lacks {missing}; build the training set again")
    return Dataset(
        frame=frame,
        spec=spec,
        scaler=Scaler.from_json(card["scaler"]),
        split=Split.from_json(card["split"]),
        market_version=card["market_version"],
        bar_ms=int(card["bar_ms"]),
        series=map_series(folder, card),
    )


def _bar_ms(rows: pl.DataFrame) -> int:
    """Give the length of the bars, which all rows tell alike.

    Raises:
        MarketDataError: there are no rows, or bars of several lengths.

    """
    lengths = (rows["KnownAt"] - rows["Date"]).dt.total_milliseconds().unique().sort()
    if len(lengths) != 1:
        raise MarketDataError(
            f"a dataset is made of bars of one length, these rows have lengths of {lengths.to_list()} ms; "
            "build the frame again from one timeframe"
        )
    return int(lengths[0])


def _scaled(
    rows: pl.DataFrame, spec: FeatureSpec, scaler: Scaler
) -> Iterator[tuple[str, int, NDArray[np.float32]]]:
    for (ticker,), bars in rows.group_by("Ticker", maintain_order=True):
        raw = bars.select(spec.published).to_numpy(order="c")
        yield str(ticker), int(bars["KnownAt"].dt.epoch("ms")[0]), scaler.transform(raw)


def _require_whole(rows: pl.DataFrame, spec: FeatureSpec, bar_ms: int) -> None:
    for (ticker,), bars in rows.group_by("Ticker", maintain_order=True):
        apart = bars.filter(bars["Date"].diff().dt.total_milliseconds() != bar_ms)["Date"]
        if len(apart):
            raise MarketDataError(
                f"{ticker}: bars do not follow by {bar_ms / HOUR_MS:g} h at {name_rows(apart)}; build the "
                "frame again"
            )
        known = pl.all_horizontal(pl.col(spec.published).is_finite().fill_null(value=False))
        lacking = bars.filter(~known)["Date"]
        if len(lacking):
            raise MarketDataError(
                f"{ticker}: a feature is missing at {name_rows(lacking)}; publish the features again"
            )
