"""The training set: published features and prices, joined to each decision as they were known on a day."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.features.build import UnifiedFrame, read_frame
from carryflow.features.dataset import (
    EXECUTION_COLUMNS,
    MARKET_COLUMNS,
    split_rows,
    write_dataset,
)
from carryflow.features.split import SplitSettings
from carryflow.features.windows import export_windows
from carryflow.market.schema import name_rows
from carryflow.store.connection import feast_at_work
from carryflow.store.history import KEYS, as_known
from carryflow.store.published import processed_dir, published_location, read_card
from carryflow.store.tables import read_table
from feature_repo import FEATURES_FILE, training_service


def training_set(
    frame_dir: Path, home: Path, out_dir: Path, split: SplitSettings, as_of: datetime | None = None
) -> Path:
    """Write the training set: published rows joined as of each decision, split and scaled.

    Feast joins by when a row happened and takes the version that was created last, whoever asks; it does not
    leave out what was published after a day. So the history is cut to that day first, and Feast joins the cut
    in a registry of its own that goes with it.

    The dataset goes to `out_dir`; its windows, scaled and cut, to `data/processed` of the home.

    Args:
        frame_dir: folder of the frame whose decisions are wanted.
        home: folder that the features were published in.
        out_dir: folder of the dataset.
        split: what is for training and what for test.
        as_of: the day (UTC) whose knowledge counts: rows that were published or corrected later are not
            there, and neither are decisions whose row was not there yet. None takes what is known now.

    Returns:
        The path of the exported windows.

    Raises:
        MarketDataError: there is no frame, too little of it to split, or a decision has no published
        features. SettingsError: the embargo is shorter than a window.

    """
    frame = read_frame(frame_dir)
    card = read_card(home, frame.spec.hash)
    location = f"{published_location(home)}/{frame.spec.hash}/{FEATURES_FILE}"
    history = None if card is None else read_table(location)
    if card is None or history is None:
        raise MarketDataError(
            f"no features of spec {frame.spec.hash} were published in {home}; publish the frame"
        )
    known = as_known(history, as_of)
    if known.is_empty():
        raise MarketDataError(
            f"nothing was published in {home} by {as_of}; the first version is of "
            f"{history['created'].min()!s}"
        )
    joined = _join(known, frame, card.venue)
    version = frame.market_version
    if as_of is None:
        _require_published(joined, home)
    else:
        joined = joined.drop_nulls("Date")
        version = f"{version}@{as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    parts = split_rows(joined, split, frame.spec.lookback)
    # what trading costs is no feature: it is not published, and the frame's own rows say it
    costs = frame.table.select(
        "Ticker", "KnownAt", *(name for name in EXECUTION_COLUMNS if name in frame.table)
    )
    joined = joined.join(costs, on=("Ticker", "KnownAt"), how="left")
    dataset = write_dataset(joined, frame.spec, parts, version, out_dir)
    return export_windows(dataset, processed_dir(home))


def _require_published(joined: pl.DataFrame, home: Path) -> None:
    lacking = joined.filter(pl.col("Date").is_null())
    if not lacking.is_empty():
        raise MarketDataError(
            f"{', '.join(lacking['Ticker'].unique().sort())}: no features known at "
            f"{name_rows(lacking['KnownAt'])} were published in {home}; publish the frame "
            "(`carryflow feast publish`)"
        )


def _join(known: pl.DataFrame, frame: UnifiedFrame, venue: str) -> pl.DataFrame:
    """Let Feast join the known versions to the frame's decisions; one without its own row has nulls."""
    from feast import FeatureStore, RepoConfig
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig
    from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig
    from feast.repo_config import RegistryConfig

    from feature_repo.services import define

    decisions = frame.table.select(
        ticker="Ticker", venue=pl.lit(venue), event_timestamp=pl.col("KnownAt").dt.cast_time_unit("us")
    )
    with TemporaryDirectory(prefix="carryflow-") as cut, feast_at_work():
        folder = Path(cut, frame.spec.hash)
        folder.mkdir()
        known.write_parquet(folder / FEATURES_FILE)
        store = FeatureStore(
            config=RepoConfig(
                project="carryflow",
                provider="local",
                registry=RegistryConfig(registry_type="file", path=f"{cut}/registry.db"),
                online_store=SqliteOnlineStoreConfig(path=f"{cut}/online.db"),
                offline_store=DuckDBOfflineStoreConfig(),
                entity_key_serialization_version=3,
                repo_path=Path(cut),
            )
        )
        store.apply(define(cut, [frame.spec], {}))
        job = store.get_historical_features(
            entity_df=decisions.to_pandas(),
            features=store.get_feature_service(training_service(frame.spec.hash)),
        )
        joined = pl.DataFrame(job.to_arrow())
    # Feast fills a missing bar with the one before, as long as that is not older than the longest bar
    own = pl.col("known_at_ms") == pl.col("event_timestamp").dt.epoch("ms")
    values = [name for name in joined.columns if name not in KEYS]
    rows = joined.with_columns(pl.when(own).then(pl.col(name)).alias(name) for name in values)
    schema = frame.table.schema
    return rows.select(
        pl.col("ticker").cast(pl.String).alias("Ticker"),
        pl.col("event_timestamp").cast(schema["KnownAt"]).alias("KnownAt"),
        *(pl.col(name).cast(schema[name]) for name in MARKET_COLUMNS if name not in {"Ticker", "KnownAt"}),
        *frame.spec.published,
    ).sort("Ticker", "KnownAt")
