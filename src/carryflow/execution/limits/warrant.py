"""What one intent may do, judged before it begins and again whenever it goes on."""

from carryflow.execution.intents import Decision, Intent
from carryflow.execution.limits.guard import Guard
from carryflow.execution.limits.kill import Level
from carryflow.execution.limits.risk import Breach, judge
from carryflow.execution.orders import OrderRequest, TimeInForce
from carryflow.execution.pair.planner import Plan, Seen, worst_price
from carryflow.execution.pair.sizing import LegOrder
from carryflow.execution.pair.trader import PairTrader
from carryflow.execution.world import World


class Warrant:
    """Hold an intent to the limits for as long as it is at work.

    Args:
        world: settings and clock.
        guard: how things stand.
        trader: whose pair it is.
        decision: what is wanted.
        intent: the pair to have.
        protective: it makes things safer: nothing rests.

    Attributes:
        breaches: the limits that are in the way, as judged last; none: it may go on.

    """

    def __init__(
        self,
        world: World,
        guard: Guard,
        trader: PairTrader,
        decision: Decision,
        intent: Intent,
        protective: bool,
    ) -> None:
        self.breaches: tuple[Breach, ...] = ()
        self._world = world
        self._guard = guard
        self._trader = trader
        self._decision = decision
        self._intent = intent
        self._adds = abs(intent.target_base) > abs(trader.keeper.held.spot)
        self._may_rest = world.settings.style == "maker_first" and not protective

    @property
    def words(self) -> str:
        """Say what is in the way."""
        return "; ".join(breach.words for breach in self.breaches)

    def rests(self) -> bool:
        """Say whether the first leg may rest: what adds risk does so only while nobody stops the engine."""
        return self._may_rest and not (self._adds and self._guard.level > Level.RUN)

    def covers(self, planned: Plan, seen: Seen) -> bool:
        """Judge the orders that would come next; say whether no limit is in their way."""
        situation = self._guard.situation(self._intent.ticker, seen)
        orders = self._requests(planned, seen)
        self.breaches = judge(self._decision, self._intent, orders, situation, self._world.settings.limits)
        return not self.breaches

    def counted(self, planned: Plan) -> int:
        """Return how many orders of a plan count among those of a minute."""
        return sum(not order.reduce_only for order in _orders(planned)) if self._adds else 0

    def _requests(self, planned: Plan, seen: Seen) -> list[OrderRequest]:
        """Return the orders of a plan, as the limits look at them."""
        return [self._request(order, seen) for order in _orders(planned)]

    def _request(self, order: LegOrder, seen: Seen) -> OrderRequest:
        settings, keeper = self._world.settings, self._trader.keeper
        price = worst_price(
            keeper.markets.instrument(order.leg),
            order.side,
            seen.book(order.leg).mid,
            settings.slippage_bound_bp,
            seen.anchor(order.leg),
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


def _orders(planned: Plan) -> list[LegOrder]:
    return [planned.lead] if planned.hedge is None else [planned.lead, planned.hedge]
