"""The feature store, on Feast: publication, the training set, and the newest window for a decision.

Offline, DuckDB joins the published Parquet files as of each decision; online, SQLite (or Redis) holds the
newest row of each ticker. What is published is never scaled: the scaler belongs to the model that was trained
with it.
"""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError, SchemaMismatchError, UnknownTickerError
from carryflow.features.build import CARD, TABLE, read_frame, write_frame
from carryflow.features.dataset import MARKET_COLUMNS, split_rows, write_dataset
from carryflow.features.spec import FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.features.windows import export_windows, window_view
from feature_repo import FEATURES_FILE, WINDOWS_FILE

if TYPE_CHECKING:
    from feast import FeatureStore

STATE_DIR = "feature_repo_state"
RECEIPT = "published"
"""File of the state that names the frame that is published; it goes first and comes last."""

STORE_VARIABLE = "CARRYFLOW_FEATURE_STORE"
WINDOWS_KEPT = 24
"""Newest windows published per ticker: the last is served online, the day shows what was."""

_KEYS = ("ticker", "event_timestamp", "created")


@dataclass(frozen=True, slots=True)
class OnlineWindow:
    """Hold the newest window of a ticker.

    Attributes:
        ticker: the coin.
        window: features as published, not scaled, float32 (lookback, F), the oldest bar first.
        known_at_ms: when the window was known (close of its last bar, UTC milliseconds). Feast serves old
        values
            without a word: compare this with the clock.
        spec: names, order and lookback of the window.

    """

    ticker: str
    window: NDArray[np.float32]
    known_at_ms: int
    spec: FeatureSpec

    @property
    def spec_hash(self) -> str:
        """Give the hash that a bundle must carry to decide on this window."""
        return self.spec.hash


def open_store(home: Path, config: Path | None = None) -> "FeatureStore":
    """Open the feature store of a home: the embedded one, or as another Feast configuration says.

    `CARRYFLOW_FEATURE_STORE` names another file of `feature_repo/`, or any by its whole path, for a process.
    Relative paths of the configuration start in a folder of the home, as they would in `feature_repo/`.
    """
    from feast import FeatureStore

    import feature_repo

    state = home.absolute() / STATE_DIR
    state.mkdir(parents=True, exist_ok=True)
    named = os.environ.get(STORE_VARIABLE, "feature_store.yaml")
    usual = Path(feature_repo.__path__[0]) / named
    return FeatureStore(repo_path=str(state), fs_yaml_file=config or usual)


def processed_dir(home: Path) -> Path:
    """Give the folder of a home that holds what was made of its market."""
    return home.absolute() / "data" / "processed"


def publish(frame_dir: Path, home: Path, created: datetime | None = None, config: Path | None = None) -> Path:
    """Publish the unified frame: write Feast's source files, apply the repository, fill the online store.

    A frame that is published already is not published again, unless `created` says so.

    Args:
        frame_dir: folder that `build_features` wrote to.
        home: folder whose store is filled. Frame and source files go to its `data/processed`, where the
            repository reads them.
        created: when the rows count as published (UTC), now by default.
        config: Feast configuration, the embedded one by default.

    Returns:
        The folder of what was published.

    Raises:
        MarketDataError: there is no frame, or a ticker has no full window.

    """
    frame = read_frame(frame_dir)
    published = processed_dir(home)
    receipt = home / STATE_DIR / RECEIPT
    stamp = _stamp(frame_dir, config)
    files = (
        receipt,
        home / STATE_DIR / "registry.db",
        *(published / name for name in (CARD, FEATURES_FILE, WINDOWS_FILE)),
    )
    if created is None and all(file.is_file() for file in files) and receipt.read_text() == stamp:
        return published
    from feature_repo.services import define

    receipt.unlink(missing_ok=True)
    stamped = frame.table.select(
        pl.col("Ticker").alias("ticker"),
        pl.col("KnownAt").dt.cast_time_unit("us").alias("event_timestamp"),
        pl.lit(created or datetime.now(UTC)).dt.cast_time_unit("us").alias("created"),
        *frame.spec.names,
    )
    windows = _newest_windows(stamped, frame.spec)
    write_frame(frame, published)
    for table, name in ((stamped, FEATURES_FILE), (windows, WINDOWS_FILE)):
        with write_atomically(published / name) as temporary:
            table.write_parquet(temporary)
    newest_ms = int(stamped["event_timestamp"].dt.epoch("ms").to_numpy().max())
    newest = datetime.fromtimestamp(newest_ms / 1000, UTC)
    with _feast_at_work():
        store = open_store(home, config)
        store.apply(define(str(home.absolute()), frame.spec.names))
        store.materialize(start_date=newest - timedelta(hours=WINDOWS_KEPT), end_date=newest)
    with write_atomically(receipt) as temporary:
        temporary.write_text(stamp)
    return published


