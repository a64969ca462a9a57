"""Published tables as Parquet: files of a home, or objects under an s3:// prefix."""

import os
from pathlib import Path

import polars as pl
import pyarrow.fs
import pyarrow.parquet as pq

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError

REMOTE = "s3://"
ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"


def is_remote(location: str) -> bool:
    """Say whether a location is a prefix in object storage."""
    return location.startswith(REMOTE)


def read_table(path: str) -> pl.DataFrame | None:
    """Read a published table, or give None where there is none.

    Object storage is found as its own tools find it: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, ….

    Raises:
        MarketDataError: the object storage does not answer.
    """
    if not is_remote(path):
        return pl.read_parquet(path) if Path(path).is_file() else None
    try:
        storage, key = _storage(path)
        if storage.get_file_info(key).type is not pyarrow.fs.FileType.File:
            return None
        read = pl.from_arrow(pq.read_table(key, filesystem=storage))
    except OSError as error:
        raise _unreachable(path, error) from None
    assert isinstance(read, pl.DataFrame)  # noqa: S101 - a Parquet file is a table, which the type cannot say
    return read


def scan_table(path: str) -> pl.LazyFrame | None:
    """Lend a published table unread, or None where there is none; raises as `read_table` does."""
    if not is_remote(path):
        return pl.scan_parquet(path) if Path(path).is_file() else None
    table = read_table(path)
    return None if table is None else table.lazy()


def append_rows(rows: pl.DataFrame, path: str) -> None:
    """Append rows to a published table, or begin one, which is replaced as `write_table` does it.

    A file is never whole in memory.
    """
    before = scan_table(path)
    if before is None or is_remote(path):
        write_table(rows if before is None else pl.concat([before.collect(), rows]), path)
        return
    with write_atomically(Path(path)) as temporary:
        pl.concat([before, rows.lazy()]).sink_parquet(temporary)


def write_table(table: pl.DataFrame, path: str) -> None:
    """Write a published table; whoever reads meanwhile sees the old one or the new one, never a half.

    Raises:
        MarketDataError: the object storage does not answer.
    """
    if not is_remote(path):
        with write_atomically(Path(path)) as temporary:
            table.write_parquet(temporary)
        return
    try:
        storage, key = _storage(path)
        # an object appears when its upload is complete
        pq.write_table(table.to_arrow(), key, filesystem=storage, compression="zstd")
    except OSError as error:
        raise _unreachable(path, error) from None


def _storage(path: str) -> tuple["pyarrow.fs.FileSystem", str]:
    # Arrow alone would look for a bucket by the name of an AWS host, whatever the endpoint
    return pyarrow.fs.S3FileSystem(endpoint_override=os.environ.get(ENDPOINT_VARIABLE)), path.removeprefix(
        REMOTE
    )


def _unreachable(path: str, error: OSError) -> MarketDataError:
    return MarketDataError(
        f"object storage did not take or give {path}: {str(error).splitlines()[0]}; check AWS_ENDPOINT_URL, "
        "AWS_REGION, the keys and the bucket"
    )
