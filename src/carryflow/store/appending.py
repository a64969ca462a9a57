"""Appending to what is published: new versions of rows, and the windows that are then newest."""

from datetime import datetime
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.features.catalogue import CATALOGUE
from carryflow.features.spec import FeatureSpec
from carryflow.store.history import (
    CLOCKS,
    CREATED,
    KEYS,
    WINDOWS_KEPT,
    changed_rows,
    newest_windows,
    served_rows,
    stamp_versions,
)
from carryflow.store.published import PublishedCard, published_location
from carryflow.store.tables import append_rows, scan_table, write_table
from feature_repo import FEATURES_FILE, WINDOWS_FILE


def append_published(
    home: Path,
    card: PublishedCard,
    rows: pl.LazyFrame,
    created: datetime | None,
    *,
    only_unpublished: bool = False,
) -> None:
    """Append the rows that are new to a spec's history, and make its windows anew from what is then newest.

    Nothing is written unless all of it can be.

    Args:
        home: the home.
        card: what is served of the spec once the rows are there.
        rows: one version of each row, as `published_rows` gives them.
        created: when they count as published (UTC), now by default.
        only_unpublished: leave out rows that have a version, whatever it says.

    Raises:
        MarketDataError: a row is not dated by a clock that ages a feature, a ticker has no whole window, or
            `created` is not after what is published.
        SchemaMismatchError: what is published has other columns.
    """
    _require_clocks(rows, card.spec)
    features, windows = (
        f"{published_location(home)}/{card.spec.hash}/{name}" for name in (FEATURES_FILE, WINDOWS_FILE)
    )
    history, new = _new_versions(features, rows, created, only_unpublished=only_unpublished)
    grown = pl.concat([history, new.lazy()])
    kept = card.spec.lookback + WINDOWS_KEPT - 1
    newest = newest_windows(served_rows(grown, card.tickers, card.end_ms, kept), card.spec)
    before, later = _new_versions(windows, newest.lazy(), created)
    served = pl.concat([before.collect(), later])
    still = served.join(newest.select(KEYS), on=KEYS, how="semi", maintain_order="left")
    if not new.is_empty():
        append_rows(new, features)
    if len(later) or len(still) != len(served):
        write_table(still, windows)


def _new_versions(
    path: str, rows: pl.LazyFrame, created: datetime | None, *, only_unpublished: bool = False
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Give a table of versions as it is stored, and the new versions of the rows that are new or changed."""
    stored = scan_table(path)
    if stored is None:
        empty = pl.DataFrame(schema=rows.collect_schema())
        stored = empty.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias(CREATED)).lazy()
    changed = changed_rows(stored, rows, only_unpublished=only_unpublished)
    newest = stored.select(pl.col(CREATED).max()).collect().item()
    return stored, stamp_versions(changed, newest, created)


def _require_clocks(rows: pl.LazyFrame, spec: FeatureSpec) -> None:
    missing = rows.select(pl.col([clock for _, clock in CLOCKS.values()]).null_count()).collect()
    for name in spec.published:
        told, clock = CLOCKS[CATALOGUE[name].clock]
        if missing[clock][0]:
            raise MarketDataError(
                f"the frame has no {told} for {missing[clock][0]} rows, by which {name} is aged; "
                "build the features again"
            )
