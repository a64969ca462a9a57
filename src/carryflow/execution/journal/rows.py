"""Frozen dataclasses as rows of SQLite and back, exact to the last digit."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from types import UnionType
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

Record = TypeVar("Record")

Primitive = str | int | float | None
"""What a column can hold."""

Row = tuple[Any, ...]


class Codec(NamedTuple):
    """Turn a value that no column can hold into text, and back."""

    encode: Callable[[Any], str]
    decode: Callable[[str], Any]


class Rows(Generic[Record]):
    """Read and write dataclasses of one kind in one table, whose columns are named like the fields.

    The fields of a dataclass within the dataclass are columns of their own. Decimals and enums of texts are
    text; whatever else is neither text nor number needs a codec.

    Args:
        table: its name.
        kind: the dataclass.
        codecs: how fields of other types become text, by the field's name.

    """

    def __init__(self, table: str, kind: type[Record], codecs: Mapping[str, Codec] | None = None) -> None:
        self.table = table
        self._codecs = dict(codecs or {})
        paths = tuple(_paths(kind, self._codecs))
        self.columns = tuple(path.rpartition(".")[2] for path, _ in paths)
        self._get = attrgetter(*(path for path, _ in paths))
        self._encoders = tuple((place, encode) for place, (_, encode) in enumerate(paths) if encode)
        self._read = _reader(kind, self._codecs)
        names = ", ".join(f'"{name}"' for name in self.columns)
        marks = ", ".join("?" * len(self.columns))
        self.select = f"SELECT {names} FROM {table}"  # noqa: S608 (our own names)
        self.insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
        self.insert_new = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
        self.replace = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608

    def row(self, record: Record) -> Row:
        """Return the columns of a record."""
        row = list(self._get(record))
        for place, encode in self._encoders:
            if row[place] is not None:
                row[place] = encode(row[place])
        return tuple(row)

    def record(self, row: Row) -> Record:
        """Return the record behind the columns, in their order; further columns are left alone."""
        record: Record = self._read(iter(row))
        return record


def _paths(
    kind: Any, codecs: Mapping[str, Codec], prefix: str = ""
) -> Iterator[tuple[str, Callable[[Any], Primitive] | None]]:
    """Bring the fields behind the columns, each with what its column holds instead of it (None: itself)."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        if field.name in codecs:
            yield prefix + field.name, codecs[field.name].encode
        elif is_dataclass(hint):
            yield from _paths(hint, codecs, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, _encoder(hint)


def _reader(kind: Any, codecs: Mapping[str, Codec]) -> Callable[[Iterator[Any]], Any]:
    """Return what builds a dataclass from an iterator over its columns."""
    hints = get_type_hints(kind)
    parts: list[Callable[[Iterator[Any]], Any]] = []
    for field in fields(kind):
        hint = hints[field.name]
        if field.name in codecs:
            parts.append(_column(codecs[field.name].decode))
        elif is_dataclass(hint):
            parts.append(_reader(hint, codecs))
        else:
            parts.append(_column(_decoder(hint)))
    return lambda columns: kind(*[part(columns) for part in parts])


def _column(decode: Callable[[Any], Any] | None) -> Callable[[Iterator[Any]], Any]:
    if decode is None:
        return next

    def read(columns: Iterator[Any]) -> Any:
        value = next(columns)
        return None if value is None else decode(value)

    return read


def _encoder(hint: Any) -> Callable[[Any], Primitive] | None:
    """Return what makes its column out of a field of this type; None: it is what the column holds."""
    kind = _decoder(hint)
    if kind is None:
        return None
    return int if kind is bool else str


def _decoder(hint: Any) -> Callable[[Any], Any] | None:
    """Return what makes a field of this type out of its column; None: it is what the column holds."""
    if get_origin(hint) is UnionType:
        hint = next(option for option in get_args(hint) if option is not type(None))
    return hint if isinstance(hint, type) and issubclass(hint, (Decimal, bool, StrEnum)) else None
