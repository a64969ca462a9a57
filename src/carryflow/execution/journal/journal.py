"""What the engine has wanted, done and seen, on disk before it matters.

One SQLite file in WAL mode. Each `record_…` and `settle_…` is one transaction, and when it returns the disk
has it: whatever kills the engine, a record is there whole or not at all. What comes twice counts once.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from carryflow.core.errors import InvariantBroken
from carryflow.execution.intents import Decision, Intent
from carryflow.execution.journal.file import claim, connect, connect_read_only, require_same
from carryflow.execution.journal.order_log import OrderLog
from carryflow.execution.journal.reading import JournalReader
from carryflow.execution.journal.records import (
    Alert,
    Identity,
    Opening,
    OrderRecord,
    PairRecord,
    Statement,
    TransferRecord,
    Valuation,
)
from carryflow.execution.journal.schema import (
    ALERTS,
    DECISIONS,
    FUNDING,
    INTENTS,
    OPENING,
    PAIRS,
    STATEMENTS,
    TRANSFERS,
    VALUATIONS,
)
from carryflow.execution.orders import Fill, FundingPayment, OrderReport, TransferReport

_HOUR_MS = 3_600_000
_MINUTELY_MS = 24 * _HOUR_MS
"""How long statements and valuations are kept as they were written; of older ones, each hour's first is."""

_THINNED_MS = 7 * 24 * _HOUR_MS
"""How far back is looked for what has grown old since."""

_THIN = (
    "DELETE FROM statements WHERE ts_ms BETWEEN :since AND :until AND rowid NOT IN (SELECT min(rowid) FROM "
    "statements WHERE ts_ms BETWEEN :since AND :until GROUP BY ts_ms / :hour)",
    "DELETE FROM valuations WHERE ts_ms BETWEEN :since AND :until AND (ts_ms, ticker) NOT IN (SELECT "
    "min(ts_ms), ticker FROM valuations WHERE ts_ms BETWEEN :since AND :until "
    "GROUP BY ticker, ts_ms / :hour)",
)

_SETTLE_TRANSFER = "UPDATE transfers SET transfer_id = ?, arrived = ?, settled_ms = ?, lost = 0 WHERE key = ?"


