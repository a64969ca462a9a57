"""What a journal tells, to its engine and to whoever only looks."""

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from heapq import merge
from pathlib import Path
from typing import Any, TypeVar

from carryflow.core.errors import InvariantBroken
from carryflow.execution.intents import Decision, Intent
from carryflow.execution.journal.records import (
    Alert,
    BookedFill,
    Event,
    Identity,
    Opening,
    OrderRecord,
    PairRecord,
    Statement,
    TransferRecord,
    Valuation,
)
from carryflow.execution.journal.rows import Row, Rows
from carryflow.execution.journal.schema import (
    ALERTS,
    DECISIONS,
    FILLS,
    FUNDING,
    IDENTITY,
    INTENTS,
    OPENING,
    ORDERS,
    PAIRS,
    STATEMENTS,
    TRANSFERS,
    VALUATIONS,
)
from carryflow.execution.orders import Fill, FundingPayment

Record = TypeVar("Record")

_FILLS_WITH_REFERENCE = (
    f"SELECT {', '.join(f'f.{name}' for name in FILLS.columns)}, o.reference FROM fills f "  # noqa: S608
    "LEFT JOIN orders o ON o.client_id = f.client_id WHERE f.ts_ms >= ? ORDER BY f.ts_ms, f.rowid"
)


