"""Versions of rows: what is new, what is newest, what was known on a day."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryflow.core.errors import MarketDataError, SchemaMismatchError, SettingsError
from carryflow.features.spec import FeatureSpec
from carryflow.store.history import (
    CREATED,
    KEYS,
    as_known,
    changed_rows,
    newest_versions,
    newest_windows,
    published_rows,
    served_rows,
    stamp_versions,
)

SPEC = FeatureSpec(("basis_bp", "vol_ratio"), lookback=3)
DAY = datetime(2025, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def frame(values: list[float | None], first: int = 0) -> pl.DataFrame:
    """A unified frame of as many hours as values, from the first hour on; None leaves an hour out."""
    opens = [DAY + (first + hour) * HOUR for hour in range(len(values))]
    rows = [(at, value) for at, value in zip(opens, values, strict=True) if value is not None]
    date = pl.Series([at for at, _ in rows], dtype=pl.Datetime("ms", "UTC"))
    basis = pl.Series([value for _, value in rows], dtype=pl.Float64)
    return pl.DataFrame(
        {
            "Ticker": ["BTC"] * len(rows),
            "Date": date,
            "KnownAt": date + HOUR,
            "FundingKnownAt": date,
            "SpotPrice": basis + 100,
            "PerpPrice": basis + 100,
            "MarkPrice": basis + 100,
            "SettleMark": basis + 100,
            "FundingRate": pl.Series([None] * len(rows), dtype=pl.Float64),
            "Tradable": [True] * len(rows),
            "basis_bp": basis,
            "vol_ratio": basis * 2,
        }
    )


def rows(values: list[float | None], first: int = 0) -> pl.DataFrame:
    return published_rows(frame(values, first), SPEC, "binance")


def published(*batches: pl.DataFrame) -> pl.DataFrame:
    """What is stored after each batch was published a day after the one before."""
    history = batches[0].clear().with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias(CREATED))
    for days, batch in enumerate(batches):
        changed = changed_rows(history.lazy(), batch.lazy())
        history = pl.concat([history, stamp_versions(changed, None, DAY + timedelta(days=days))])
    return history


VALUES = st.lists(st.sampled_from([-1.0, 0.0, 2.5, float("nan")]), min_size=1, max_size=5)


@pytest.mark.pitfall("P18")
@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.tuples(VALUES, st.integers(0, 4)), min_size=1, max_size=4))
def test_a_day_sees_what_was_published_by_then_and_nothing_that_came_later(
    batches: list[tuple[list[float], int]],
) -> None:
    tables = [rows(list(values), first) for values, first in batches]
    history = published(*tables)
    for day in range(len(tables)):
        seen = as_known(history, DAY + timedelta(days=day))
        assert seen.equals(published(*tables[: day + 1]))
        last = tables[day].join(newest_versions(seen), on=KEYS, how="semi")
        assert newest_versions(seen).join(last.select(KEYS), on=KEYS, how="semi").drop(CREATED).equals(last)
    assert as_known(history, None).equals(history)


def test_a_day_without_its_time_zone_is_refused() -> None:
    with pytest.raises(SettingsError, match="name the time zone"):
        as_known(published(rows([1.0])), datetime(2025, 3, 1))


def test_what_is_served_ends_where_the_last_publication_did_and_leaves_out_other_coins() -> None:
    history = published(rows([1.0, 2.0, 3.0]), rows([2.5], first=1))
    end_ms = int((DAY + 2 * HOUR).timestamp() * 1000)
    assert served_rows(history.lazy(), ["BTC"], end_ms, bars=3)["basis_bp"].to_list() == [1.0, 2.5]
    assert served_rows(history.lazy(), ["BTC"], end_ms, bars=1)["basis_bp"].to_list() == [2.5]
    assert served_rows(history.lazy(), ["ETH"], end_ms, bars=3).is_empty()


def test_publishing_the_same_again_appends_nothing() -> None:
    batch = rows([1.0, float("nan"), 3.0])
    assert published(batch, batch).equals(published(batch))


def test_a_price_that_was_corrected_makes_a_new_version_though_no_feature_moved() -> None:
    told = frame([1.0, 2.0])
    corrected = told.with_columns(MarkPrice=pl.Series([101.0, 55.0]))
    history = published(*(published_rows(one, SPEC, "binance") for one in (told, corrected)))
    assert history["MarkPrice"].to_list() == [101.0, 102.0, 55.0]


def test_a_late_batch_fills_in_rows_and_undoes_no_correction() -> None:
    history, late = published(rows([1.0]), rows([2.0])), rows([1.0, 5.0])
    filled = changed_rows(history.lazy(), late.lazy(), only_unpublished=True)
    assert filled["basis_bp"].to_list() == [5.0]


def test_another_venue_is_another_row() -> None:
    history = published(rows([1.0]), published_rows(frame([1.0]), SPEC, "okx"))
    assert newest_versions(history)["venue"].to_list() == ["binance", "okx"]


def test_a_correction_is_never_older_than_what_it_corrects() -> None:
    newest = published(rows([1.0]), rows([2.0]))[CREATED].max()
    with pytest.raises(MarketDataError, match="published at 2025-03-02 00:00:00"):
        stamp_versions(rows([3.0]), newest, DAY + timedelta(days=1))
    assert stamp_versions(rows([3.0]).clear(), newest, DAY).is_empty()


def test_a_history_of_other_columns_is_refused_by_name() -> None:
    with pytest.raises(SchemaMismatchError, match="vol_ratio"):
        changed_rows(published(rows([1.0]).drop("vol_ratio")).lazy(), rows([1.0]).lazy())


def test_a_frame_without_a_column_is_refused_by_name() -> None:
    with pytest.raises(SchemaMismatchError, match="lacks basis_bp, KnownAt"):
        published_rows(frame([1.0]).drop("basis_bp", "KnownAt"), SPEC, "binance")


def test_windows_are_flattened_oldest_bar_first_in_the_order_of_the_spec() -> None:
    windows = newest_windows(rows([1.0, 2.0, 3.0, 4.0]), SPEC)
    assert windows["window"].to_list() == [[1, 2, 2, 4, 3, 6], [2, 4, 3, 6, 4, 8]]
    assert windows["window"].dtype == pl.List(pl.Float32)
    assert windows["known_at_ms"].to_list() == [int((DAY + n * HOUR).timestamp() * 1000) for n in (3, 4)]
    assert windows["spec_hash"].unique().to_list() == [SPEC.hash]


def test_a_window_never_spans_a_gap() -> None:
    windows = newest_windows(rows([1.0, 2.0, 3.0, None, 5.0, 6.0, 7.0, 8.0]), SPEC)
    assert [np.array(window)[::2].tolist() for window in windows["window"]] == [[5, 6, 7], [6, 7, 8]]
    with pytest.raises(MarketDataError, match="no bar follows the one known at 2025-03-01 03:00 UTC"):
        newest_windows(rows([1.0, 2.0, 3.0, None, 5.0, 6.0]), SPEC)
    with pytest.raises(MarketDataError, match="BTC at binance: 2 rows are fewer than one window of 3"):
        newest_windows(rows([1.0, 2.0]), SPEC)
