"""What an imagined venue remembers, as far as somebody may ask for it."""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal

from carryflow.core.leg import LEGS, Leg
from carryflow.execution.orders import (
    Fill,
    FundingPayment,
    OrderReport,
    OrderRequest,
    OrderStatus,
    TransferReport,
)

_REMEMBERED = 10_000
"""Ended orders, trades and payments that can be asked for; older ones are in the journal."""


class PaperMemory:
    """Remember orders, trades, payments and transfers, the last ones of each.

    Attributes:
        resting: the orders that rest, by our names.
        reports: what became of each order, by our names.
        fills: trades of each market, the oldest first.
        funding: payments, the oldest first.
        transfers: moves between the two wallets, the oldest first.
    """

    def __init__(self, tickers: Iterable[str]) -> None:
        self.resting: dict[str, OrderRequest] = {}
        self.reports: dict[str, OrderReport] = {}
        self.fills: dict[tuple[Leg, str], deque[Fill]] = {
            (leg, ticker): deque(maxlen=_REMEMBERED) for ticker in tickers for leg in LEGS
        }
        self.funding: deque[FundingPayment] = deque(maxlen=_REMEMBERED)
        self.transfers: deque[TransferReport] = deque(maxlen=_REMEMBERED)

    def note_fills(self, fills: Iterable[Fill]) -> None:
        """Remember trades."""
        for fill in fills:
            self.fills[fill.leg, fill.ticker].append(fill)

    def note_order(
        self, order: OrderRequest, fills: tuple[Fill, ...], rests: bool, now_ms: int
    ) -> OrderReport:
        """Remember what has become of an order by now, and return it."""
        filled = sum((fill.qty for fill in fills), Decimal(0))
        ended = OrderStatus.FILLED if filled == order.qty else OrderStatus.CANCELED
        if rests:
            self.resting[order.client_id] = order
        return self.note_report(
            OrderReport(
                order.client_id,
                f"paper-{order.client_id}",
                order.leg,
                order.ticker,
                order.side,
                order.qty,
                filled,
                OrderStatus.OPEN if rests else ended,
                now_ms,
                fills,
            )
        )

    def note_report(self, report: OrderReport) -> OrderReport:
        """Remember how an order stands, and return that."""
        if report.client_id is not None:
            self.reports[report.client_id] = report
        if len(self.reports) > _REMEMBERED:
            oldest = next(name for name in self.reports if name not in self.resting)
            del self.reports[oldest]
        return report
