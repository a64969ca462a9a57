from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.features.alignment import AlignedHours
from carryflow.features.frame import build_frame
from carryflow.features.sentiment import read_sentiment, with_sentiment
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.store import read_leg

DAYS = [datetime(2025, 1, day, tzinfo=UTC) for day in (1, 2, 3)]


def hours_at(*dates: datetime) -> AlignedHours:
    return AlignedHours("BTC", pl.DataFrame({"Date": dates}, schema={"Date": pl.Datetime("ms", "UTC")}))


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
    hours = hours_at(DAYS[1] - timedelta(hours=1), DAYS[1], DAYS[1] + timedelta(hours=23))
    known = with_sentiment(hours, series).table
    assert known["Sentiment"].to_list() == [1.0, 2.0, 2.0]
    assert known["SentimentKnownAt"].to_list() == [DAYS[0], DAYS[1], DAYS[1]]


@pytest.mark.parametrize("hour", [DAYS[0] - timedelta(hours=1), DAYS[2] + timedelta(days=3, hours=1)])
def test_hours_without_a_recent_value_are_named(hour: datetime):
    series = pl.DataFrame({"timestamp": DAYS, "value": [1.0, 2.0, 3.0]}).cast(
        {"timestamp": pl.Datetime("ms", "UTC")}
    )
    with pytest.raises(CoverageError, match=f"BTC: no sentiment of the last 3 days at {hour:%Y-%m-%d %H:%M}"):
        with_sentiment(hours_at(hour), series)


@pytest.mark.parametrize("unit", [1, 1000, 1_000_000])
@pytest.mark.parametrize("name", ["mood.parquet", "mood.csv"])
def test_epochs_are_read_by_their_size(tmp_path: Path, name: str, unit: int):
    epochs = [int(day.timestamp()) * unit for day in DAYS]
    series = read_sentiment(write(tmp_path / name, value=[30, 15, 40], timestamp=epochs))
    assert series["timestamp"].to_list() == DAYS


def test_texts_are_read_as_the_stamps_and_numbers_that_they_are(tmp_path: Path):
    """alternative.me gives both as texts."""
    seconds = [str(int(day.timestamp())) for day in DAYS]
    series = read_sentiment(write(tmp_path / "mood.parquet", value=["30", "15", " 40"], timestamp=seconds))
    assert series.rows() == list(zip(DAYS, [30.0, 15.0, 40.0], strict=True))


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"timestamp": DAYS, "a": [1, 2, 3], "b": [1, 2, 3]}, "timestamp and one value column"),
        ({"date": DAYS, "value": [1, 2, 3]}, "timestamp and one value column"),
        ({"timestamp": [DAYS[0], DAYS[0]], "a": [1, 2]}, "stamps twice at 2025-01-01 00:00"),
        (
            {"timestamp": DAYS, "mood": ["30", "Fear", "40"]},
            "PLACE: column mood holds 'Fear', which is no number",
        ),
        ({"mood": [1.0, None, 2.0], "timestamp": DAYS}, "PLACE: column mood holds None"),
        ({"mood": [1.0, float("inf"), 2.0], "timestamp": DAYS}, "PLACE: column mood holds '?inf'?, which is"),
        ({"timestamp": [DAYS[0], None, DAYS[1]], "mood": [1, 2, 3]}, "PLACE: .* stamp"),
        ({"timestamp": [1735689600, 20250102], "mood": [1, 2]}, "PLACE: '?20250102'? is no stamp"),
        (
            {"timestamp": [1735689600, 1204934400], "mood": [1, 2]},
            "PLACE: the stamp 2008-03-08 .* is before 2009",
        ),
        ({"timestamp": [DAYS[0], datetime(1970, 1, 20)], "mood": [1, 2]}, "PLACE: the stamp 1970-01-20"),
        ({"timestamp": ["2025-01-01", "yesterday"], "mood": [1, 2]}, "PLACE: 'yesterday' is no stamp"),
    ],
)
def test_a_file_that_is_no_dated_series_is_refused_by_row(
    tmp_path: Path, suffix: str, columns: dict[str, list], words: str
):
    path = write(tmp_path / f"mood.{suffix}", **columns)
    place = "line 3" if suffix == "csv" else "row 2"
    with pytest.raises(MarketDataError, match=f"{path}.*{words.replace('PLACE', place)}"):
        read_sentiment(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    for name, content, words in (
        ("none.csv", None, "no sentiment series at"),
        ("mood.parquet", b"no parquet", "is no Parquet file that can be read"),
        ("mood.csv", b"\xff\xfe", "is no text"),
        ("empty.csv", b"", "is empty"),
        (
            "lists.parquet",
            {"timestamp": DAYS, "mood": [[1], [2], [3]]},
            "mood holds List.*which is no number",
        ),
        ("yes.parquet", {"timestamp": [True], "mood": [1]}, "timestamp holds Boolean, which is no stamp"),
    ):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            write(path, **content)
        with pytest.raises(MarketDataError, match=words) as refused:
            read_sentiment(path)
        assert str(path) in str(refused.value)


def test_sentiment_joins_the_frame_as_column_and_as_last_feature(legs):
    spot, perp = legs["spot", "BTC"], legs["perp", "BTC"]
    days = pl.DataFrame({"timestamp": spot["timestamp"].gather_every(24)}).with_columns(
        value=pl.int_range(pl.len()).cast(pl.Float64)
    )
    frame = build_frame(spot, perp, "BTC", DataSettings(), days)
    assert frame.columns[-1] == "sentiment"
    assert frame["Sentiment"].cast(pl.Float32).equals(frame["sentiment"])
    assert frame["Sentiment"].to_list() == [float((row + 176) // 24) for row in range(len(frame))]


@pytest.mark.real
@pytest.mark.pitfall("P16")
def test_fear_and_greed_is_told_from_the_midnight_it_was_published_at(real_data: Path):
    index = read_sentiment(real_data / "aux" / "fear_greed.parquet")
    start, end = (to_ms(datetime(2024, month, 1, tzinfo=UTC)) for month in (3, 4))
    spot, perp = (read_leg(real_data / "crypto", leg, "BTC", start, end) for leg in ("spot", "perp"))
    frame = build_frame(spot, perp, "BTC", DataSettings(tickers=("BTC",)), index)
    told = frame.join(index, left_on=pl.col("Date").dt.truncate("1d"), right_on="timestamp")
    assert len(told) == len(frame)
    assert (told["Sentiment"] == told["value"]).all()
    assert (told["SentimentKnownAt"] == told["Date"].dt.truncate("1d")).all()
    assert told["value"].n_unique() > 5
