"""What a client of the venue can ask, and nobody changes by asking."""

from collections.abc import Mapping
from typing import Any

from carryflow.core.leg import Leg
from carryflow.venues.simulated import refusals
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.trading.accounts import Income, VenueAccount, VenueTransfer
from carryflow.venues.simulated.trading.exact import exactly
from carryflow.venues.simulated.trading.history import income_page, trades_page
from carryflow.venues.simulated.trading.live_book import BookChanges, LiveBook
from carryflow.venues.simulated.trading.margin import Margin
from carryflow.venues.simulated.trading.orders import Trade, VenueOrder
from carryflow.venues.simulated.trading.pit import Pits
from carryflow.venues.simulated.trading.settings import TradingSettings
from carryflow.venues.simulated.trading.statement import account_statement
from carryflow.venues.simulated.trading.views import MarginView, PositionView

_MOST_LEVELS = 1000


class Inquiries:
    """Answer from the accounts and the books as they are."""

    def __init__(self, venue: SimulatedVenue, settings: TradingSettings) -> None:
        self.venue = venue
        self.settings = settings
        self._accounts: dict[str, VenueAccount] = {}
        self._pits = Pits(venue)
        self._margin = Margin(self._pits, settings.leverage)

    @property
    def accounts(self) -> Mapping[str, VenueAccount]:
        """Return the accounts by their keys."""
        return self._accounts

    def account(self, key: str) -> VenueAccount:
        """Return an account.

        Raises:
            Refusal: −2015, there is none with this key.
        """
        if key not in self._accounts:
            raise refusals.unknown_key()
        return self._accounts[key]

    @exactly
    def statement(self, account: VenueAccount) -> dict[str, Any]:
        """Return the venue's exact account of a client; see `account_statement`."""
        return account_statement(account, self.venue.now_ms)

    @exactly
    def margin(self, account: VenueAccount) -> MarginView:
        """Sum up the futures wallet at the marks of now."""
        return self._margin.view(account)

    @exactly
    def positions(self, account: VenueAccount, symbol: str | None = None) -> list[PositionView]:
        """Return the positions that are not flat, or the one in `symbol` even if it is.

        Raises:
            Refusal: −1121, no such symbol is listed.
        """
        symbols = list(account.positions) if symbol is None else [symbol]
        return [self._margin.position(account, name) for name in symbols]

    def leverage(self, account: VenueAccount, symbol: str) -> int:
        """Return an account's leverage in a perpetual."""
        return self._margin.leverage(account, symbol)

    def order(
        self,
        account: VenueAccount,
        leg: Leg,
        symbol: str,
        *,
        order_id: int | None = None,
        client_id: str | None = None,
    ) -> VenueOrder:
        """Return an order by either name; of several with the same name the newest.

        Raises:
            Refusal: −2013, there is none.
        """
        order = self._find(account, leg, symbol, order_id, client_id)
        if order is None:
            raise refusals.unknown_order(cancelling=False)
        return order

    def orders(
        self, account: VenueAccount, leg: Leg, symbol: str | None, *, open_only: bool
    ) -> list[VenueOrder]:
        """Return the orders of a market, or of all of a leg, the oldest first."""
        pool = account.open if open_only else account.orders
        return [o for o in pool.values() if o.leg == leg and symbol in (None, o.symbol)]

    def trades(
        self,
        account: VenueAccount,
        leg: Leg,
        symbol: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        from_id: int | None = None,
        limit: int = 500,
        order_id: int | None = None,
    ) -> list[Trade]:
        """Return an account's trades in a market, or of one order there, the oldest first.

        At most `limit`: the first from `start_ms` or `from_id` on, or without either the last.
        """
        return trades_page(account.trades[leg], symbol, start_ms, end_ms, from_id, limit, order_id)

    def income(
        self,
        account: VenueAccount,
        kind: str | None = None,
        symbol: str | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 100,
    ) -> list[Income]:
        """Return changes of the futures wallet, the oldest first.

        At most `limit`: the first from `start_ms` on, or without it the last.
        """
        return income_page(account.incomes, kind, symbol, start_ms, end_ms, limit)

    def transfers(
        self, account: VenueAccount, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[VenueTransfer]:
        """Return transfers in [start, end], the oldest first."""
        start, end = start_ms or 0, self.venue.now_ms if end_ms is None else end_ms
        return [moved for moved in account.transfers if start <= moved.time_ms <= end]

    @exactly
    def book(self, leg: Leg, symbol: str, levels: int = _MOST_LEVELS) -> LiveBook:
        """Return a market's book, best prices first.

        Raises:
            Refusal: −1121, no such symbol is listed.
        """
        pit = self._pits.at(leg, symbol)
        return pit.book.snapshot(pit.slot, levels)

    @exactly
    def book_changes(self, leg: Leg, symbol: str, since_slot: int) -> BookChanges:
        """Return what changed in a market's book after the update `since_slot`.

        Raises:
            Refusal: −1121, no such symbol is listed.
        """
        pit = self._pits.at(leg, symbol)
        return pit.book.changes(since_slot, pit.slot)

    def _find(
        self, account: VenueAccount, leg: Leg, symbol: str, order_id: int | None, client_id: str | None
    ) -> VenueOrder | None:
        if order_id is None:
            return account.named.get((leg, symbol, client_id or ""))
        order = account.orders.get(order_id)
        return order if order is not None and (order.leg, order.symbol) == (leg, symbol) else None
