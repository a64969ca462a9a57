"""The venue's front desk: what time it is, who has an account, and whether it is open."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

from aiohttp import web

from carryflow.core.errors import SettingsError
from carryflow.core.leg import Leg
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.faults import FaultBox
from carryflow.venues.simulated.pace import Pace
from carryflow.venues.simulated.refusals import under_maintenance
from carryflow.venues.simulated.signed.limits import RequestLimits
from carryflow.venues.simulated.signed.signing import Keyring
from carryflow.venues.simulated.trading.accounts import Income, VenueAccount, VenueTransfer
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import Side, Trade, VenueOrder
from carryflow.venues.simulated.trading.settings import TradingSettings


class TradingDesk:
    """Keep a trading floor in step with the clock, and know its clients' keys.

    Attributes:
        venue: the markets.
        floor: where orders are matched.
        settings: fees and limits.
        pace: the clock.
        faults: what is to go wrong.
        keyring: API keys.
        limits: who asks too often.
        maintained: whether the venue is closed for its upkeep.
        on_maintenance: who is told when it closes.
    """

    def __init__(
        self, venue: SimulatedVenue, settings: TradingSettings, pace: Pace, faults: FaultBox
    ) -> None:
        self.venue = venue
        self.settings = settings
        self.pace = pace
        self.faults = faults
        self.floor = TradingFloor(venue, settings)
        self.keyring = Keyring()
        self.limits = RequestLimits(settings)
        self.maintained = False
        self.on_maintenance: list[Callable[[], None]] = []

    def require_open(self) -> None:
        """Do nothing if the venue is open.

        Raises:
            Refusal: it is closed for its upkeep.
        """
        if self.maintained:
            raise under_maintenance()

    def catch_up(self) -> int:
        """Play all that has happened up to now, and return the venue's time (UTC ms)."""
        now_ms = self.pace.now_ms()
        if now_ms != self.venue.now_ms:
            self.floor.advance(now_ms)
        return now_ms

    def open_account(
        self, key: str, secret: str, spot: Mapping[str, Decimal], futures: Decimal, withdraw: bool
    ) -> None:
        """Give out a key, with this in its wallets.

        Raises:
            SettingsError: the key has been given out before.
        """
        if key in self.keyring:
            raise SettingsError("this API key has an account already; open it under another key")
        self.floor.open_account(key, spot, futures, withdraw=withdraw)
        self.keyring.add(key, secret)

    def account(self, key: str) -> VenueAccount:
        """Return a client's account."""
        return self.floor.account(key)

    def every_order(self, key: str) -> list[VenueOrder]:
        """Return copies of all orders that an account ever had, the oldest first."""
        orders = sorted(self.account(key).orders.values(), key=lambda order: order.order_id)
        return [replace(order, trades=list(order.trades)) for order in orders]

    def every_trade(self, key: str) -> list[Trade]:
        """Return all trades that an account ever had, the oldest first."""
        trades = self.account(key).trades
        return sorted((*trades["spot"], *trades["perp"]), key=lambda trade: trade.id)

    def every_income(self, key: str) -> list[Income]:
        """Return every change of an account's futures wallet, the oldest first."""
        return list(self.account(key).incomes)

    def every_transfer(self, key: str) -> list[VenueTransfer]:
        """Return every transfer between an account's wallets, the oldest first."""
        return list(self.account(key).transfers)

    def symbol(self, ticker: str) -> str:
        """Return the venue's name of a coin's markets."""
        return ticker + self.venue.quote

    def foreign_order(self, key: str, leg: Leg, ticker: str, side: Side, qty: Decimal) -> VenueOrder:
        """Trade on an account as its owner does on the venue's own page."""
        self.catch_up()
        return self.floor.trade_foreign(self.account(key), leg, self.symbol(ticker), side, qty)

    def deleverage(self, key: str, ticker: str, fraction: Decimal) -> None:
        """Close a part of a position against its owner's will, as auto-deleveraging does."""
        self.catch_up()
        self.floor.deleverage(self.account(key), self.symbol(ticker), fraction)

    def halt(self, leg: Leg, ticker: str, on: bool) -> None:
        """Take no orders in a market, or take them again."""
        self.catch_up()
        self.floor.halt(leg, self.symbol(ticker), on)

    def maintain(self, on: bool) -> None:
        """Close the venue for its upkeep, or open it again; streams are cut."""
        self.maintained = on
        if on:
            for told in self.on_maintenance:
                told()


DESK = web.AppKey("desk", TradingDesk)
