from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.features.frame import build_frame
from carryflow.features.sentiment import read_sentiment, sentiment_at
from carryflow.market.data import DataSettings

DAYS = [datetime(2025, 1, day, tzinfo=UTC) for day in (1, 2, 3)]


def write(path: Path, **columns: object) -> Path:
    table = pl.DataFrame(columns)
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["mood.parquet", "mood.csv"])
def test_a_series_reads_alike_from_parquet_and_csv(tmp_path: Path, name: str):
    dates = [day.date() for day in DAYS] if name.endswith("csv") else DAYS
    series = read_sentiment(write(tmp_path / name, timestamp=dates, fear_greed=[30, 15, 40]))
    assert series["timestamp"].to_list() == DAYS
    assert series["value"].to_list() == [30.0, 15.0, 40.0]


@pytest.mark.pitfall("P16")
def test_a_value_is_known_from_its_stamp_on_and_not_before():
    series = pl.DataFrame({"timestamp": DAYS, "value": [1.0, 2.0, 3.0]}).cast(
        {"timestamp": pl.Datetime("ms", "UTC")}
    )
    hours = pl.Series([DAYS[1] - timedelta(hours=1), DAYS[1], DAYS[1] + timedelta(hours=23)])
    known = sentiment_at(hours.cast(pl.Datetime("ms", "UTC")), series, "BTC")
    assert known.to_list() == [1.0, 2.0, 2.0]


@pytest.mark.parametrize("hour", [DAYS[0] - timedelta(hours=1), DAYS[2] + timedelta(days=3, hours=1)])
def test_hours_without_a_recent_value_are_named(hour: datetime):
    series = pl.DataFrame({"timestamp": DAYS, "value": [1.0, 2.0, 3.0]}).cast(
        {"timestamp": pl.Datetime("ms", "UTC")}
    )
    with pytest.raises(CoverageError, match=f"BTC: no sentiment of the last 3 days at {hour:%Y-%m-%d %H:%M}"):
        sentiment_at(pl.Series([hour]).cast(pl.Datetime("ms", "UTC")), series, "BTC")


def test_a_file_that_is_no_dated_series_is_refused(tmp_path: Path):
    two = write(tmp_path / "two.parquet", timestamp=DAYS, a=[1, 2, 3], b=[1, 2, 3])
    twice = write(tmp_path / "twice.parquet", timestamp=[DAYS[0], DAYS[0]], a=[1, 2])
    for path, words in (
        (two, "timestamp and one value"),
        (twice, "twice"),
        (tmp_path / "none.csv", "no sentiment"),
    ):
        with pytest.raises(MarketDataError, match=words):
            read_sentiment(path)


def test_sentiment_joins_the_frame_as_column_and_as_last_feature(legs):
    spot, perp = legs["spot", "BTC"], legs["perp", "BTC"]
    days = pl.DataFrame({"timestamp": spot["timestamp"].gather_every(24)}).with_columns(
        value=pl.int_range(pl.len()).cast(pl.Float64)
    )
    frame = build_frame(spot, perp, "BTC", DataSettings(), days)
    assert frame.columns[-1] == "sentiment"
    assert frame["Sentiment"].cast(pl.Float32).equals(frame["sentiment"])
    assert frame["Sentiment"].to_list() == [float((row + 176) // 24) for row in range(len(frame))]
