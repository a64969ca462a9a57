from datetime import UTC, datetime

import polars as pl
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.market.schema import PERP_COLUMNS, SPOT_COLUMNS, validate_leg


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


def test_stamps_without_a_zone_are_refused_since_nobody_knows_when_they_were() -> None:
    naive = bars().with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    with pytest.raises(MarketDataError, match="must be a UTC datetime"):
        validate_leg(naive, "spot")
