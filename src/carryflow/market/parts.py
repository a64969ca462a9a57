"""Rows that are appended without rewriting what is stored, and folded in later, whatever dies in between."""

from pathlib import Path

import polars as pl

from carryflow.core.leg import Leg
from carryflow.market.leg_files import all_parts, leg_path, next_part, pending_parts
from carryflow.market.parquet import read_table, write_table
from carryflow.market.schema import validate_leg
from carryflow.market.store import fold, read_leg
from carryflow.market.timeframe import Timeframe


def append_part(
    data_dir: Path, leg: Leg, ticker: str, rows: pl.DataFrame, timeframe: Timeframe = "1h"
) -> None:
    """Put rows on disk as one part file, atomically; reading a leg sees them, `compact` folds them in.

    A fetch of many blocks writes each block once and the leg's file once, where merging every block would
    rewrite the whole file each time.

    Raises:
        MarketDataError: the rows are not as the schema says.
    """
    fresh = validate_leg(rows, leg, ticker, timeframe)
    if not len(fresh):
        return
    first, last = (int(fresh["timestamp"].dt.epoch("ms")[i]) for i in (0, -1))
    write_table(fresh, next_part(data_dir, leg, ticker, first, last))


def compact(data_dir: Path, leg: Leg, ticker: str, timeframe: Timeframe = "1h") -> int:
    """Fold all parts of a leg into its file and return how many stamps of theirs are new to it.

    The file is replaced first and the parts are removed after it: killed at any point, nothing is lost, and
    since the file names the parts that it holds, none of them is laid over it twice.

    Raises:
        MarketDataError: the file or a part is broken.
    """
    parts, path = all_parts(data_dir, leg, ticker), leg_path(data_dir, leg, ticker)
    if not pending_parts(data_dir, leg, ticker):
        for left_over in parts:
            left_over.unlink()
        return 0
    before = len(read_table(path, columns=["timestamp"])) if path.is_file() else 0
    merged = read_leg(data_dir, leg, ticker, timeframe=timeframe)
    fold(data_dir, leg, ticker, merged, parts)
    return len(merged) - before
