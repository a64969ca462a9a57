"""What one intent may do, judged before it begins and again whenever it goes on."""

from carryflow.execution.intents import Decision, Intent
from carryflow.execution.limits.guard import Guard
from carryflow.execution.limits.kill import Level
from carryflow.execution.limits.risk import Breach, judge
from carryflow.execution.orders import OrderRequest, TimeInForce
from carryflow.execution.pair.planner import Plan, Seen
from carryflow.execution.pair.sizing import Holding
from carryflow.execution.world import World


class Warrant:
    """Hold an intent to the limits for as long as it is at work.

    Args:
        world: settings and clock.
        guard: how things stand.
        decision: what is wanted.
        intent: the pair to have.
        held: what there is.
        protective: it makes things safer: nothing rests.

    Attributes:
        breaches: the limits that are in the way, as judged last; none: it may go on.

    """

    def __init__(
        self,
        world: World,
        guard: Guard,
        decision: Decision,
        intent: Intent,
        held: Holding,
        protective: bool,
    ) -> None:
        self.breaches: tuple[Breach, ...] = ()
        self._world = world
        self._guard = guard
        self._decision = decision
        self._intent = intent
        self._adds = abs(intent.target_base) > abs(held.spot)
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
        return self.covers_at(self._guard.level, planned, seen)

    def covers_at(self, level: Level, planned: Plan, seen: Seen) -> bool:
        """Judge them at what the kill switch has just said."""
        situation = self._guard.situation(self._intent.ticker, seen, level)
        orders = self._requests(planned)
        self.breaches = judge(self._decision, self._intent, orders, situation, self._world.settings.limits)
        return not self.breaches

    def counted(self, planned: Plan) -> int:
        """Return how many orders of a plan count among those of a minute."""
        return sum(not order.reduce_only for order in planned.orders) if self._adds else 0

    def _requests(self, planned: Plan) -> list[OrderRequest]:
        """Return the orders of a plan, as the limits look at them."""
        return [
            OrderRequest(
                "",
                order.leg,
                self._intent.ticker,
                order.side,
                abs(order.qty),
                planned.limits[order.leg],
                TimeInForce.IOC,
                order.reduce_only,
            )
            for order in planned.orders
        ]