class Journal(JournalReader):
    """Keep the journal of one engine."""

    def __init__(self, path: Path, db: sqlite3.Connection, held: IO[str] | None) -> None:
        super().__init__(path, db)
        self._log = OrderLog(path, db)
        self._held = held

    @classmethod
    def open(cls, path: Path, identity: Identity) -> Self:
        """Open the journal of this money to write it, or begin it.

        Raises:
            SettingsError: another engine holds it, or it is the journal of other money.
            SchemaMismatchError: it was written by another version.
        """
        held = claim(path)
        try:
            db = connect(path, identity)
            journal = cls(path, db, held)
            require_same(path, journal.identity, identity)
        except BaseException:
            held.close()
            raise
        return journal

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open a journal to look at it, whoever may be writing it.

        Raises:
            SettingsError: there is none.
            SchemaMismatchError: it was written by another version.
        """
        return cls(path, connect_read_only(path), None)

    def close(self) -> None:
        """Let another engine have it."""
        super().close()
        if self._held is not None:
            self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def record_opening(self, opening: Opening) -> None:
        """Write down what there is before the first order.

        Raises:
            InvariantBroken: it was written down before.
        """
        if self.opening() is not None:
            raise InvariantBroken(f"{self.path} has been opened; an engine that goes on must not open again")
        with self._transaction():
            self._db.execute(OPENING.insert, OPENING.row(opening))

    def record_decision(self, decision: Decision) -> None:
        """Write down what is wanted."""
        with self._transaction():
            self._db.execute(DECISIONS.insert_new, DECISIONS.row(decision))

    def record_intent(
        self,
        intent: Intent,
        pair: PairRecord,
        orders: Sequence[OrderRecord] = (),
        decision: Decision | None = None,
    ) -> None:
        """Write down what a decision comes to, and the orders that are sent next; with it the decision.

        Raises:
            InvariantBroken: an order's name was another order's, or of one that has arrived.
        """
        with self._transaction():
            if decision is not None:
                self._db.execute(DECISIONS.insert_new, DECISIONS.row(decision))
            self._db.execute(INTENTS.insert_new, INTENTS.row(intent))
            self._log.put_orders(orders)
            self._put_pair(pair)

    def record_orders(self, orders: Sequence[OrderRecord], pair: PairRecord | None = None) -> None:
        """Write down orders that are sent next; one that is there already is sent again by its name.

        Raises:
            InvariantBroken: an order of that name was another one, or has arrived.
        """
        with self._transaction():
            self._log.put_orders(orders)
            self._put_pair(pair)

    def record_report(
        self,
        report: OrderReport,
        now_ms: int,
        orders: Sequence[OrderRecord] = (),
        pair: PairRecord | None = None,
    ) -> list[Fill]:
        """Write down what a venue says of an order, the orders that follow from it, and the pair's new state.

        What is known does not get less by a report that comes late: an order that has ended stays so, and a
        fill stays filled. Trades that were booked as foreign and turn out to be of this order become its own.

        Returns:
            Those of its trades that were not known before.

        Raises:
            InvariantBroken: it is an order of ours that was never written down.
        """
        with self._transaction():
            self._log.put_report(report, now_ms)
            new = self._log.put_fills(report.fills)
            self._log.put_orders(orders)
            self._put_pair(pair)
        return new

    def record_lost(self, client_id: str, now_ms: int, pair: PairRecord | None = None) -> None:
        """Write down that an order was proved never to have arrived.

        Raises:
            InvariantBroken: it is not written down, or it has arrived.
        """
        with self._transaction():
            self._log.put_lost(client_id, now_ms)
            self._put_pair(pair)

    def record_fills(self, fills: Sequence[Fill]) -> list[Fill]:
        """Write down trades, and return those that were not known before.

        A trade without our name for its order gets it where the venue's name is one of ours. So ask what
        became of unfinished orders first: what still has no name then is foreign.
        """
        with self._transaction():
            return self._log.put_fills(fills)

    def record_funding(self, payments: Sequence[FundingPayment]) -> list[FundingPayment]:
        """Write down funding, and return what was not known before."""
        with self._transaction():
            return [
                payment
                for payment in payments
                if self._db.execute(FUNDING.insert_new, FUNDING.row(payment)).rowcount
            ]

    def record_transfer(self, transfer: TransferRecord) -> None:
        """Write down a transfer that is asked for next."""
        with self._transaction():
            self._db.execute(TRANSFERS.insert_new, TRANSFERS.row(transfer))

    def settle_transfer(self, key: str, report: TransferReport | None) -> None:
        """Write down that a transfer happened, or (None) was proved not to have.

        Raises:
            InvariantBroken: what is told is another transfer of ours, or this one settled otherwise before.
        """
        with self._transaction():
            if report is None:
                self._db.execute(
                    "UPDATE transfers SET lost = 1 WHERE key = ? AND transfer_id IS NULL", (key,)
                )
                return
            told = self._first(TRANSFERS, "WHERE transfer_id = ?", report.transfer_id)
            if told is not None and told.ticker is None:
                self._db.execute("DELETE FROM transfers WHERE key = ?", (told.key,))
            elif told is not None and told.key != key:
                raise InvariantBroken(
                    f"transfer {report.transfer_id} is {told.key} and cannot be {key}, too; ask it again"
                )
            values = (report.transfer_id, str(report.amount), report.ts_ms, key)
            self._db.execute(_SETTLE_TRANSFER, values)

    def record_foreign_transfer(self, report: TransferReport) -> bool:
        """Write down a transfer that a person made; say whether it was not known before."""
        name = f"foreign-{report.transfer_id}"
        foreign = TransferRecord(name, None, report.amount, report.to, report.ts_ms).settled(report)
        with self._transaction():
            return self._db.execute(TRANSFERS.insert_new, TRANSFERS.row(foreign)).rowcount > 0

    def record_pair(self, pair: PairRecord) -> None:
        """Write down where a pair is."""
        with self._transaction():
            self._put_pair(pair)

    def record_statement(self, statement: Statement, valuations: Sequence[Valuation] = ()) -> None:
        """Write down what the venue says there is, and the prices that it was compared on.

        What is more than a day old is thinned to one an hour: the journal does not grow by the minute.
        """
        before = self.last_statement()
        with self._transaction():
            if before is not None and before.ts_ms // _HOUR_MS != statement.ts_ms // _HOUR_MS:
                self._thin(statement.ts_ms)
            self._db.execute(STATEMENTS.insert, STATEMENTS.row(statement))
            self._db.executemany(VALUATIONS.replace, map(VALUATIONS.row, valuations))
        self._empty_log()

    def record_alert(self, alert: Alert) -> None:
        """Write down what persons are told."""
        with self._transaction():
            self._db.execute(ALERTS.insert, ALERTS.row(alert))

    def _put_pair(self, pair: PairRecord | None) -> None:
        if pair is not None:
            self._db.execute(PAIRS.replace, PAIRS.row(pair))

    def _thin(self, now_ms: int) -> None:
        """Of each hour that is old by now, keep the first statement and the first prices."""
        until = (now_ms - _MINUTELY_MS) // _HOUR_MS * _HOUR_MS - 1
        for delete in _THIN:
            self._db.execute(delete, {"since": until + 1 - _THINNED_MS, "until": until, "hour": _HOUR_MS})

    def _empty_log(self) -> None:
        """Copy SQLite's log into the file, while nobody waits for an order."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise self._refused(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise self._refused(error) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _refused(self, error: sqlite3.Error) -> InvariantBroken:
        return InvariantBroken(f"{self.path} cannot be written ({error}); nothing may be sent")
