from datetime import UTC, datetime

import polars as pl
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.market.schema import OPTIONAL_COLUMNS, PERP_COLUMNS, SPOT_COLUMNS, validate_leg


def bars(**changes: list[object]) -> pl.DataFrame:
    columns: dict[str, list[object]] = {
        "timestamp": [datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in range(3)],
        "open": [100.0, 101.0, 102.0],
        "high": [102.0, 103.0, 104.0],
        "low": [99.0, 100.0, 101.0],
        "close": [101.0, 102.0, 103.0],
        "volume": [5.0, 0.0, 7.0],
    }
    return pl.DataFrame(columns | changes)


def test_a_table_without_a_recorded_book_gets_null_book_columns_in_the_exact_schema() -> None:
    table = validate_leg(bars(), "spot")
    assert dict(table.schema) == SPOT_COLUMNS
    assert table["bid"].null_count() == 3
    assert table["close"].to_list() == [101.0, 102.0, 103.0]


def test_a_perpetual_needs_its_mark_and_funding_columns() -> None:
    with pytest.raises(MarketDataError, match=r"mark_open.*funding_rate"):
        validate_leg(bars(), "perp")
    table = validate_leg(
        bars(mark_open=[None] * 3, mark_close=[None] * 3, funding_rate=[1e-4, None, None]), "perp"
    )
    assert dict(table.schema) == PERP_COLUMNS
    assert table["funding_rate"].to_list() == [1e-4, None, None]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"close": [101.0, float("nan"), 103.0]}, "NaN.*2025-01-01 01:00"),
        ({"close": [101.0, None, 103.0]}, "missing price.*01:00"),
        ({"low": [99.0, -1.0, 101.0]}, "not positive.*01:00"),
        ({"high": [102.0, 103.0, 102.5]}, "high under.*02:00"),
        ({"low": [99.0, 100.0, 102.5]}, "low over.*02:00"),
        ({"volume": [5.0, -1.0, 7.0]}, "volume.*01:00"),
        (
            {"timestamp": [datetime(2025, 1, 1, h, tzinfo=UTC) for h in (0, 1, 1)]},
            "repeated or unsorted.*01:00",
        ),
        (
            {"timestamp": [datetime(2025, 1, 1, h, tzinfo=UTC) for h in (0, 2, 1)]},
            "repeated or unsorted.*01:00",
        ),
        ({"timestamp": [datetime(2025, 1, 1, 0, m, tzinfo=UTC) for m in (0, 30, 31)]}, "off the hour.*00:30"),
        ({"bid": [101.0, 102.0, 103.1], "ask": [101.1, 102.1, 103.0]}, "crossed.*02:00"),
        ({"bid_depth": [1.0, 0.0, 1.0]}, "book.*01:00"),
        ({"close_price": [1.0, 1.0, 1.0]}, "unknown columns.*close_price"),
    ],
)
def test_a_row_that_cannot_be_is_refused_by_name(changes: dict[str, list[object]], words: str) -> None:
    with pytest.raises(MarketDataError, match=words):
        validate_leg(bars(**changes), "spot", "BTC")


def test_what_nobody_recorded_may_be_absent_and_becomes_null() -> None:
    perp = validate_leg(
        bars(**dict.fromkeys(("mark_open", "mark_close", "funding_rate"), [None] * 3)), "perp"
    )
    assert perp.select(OPTIONAL_COLUMNS).null_count().row(0) == (3,) * len(OPTIONAL_COLUMNS)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("index_close", 0.0, "index.*01:00"),
        ("predicted_rate", float("inf"), "funding rate.*01:00"),
        ("ask_depth_50bp", 0.0, "book.*01:00"),
        ("bid_depth_5bp", -1.0, "depth.*negative.*01:00"),
    ],
)
def test_an_optional_value_that_cannot_be_is_refused(column: str, value: float, words: str) -> None:
    nothing = dict.fromkeys(("mark_open", "mark_close", "funding_rate"), [None] * 3)
    with pytest.raises(MarketDataError, match=words):
        validate_leg(bars(**nothing, **{column: [None, value, None]}), "perp")


def test_a_wide_spread_leaves_nothing_within_five_points_of_the_mid() -> None:
    assert validate_leg(bars(bid_depth_5bp=[0.0] * 3), "spot")["bid_depth_5bp"].to_list() == [0.0] * 3


@pytest.mark.pitfall("P01")
def test_a_bar_that_may_see_several_settlements_carries_none() -> None:
    every = [datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in (0, 8, 16)]
    perp = bars(timestamp=every, mark_open=[None] * 3, mark_close=[None] * 3, funding_rate=[None, 1e-4, None])
    with pytest.raises(MarketDataError, match=r"a settlement inside a bar of 8h.* at 2025-01-01 08:00"):
        validate_leg(perp, "perp", timeframe="8h")
    validate_leg(perp, "perp", timeframe="1h")


def test_bars_open_on_the_grid_of_their_length() -> None:
    quarters = bars(timestamp=[datetime(2025, 1, 1, 0, minute, tzinfo=UTC) for minute in (0, 15, 30)])
    assert len(validate_leg(quarters, "spot", timeframe="15m")) == 3
    with pytest.raises(MarketDataError, match="off the 30m grid at 2025-01-01 00:15"):
        validate_leg(quarters, "spot", timeframe="30m")


def test_stamps_without_a_zone_are_refused_since_nobody_knows_when_they_were() -> None:
    naive = bars().with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    with pytest.raises(MarketDataError, match="must be a UTC datetime"):
        validate_leg(naive, "spot")
