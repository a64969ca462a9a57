"""The engine: decisions in, hedged pairs out, whatever the venue does meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from carryflow.core.costs import CostSettings, MarginSettings
from carryflow.core.errors import ActionError, UnknownTickerError, VenueError
from carryflow.core.margin import bracket_table
from carryflow.execution.alerts import Alarm
from carryflow.execution.books import Books
from carryflow.execution.cashier import Cashier
from carryflow.execution.follower import Follower
from carryflow.execution.intents import Decision
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Severity
from carryflow.execution.limits.guard import Guard
from carryflow.execution.limits.kill import KillSwitch
from carryflow.execution.limits.margin import distance
from carryflow.execution.limits.watch import Watch
from carryflow.execution.opening import fund_wallets, open_account
from carryflow.execution.orders import Side
from carryflow.execution.outcome import EngineStatus, Outcome, PairStatus, Reconciliation
from carryflow.execution.pair.keeper import PairKeeper
from carryflow.execution.pair.order_desk import OrderDesk
from carryflow.execution.pair.trader import PairTrader
from carryflow.execution.ports import Clock, MarketView, TradingVenue
from carryflow.execution.reconcile import Reconciler
from carryflow.execution.settings import ExecutionSettings
from carryflow.execution.shift import Chore, Shift
from carryflow.execution.world import World

_LOOKS_PER_RECONCILIATION = 12
_BEATS = 3
"""How often the venue hears from us in the time after which it would cancel our orders."""


class Engine:
    """Follow decisions with two legs each, keep the journal, and never leave one leg alone.

    Who builds one has been admitted (`execution.limits.admission`). `start` comes first. Whatever happens to
    the process, the next `start` on the same journal finds out what the last one left.

    Args:
        venue: where it trades.
        market: what it sees of the market.
        journal: its memory; nobody else writes it.
        settings: how it trades, and its limits.
        tickers: the coins, those of the journal.
        clock: the time that the venue lives in.
        alarm: who is told when something is wrong.
        kill: the kill switch.
        costs: fees to expect before the venue has charged any.
        margin: the venue's margin table.

    """

    def __init__(
        self,
        venue: TradingVenue,
        market: MarketView,
        journal: Journal,
        settings: ExecutionSettings,
        tickers: Sequence[str],
        clock: Clock,
        alarm: Alarm,
        kill: KillSwitch,
        costs: CostSettings | None = None,
        margin: MarginSettings | None = None,
    ) -> None:
        self._costs = costs or CostSettings()
        self._world = World(venue, market, journal, settings, self._costs, clock, alarm)
        self._settings = settings
        self._tickers = tuple(tickers)
        self._clock = clock
        self._kill = kill
        brackets = (margin or MarginSettings()).brackets
        self._brackets = bracket_table(*zip(*brackets, strict=True))
        self._desk = OrderDesk(venue, journal, settings, clock)
        self._cashier = Cashier(self._world)
        self._traders: dict[str, PairTrader] = {}
        self._catching_up = asyncio.Lock()
        self._reconciler: Reconciler
        self._guard: Guard
        self._follower: Follower
        self._watch: Watch

    @property
    def books(self) -> Books:
        """Return the books, at the prices that were seen last."""
        return self._world.books

    async def start(self) -> Reconciliation:
        """Open the account, or go on where the journal ends: ask about every order and transfer left behind.

        Raises:
            SettingsError: the account cannot be traded with as the settings want it.
            VenueError: the venue does not tell what there is.
        """
        world, journal = self._world, self._world.journal
        tickers = self._tickers
        opening = journal.opening() or await open_account(world, tickers)
        world.books = Books.fold(journal)
        told = journal.last_statement()
        since_ms = opening.balances.ts_ms if told is None else told.ts_ms
        pairs = {pair.ticker: pair for pair in journal.pairs()}
        for ticker in tickers:
            keeper = PairKeeper(ticker, world, pairs.get(ticker), since_ms)
            self._traders[ticker] = PairTrader(keeper, world, self._desk)
        self._remember()
        self._reconciler = Reconciler(world, self._traders, self._cashier, since_ms)
        self._guard = Guard(world, self._traders, self._reconciler, self._kill, self._brackets)
        self._follower = Follower(world, self._traders, self._guard, self._costs)
        self._watch = Watch(
            world,
            self._traders,
            self._guard,
            self._follower,
            self._cashier,
            self._desk,
            self._kill,
            self._brackets,
        )
        await self._cashier.settle()
        if not await fund_wallets(world, opening, self._cashier):
            world.tell(
                Severity.WARNING, None, "cash could not be moved to the wallet that needs it; it will be"
            )
        await self._guard.measure()
        return await self.reconcile()

    async def apply(self, decision: Decision) -> Outcome:
        """Follow a decision to its end: the pair is hedged, unwound or halted when this returns.

        Decisions of one coin are followed one after the other, those of different coins at once.

        Raises:
            UnknownTickerError: the coin is not traded here.
            ActionError: the fraction is no number from −1 to 1.
            InvariantBroken: the books do not add up; stop.
        """
        if decision.ticker not in self._traders:
            raise UnknownTickerError(
                f"{decision.ticker} is not traded here ({', '.join(self._traders)}); add it to data.tickers "
                "and begin a new journal"
            )
        if not -1.0 <= decision.fraction <= 1.0:  # NaN is neither
            raise ActionError(
                f"decision {decision.decision_id} wants {decision.fraction} of {decision.ticker}, which is "
                f"no fraction from -1 to 1; nothing is traded, look at {decision.source}"
            )
        if decision.fraction != 0.0 and self._guard.out_of_date:
            async with self._catching_up:
                if self._guard.out_of_date:
                    await self._guard.measure()
                    await self.reconcile()
        return await self._follower.follow(decision)

    async def reconcile(self) -> Reconciliation:
        """Compare the venue with the books, book what is new, and unwind what has no hedge."""
        return await self._reconciler.reconcile()

    async def watch(self) -> None:
        """Look at the kill switch, margin, the day's loss and the clocks once, and do what is needed."""
        await self._watch.look()

    async def flatten(self, reason: str) -> dict[str, Outcome]:
        """Close every pair, with model, store and feed down; whatever stays open is an alert."""
        await self.reconcile()
        return await self._watch.flatten(reason)

    async def resume(self, ticker: str, reason: str) -> bool:
        """Let a pair trade again after a person has looked; say whether it can."""
        trader = self._traders[ticker]
        async with trader.keeper.lock:
            resumed = await trader.resume()
        words = (
            f"resumed: {reason}" if resumed else f"cannot be resumed yet ({trader.keeper.blocked}): {reason}"
        )
        self._world.tell(Severity.INFO if resumed else Severity.WARNING, ticker, words)
        return resumed

    async def run(self, decisions: AsyncIterator[Decision], stop: asyncio.Event) -> None:
        """Follow decisions until there are no more or somebody stops; orders under way are seen to their end.

        Raises:
            CarryflowError: something is so wrong that nothing more may be sent. A person has been told.
        """
        world, seconds = self._world, self._settings.reconcile_seconds
        dead_man = self._settings.dead_man_seconds
        chores = [Chore(self.reconcile, seconds), Chore(self.watch, seconds / _LOOKS_PER_RECONCILIATION)]
        if dead_man > 0:
            chores.append(Chore(self._arm, dead_man / _BEATS))
        try:
            await Shift(self.apply, chores, world).work(decisions, stop)
        finally:
            await self._arm(0.0)
        await self.reconcile()

    def status(self) -> EngineStatus:
        """Tell how things stand, at the prices that were seen last."""
        pairs = []
        for ticker, trader in self._traders.items():
            keeper, book = trader.keeper, self._world.books.pairs[ticker]
            held = keeper.held
            pairs.append(
                PairStatus(
                    ticker,
                    keeper.state,
                    keeper.blocked,
                    held.spot,
                    held.perp,
                    held.delta,
                    book.notional,
                    book.equity,
                    distance(book.account, self._brackets),
                )
            )
        return EngineStatus(
            self._clock.now_ms(),
            self._kill.level(),
            self._world.books.equity,
            self._guard.day_equity,
            self._reconciler.reconciled_ms,
            self._guard.skew_ms,
            tuple(pairs),
        )

    def _remember(self) -> None:
        """Take up the orders of which not all is known, and the fees that were paid last."""
        journal = self._world.journal
        for order in journal.orders():
            trader = self._traders.get(order.request.ticker)
            if trader is not None and (not order.finished or order.filled > order.booked):
                trader.keeper.pending[order.request.client_id] = order
        for fill in journal.fills():
            if fill.leg == "spot" and fill.side is Side.BUY and fill.ticker in self._traders:
                rate = float(fill.fee / fill.qty) if fill.fee_asset == fill.ticker else 0.0
                self._traders[fill.ticker].keeper.base_fee_rate = rate

    async def _arm(self, seconds: float | None = None) -> None:
        """Tell the venue to cancel our orders if it does not hear from us for a while; 0: never mind."""
        silence = self._settings.dead_man_seconds if seconds is None else seconds
        if self._settings.dead_man_seconds == 0:
            return
        for ticker in self._traders:
            try:
                await self._world.venue.arm_dead_man(ticker, silence)
            except VenueError:
                continue  # the beat before still holds, and the next comes in time
