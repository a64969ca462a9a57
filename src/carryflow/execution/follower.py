"""From a decision to what comes of it."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from carryflow.core.costs import CostSettings
from carryflow.core.errors import MarketDataError
from carryflow.core.hedge import hedged_fraction
from carryflow.execution.intents import Decision, Intent
from carryflow.execution.limits.guard import Guard
from carryflow.execution.limits.kill import Level
from carryflow.execution.limits.risk import Breach, Limit
from carryflow.execution.limits.warrant import Warrant
from carryflow.execution.outcome import Outcome
from carryflow.execution.pair.keeper import PairKeeper
from carryflow.execution.pair.planner import Means, Plan, Seen, action_of, plan, target_base
from carryflow.execution.pair.sizing import Holding
from carryflow.execution.pair.states import State
from carryflow.execution.pair.trader import PairTrader
from carryflow.execution.world import World

_CLOSED_INSTEAD = "; spot is not sold short here, so the pair is closed instead"


class _Ready(NamedTuple):
    """Hold what a decision comes to, the markets that it was made on, and what else is to be said of it."""

    intent: Intent
    planned: Plan
    seen: Seen
    note: str


class Follower:
    """Follow decisions, one at a time per coin."""

    def __init__(
        self, world: World, traders: Mapping[str, PairTrader], guard: Guard, costs: CostSettings
    ) -> None:
        self._world = world
        self._traders = traders
        self._guard = guard
        self._costs = costs
        self._waiting: dict[str, list[Decision]] = {ticker: [] for ticker in traders}

    async def follow(self, decision: Decision, protective: bool = False) -> Outcome:
        """Trade what a decision wants, as far as limits and markets allow.

        Of several that wait for their coin, the newest is followed.

        Args:
            decision: what is wanted.
            protective: it makes things safer: neither hysteresis, a pause nor a newer decision is in the way,
                nothing rests, and nothing is added.
        """
        trader = self._traders[decision.ticker]
        begun_ms = self._world.clock.now_ms()
        line = self._waiting[decision.ticker]
        line.append(decision)
        try:
            async with trader.keeper.lock:
                newer = None if protective else self._newer(decision)
                if newer is not None:
                    words = f"decision {newer.decision_id}, which is newer, waits for {decision.ticker}"
                    return self._stay(trader, decision, words)
                return await self._follow(trader, decision, begun_ms, protective)
        finally:
            line.remove(decision)

    async def shrink(self, ticker: str, most_base: Decimal, reason: str) -> Outcome | None:
        """Sell coins with their hedge until no more are left than these; None: there are no more.

        What is held is looked at once nobody else works on the pair. So what has been closed meanwhile is not
        opened again.

        Args:
            ticker: the coin.
            most_base: the coins that may stay (base, ≥ 0).
            reason: why, in words.
        """
        trader, world = self._traders[ticker], self._world
        begun_ms = world.clock.now_ms()
        async with trader.keeper.lock:
            unfit = await self._unfit(trader)
            seen = None if unfit is not None else await world.look(ticker)
            held = trader.keeper.held.spot
            if seen is None or held <= most_base:
                return None
            self._guard.mark(ticker, seen)
            equity = world.books.pairs[ticker].equity
            now = hedged_fraction(float(held), float(seen.spot.mid), world.settings.spot_share, equity)
            decision = world.decide(ticker, now * float(most_base / held), "limit", reason)
            return await self._trade(trader, decision, seen, begun_ms, protective=True)

    def _newer(self, decision: Decision) -> Decision | None:
        """Return a decision that came later, is not older, and has not expired, while this one waited."""
        line, now_ms = self._waiting[decision.ticker], self._world.clock.now_ms()
        for other in line[line.index(decision) + 1 :]:
            if other.decided_ms >= decision.decided_ms and other.expires_ms > now_ms:
                return other
        return None

    async def _follow(
        self, trader: PairTrader, decision: Decision, begun_ms: int, protective: bool
    ) -> Outcome:
        words = await self._unfit(trader)
        if words is not None:
            return self._stay(trader, decision, words)
        seen = await self._world.look(decision.ticker)
        if seen is not None:
            self._guard.mark(decision.ticker, seen)
        return await self._trade(trader, decision, seen, begun_ms, protective)

    async def _unfit(self, trader: PairTrader) -> str | None:
        """Say why a pair can follow nothing; None: it can, once what was left behind is settled."""
        keeper = trader.keeper
        if keeper.state is not State.IDLE or keeper.unfinished:
            await trader.settle_leftovers()
        if keeper.state is State.IDLE and not keeper.markets.is_hedged(keeper.held):
            await trader.mend()
        if keeper.state is State.IDLE:
            return None
        return f"{keeper.ticker} is {keeper.state}: {keeper.blocked}"

    def _overtaken(self, decision: Decision, level: Level) -> Breach | None:
        """Return what forbids a decision to be acted on at all, whatever it wants."""
        if level is Level.PAUSE:
            return Breach(Limit.KILL_SWITCH, Level.PAUSE, Level.RUN, "the kill switch is at pause")
        late = (self._world.clock.now_ms() - decision.expires_ms) / 1_000
        if late >= 0.0:
            return Breach(Limit.EXPIRED, late, 0.0, f"the decision expired {late:g} s ago")
        return None

    async def _trade(
        self, trader: PairTrader, decision: Decision, seen: Seen | None, begun_ms: int, protective: bool
    ) -> Outcome:
        """Trade what a decision wants on its markets as they are; None: they cannot be seen.

        The kill switch is looked at when the orders are ready to be judged, so that no word is older.
        """
        keeper = trader.keeper
        held = keeper.held
        ready = self._prepare(keeper, decision, held, seen, protective)
        level = self._guard.level
        breach = None if protective else self._overtaken(decision, level)
        if breach is not None:
            return self._stay(trader, decision, breach.words, (breach,))
        if isinstance(ready, str):
            return self._stay(trader, decision, ready)
        intent, planned, looked, note = ready
        warrant = Warrant(self._world, self._guard, decision, intent, held, protective)
        if not warrant.covers_at(level, planned, looked):
            return self._stay(trader, decision, warrant.words, warrant.breaches)
        trader.acknowledged_ms = 0
        with self._guard.promising(intent, warrant.counted(planned)):
            await trader.bring(decision, intent, planned, looked, warrant)
        now, sent_ms = keeper.held, trader.acknowledged_ms
        words = f"{intent.action}: {held.spot} to {now.spot} {decision.ticker}"
        words += f", {intent.target_base} wanted{note}"
        if warrant.breaches:
            words += f"; it was ended: {warrant.words}"
        seconds = (sent_ms - begun_ms) / 1_000 if sent_ms else None
        return Outcome(intent.action, keeper.state, now.delta, seconds, words, warrant.breaches)

    def _prepare(
        self, keeper: PairKeeper, decision: Decision, held: Holding, seen: Seen | None, protective: bool
    ) -> _Ready | str:
        """Return what brings the pair where the decision wants it, or say why nothing is to be traded."""
        if seen is None:
            return "the market cannot be seen"
        ticker, note = decision.ticker, _CLOSED_INSTEAD if decision.fraction < 0.0 else ""
        target = self._target(keeper, max(decision.fraction, 0.0), held, seen, protective)
        if target is None or target == held.spot:
            return f"{held.spot} {ticker} is near enough{note}"
        if protective and abs(target) > abs(held.spot):
            return f"{held.spot} {ticker} is less than the {target} that may stay"
        intent = Intent(
            self._world.name(decision.decision_id),
            decision.decision_id,
            ticker,
            action_of(held, target, keeper.markets),
            target,
            seen.spot.mid,
            seen.perp.mid,
            seen.anchor("perp"),
            self._world.clock.now_ms(),
        )
        try:
            planned = plan(intent, held, keeper.markets, keeper.base_fee_rate, seen, self._world.settings)
        except MarketDataError as error:
            return str(error)
        if planned is None:
            return f"from {held.spot} to {target} {ticker}: no order that both markets take{note}"
        return _Ready(intent, planned, seen, note)

    def _target(
        self, keeper: PairKeeper, fraction: float, held: Holding, seen: Seen, protective: bool
    ) -> Decimal | None:
        """Return the coins to hold; None: as many as there are."""
        settings = self._world.settings
        if fraction == 0.0:
            return None if keeper.markets.is_flat(held) else Decimal(0)
        if protective:
            settings = settings.model_copy(update={"hysteresis": 0.0})
        book = self._world.books.pairs[keeper.ticker]
        means = Means(book.equity, book.spot_cash, keeper.base_fee_rate)
        return target_base(fraction, held, means, keeper.markets, seen, settings, self._costs)

    def _stay(
        self, trader: PairTrader, decision: Decision, words: str, breaches: tuple[Breach, ...] = ()
    ) -> Outcome:
        """Send nothing, and write down what was wanted."""
        self._world.journal.record_decision(decision)
        keeper = trader.keeper
        return Outcome(None, keeper.state, keeper.held.delta, None, words, breaches)
