"""What happens by itself between two instants, in order.

At one instant funding is settled first, on what was held before it; then the flow and a new bar fill resting
orders; then come the matches that were late, the countdowns that ran out, and last the liquidations.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from carryflow.core.errors import VenueError
from carryflow.venues.simulated.decimals import plain
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.clearing import Clearing
from carryflow.venues.simulated.trading.force import Force
from carryflow.venues.simulated.trading.matching import Matching
from carryflow.venues.simulated.trading.orders import OrderStatus, VenueOrder
from carryflow.venues.simulated.trading.pit import Pit, Pits


@dataclass(frozen=True, slots=True)
class Late:
    """Hold an order that is matched later than it was taken."""

    account: VenueAccount
    pit: Pit
    order: VenueOrder
    due_ms: int
    fill_fraction: Decimal | None

    def is_due(self, now_ms: int) -> bool:
        """Say whether it can be matched now; while its market is closed it waits."""
        return self.due_ms <= now_ms and not self.pit.closed


class Timeline:
    """Move the venue's clock, and let happen what falls due on the way.

    Attributes:
        late: orders that wait for their match, in the order in which they came.
        countdowns: when an account's orders in a perpetual are cancelled, by key and symbol (UTC ms).
    """

    def __init__(
        self,
        venue: SimulatedVenue,
        pits: Pits,
        clearing: Clearing,
        matching: Matching,
        force: Force,
        liquidation_fee_rate: Decimal,
    ) -> None:
        self.late: list[Late] = []
        self.countdowns: dict[tuple[str, str], int] = {}
        self._venue = venue
        self._pits = pits
        self._clearing = clearing
        self._matching = matching
        self._force = force
        self._fee_rate = liquidation_fee_rate

    def advance(self, accounts: dict[str, VenueAccount], now_ms: int) -> None:
        """Play everything up to `now_ms`.

        Raises:
            VenueError: it lies in the past, and somebody has traded since.
        """
        if now_ms < self._venue.now_ms:
            self._go_back(now_ms)
        while self._venue.now_ms < now_ms:
            before = self._venue.now_ms
            due = min((at for at in self._due(accounts.values()) if at < now_ms), default=now_ms)
            self._venue.now_ms = max(due, before + 1)
            self._play(accounts, before)

    def _go_back(self, now_ms: int) -> None:
        if self._clearing.moved:
            raise VenueError(
                f"the exchange cannot go back from {self._venue.now_ms} to {now_ms}: somebody has traded on "
                "it; start another one"
            )
        self._venue.now_ms = now_ms

    def _due(self, accounts: Iterable[VenueAccount]) -> Iterable[int]:
        """Tell when something happens next, as far as it is known (UTC ms)."""
        yield from self.countdowns.values()
        yield from (late.due_ms for late in self.late if not late.pit.closed)
        watched = {late.pit for late in self.late}
        for resting in self._matching.resting.values():
            filled_ms = resting.filled_ms()
            if filled_ms is not None:
                yield filled_ms
            watched.add(resting.pit)
        for account in accounts:
            for symbol in account.positions:
                settled = self._venue.settlements(symbol).next_after(self._venue.now_ms)
                if settled is not None:
                    yield settled.settled_ms
                watched.add(self._pits.at("perp", symbol))
        for pit in watched:
            close_ms = pit.next_close_ms()
            if close_ms is not None:
                yield close_ms

    def _play(self, accounts: dict[str, VenueAccount], before_ms: int) -> None:
        """Let happen what is due at the venue's clock, which stood at `before_ms`."""
        now = self._venue.now_ms
        for account in accounts.values():
            self._settle(account, before_ms)
        self._matching.flow(now)
        due = [late for late in self.late if late.is_due(now)]
        self.late = [late for late in self.late if not late.is_due(now)]
        for late in due:
            self._match(late)
        for (key, symbol), at in list(self.countdowns.items()):
            if at <= now:
                del self.countdowns[key, symbol]
                self._cancel(accounts[key], symbol)
        for account in accounts.values():
            self._force.liquidate_if_due(account, self._fee_rate)

    def _settle(self, account: VenueAccount, before_ms: int) -> None:
        for symbol in list(account.positions):
            settled = self._venue.settlements(symbol).next_after(before_ms)
            if settled is not None and settled.settled_ms <= self._venue.now_ms:
                pit = self._pits.at("perp", symbol)
                mark = pit.mark if settled.mark is None else Decimal(plain(settled.mark))
                self._clearing.pay_funding(account, symbol, Decimal(plain(settled.rate)), mark)

    def _match(self, late: Late) -> None:
        account, pit, order = late.account, late.pit, late.order
        if not order.status.open:
            return
        if order.entry.post_only and self._matching.would_match(pit, order.entry):
            self._clearing.end_order(account, order, OrderStatus.EXPIRED)
            self._clearing.tell_balance(account, pit)
        else:
            self._matching.match(account, pit, order, late.fill_fraction)

    def _cancel(self, account: VenueAccount, symbol: str) -> None:
        pit = self._pits.at("perp", symbol)
        for order in [o for o in account.open.values() if (o.leg, o.symbol) == ("perp", symbol)]:
            self._matching.cancel(account, pit, order)
