"""The venue's truth against the books: what it says wins, what it does not say stays unknown."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from functools import partial

from carryflow.core.errors import VenueError
from carryflow.execution.cashier import Cashier
from carryflow.execution.journal.records import Severity, Statement, Valuation
from carryflow.execution.lookback import Lookback
from carryflow.execution.opening import fund_wallets
from carryflow.execution.orders import Balances, OrderReport, Position
from carryflow.execution.outcome import Difference, Reconciliation
from carryflow.execution.pair.order_desk import CLOCKS_APART_MS
from carryflow.execution.pair.states import Event, State
from carryflow.execution.pair.trader import PairTrader
from carryflow.execution.together import all_of
from carryflow.execution.world import World

_MONEY_TOLERANCE = Decimal("1e-6")
"""Difference of a wallet's cash that is put down to the ledger's rounding (fraction of the capital)."""

_LISTED_MS = 180_000
"""How long a venue may take to list the trades of an order before a person is told."""


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
        told = world.journal.last_statement()
        agreed_ms = None if told is None else told.agreed_ms
        self._lookback = Lookback(seen_until_ms if agreed_ms is None else agreed_ms)
        self._funded = False
        self._turn = asyncio.Lock()
        self._told: set[str] = set()

    async def reconcile(self) -> Reconciliation:
        """Ask about every order, book what is new, compare, and unwind what has no hedge.

        Pairs at work are left alone, and then nothing is compared: their next look does it.
        """
        async with self._turn:
            world = self._world
            at_ms, fills, funding = world.clock.now_ms(), world.fills_booked, world.funding_booked
            await self._fund()
            quiet = self._quiet()
            await all_of(self._alone(trader, trader.settle_leftovers) for trader in quiet)
            async with AsyncExitStack() as held:
                quiet = self._quiet()
                for trader in quiet:
                    await held.enter_async_context(trader.keeper.lock)
                try:
                    found = await self._compare(at_ms, quiet)
                except VenueError as error:
                    found = Reconciliation(at_ms, complete=False, words=f"the venue did not tell: {error}")
            await all_of(self._alone(trader, partial(self._put_right, trader, found)) for trader in quiet)
            unknown = tuple(order.request.client_id for trader in quiet for order in trader.keeper.unfinished)
            return replace(
                found,
                fills=world.fills_booked - fills,
                funding=world.funding_booked - funding,
                unknown=unknown,
            )

    async def _fund(self) -> None:
        """Move cash to the wallet that needs it, until that has worked once."""
        opening = self._world.journal.opening()
        if not self._funded and opening is not None:
            self._funded = await fund_wallets(self._world, opening, self._cashier)

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
        listed = self._is_listed()
        balances, positions = await self._truth()
        differences = self._differences(balances, positions, listed)
        if differences:
            await self._world.clock.sleep(self._world.settings.poll_seconds)
            keys = frozenset(difference.key for difference in differences)
            await self._notice(quiet, self._lookback.since_ms(keys, at_ms))
            balances, positions = await self._truth()
            differences = self._differences(balances, positions, listed)
        if listed and not differences:
            self._lookback.agree(at_ms)
        self._judge(differences)
        await self._state(balances, positions)
        self.balances, self._world.told_margin = balances, float(balances.margin)
        return Reconciliation(at_ms, complete=True, differences=differences, strangers=strangers)

    async def _notice(self, quiet: Sequence[PairTrader], from_ms: int | None = None) -> None:
        """Book trades, funding and transfers that are not known yet; of long ago, too, from an instant on."""
        world, last_ms = self._world, self._seen_until_ms
        since_ms = (last_ms if from_ms is None else min(last_ms, from_ms)) - CLOCKS_APART_MS
        if not all(await all_of(trader.keeper.collect(from_ms) for trader in quiet)):
            raise VenueError("it does not list our trades at the moment; ask again")
        payments = world.journal.record_funding(await world.venue.funding_payments(since_ms))
        world.book(payments)
        await self._cashier.notice(since_ms)

    async def _truth(self) -> tuple[Balances, Sequence[Position]]:
        """Return what the venue says there is of the coins that are traded, and of the quote coin."""
        venue = self._world.venue
        balances, positions = await venue.balances(), await venue.positions()
        coins = {venue.quote, *self._traders}
        spot, free = (
            {coin: amount for coin, amount in amounts.items() if coin in coins}
            for amounts in (balances.spot, balances.spot_free)
        )
        ours = tuple(position for position in positions if position.ticker in self._traders)
        return replace(balances, spot=spot, spot_free=free), ours

    def _is_listed(self) -> bool:
        """Say whether the trades of all orders are known, or are so late that a person has been told."""
        now_ms = self._world.clock.now_ms()
        for trader in self._traders.values():
            for name, order in trader.keeper.pending.items():
                if order.ended_ms is None or now_ms - order.ended_ms < _LISTED_MS:
                    return False
                if name not in self._told:
                    self._told.add(name)
                    words = (
                        f"{order.filled} of {order.request.leg} order {name} was filled "
                        f"{(now_ms - order.ended_ms) / 1_000:.0f} s ago, and the venue lists trades of "
                        f"{order.booked}: what the rest cost stands in no books yet"
                    )
                    self._world.tell(Severity.WARNING, trader.keeper.ticker, words)
        return True

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

    def _differences(
        self, balances: Balances, positions: Sequence[Position], listed: bool
    ) -> tuple[Difference, ...]:
        """Return what differs; of money nothing while it is not known what the last trades cost."""
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
        if not listed:
            return tuple(found)
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
                trader.keeper.astray = True
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

    async def _put_right(self, trader: PairTrader, found: Reconciliation) -> None:
        """Bring legs together that differ; also of a pair that was halted for want of news that has come."""
        keeper = trader.keeper
        differing = {difference.ticker for difference in found.differences}
        explained = found.complete and keeper.ticker not in differing and not keeper.unfinished
        if keeper.astray and explained:
            words = (
                "what the venue holds is explained by now: the legs are brought together; it stays blocked"
            )
            self._world.tell(Severity.WARNING, keeper.ticker, words)
            await trader.unwind_halted()
        await trader.mend()

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
        statement = Statement(now_ms, balances, tuple(positions), worth, self._lookback.agreed_ms)
        world.journal.record_statement(statement, valuations)
