"""Orders of a pair, as they are to be written down and sent."""

from decimal import Decimal

from carryflow.core.account import Column
from carryflow.core.leg import Leg
from carryflow.execution.intents import Action, Intent
from carryflow.execution.journal.records import OrderRecord, Purpose
from carryflow.execution.orders import OrderReport, TimeInForce
from carryflow.execution.pair.keeper import PairKeeper
from carryflow.execution.pair.planner import Plan, Seen, resting_price, worst_price
from carryflow.execution.pair.sizing import Holding, LegOrder, hedge_order
from carryflow.execution.world import World


class Drafts:
    """Draw up the orders of one pair; whoever asks for one writes it down before it is sent."""

    def __init__(self, keeper: PairKeeper, world: World) -> None:
        self._keeper = keeper
        self._world = world

    def lead(self, intent: Intent, planned: Plan, seen: Seen, rests: bool) -> OrderRecord:
        """Return the first leg's order: across the spread, or resting."""
        purpose = Purpose.CLOSE if intent.target_base == 0 else Purpose.LEAD
        lead, book = planned.lead, seen.book(planned.lead.leg)
        if not rests:
            return self._keeper.order(intent, lead, purpose, planned.limits[lead.leg], book.mid)
        instrument = self._keeper.markets.instrument(lead.leg)
        anchor, band_bp = seen.anchor(lead.leg), self._world.settings.limits.price_band_bp
        price = resting_price(instrument, lead.side, book, anchor, band_bp)
        return self._keeper.order(intent, lead, purpose, price, book.mid, TimeInForce.POST_ONLY)

    def second(self, intent: Intent, planned: Plan, lead: OrderRecord, seen: Seen) -> OrderRecord | None:
        """Return the second leg's order for a first leg that is filled wholly, to be written down with it.

        So nothing has to be written between the two. If the first is filled in part, it is never sent.
        """
        hedge = planned.hedge
        if hedge is None:
            return None
        mid, holding = seen.book(hedge.leg).mid, self._keeper.held_if_filled(lead.request)
        wanted = self._hedge(intent, hedge.leg, holding, mid)
        if wanted is None or wanted.side is not hedge.side:
            return None
        return self._keeper.order(intent, wanted, Purpose.HEDGE, planned.limits[hedge.leg], mid)

    def fits(self, intent: Intent, ready: OrderRecord, report: OrderReport) -> bool:
        """Say whether an order is what follows from what the first leg has filled."""
        request, holding = ready.request, self._keeper.held_after(report)
        if self._keeper.markets.is_hedged(holding):
            return False
        wanted = self._hedge(intent, request.leg, holding, ready.reference)
        return wanted == LegOrder(request.leg, request.side.sign * request.qty, request.reduce_only)

    def chaser(self, intent: Intent, leg: Leg, seen: Seen, holding: Holding) -> OrderRecord | None:
        """Return the order of the leg that follows; None: nothing that its market would take."""
        wanted = self._hedge(intent, leg, holding, seen.book(leg).mid)
        if wanted is None:
            return None
        return self.within(intent, wanted, Purpose.HEDGE, seen, self._world.settings.slippage_bound_bp)

    def within(
        self, intent: Intent, leg_order: LegOrder, purpose: Purpose, seen: Seen, bound_bp: float
    ) -> OrderRecord:
        """Return an order that crosses the spread, no further than its bound and the band allow."""
        limits, mid = self._world.settings.limits, seen.book(leg_order.leg).mid
        instrument = self._keeper.markets.instrument(leg_order.leg)
        anchor = seen.anchor(leg_order.leg)
        price = worst_price(instrument, leg_order.side, mid, bound_bp, anchor, limits.price_band_bp)
        return self._keeper.order(intent, leg_order, purpose, price, mid)

    async def unwinding(self) -> Intent:
        """Write down an intent to bring the legs together, under the decision that the pair last followed."""
        keeper, world = self._keeper, self._world
        last = None if keeper.intent_id is None else world.journal.intent(keeper.intent_id)
        seen, held = await world.look(keeper.ticker), keeper.held
        account = world.books.pairs[keeper.ticker].account
        spot, mark = (Decimal(repr(float(account[column]))) for column in (Column.SPOT_PRICE, Column.MARK))
        if last is None:
            decision_id = world.decide(keeper.ticker, 0.0, "limit", "the legs differ").decision_id
        else:
            decision_id = last.decision_id
        intent = Intent(
            world.name(decision_id, Action.UNWIND),
            decision_id,
            keeper.ticker,
            Action.UNWIND,
            max(min(held.spot, -held.perp), Decimal(0)),
            spot if seen is None else seen.spot.mid,
            mark if seen is None else seen.perp.mid,
            mark if seen is None or seen.mark is None else seen.mark.price,
            world.clock.now_ms(),
        )
        keeper.begin(intent)
        world.journal.record_intent(intent, keeper.record)
        return intent

    def _hedge(self, intent: Intent, leg: Leg, holding: Holding, mid: Decimal) -> LegOrder | None:
        """Return what a leg trades to follow the other; None: nothing that its market would take."""
        keeper, closing = self._keeper, intent.target_base == 0
        return hedge_order(leg, holding, keeper.markets, keeper.base_fee_rate, mid, closing)
