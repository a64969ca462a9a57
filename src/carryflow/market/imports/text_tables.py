"""CSV files, zipped or not, read so that a broken row is named by file and line."""

import csv
import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError


@dataclass(frozen=True, slots=True)
class TextTable:
    """Hold a CSV file's cells as texts, its name for errors, and the line that the first row stands in."""

    cells: pl.DataFrame
    where: str
    first_line: int

    def numbers(self, column: str) -> pl.Series:
        """Return a column as float64; empty cells and NaN are null.

        Raises:
            MarketDataError: a cell is no number; its line is named.
        """
        texts = self.cells[column].str.strip_chars()
        empty = (texts == "") | texts.is_null() | texts.str.to_lowercase().is_in(["nan", "null"])
        values = texts.cast(pl.Float64, strict=False)
        wrong = (values.is_null() & ~empty).arg_true()
        if len(wrong):
            raise MarketDataError(
                f"{self.where} line {wrong[0] + self.first_line}: column {column} holds "
                f"{self.cells[column][wrong[0]]!r}, which is no number; repair the row, or get the file again"
            )
        return values.fill_nan(None).alias(column)


def read_dump(path: Path, columns: Sequence[str]) -> TextTable:
    """Read a CSV with these columns in this order, with a header or without.

    Raises:
        MarketDataError: the file is no whole zip, is empty, or a row has another number of cells.
    """
    text = _text(path)
    has_header = text.split(",", 1)[0].strip().lower() == columns[0]
    return _cells(text, str(path), list(columns), 1 if has_header else 0)


def read_csv(path: Path) -> TextTable:
    """Read a CSV whose first line names the columns.

    Raises:
        MarketDataError: as `read_dump`, or two columns share a name.
    """
    text = _text(path)
    names = [name.strip() for name in next(csv.reader(StringIO(text)), [])]
    if len(set(names)) < len(names):
        raise MarketDataError(f"{path} line 1: two columns share a name in {names}; rename one")
    return _cells(text, str(path), names, 1)


def _cells(text: str, where: str, columns: list[str], header_lines: int) -> TextTable:
    if text.count("\n") + 1 <= header_lines:
        raise MarketDataError(f"{where} holds no rows; get the file again, or leave it out")
    try:
        cells = pl.read_csv(text.encode(), has_header=False, skip_lines=header_lines, infer_schema=False)
    except pl.exceptions.PolarsError as problem:
        _refuse_ragged(text, where, len(columns), header_lines)
        raise MarketDataError(f"{where} is no CSV ({str(problem).splitlines()[0]}); get it again") from None
    if cells.width != len(columns) or cells[:, -1].null_count():  # what a short row lacks reads as null
        _refuse_ragged(text, where, len(columns), header_lines)
    cells.columns = columns
    return TextTable(cells, where, header_lines + 1)


def _refuse_ragged(text: str, where: str, width: int, header_lines: int) -> None:
    """Name the first line that has another number of cells than it should, if there is one."""
    for line, cells in enumerate(csv.reader(StringIO(text)), start=1):
        if line > header_lines and len(cells) != width:
            raise MarketDataError(
                f"{where} line {line} has {len(cells)} cells where {width} belong; repair the row, or "
                "get the file again"
            )


def _text(path: Path) -> str:
    """Return a file's text, out of the zip where it is in one, and with its checksum where there is one."""
    payload = path.read_bytes()
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if beside.is_file() and hashlib.sha256(payload).hexdigest() not in beside.read_text():
        raise MarketDataError(f"{path} does not match {beside.name}; download it again")
    if path.suffix == ".zip":
        payload = _unzipped(path)
    try:
        text = payload.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n")
    except UnicodeDecodeError:
        raise MarketDataError(f"{path} is no text; get the file again") from None
    if not text.strip():
        raise MarketDataError(f"{path} is empty; get the file again, or leave it out")
    return text


def _unzipped(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".csv")]
            if len(members) != 1:
                raise MarketDataError(
                    f"{path} holds {len(members)} CSV files where one belongs; unpack it yourself"
                )
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError) as broken:
        raise MarketDataError(f"{path} is no whole zip file ({broken}); download it again") from None