def training_set(
    frame_dir: Path, home: Path, out_dir: Path, split: SplitSettings, config: Path | None = None
) -> Path:
    """Write the training set: published features joined as of each decision, split and scaled.

    The dataset goes to `out_dir`; its windows, scaled and cut, to `data/processed` of the home.

    Returns:
        The path of the exported windows.

    Raises:
        MarketDataError: there is no frame, too little of it to split, or a decision has no published
        features. SettingsError: the embargo is shorter than a window.

    """
    from feature_repo.services import POLICY_SERVICE

    frame = read_frame(frame_dir)
    decisions = frame.table.select(ticker="Ticker", event_timestamp=pl.col("KnownAt").dt.cast_time_unit("us"))
    with _feast_at_work():
        store = open_store(home, config)
        job = store.get_historical_features(
            entity_df=decisions.to_pandas(), features=store.get_feature_service(POLICY_SERVICE)
        )
        joined = pl.DataFrame(job.to_arrow())
    rows = frame.table.select(MARKET_COLUMNS).join(
        joined.select(
            pl.col("ticker").cast(pl.String).alias("Ticker"),
            pl.col("event_timestamp").cast(frame.table.schema["KnownAt"]).alias("KnownAt"),
            *frame.spec.names,
        ),
        on=["Ticker", "KnownAt"],
        how="left",
    )
    parts = split_rows(rows, split, frame.spec.lookback)
    dataset = write_dataset(rows, frame.spec, parts, frame.market_version, out_dir)
    return export_windows(dataset, processed_dir(home))


def published_tickers(home: Path) -> tuple[str, ...]:
    """Name the coins whose features are published in a home; none where nothing is."""
    card = processed_dir(home) / CARD
    return tuple(json.loads(card.read_text())["tickers"]) if card.is_file() else ()


class OnlineFeatures:
    """Read the newest windows online, from one open store.

    Raises:
        MarketDataError: nothing was published in this home yet.
    """

    def __init__(self, home: Path, config: Path | None = None) -> None:
        from feast.errors import FeatureServiceNotFoundException

        from feature_repo.services import DECISION_SERVICE

        self._store = open_store(home, config)
        try:
            self._service = self._store.get_feature_service(DECISION_SERVICE)
        except FeatureServiceNotFoundException:
            raise MarketDataError(
                f"no features were published in {home}; `carryflow run` fetches, builds and publishes them"
            ) from None

    def latest_window(self, ticker: str) -> OnlineWindow:
        """Read a ticker's newest window.

        Raises:
            UnknownTickerError: nothing was published for the ticker.
            SchemaMismatchError: what was published contradicts its own spec.

        """
        row = self._store.get_online_features(
            features=self._service, entity_rows=[{"ticker": ticker}]
        ).to_dict()
        (window,), (known_at_ms,) = row["window"], row["known_at_ms"]
        if window is None:
            raise UnknownTickerError(
                f"the feature store has no window of {ticker!r}; fetch it and publish its features first"
            )
        spec = FeatureSpec.from_json(row["spec"][0])
        spec.require(row["spec_hash"][0], f"the online window of {ticker}")
        if len(window) != spec.window_size:
            raise SchemaMismatchError(
                f"the online window of {ticker} has {len(window)} numbers, its spec {spec.window_size}; "
                "publish the features again"
            )
        shaped = np.asarray(window, dtype=np.float32).reshape(spec.lookback, len(spec.names))
        return OnlineWindow(ticker, shaped, int(known_at_ms), spec)


def _stamp(frame_dir: Path, config: Path | None) -> str:
    """Name the content of a frame, and the store that it goes to."""
    content = hashlib.sha256((frame_dir / TABLE).read_bytes() + (frame_dir / CARD).read_bytes()).hexdigest()
    return f"{content} {config or os.environ.get(STORE_VARIABLE, '')}"


@contextmanager
def _feast_at_work() -> Iterator[None]:
    """Keep Feast's progress and its libraries' deprecations off the terminal; let DuckDB go at the end."""
    import ibis  # type: ignore[import-untyped,unused-ignore]

    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            yield
        finally:
            # ibis keeps its connection to the end of the process, where DuckDB reports it as leaked.
            backend, ibis.options.default_backend = ibis.options.default_backend, None
            if backend is not None:
                backend.disconnect()


def _newest_windows(stamped: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Flatten the newest windows of each ticker into rows with their spec, in the form of `carry_window`."""
    tables = []
    for (ticker,), rows in stamped.group_by("ticker", maintain_order=True):
        if len(rows) < spec.lookback:
            raise MarketDataError(f"{ticker}: {len(rows)} rows are fewer than one window of {spec.lookback}")
        features = rows.tail(spec.lookback + WINDOWS_KEPT - 1).select(spec.names).to_numpy(order="c")
        windows = window_view(features, spec.lookback)
        flat = np.ascontiguousarray(windows).reshape(len(windows), spec.window_size)
        ends = rows.tail(len(windows)).select(_KEYS)
        tables.append(
            ends.with_columns(
                window=pl.Series(flat).arr.to_list(),
                spec=pl.lit(spec.to_json()),
                spec_hash=pl.lit(spec.hash),
                known_at_ms=pl.col("event_timestamp").dt.epoch("ms"),
            )
        )
    return pl.concat(tables)
