"""The floor: what a client of the venue can do, and what happens by itself as time passes."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from carryflow.core.leg import Leg
from carryflow.venues.simulated import refusals
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.trading.accounts import (
    Purse,
    VenueAccount,
    VenueTransfer,
    WalletName,
)
from carryflow.venues.simulated.trading.admission import Admission
from carryflow.venues.simulated.trading.clearing import Clearing
from carryflow.venues.simulated.trading.dollar import DOLLAR, dollar_market
from carryflow.venues.simulated.trading.events import AccountEvent
from carryflow.venues.simulated.trading.exact import CENT, exactly
from carryflow.venues.simulated.trading.force import Force
from carryflow.venues.simulated.trading.inquiries import Inquiries
from carryflow.venues.simulated.trading.matching import Matching
from carryflow.venues.simulated.trading.orders import (
    OrderEntry,
    OrderType,
    Side,
    TimeInForce,
    VenueOrder,
)
from carryflow.venues.simulated.trading.settings import TradingSettings
from carryflow.venues.simulated.trading.timeline import Late, Timeline

_LEVERAGES = range(1, 126)


class TradingFloor(Inquiries):
    """Let accounts trade on a venue's tape; it has no clock of its own, `advance` sets the venue's.

    All amounts and prices are exact decimals, all instants UTC ms. One thread at a time may use it. All
    clients see one market whose prices move when a bar of the tape closes; between, quantities do (see
    `live_book`).
    """

    def __init__(self, venue: SimulatedVenue, settings: TradingSettings) -> None:
        super().__init__(venue, settings)
        self._clearing = Clearing(venue, settings)
        self._matching = Matching(self._clearing)
        self._admission = Admission(self._clearing, self._matching, self._margin)
        self._force = Force(self._pits, self._clearing, self._matching, self._margin)
        fee_rate = Decimal(str(settings.liquidation_fee_rate))
        self._timeline = Timeline(venue, self._pits, self._clearing, self._matching, self._force, fee_rate)
        self._names = 0
        self.set_quote_price(Decimal(1))

    @property
    def listeners(self) -> list[Callable[[AccountEvent], None]]:
        """Return those who are told of every event, at once and in order; append to it."""
        return self._clearing.listeners

    def open_account(
        self, key: str, spot: Mapping[str, Decimal], futures: Decimal, *, withdraw: bool = False
    ) -> VenueAccount:
        """Open an account with coins in the spot wallet and quote coins in the futures wallet.

        Raises:
            ValueError: there is one with this key.
        """
        if key in self._accounts:
            raise ValueError("an account with this key is open already; choose another key")
        account = VenueAccount(
            key=key,
            withdraw=withdraw,
            quote=self.venue.quote,
            deposits={"spot": dict(spot), "futures": {self.venue.quote: futures}},
            spot={asset: Purse(free=amount) for asset, amount in spot.items()},
            futures=futures,
        )
        self._accounts[key] = account
        return account

    @exactly
    def set_leverage(self, account: VenueAccount, symbol: str, leverage: int) -> None:
        """Set an account's leverage in a perpetual.

        Raises:
            Refusal: −1121, no such symbol is listed; −4028, the venue has no such leverage; −2027, so large a
                position as there is may not have it; −2028, the margin does not suffice for it.
        """
        self.venue.market("perp", symbol)
        if leverage not in _LEVERAGES:
            raise refusals.invalid_leverage(leverage)
        self._margin.check_leverage(account, symbol, leverage)
        account.leverages[symbol] = leverage

    @exactly
    def advance(self, now_ms: int) -> None:
        """Set the venue's clock, and play all that happens up to then.

        Raises:
            VenueError: it lies in the past, and somebody has traded since.
        """
        self._timeline.advance(self._accounts, now_ms)

    @exactly
    def place(
        self,
        account: VenueAccount,
        leg: Leg,
        entry: OrderEntry,
        *,
        fill_fraction: Decimal | None = None,
        late_ms: int = 0,
    ) -> VenueOrder:
        """Take an order, and match it.

        Args:
            account: whose it is.
            leg: which market.
            entry: what is asked for.
            fill_fraction: at most this part of it is filled at once; None: all.
            late_ms: how much later it is matched; until then it is NEW, whatever its time in force.

        Raises:
            Refusal: it is not taken, and nothing of it exists.
        """
        pit = self._pits.at(leg, entry.symbol)
        lock = self._admission.check(account, pit, entry, late=late_ms > 0)
        order_id, now = next(self._clearing.order_ids), self.venue.now_ms
        name = entry.client_id or f"venue-{order_id}"
        order = VenueOrder(order_id, name, leg, entry, now, now)
        self._clearing.open_order(account, order, lock)
        if late_ms > 0:
            self._clearing.tell_balance(account, pit)
            self._timeline.late.append(Late(account, pit, order, now + late_ms, fill_fraction))
        else:
            self._matching.match(account, pit, order, fill_fraction)
        return order

    @exactly
    def cancel(
        self,
        account: VenueAccount,
        leg: Leg,
        symbol: str,
        *,
        order_id: int | None = None,
        client_id: str | None = None,
    ) -> VenueOrder:
        """Cancel an open order, by either name.

        Raises:
            Refusal: −2011, there is none that is open.
        """
        order = self._find(account, leg, symbol, order_id, client_id)
        if order is None or not order.status.open:
            raise refusals.unknown_order(cancelling=True)
        self._matching.cancel(account, self._pits.at(leg, symbol), order)
        return order

    @exactly
    def cancel_all(self, account: VenueAccount, leg: Leg, symbol: str) -> list[VenueOrder]:
        """Cancel and return all open orders of a market."""
        orders = self.orders(account, leg, symbol, open_only=True)
        for order in orders:
            self._matching.cancel(account, self._pits.at(leg, symbol), order)
        return orders

    @exactly
    def transfer(self, account: VenueAccount, asset: str, amount: Decimal, to: WalletName) -> VenueTransfer:
        """Move quote coins into a wallet from the other one.

        Raises:
            Refusal: −5013, so much is not free there, or it is no amount, or another coin.
        """
        if asset != account.quote:
            raise refusals.transfer_refused(f"{asset} cannot be moved to this wallet")
        if not (amount.is_finite() and amount > 0) or amount % CENT:
            raise refusals.transfer_refused("invalid amount")
        spot_free = account.purse(asset).free
        if amount > (spot_free if to == "futures" else self._margin.view(account).transferable):
            raise refusals.transfer_refused("insufficient balance")
        return self._clearing.transfer(account, amount, to)

    def set_countdown(self, account: VenueAccount, symbol: str, ms: int) -> None:
        """Cancel an account's orders in a perpetual in so many ms unless this is called again; 0: never.

        Raises:
            Refusal: −1121, no such symbol is listed.
        """
        self.venue.market("perp", symbol)
        self._timeline.countdowns.pop((account.key, symbol), None)
        if ms > 0:
            self._timeline.countdowns[account.key, symbol] = self.venue.now_ms + ms

    def trade_foreign(
        self, account: VenueAccount, leg: Leg, symbol: str, side: Side, qty: Decimal
    ) -> VenueOrder:
        """Trade at the market as the account's owner does by hand.

        Raises:
            Refusal: the order is not taken.
        """
        self._names += 1
        name = f"web_{self._names:08d}"
        entry = OrderEntry(symbol, side, OrderType.MARKET, TimeInForce.GTC, qty, client_id=name)
        return self.place(account, leg, entry)

    @exactly
    def deleverage(self, account: VenueAccount, symbol: str, fraction: Decimal) -> VenueOrder | None:
        """Close a fraction of a position at the mark, as auto-deleveraging does; None where none is held.

        Raises:
            ValueError: it is no fraction.
        """
        if not (fraction.is_finite() and 0 <= fraction <= 1):
            raise ValueError(f"fraction must be from 0 to 1, was {fraction}")
        return self._force.deleverage(account, symbol, fraction)

    def halt(self, leg: Leg, symbol: str, halted: bool) -> None:
        """Stop or resume a market: no order is taken, and none that rests is filled.

        Raises:
            Refusal: −1121, no such symbol is listed.
        """
        self.venue.market(leg, symbol)
        if halted:
            self.venue.halted.add((leg, symbol))
        else:
            self.venue.halted.discard((leg, symbol))

    def set_quote_price(self, dollars: Decimal) -> None:
        """Set what the quote coin is worth: the price of `USDCUSDT` is its inverse.

        Raises:
            ValueError: the market has no such price.
        """
        if self.venue.quote != DOLLAR:
            self.venue.list_market(dollar_market(self.venue.quote, dollars, self.venue.bar_ms))
