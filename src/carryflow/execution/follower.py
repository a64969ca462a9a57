"""From a decision to what comes of it."""

from collections.abc import Mapping
from decimal import Decimal

from carryflow.core.costs import CostSettings
from carryflow.execution.guard import Guard
from carryflow.execution.intents import Decision, Intent
from carryflow.execution.kill import Level
from carryflow.execution.orders import OrderRequest, TimeInForce
from carryflow.execution.outcome import Outcome
from carryflow.execution.pair import State
from carryflow.execution.planner import Means, Plan, Seen, action_of, plan, target_base, worst_price
from carryflow.execution.risk import Breach, Limit, judge
from carryflow.execution.sizing import LegOrder
from carryflow.execution.trader import PairTrader
from carryflow.execution.world import World


class Follower:
    """Follow decisions, one at a time per coin."""

    def __init__(
        self, world: World, traders: Mapping[str, PairTrader], guard: Guard, costs: CostSettings
    ) -> None:
        self._world = world
        self._traders = traders
        self._guard = guard
        self._costs = costs

    async def follow(self, decision: Decision, protective: bool = False) -> Outcome:
        """Trade what a decision wants, as far as limits and markets allow.

        Args:
            decision: what is wanted.
            protective: it makes things safer: neither hysteresis nor a pause is in the way, nothing rests.
        """
        trader = self._traders[decision.ticker]
        begun_ms = self._world.clock.now_ms()
        async with trader.keeper.lock:
            words = await self._unfit(trader)
            if words is not None:
                return self._stay(trader, decision, words)
            breach = None if protective else self._overtaken(decision)
            if breach is not None:
                return self._stay(trader, decision, breach.words, (breach,))
            seen = await self._world.look(decision.ticker)
            if seen is None:
                return self._stay(trader, decision, "the market cannot be seen")
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

    def _overtaken(self, decision: Decision) -> Breach | None:
        """Return what forbids a decision to be acted on at all, whatever it wants."""
        if self._guard.level is Level.PAUSE:
            return Breach(Limit.KILL_SWITCH, Level.PAUSE, Level.RUN, "the kill switch is at pause")
        late = (self._world.clock.now_ms() - decision.expires_ms) / 1_000
        if late >= 0.0:
            return Breach(Limit.EXPIRED, late, 0.0, f"the decision expired {late:g} s ago")
        return None

    async def _trade(
        self, trader: PairTrader, decision: Decision, seen: Seen, begun_ms: int, protective: bool
    ) -> Outcome:
        keeper, settings = trader.keeper, self._world.settings
        held = keeper.held
        fraction = decision.fraction
        note = ""
        if fraction < 0.0:
            fraction, note = 0.0, "; spot is not sold short here, so the pair is closed instead"
        target = self._target(trader, fraction, seen, protective)
        if target is None or target == held.spot:
            return self._stay(trader, decision, f"{held.spot} {decision.ticker} is near enough{note}")
        intent = Intent(
            self._world.name(decision.decision_id),
            decision.decision_id,
            decision.ticker,
            action_of(held, target, keeper.markets),
            target,
            seen.spot.mid,
            seen.perp.mid,
            seen.perp.mid if seen.mark is None else seen.mark.price,
            self._world.clock.now_ms(),
        )
        planned = plan(intent, held, keeper.markets, keeper.base_fee_rate, seen)
        if planned is None:
            words = f"from {held.spot} to {target} {decision.ticker}: no order that both markets take{note}"
            return self._stay(trader, decision, words)
        breaches = judge(
            decision,
            intent,
            self._requests(trader, planned, seen),
            self._guard.situation(decision.ticker, seen),
            settings.limits,
        )
        if breaches:
            words = "; ".join(breach.words for breach in breaches)
            return self._stay(trader, decision, words, breaches)
        trader.acknowledged_ms = 0
        await trader.bring(decision, intent, planned, seen, hurry=protective)
        now, sent_ms = keeper.held, trader.acknowledged_ms
        words = f"{intent.action}: {held.spot} to {now.spot} {decision.ticker}, {target} wanted{note}"
        seconds = (sent_ms - begun_ms) / 1_000 if sent_ms else None
        return Outcome(intent.action, keeper.state, now.delta, seconds, words)

    def _target(self, trader: PairTrader, fraction: float, seen: Seen, protective: bool) -> Decimal | None:
        """Return the coins to hold; None: as many as there are."""
        keeper, settings = trader.keeper, self._world.settings
        if fraction == 0.0:
            return None if keeper.markets.is_flat(keeper.held) else Decimal(0)
        if protective:
            settings = settings.model_copy(update={"hysteresis": 0.0})
        book = self._world.books.pairs[keeper.ticker]
        means = Means(book.equity, book.spot_cash, keeper.base_fee_rate)
        return target_base(fraction, keeper.held, means, keeper.markets, seen, settings, self._costs)

    def _requests(self, trader: PairTrader, planned: Plan, seen: Seen) -> list[OrderRequest]:
        """Return the orders of a plan, as the limits look at them."""
        orders = [planned.lead] if planned.hedge is None else [planned.lead, planned.hedge]
        return [self._request(trader, order, seen) for order in orders]

    def _request(self, trader: PairTrader, order: LegOrder, seen: Seen) -> OrderRequest:
        settings, keeper = self._world.settings, trader.keeper
        price = worst_price(
            keeper.markets.instrument(order.leg),
            order.side,
            seen.book(order.leg).mid,
            settings.slippage_bound_bp,
            seen.mark,
            settings.limits.price_band_bp,
        )
        return OrderRequest(
            "",
            order.leg,
            keeper.ticker,
            order.side,
            abs(order.qty),
            price,
            TimeInForce.IOC,
            order.reduce_only,
        )

    def _stay(
        self, trader: PairTrader, decision: Decision, words: str, breaches: tuple[Breach, ...] = ()
    ) -> Outcome:
        """Send nothing, and write down what was wanted."""
        self._world.journal.record_decision(decision)
        keeper = trader.keeper
        return Outcome(None, keeper.state, keeper.held.delta, None, words, breaches)
