"""The venue's truth against the books: what it says wins, what it does not say stays unknown."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal

from carryflow.core.errors import VenueError
from carryflow.execution.cashier import Cashier
from carryflow.execution.legs import CLOCKS_APART_MS
from carryflow.execution.orders import Balances, OrderReport, Position
from carryflow.execution.outcome import Difference, Reconciliation
from carryflow.execution.pair import Event, State
from carryflow.execution.records import Severity, Statement, Valuation
from carryflow.execution.trader import PairTrader
from carryflow.execution.world import World

_MONEY_TOLERANCE = Decimal("1e-6")
"""Difference of a wallet's cash that is put down to the ledger's rounding (fraction of the capital)."""


class Reconciler:
    """Compare what the venue says with what the books say, and mend what differs.

    Attributes:
        balances: what the venue said last; None: nothing yet.
        reconciled_ms: when the venue last told what is new (our clock, UTC ms); None: not yet.
    """

    def __init__(
        self, world: World, traders: Mapping[str, PairTrader], cashier: Cashier, seen_until_ms: int
    ) -> None:
        self.balances: Balances | None = None
        self.reconciled_ms: int | None = None
        self._world = world
        self._traders = traders
        self._cashier = cashier
        self._seen_until_ms = seen_until_ms
        self._turn = asyncio.Lock()
        self._told: set[str] = set()

    async def reconcile(self) -> Reconciliation:
        """Ask about every order, book what is new, compare, and unwind what has no hedge.

        Pairs at work are left alone, and then nothing is compared: their next look does it.
        """
        async with self._turn:
            world = self._world
            at_ms, fills, funding = world.clock.now_ms(), world.fills_booked, world.funding_booked
            quiet = self._quiet()
            await asyncio.gather(*(self._alone(trader, trader.settle_leftovers) for trader in quiet))
            async with AsyncExitStack() as held:
                quiet = self._quiet()
                for trader in quiet:
                    await held.enter_async_context(trader.keeper.lock)
                try:
                    found = await self._compare(at_ms, quiet)
                except VenueError as error:
                    found = Reconciliation(at_ms, complete=False, words=f"the venue did not tell: {error}")
            await asyncio.gather(*(self._alone(trader, trader.mend) for trader in quiet))
            unknown = tuple(order.request.client_id for trader in quiet for order in trader.keeper.unfinished)
            return replace(
                found,
                fills=world.fills_booked - fills,
                funding=world.funding_booked - funding,
                unknown=unknown,
            )

    def _quiet(self) -> list[PairTrader]:
        return [trader for trader in self._traders.values() if not trader.keeper.lock.locked()]

    async def _alone(self, trader: PairTrader, work: Callable[[], Awaitable[None]]) -> None:
        async with trader.keeper.lock:
            await work()

    async def _compare(self, at_ms: int, quiet: Sequence[PairTrader]) -> Reconciliation:
        """Book what is new and compare; a difference counts once a second look has found it again."""
        await self._notice(quiet)
        strangers = await self._strangers(quiet)
        self.reconciled_ms = self._seen_until_ms = at_ms
        if len(quiet) < len(self._traders):
            return Reconciliation(at_ms, complete=False, strangers=strangers, words="a pair is at work")
        balances, positions = await self._truth()
        differences = self._differences(balances, positions)
        if differences:
            await self._world.clock.sleep(self._world.settings.poll_seconds)
            await self._notice(quiet)
            balances, positions = await self._truth()
            differences = self._differences(balances, positions)
        self._judge(differences)
        await self._state(balances, positions)
        self.balances = balances
        return Reconciliation(at_ms, complete=True, differences=differences, strangers=strangers)

    async def _notice(self, quiet: Sequence[PairTrader]) -> None:
        """Book trades, funding and transfers that are not known yet."""
        world, since_ms = self._world, self._seen_until_ms - CLOCKS_APART_MS
        if not all(await asyncio.gather(*(trader.keeper.collect() for trader in quiet))):
            raise VenueError("it does not list our trades at the moment; ask again")
        payments = world.journal.record_funding(await world.venue.funding_payments(since_ms))
        world.book(payments)
        await self._cashier.notice(since_ms)

    async def _truth(self) -> tuple[Balances, Sequence[Position]]:
        return await self._world.venue.balances(), await self._world.venue.positions()

    async def _strangers(self, quiet: Sequence[PairTrader]) -> tuple[str, ...]:
        """Find open orders that should not be there: cancel ours, and let others block their pair."""
        traders = {trader.keeper.ticker: trader for trader in quiet}
        names = []
        for report in await self._world.venue.open_orders():
            trader = traders.get(report.ticker)
            if trader is None or report.client_id in trader.keeper.pending:
                continue
            name = report.client_id or report.venue_order_id
            names.append(name)
            if report.client_id is not None and self._world.journal.order(report.client_id) is not None:
                await self._cancel(report)
            elif name not in self._told:
                self._told.add(name)
                trader.keeper.block(
                    f"not ours: an open {report.leg} {report.side} of {report.qty} {report.ticker} "
                    f"({name}); cancel it or let it end, then resume the ticker",
                    Severity.CRITICAL,
                )
        return tuple(names)

    async def _cancel(self, report: OrderReport) -> None:
        """Cancel an order of ours that we thought to have ended, or never to have arrived."""
        assert report.client_id is not None  # noqa: S101 (whoever calls has looked)
        self._world.tell(
            Severity.CRITICAL,
            report.ticker,
            f"order {report.client_id} was open and not known to be; cancelled",
        )
        ended = await self._world.venue.cancel(report.leg, report.ticker, report.client_id)
        if ended is not None:
            self._traders[report.ticker].keeper.report(ended)

    def _differences(self, balances: Balances, positions: Sequence[Position]) -> tuple[Difference, ...]:
        world = self._world
        opening = world.journal.opening()
        assert opening is not None  # noqa: S101 (an engine without one has not started)
        begun, quote, books = opening.balances, world.venue.quote, world.books
        at_venue = {position.ticker: position.qty for position in positions}
        found = []
        for ticker, trader in self._traders.items():
            held, lot = trader.keeper.held, trader.keeper.markets.coarser_lot
            coins = balances.spot.get(ticker, Decimal(0)) - begun.spot.get(ticker, Decimal(0))
            if abs(coins - held.spot) > lot:
                found.append(Difference(f"{ticker} in the spot wallet", ticker, coins, held.spot))
            position = at_venue.get(ticker, Decimal(0))
            if position != held.perp:
                found.append(Difference(f"{ticker} perpetual", ticker, position, held.perp))
        given = [sum(shares, Decimal(0)) for shares in zip(*opening.allotment.values(), strict=True)]
        cash = begun.spot.get(quote, Decimal(0)) - given[0] + books.spot_cash
        wallet = begun.futures - given[1] + Decimal(repr(books.futures_wallet))
        tolerance = _MONEY_TOLERANCE * world.journal.identity.capital_quote
        there = balances.spot.get(quote, Decimal(0))
        if any(trader.keeper.pending for trader in self._traders.values()):
            return tuple(found)  # what their trades cost is not known yet
        if abs(there - cash) > tolerance:
            found.append(Difference(f"{quote} in the spot wallet", None, there, cash))
        if abs(balances.futures - wallet) > tolerance:
            found.append(Difference(f"{quote} in the futures wallet", None, balances.futures, wallet))
        return tuple(found)

    def _judge(self, differences: Sequence[Difference]) -> None:
        """Halt pairs of which the venue holds what nothing explains, and tell of money that is not ours."""
        for difference in differences:
            trader = None if difference.ticker is None else self._traders[difference.ticker]
            if trader is not None and trader.keeper.state is State.IDLE:
                trader.keeper.move(Event.LOST_TRACK)
                trader.halt(
                    f"{difference.words}, and no trade explains it; put it right at the venue, then resume "
                    "the ticker"
                )
            elif trader is None and difference.key not in self._told:
                self._world.tell(
                    Severity.WARNING,
                    None,
                    f"{difference.words}; was it paid in or out, or is a trade missing?",
                )
            self._told.add(difference.key)

    async def _state(self, balances: Balances, positions: Sequence[Position]) -> None:
        """Value the books at what the markets look like now, and write down both sides."""
        world, now_ms = self._world, self._world.clock.now_ms()
        valuations = []
        for ticker in self._traders:
            seen = await world.look(ticker)
            if seen is not None and seen.mark is not None:
                valuations.append(Valuation(now_ms, ticker, seen.spot.mid, seen.perp.mid, seen.mark.price))
        world.book(valuations)
        worth = Decimal(repr(world.books.equity))
        world.journal.record_statement(Statement(now_ms, balances, tuple(positions), worth), valuations)
