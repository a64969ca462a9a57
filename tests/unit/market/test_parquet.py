"""Tables come back bit by bit, and lie on disk as streams of bytes under zstd."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.market.parquet import read_table, write_table
from carryflow.market.schema import TIMESTAMP

HOURS = [datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in range(3)]
TABLE = pl.DataFrame(
    {
        "timestamp": pl.Series(HOURS, dtype=TIMESTAMP),
        "ticker": ["BTC", None, "ETH"],
        "price": [1.1, None, float("nan")],
        "feature": pl.Series([1.5, -0.0, None], dtype=pl.Float32),
        "count": [1, None, -3],
        "halted": [True, None, False],
        "window": [[1.0, 2.0], [], None],
    }
)


@pytest.mark.parametrize("table", [TABLE, TABLE[:0]])
def test_what_was_written_is_read_back_exactly(tmp_path: Path, table: pl.DataFrame) -> None:
    write_table(table, tmp_path / "folder" / "table.parquet")
    back = read_table(tmp_path / "folder" / "table.parquet")
    assert back.equals(table)
    assert back.schema == table.schema
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["table.parquet"]


def test_only_the_rows_and_columns_asked_for_are_read(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "table.parquet")
    hour_2, path = 1_735_689_600_000 + 2 * 3_600_000, tmp_path / "table.parquet"
    later = read_table(path, (hour_2, None), columns=["ticker"])
    assert later.to_dict(as_series=False) == {"ticker": ["ETH"]}
    assert read_table(path, (hour_2 - 3_600_000, hour_2))["timestamp"].to_list() == HOURS[1:2]
    nothing = read_table(path, (hour_2 + 1, None))
    assert nothing.equals(TABLE[:0])
    assert nothing.schema == TABLE.schema
    with pytest.raises(MarketDataError, match="unknown"):
        read_table(path, columns=["unknown"])


def test_floats_are_split_into_streams_of_bytes_and_everything_is_zstd(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "table.parquet")
    group = pq.ParquetFile(tmp_path / "table.parquet").metadata.row_group(0)
    columns = {
        column.path_in_schema: column for column in (group.column(i) for i in range(group.num_columns))
    }
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    split = {name for name, column in columns.items() if "BYTE_STREAM_SPLIT" in column.encodings}
    assert split == {"price", "feature"}
    assert columns["timestamp"].statistics.has_min_max, "readers of a few days skip what they do not need"


@pytest.mark.parametrize("at", range(100, 40_000, 1_000))
def test_a_bit_that_turned_on_disk_is_an_error_and_no_other_price(tmp_path: Path, at: int) -> None:
    path = tmp_path / "table.parquet"
    write_table(pl.DataFrame({"price": [1.1**i for i in range(5000)]}), path)
    content = bytearray(path.read_bytes())
    content[at % (len(content) - 2_000) + 100] ^= 4
    path.write_bytes(content)
    with pytest.raises(MarketDataError, match="is no Parquet file that can be read"):
        read_table(path)


@pytest.mark.parametrize("kept", [0, 11, 1000, -1])
def test_a_file_that_is_cut_short_is_an_error_that_names_it(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "table.parquet"
    write_table(pl.DataFrame({"price": [i * 1.1 for i in range(5000)]}), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(MarketDataError, match=f"{path} is no Parquet file that can be read"):
        read_table(path)