class JournalReader:
    """Read a journal: while its engine runs, after it has crashed, in another process."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self.identity = self._identity()

    def close(self) -> None:
        """Let go of the file; what was written stays."""
        self._db.close()

    def opening(self) -> Opening | None:
        """Return what there was before the first order; None: nothing has begun."""
        return self._first(OPENING, "")

    def decisions(self, since_ms: int = 0) -> list[Decision]:
        """Return decisions, the oldest first."""
        return self._all(DECISIONS, "WHERE decided_ms >= ? ORDER BY decided_ms, rowid", since_ms)

    def decision(self, decision_id: str) -> Decision | None:
        """Return one decision; None: there is none of that name."""
        return self._first(DECISIONS, "WHERE decision_id = ?", decision_id)

    def intents(self, decision_id: str | None = None) -> list[Intent]:
        """Return intents, the oldest first; of one decision, if it is named."""
        where = "" if decision_id is None else "WHERE decision_id = ? "
        return self._all(INTENTS, where + "ORDER BY created_ms, rowid", *_given(decision_id))

    def intent(self, intent_id: str) -> Intent | None:
        """Return one intent; None: there is none of that name."""
        return self._first(INTENTS, "WHERE intent_id = ?", intent_id)

    def orders(self, unfinished: bool = False, intent_id: str | None = None) -> list[OrderRecord]:
        """Return orders as they were written down; those of which more can come, or of one intent."""
        terms = ["ended_ms IS NULL"] if unfinished else []
        terms += [] if intent_id is None else ["intent_id = ?"]
        where = f"WHERE {' AND '.join(terms)} " if terms else ""
        return self._all(ORDERS, where + "ORDER BY journalled_ms, rowid", *_given(intent_id))

    def order(self, client_id: str) -> OrderRecord | None:
        """Return one order; None: there is none of that name."""
        return self._first(ORDERS, "WHERE client_id = ?", client_id)

    def fills(self, since_ms: int = 0, client_id: str | None = None) -> list[Fill]:
        """Return trades, the oldest first; of one order, if it is named."""
        where = "" if client_id is None else "AND client_id = ? "
        return self._all(
            FILLS, f"WHERE ts_ms >= ? {where}ORDER BY ts_ms, rowid", since_ms, *_given(client_id)
        )

    def funding(self, since_ms: int = 0) -> list[FundingPayment]:
        """Return funding that was paid and received, the oldest first."""
        return self._all(FUNDING, "WHERE ts_ms >= ? ORDER BY ts_ms, rowid", since_ms)

    def transfers(self, unsettled: bool = False) -> list[TransferRecord]:
        """Return transfers as they were written down; only those of which it is not known what became."""
        where = "WHERE transfer_id IS NULL AND NOT lost " if unsettled else ""
        return self._all(TRANSFERS, where + "ORDER BY journalled_ms, rowid")

    def pairs(self) -> list[PairRecord]:
        """Return where the pairs are, by ticker."""
        return self._all(PAIRS, "ORDER BY ticker")

    def statements(self, since_ms: int = 0) -> list[Statement]:
        """Return what the venue said there was, the oldest first."""
        return self._all(STATEMENTS, "WHERE ts_ms >= ? ORDER BY ts_ms, rowid", since_ms)

    def first_statement(self, since_ms: int) -> Statement | None:
        """Return what the venue said first since an instant; None: nothing."""
        return self._first(STATEMENTS, "WHERE ts_ms >= ? ORDER BY ts_ms, rowid LIMIT 1", since_ms)

    def last_statement(self) -> Statement | None:
        """Return what the venue said last; None: nothing yet."""
        return self._first(STATEMENTS, "ORDER BY rowid DESC LIMIT 1")

    def valuations(self, since_ms: int = 0) -> list[Valuation]:
        """Return prices that the books were valued at, the oldest first."""
        return self._all(VALUATIONS, "WHERE ts_ms >= ? ORDER BY ts_ms, ticker", since_ms)

    def last_valuations(self) -> list[Valuation]:
        """Return the prices that each coin was last valued at, the oldest first."""
        last = (
            self._first(VALUATIONS, "WHERE ticker = ? ORDER BY ts_ms DESC LIMIT 1", ticker)
            for ticker in self.identity.tickers
        )
        return sorted((value for value in last if value is not None), key=lambda value: value.ts_ms)

    def names_given(self) -> int:
        """Count decisions, intents and transfers."""
        tables = (DECISIONS.table, INTENTS.table, TRANSFERS.table)
        counts = [self._db.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]  # noqa: S608
        return sum(count for (count,) in counts)

    def alerts(self, since_ms: int = 0) -> list[Alert]:
        """Return what persons were told, the oldest first."""
        return self._all(ALERTS, "WHERE ts_ms >= ? ORDER BY ts_ms, rowid", since_ms)

    def events(self, since_ms: int = 0, *, last_prices: bool = False) -> Iterator[Event]:
        """Bring what changes the books in the order in which it happened at the venue.

        What happened in the same millisecond comes in the order transfer, trade, funding, valuation.
        Transfers of which it is not known that they happened are not among them.

        Args:
            since_ms: the first instant (UTC ms).
            last_prices: of valuations, bring each coin's last one only. Books come to the same by them: what
                prices did between two trades is their sum.
        """
        transfers = self._stream(
            TRANSFERS, "WHERE settled_ms >= ? ORDER BY settled_ms, rowid", since_ms, stamp="settled_ms"
        )
        fills = (
            ((event.fill.ts_ms, 1), event)
            for event in map(_booked, self._db.execute(_FILLS_WITH_REFERENCE, (since_ms,)))
        )
        funding = self._stream(FUNDING, "WHERE ts_ms >= ? ORDER BY ts_ms, rowid", since_ms, rank=2)
        valuations: Iterator[tuple[tuple[int, int], Any]]
        if last_prices:
            last = (value for value in self.last_valuations() if value.ts_ms >= since_ms)
            valuations = (((value.ts_ms, 3), value) for value in last)
        else:
            valuations = self._stream(VALUATIONS, "WHERE ts_ms >= ? ORDER BY ts_ms, ticker", since_ms, rank=3)
        for _, event in merge(transfers, fills, funding, valuations, key=lambda dated: dated[0]):
            yield event

    def _stream(
        self, rows: Rows[Record], tail: str, since_ms: int, *, rank: int = 0, stamp: str = "ts_ms"
    ) -> Iterator[tuple[tuple[int, int], Any]]:
        for row in self._db.execute(f"{rows.select} {tail}", (since_ms,)):
            record = rows.record(row)
            yield (getattr(record, stamp), rank), record

    def _all(self, rows: Rows[Record], tail: str, *values: object) -> list[Record]:
        return [rows.record(row) for row in self._db.execute(f"{rows.select} {tail}", values)]

    def _first(self, rows: Rows[Record], tail: str, *values: object) -> Record | None:
        row = self._one(f"{rows.select} {tail}", *values)
        return None if row is None else rows.record(row)

    def _one(self, sql: str, *values: object) -> Row | None:
        return self._db.execute(sql, values).fetchone()  # type: ignore[no-any-return]

    def _identity(self) -> Identity:
        identity = self._first(IDENTITY, "")
        if identity is None:
            raise InvariantBroken(f"{self.path} does not say whose journal it is; restore it from a copy")
        return identity


def _booked(row: Row) -> BookedFill:
    fill, reference = FILLS.record(row), row[-1]
    return BookedFill(fill, fill.price if reference is None else Decimal(reference))


def _given(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)
