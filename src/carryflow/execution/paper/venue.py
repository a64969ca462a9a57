"""A venue that is only imagined: orders are filled from the books of a real market, and nothing is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Self

from carryflow.core.costs import CostSettings
from carryflow.core.errors import (
    AmbiguousError,
    MarketDataError,
    RejectedError,
    RetryableError,
    UnknownTickerError,
)
from carryflow.core.instrument import Instrument
from carryflow.core.leg import Leg
from carryflow.execution.alerts import Alarm
from carryflow.execution.journal.reading import JournalReader
from carryflow.execution.market import Book
from carryflow.execution.orders import (
    Balances,
    Fill,
    FundingPayment,
    KeyPermissions,
    OrderReport,
    OrderRequest,
    OrderStatus,
    Position,
    TimeInForce,
    TransferReport,
    Wallet,
)
from carryflow.execution.paper.account import PaperAccount, Rates, opening_books
from carryflow.execution.paper.depth import SeenDepth, Trade
from carryflow.execution.paper.funding import ComingFunding, names_funding, unsettled
from carryflow.execution.paper.memory import PaperMemory
from carryflow.execution.ports import Clock, MarketView

Instruments = Mapping[tuple[Leg, str], Instrument]

_RESTS = (TimeInForce.GTC, TimeInForce.POST_ONLY)


class PaperVenue:
    """Fill orders from the books that a market view shows; fees, funding and margin as venues have them.

    An order takes the levels that are shown up to its limit, each quantity once. One that rests is filled,
    wholly and as a maker, once the other side of the book has passed its price. Funding is settled at the
    instant that the mark named, at the rate that it named last before. When the margin is gone, positions are
    closed at the mark.

    What the journal does not know has not happened: `resume` builds the account from it, so an order that a
    crash kept from being told of is not found afterwards. Nor is funding settled that came due while nothing
    ran: a market view does not tell what settled. Whose position was held over a full hour is told of it.

    Args:
        market: the books and marks to trade on.
        instruments: both markets of every coin, by leg and ticker.
        costs: the fees.
        clock: the time it lives in.
        quote: the quote coin.
        wallets: cash of the spot and of the futures wallet (quote).

    """

    def __init__(
        self,
        market: MarketView,
        instruments: Instruments,
        costs: CostSettings,
        clock: Clock,
        quote: str,
        wallets: tuple[Decimal, Decimal],
    ) -> None:
        tickers = dict.fromkeys(ticker for _, ticker in instruments)
        self._market = market
        self._instruments = instruments
        self._clock = clock
        self._quote = quote
        self._account = PaperAccount(opening_books(quote, tickers, wallets), quote, Rates.of(costs))
        self._depth = SeenDepth()
        self._memory = PaperMemory(tickers)
        self._transfer_ids = count(1)
        self._coming = ComingFunding()

    @classmethod
    def resume(
        cls,
        journal: JournalReader,
        market: MarketView,
        instruments: Instruments,
        costs: CostSettings,
        clock: Clock,
        alarm: Alarm | None = None,
    ) -> Self:
        """Return the venue as a journal left it; of one that has not begun, with the capital it names.

        Args:
            journal: what it remembers.
            market: the books and marks to trade on.
            instruments: both markets of every coin, by leg and ticker.
            costs: the fees.
            clock: the time it lives in.
            alarm: who is told of funding that may have come due since the journal was last written.

        """
        identity, opening = journal.identity, journal.opening()
        if opening is None:
            spot = identity.capital_quote * Decimal(repr(identity.spot_share))
            wallets = (spot, identity.capital_quote - spot)
        else:
            wallets = (opening.balances.spot.get(identity.quote, Decimal(0)), opening.balances.futures)
        venue = cls(market, instruments, costs, clock, identity.quote, wallets)
        venue._restore(journal)
        told = journal.last_statement()
        if alarm is not None and told is not None:
            for alert in unsettled(venue._account.positions(), told.ts_ms, clock.now_ms()):
                alarm(alert)
        return venue

    @property
    def quote(self) -> str:
        """Name the quote coin."""
        return self._quote

    def instrument(self, leg: Leg, ticker: str) -> Instrument:
        """Return the contract, with lot, tick and minima."""
        try:
            return self._instruments[leg, ticker]
        except KeyError:
            raise UnknownTickerError(
                f"paper: {ticker} has no {leg} market here; name another ticker"
            ) from None

    async def submit(self, order: OrderRequest, valid_until_ms: int) -> OrderReport:
        """Fill an order as far as the book goes, and let the rest lie or lapse.

        Raises:
            RetryableError: the market cannot be seen, or nobody offers what is to be bought or sold.
            RejectedError: it is what a venue would refuse, or too late.
            AmbiguousError: its name was used before.
        """
        await self._play()
        try:
            if order.leg == "perp" and not order.reduce_only:
                await self._require_funding(order.ticker)
            book = await self._market.book(order.leg, order.ticker)
        except MarketDataError as error:
            raise RetryableError(f"paper: {order.client_id} meets no market: {error}") from error
        now_ms = self._clock.now_ms()
        if now_ms > valid_until_ms:
            raise RejectedError(f"paper: {order.client_id} was valid until {valid_until_ms}, it is {now_ms}")
        if order.client_id in self._memory.reports:
            raise AmbiguousError(f"paper: {order.client_id} was sent before; ask what became of it")
        self._account.require(order, self.instrument(order.leg, order.ticker), self._memory.resting.values())
        trades = self._match(order, book)
        self._depth.take(book, order.side, trades)
        fills = self._fill(order, trades, maker=False, now_ms=now_ms)
        rests = order.time_in_force in _RESTS and sum(qty for _, qty in trades) < order.qty
        return self._memory.note_order(order, fills, rests, now_ms)

    async def find(self, leg: Leg, ticker: str, client_id: str) -> OrderReport | None:
        """Return an order by our name for it; None: there is none."""
        await self._play()
        report = self._memory.reports.get(client_id)
        return report if report is not None and (report.leg, report.ticker) == (leg, ticker) else None

    async def cancel(self, leg: Leg, ticker: str, client_id: str) -> OrderReport | None:
        """Cancel an order, and return what became of it; None: there is none."""
        report = await self.find(leg, ticker, client_id)
        if report is None or report.status.final:
            return report
        del self._memory.resting[client_id]
        return self._memory.note_report(
            replace(report, status=OrderStatus.CANCELED, updated_ms=self._clock.now_ms())
        )

    async def cancel_all(self, leg: Leg, ticker: str) -> None:
        """Cancel every open order of a market."""
        for order in list(self._memory.resting.values()):
            if (order.leg, order.ticker) == (leg, ticker):
                await self.cancel(leg, ticker, order.client_id)

    async def open_orders(self) -> Sequence[OrderReport]:
        """Return every order that rests."""
        await self._play()
        return [self._memory.reports[client_id] for client_id in self._memory.resting]

    async def fills(self, leg: Leg, ticker: str, since_ms: int) -> Sequence[Fill]:
        """Return trades of one market since an instant, the oldest first."""
        await self._play()
        return [fill for fill in self._memory.fills[leg, ticker] if fill.ts_ms >= since_ms]

    async def positions(self) -> Sequence[Position]:
        """Return the perpetual positions that are not flat."""
        await self._play()
        return self._account.positions()

    async def balances(self) -> Balances:
        """Return what is in the wallets."""
        await self._play()
        return self._account.balances(self._memory.resting.values(), self._clock.now_ms())

    async def funding_payments(self, since_ms: int) -> Sequence[FundingPayment]:
        """Return funding paid and received since an instant, the oldest first."""
        await self._play()
        return [payment for payment in self._memory.funding if payment.ts_ms >= since_ms]

    async def transfer(self, amount: Decimal, to: Wallet) -> TransferReport:
        """Move so much (> 0) of the quote coin from the other wallet to this one."""
        await self._play()
        name = f"paper-{next(self._transfer_ids)}"
        report = TransferReport(name, amount, to, self._clock.now_ms())
        self._account.move(report, self._memory.resting.values())
        self._memory.transfers.append(report)
        return report

    async def transfers(self, since_ms: int) -> Sequence[TransferReport]:
        """Return transfers between the two wallets since an instant, the oldest first."""
        return [report for report in self._memory.transfers if report.ts_ms >= since_ms]

    async def now_ms(self) -> int:
        """Return the clock."""
        return self._clock.now_ms()

    async def permissions(self) -> KeyPermissions | None:
        """Say that there is nothing to withdraw."""
        return KeyPermissions(trade=True, withdraw=False)

    async def arm_dead_man(self, ticker: str, seconds: float) -> bool:
        """Say that this cannot be done: its orders die with the process."""
        return False

    async def _play(self) -> None:
        """Let happen what has happened since: settlements, liquidation, fills of what rests."""
        for ticker, pair in self._account.books.pairs.items():
            if pair.perp_qty:
                await self._value(ticker)
            else:
                self._coming.forget(ticker)
        self._memory.note_fills(self._account.liquidate(self._clock.now_ms()))
        for client_id, order in list(self._memory.resting.items()):
            book = await self._seen(order.leg, order.ticker)
            if book is not None and client_id in self._memory.resting and self._depth.passed(book, order):
                self._fill_resting(order)

    async def _value(self, ticker: str) -> None:
        """Settle funding that has come due, and value a position at its mark."""
        try:
            mark = await self._market.mark(ticker)
        except (RetryableError, MarketDataError):
            return  # it is valued at the mark of before
        now_ms = self._clock.now_ms()
        due = self._coming.due(ticker, now_ms)
        payment = None if due is None else self._account.fund(due[1], mark.price, due[0])
        if payment is not None:
            self._memory.funding.append(payment)
        self._coming.hear(mark, now_ms)
        self._account.value(mark)

    async def _require_funding(self, ticker: str) -> None:
        """Refuse to open what no funding could be settled of: it would look better than it is."""
        mark = await self._market.mark(ticker)
        if not names_funding(mark):
            raise RejectedError(f"paper: {ticker} names no coming funding to settle; trade another ticker")
        self._coming.hear(mark, self._clock.now_ms())

    async def _seen(self, leg: Leg, ticker: str) -> Book | None:
        try:
            return await self._market.book(leg, ticker)
        except (RetryableError, MarketDataError):
            return None

    def _match(self, order: OrderRequest, book: Book) -> list[Trade]:
        qty = order.qty
        if order.reduce_only and order.leg == "perp":
            qty = min(qty, abs(self._account.books.pairs[order.ticker].perp_qty))
        trades = self._depth.walk(book, order.side, qty, order.price)
        if order.time_in_force is TimeInForce.POST_ONLY and trades:
            raise RejectedError(f"paper: {order.client_id} would be filled at once; offer a price that rests")
        if order.time_in_force is TimeInForce.FOK and sum(part for _, part in trades) < order.qty:
            return []
        return trades

    def _fill_resting(self, order: OrderRequest) -> None:
        before = self._memory.reports[order.client_id]
        qty = order.qty - before.filled
        if order.reduce_only and order.leg == "perp":
            qty = min(qty, abs(self._account.books.pairs[order.ticker].perp_qty))
        now_ms = self._clock.now_ms()
        fills = self._fill(order, [(order.price, qty)] if qty else [], maker=True, now_ms=now_ms)
        del self._memory.resting[order.client_id]
        self._memory.note_order(order, (*before.fills, *fills), False, now_ms)

    def _fill(
        self, order: OrderRequest, trades: Sequence[Trade], *, maker: bool, now_ms: int
    ) -> tuple[Fill, ...]:
        known = self._memory.reports.get(order.client_id)
        first = 0 if known is None else len(known.fills)
        fills = tuple(
            self._account.fill(order, f"{order.client_id}-{first + n}", price, qty, maker, now_ms)
            for n, (price, qty) in enumerate(trades)
        )
        self._memory.note_fills(fills)
        return fills

    def _restore(self, journal: JournalReader) -> None:
        self._account.books.apply_all(journal.events(last_prices=True))
        self._memory.note_fills(journal.fills())
        self._memory.funding.extend(journal.funding())
        for moved in journal.transfers():
            if moved.transfer_id is not None and moved.arrived is not None and moved.settled_ms is not None:
                next(self._transfer_ids)
                self._memory.transfers.append(
                    TransferReport(moved.transfer_id, moved.arrived, moved.to, moved.settled_ms)
                )
        for order in journal.orders(unfinished=True):
            if order.status is OrderStatus.OPEN:
                known = journal.fills(client_id=order.request.client_id)
                self._memory.note_order(order.request, tuple(known), True, order.journalled_ms)
