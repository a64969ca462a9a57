"""How tables lie on disk: Parquet whose floats are split into byte streams before they are compressed.

The bytes of a price series that hold sign, exponent and leading digits hardly change from bar to bar;
BYTE_STREAM_SPLIT (Parquet format, encoding 9) puts them side by side, which zstd then shrinks to little.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError

_ZSTD_LEVEL = 1
"""Level 3 takes a third more time for 2 to 4 % less space."""

_ROW_GROUP = 131_072
"""Rows (three months of minutes) that a reader of some days skips or reads as one."""


Span = tuple[int | None, int | None]
"""Rows stamped in [start, end) (ms); None: no edge there."""


def write_table(table: pl.DataFrame, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a table as Parquet, atomically: the old file or the new one, never a half.

    `notes` go into its footer, where `read_note` finds them.
    Time and size grow with the number of values that are not null: minutes cost sixty times the hours.
    """
    floats = [name for name, kind in table.schema.items() if kind.is_float()]
    counts = [name for name, kind in table.schema.items() if kind.is_integer() or kind == pl.Datetime]
    rows = table.to_arrow()
    with write_atomically(path) as temporary:
        pq.write_table(
            rows.replace_schema_metadata({**(rows.schema.metadata or {}), **notes}) if notes else rows,
            temporary,
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            row_group_size=_ROW_GROUP,
            use_dictionary=[name for name in table.columns if name not in (*floats, *counts)],
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT")
            | dict.fromkeys(counts, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,  # neither zstd nor a reader would notice a bit that turned
            write_statistics=counts,  # rows are looked up by these; nobody looks up a price
        )


def read_table(path: Path, span: Span = (None, None), columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a table, or only the rows and columns wanted of it, and hold every page against its checksum.

    Row groups whose stamps lie outside the span are skipped.

    Raises:
        MarketDataError: the file is no whole Parquet file, or a bit of it is not as it was written.
    """
    edges = zip((pl.col("timestamp").ge, pl.col("timestamp").lt), span, strict=True)
    rows = [compare(pl.lit(at).cast(pl.Datetime("ms", "UTC"))) for compare, at in edges if at is not None]
    wanted = None if columns is None else [*columns, *(["timestamp"] if rows else [])]
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = [i for i in range(file.num_row_groups) if _reaches(file, i, span)]
            table = pl.DataFrame(file.read_row_groups(groups, columns=wanted))
        table = table.filter(*rows) if rows else table
        return table if columns is None else table.select(columns)
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as problem:
        raise _unreadable(path, problem) from None


def _reaches(file: pq.ParquetFile, group: int, span: Span) -> bool:
    """Say whether a row group may hold rows of a span, by the statistics of its stamps (ms, UTC)."""
    at = file.schema_arrow.get_field_index("timestamp")
    if at < 0 or file.schema_arrow.field(at).type != pa.timestamp("ms", "UTC"):
        return True
    columns = file.metadata.row_group(group)
    names = [columns.column(i).path_in_schema for i in range(columns.num_columns)]
    known = columns.column(names.index("timestamp")).statistics
    if known is None or not known.has_min_max:
        return True
    return (span[0] is None or known.max_raw >= span[0]) and (span[1] is None or known.min_raw < span[1])


def read_note(path: Path, name: str) -> str:
    """Return one of the notes that `write_table` left in a file; empty where there is none.

    Raises:
        MarketDataError: the file is no whole Parquet file.
    """
    try:
        notes: dict[bytes, bytes] = pq.read_metadata(path).metadata or {}
        return notes.get(name.encode(), b"").decode()
    except (pa.ArrowException, OSError) as problem:
        raise _unreadable(path, problem) from None


def _unreadable(path: Path, problem: Exception) -> MarketDataError:
    reason = str(problem).splitlines()[0]
    return MarketDataError(
        f"{path} is no Parquet file that can be read ({reason}); put it back, or remove it and fetch again"
    )
