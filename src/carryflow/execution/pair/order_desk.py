"""One order, from the moment it is sent until nothing more can come of it."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from carryflow.core.errors import AmbiguousError, RejectedError, RetryableError, VenueError
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import OrderRecord
from carryflow.execution.orders import Fill, OrderReport, OrderStatus
from carryflow.execution.ports import Clock, TradingVenue
from carryflow.execution.settings import ExecutionSettings

CLOCKS_APART_MS = 60_000
"""How much earlier than by our clock a venue may stamp a trade of ours: far more than clocks may differ."""


def never() -> bool:
    """Say that an order may not rest."""
    return False


class NotProved(AmbiguousError):
    """Say that the venue did not tell in time what became of an order."""


class OrderDesk:
    """Send orders, and stay with each until the venue has told its end.

    Nothing is ever sent by a name of which it is not proved that nothing bears it: an order that cannot be
    found is lost only once the venue's clock has passed the instant after which it must not accept it.

    Attributes:
        hurry: everything is being closed: what rests is cancelled at once.

    """

    def __init__(
        self, venue: TradingVenue, journal: Journal, settings: ExecutionSettings, clock: Clock
    ) -> None:
        self._venue = venue
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self.hurry = False

    async def send(
        self, order: OrderRecord, when_unknown: Callable[[], None], rests: Callable[[], bool] = never
    ) -> OrderReport | None:
        """Send an order that is in the journal, and return how it ended; None: it never arrived.

        A refusal is an end of which nothing is filled. Of a lost order the journal is told here, of the
        others by the caller, with what follows from them.

        Args:
            order: what to send.
            when_unknown: called once if it becomes unknown what happened to it.
            rests: says whether an order that rests may go on doing so; if not, or once something of it is
                filled, it is cancelled.

        Raises:
            NotProved: `unknown_seconds` were not enough to find out.
        """
        try:
            report = await self._venue.submit(order.request, order.valid_until_ms)
        except RejectedError:
            return await self._refused(order, when_unknown)
        except RetryableError:
            self._journal.record_lost(order.request.client_id, self._clock.now_ms())
            return None
        except AmbiguousError:
            when_unknown()
            return await self.prove(order)
        if report.status.final:
            return report
        report = await self._rest(order, report, rests)
        return report if report.status.final else await self._end(order, report, self._patience())

    async def prove(self, order: OrderRecord, patient: bool = True) -> OrderReport | None:
        """Ask until it is known what became of an order, and see it to its end; None: it never arrived.

        Raises:
            NotProved: `unknown_seconds` were not enough to find out; of who is not patient, one look was not.
        """
        request, patience_ms = order.request, self._patience() if patient else 0
        expired = False
        while True:
            report = None
            try:
                report = await self._venue.find(request.leg, request.ticker, request.client_id)
                if report is None and expired:
                    self._journal.record_lost(request.client_id, self._clock.now_ms())
                    return None
                if report is None:
                    # the answer counts as proof only if it was asked for after this instant
                    expired = await self._venue.now_ms() > order.valid_until_ms
                    if expired:
                        continue
            except VenueError:
                pass  # nothing was learned
            if report is not None:
                return report if report.status.final else await self._end(order, report, patience_ms)
            await self._wait(order, patience_ms)

    async def trades_of(self, order: OrderRecord, report: OrderReport) -> OrderReport:
        """Return a report with the trades behind it, if the venue tells them by now."""
        if sum((fill.qty for fill in report.fills), Decimal(0)) >= report.filled:
            return report
        request = order.request
        try:
            fills = await self._venue.fills(
                request.leg, request.ticker, order.journalled_ms - CLOCKS_APART_MS
            )
        except VenueError:
            return report
        own: tuple[Fill, ...] = tuple(fill for fill in fills if fill.venue_order_id == report.venue_order_id)
        return replace(report, fills=own)

    async def _refused(self, order: OrderRecord, when_unknown: Callable[[], None]) -> OrderReport | None:
        """Return how a refused order ended.

        Where something delivered it twice, it is the copy that was refused. So one asks.
        """
        request = order.request
        try:
            report = await self._venue.find(request.leg, request.ticker, request.client_id)
        except VenueError:
            when_unknown()
            report = await self.prove(order)
            if report is None:
                return None
        if report is None:
            return OrderReport(
                request.client_id,
                "",
                request.leg,
                request.ticker,
                request.side,
                request.qty,
                Decimal(0),
                OrderStatus.REJECTED,
                self._clock.now_ms(),
            )
        return report if report.status.final else await self._end(order, report, self._patience())

    async def _rest(self, order: OrderRecord, report: OrderReport, rests: Callable[[], bool]) -> OrderReport:
        """Wait for a fill of an order that rests."""
        request = order.request
        while not report.status.final and report.filled == 0 and rests():
            await self._clock.sleep(self._settings.poll_seconds)
            try:
                report = await self._venue.find(request.leg, request.ticker, request.client_id) or report
            except VenueError:
                continue  # it rests; the next look will tell
        return report

    async def _end(self, order: OrderRecord, report: OrderReport, patience_ms: int) -> OrderReport:
        """Cancel an order that is open, until the venue says that it has ended."""
        request = order.request
        while True:
            for ask in (self._venue.cancel, self._venue.find):
                try:
                    report = await ask(request.leg, request.ticker, request.client_id) or report
                except VenueError:
                    continue  # it may be cancelled, or filled, or neither
                if report.status.final:
                    return report
            await self._wait(order, patience_ms)

    def _patience(self) -> int:
        return self._clock.now_ms() + round(self._settings.unknown_seconds * 1_000)

    async def _wait(self, order: OrderRecord, patience_ms: int) -> None:
        if self._clock.now_ms() >= patience_ms:
            raise NotProved(
                f"{order.request.leg} order {order.request.client_id} of {order.request.ticker}: the venue "
                f"did not tell within {self._settings.unknown_seconds:g} s what became of it; look at the "
                "venue, then resume the ticker"
            )
        await self._clock.sleep(self._settings.poll_seconds)
