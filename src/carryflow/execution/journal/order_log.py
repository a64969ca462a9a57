"""Orders and their trades in the journal: a name is one order, and a trade counts once."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from carryflow.core.errors import InvariantBroken
from carryflow.execution.journal.records import OrderRecord
from carryflow.execution.journal.schema import FILLS, ORDERS
from carryflow.execution.orders import Fill, OrderReport

_UPDATE = (
    "UPDATE orders SET venue_order_id = ?, status = ?, lost = 0, filled = ?, ended_ms = ? WHERE client_id = ?"
)
_RESEND = (
    "UPDATE orders SET valid_until_ms = ?, journalled_ms = ?, lost = 0, ended_ms = NULL WHERE client_id = ?"
)
_ADOPT = (
    "UPDATE fills SET client_id = ? WHERE client_id IS NULL AND leg = ? AND ticker = ? AND venue_order_id = ?"
)
_CLIENT_OF = "SELECT client_id FROM orders WHERE venue_order_id = ? AND leg = ? AND ticker = ?"


class OrderLog:
    """Write orders and trades, within a transaction of whoever asks."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._db = db

    def put_orders(self, orders: Sequence[OrderRecord]) -> None:
        """Write orders down, or that they are sent again by their names.

        Raises:
            InvariantBroken: an order of that name was another one, or has arrived.
        """
        for order in orders:
            if self._db.execute(ORDERS.insert_new, ORDERS.row(order)).rowcount:
                continue
            client_id = order.request.client_id
            known = self.known(client_id)
            if known.request != order.request or known.status is not None:
                raise InvariantBroken(
                    f"order {client_id} was {known.request}, status {known.status}; the name of an order "
                    "that has arrived, or of another, cannot be used again: count the attempt up"
                )
            self._db.execute(_RESEND, (order.valid_until_ms, order.journalled_ms, client_id))

    def put_report(self, report: OrderReport, now_ms: int) -> None:
        """Write down where the venue has an order; a foreign one is left out.

        Raises:
            InvariantBroken: it is an order of ours that was never written down.
        """
        if report.client_id is None:
            return
        known = self.known(report.client_id)
        status, ended_ms = report.status, now_ms if report.status.final else None
        if known.status is not None and known.status.final:
            status, ended_ms = known.status, known.ended_ms
        filled = max(known.filled, report.filled)
        self._db.execute(
            _UPDATE, (report.venue_order_id, status.value, str(filled), ended_ms, report.client_id)
        )
        if known.venue_order_id is None:
            # trades may be told before the name that the venue gave their order is known here
            names = (report.client_id, report.leg, report.ticker, report.venue_order_id)
            if self._db.execute(_ADOPT, names).rowcount:
                self._count(report.client_id)

    def put_fills(self, fills: Sequence[Fill]) -> list[Fill]:
        """Write trades down, and return those that were not known before, with our names for their orders."""
        new = []
        for told in fills:
            fill = self._named(told)
            if not self._db.execute(FILLS.insert_new, FILLS.row(fill)).rowcount:
                continue
            new.append(fill)
            if fill.client_id is not None:
                self._count(fill.client_id)
        return new

    def put_lost(self, client_id: str, now_ms: int) -> None:
        """Write down that an order never arrived.

        Raises:
            InvariantBroken: it is not written down, or it has arrived.
        """
        known = self.known(client_id)
        if known.status is not None:
            raise InvariantBroken(
                f"order {client_id} is {known.status} at the venue and cannot be lost; ask the venue again"
            )
        self._db.execute("UPDATE orders SET lost = 1, ended_ms = ? WHERE client_id = ?", (now_ms, client_id))

    def known(self, client_id: str) -> OrderRecord:
        """Return an order that is written down.

        Raises:
            InvariantBroken: it is not.
        """
        row = self._db.execute(f"{ORDERS.select} WHERE client_id = ?", (client_id,)).fetchone()
        if row is None:
            raise InvariantBroken(
                f"order {client_id} was never written down in {self._path}; it is not this engine's: look at "
                "the venue by hand"
            )
        return ORDERS.record(row)

    def _named(self, fill: Fill) -> Fill:
        """Give a trade our name for its order where the venue's name is one of ours."""
        if fill.client_id is not None:
            return fill
        row = self._db.execute(_CLIENT_OF, (fill.venue_order_id, fill.leg, fill.ticker)).fetchone()
        return fill if row is None else replace(fill, client_id=row[0])

    def _count(self, client_id: str) -> None:
        """Count the trades of an order into it; they may be told before it is."""
        rows = self._db.execute("SELECT qty FROM fills WHERE client_id = ?", (client_id,))
        booked = sum((Decimal(qty) for (qty,) in rows), Decimal(0))
        row = self._db.execute("SELECT filled FROM orders WHERE client_id = ?", (client_id,)).fetchone()
        if row is not None:
            filled = max(booked, Decimal(row[0]))
            self._db.execute(
                "UPDATE orders SET booked = ?, filled = ? WHERE client_id = ?",
                (str(booked), str(filled), client_id),
            )
