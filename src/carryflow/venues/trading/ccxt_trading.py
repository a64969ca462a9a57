"""Trade at a venue through ccxt's unmodified class, spot and linear perpetuals on one account.

An order's client id is its only name here: it is sent once, and never again by another name. Quantities and
prices go out as the decimals they are, and come back as the venue's own words: the exchange object hands
numbers on unread.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from functools import partial

from carryflow.core.errors import RetryableError
from carryflow.core.instrument import Instrument
from carryflow.core.leg import Leg
from carryflow.execution.orders import (
    Balances,
    Fill,
    FundingPayment,
    KeyPermissions,
    OrderReport,
    OrderRequest,
    Position,
    Side,
    TransferReport,
    Wallet,
)
from carryflow.execution.ports import Clock
from carryflow.venues.answers import MinuteCount
from carryflow.venues.budget import Errand, Priority, RequestBudget
from carryflow.venues.clock import MachineClock, VenueClock
from carryflow.venues.connection import VenueConnection, together
from carryflow.venues.credentials import Credentials
from carryflow.venues.dialects import DIALECTS
from carryflow.venues.settings import VenueSettings
from carryflow.venues.trading.accounts.account import Entry, payment_name, plain
from carryflow.venues.trading.accounts.known import ACCOUNTS
from carryflow.venues.trading.dispatch import Dispatch
from carryflow.venues.trading.histories import whole_range
from carryflow.venues.trading.order_names import OrderNames
from carryflow.venues.trading.readings import acknowledged, happened, read_order, read_trade
from carryflow.venues.trading.traded_markets import TradedMarket, TradedMarkets

_APART_MS = 60_000
"""How far the venue's clock may be ahead of ours, so that what has just happened there is not cut off."""


@asynccontextmanager
async def open_trading(
    venue: VenueSettings,
    tickers: Sequence[str],
    quote: str,
    credentials: Credentials,
    *,
    sandbox: bool,
    clock: Clock | None = None,
) -> "AsyncIterator[CcxtTradingVenue]":
    """Lend a venue to trade these tickers at, with its markets loaded and the account looked at.

    Args:
        venue: which one, and how patiently.
        tickers: coins of which both legs must be listed.
        quote: coin that prices are in.
        credentials: the key.
        sandbox: trade on the venue's test network. The simulated exchange is one by itself.
        clock: the time to sign with; by default this machine's, or the simulated exchange's.

    Raises:
        SettingsError: the account is not set as the engine needs it, or the venue has no address.
        UnknownTickerError: the venue does not list both legs of a ticker.
        VenueError: it did not answer, or refused the key.
    """
    account_of = ACCOUNTS[venue.name]

    places = venue.requests_in_flight
    connection = VenueConnection(
        venue,
        budget=RequestBudget(places, reserve=min(places - 1, max(1, places // 4))),
        prepare=account_of.enter_sandbox if sandbox else None,
        minute=MinuteCount(DIALECTS[venue.name].weights_per_minute),
    )
    async with connection:
        credentials.sign_in(connection.exchange)  # not before: with a key, ccxt loads wallets' lists as well
        connection.require_listed(tuple(tickers), quote)
        if clock is None:
            clock = await VenueClock.of(connection) if venue.name == "simulated" else MachineClock()
        trading = CcxtTradingVenue(connection, tickers, quote, credentials, clock)
        await trading.require_usable()
        async with trading.order_sockets():
            yield trading


class CcxtTradingVenue:
    """Trade through one connection; a `TradingVenue`.

    Attributes:
        clock: the time that requests are signed with.
        connection: the connection; its budget is what all requests of the account share.
    """

    def __init__(
        self,
        connection: VenueConnection,
        tickers: Sequence[str],
        quote: str,
        credentials: Credentials,
        clock: Clock,
    ) -> None:
        self.connection = connection
        self.clock = clock
        self._quote = quote
        self._exchange = connection.exchange
        self._markets = TradedMarkets(connection, tickers, quote)
        self._names = OrderNames()
        self._exchange.number = str
        # aiohttp would send a GET or a DELETE again by itself when its connection breaks: Deribit's orders
        # are GETs
        self._exchange.session._retry_connection = False
        self._exchange.milliseconds = clock.now_ms
        account_of = ACCOUNTS[connection.settings.name]
        self._account = account_of(self._exchange, quote, clock)
        self._dispatch = Dispatch(connection.settings.name, account_of.codes, credentials)
        connection.budget.keep_time(lambda: clock.now_ms() / 1000, clock.sleep)

    @property
    def quote(self) -> str:
        """Name the quote coin."""
        return self._quote

    def instrument(self, leg: Leg, ticker: str) -> Instrument:
        """Return the contract, with lot, tick and minima.

        Raises:
            UnknownTickerError: it is not one of the tickers that the venue was opened for.
        """
        return self._markets[leg, ticker].instrument

    async def require_usable(self) -> None:
        """Do nothing if the account is set as the engine needs it.

        Raises:
            SettingsError: it is not; the message says what to change.
            VenueError: the venue did not answer, or refused the key.
        """
        await self._dispatch.read("look at the account", self._account.require_usable)

    def order_sockets(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which orders go over the venue's websockets, if it takes them there."""
        return self._account.order_sockets(self.connection)

    async def submit(self, order: OrderRequest, valid_until_ms: int) -> OrderReport:
        """Send an order in one request, which the venue refuses after `valid_until_ms`."""
        market = self._markets[order.leg, order.ticker]
        market.require_sendable(order)
        words = f"send {order.side} {plain(order.qty)} {market.symbol} at {plain(order.price)}"
        if valid_until_ms <= self.clock.now_ms():
            raise RetryableError(f"could not {words}: its time was over before it was sent; price it anew")

        async def send() -> OrderReport:
            amount = order.qty / market.per_unit
            told = await self._account.send(order, market.symbol, amount, valid_until_ms)
            if told["amount"] is None or told["side"] is None:
                self._names.learn(market.symbol, str(told["id"]), order.client_id)
                return acknowledged(told, order, self.clock.now_ms())
            return self._report(told, market, order.client_id)

        closes = order.reduce_only or (order.leg == "spot" and order.side is Side.SELL)
        errand = Errand(Priority.URGENT if closes else Priority.ORDER, valid_until_ms)
        return await self._dispatch.change(words, send, errand)

    async def find(self, leg: Leg, ticker: str, client_id: str) -> OrderReport | None:
        """Return an order by our name for it; None if the venue says that there is none."""
        market = self._markets[leg, ticker]

        async def ask() -> OrderReport | None:
            found = await self._account.find(market.symbol, client_id)
            return None if found is None else self._report(found, market, client_id)

        return await self._dispatch.find(f"ask for order {client_id} in {market.symbol}", ask)

    async def cancel(self, leg: Leg, ticker: str, client_id: str) -> OrderReport | None:
        """Cancel an order, and return what became of it; None if the venue says that there is none."""
        market = self._markets[leg, ticker]

        async def ask() -> OrderReport:
            return self._report(await self._account.cancel(market.symbol, client_id), market, client_id)

        ended = await self._dispatch.end(f"cancel order {client_id} in {market.symbol}", ask)
        return await self.find(leg, ticker, client_id) if ended is None else ended

    async def cancel_all(self, leg: Leg, ticker: str) -> None:
        """Cancel every open order of a market, whoever sent it."""
        symbol = self._markets[leg, ticker].symbol
        await self._dispatch.end(f"cancel all orders in {symbol}", lambda: self._account.cancel_all(symbol))

    async def open_orders(self) -> Sequence[OrderReport]:
        """Return every open order in markets of the quote coin, foreign ones, too."""
        reports = []
        for order in await self._dispatch.read("ask for the open orders", self._account.open_orders):
            market = self._markets.by_symbol(order["symbol"])
            if market is not None:
                reports.append(self._report(order, market, self._account.client_id(order["clientOrderId"])))
        return reports

    async def fills(self, leg: Leg, ticker: str, since_ms: int) -> Sequence[Fill]:
        """Return all trades of the account in one market since an instant, the oldest first."""
        market = self._markets[leg, ticker]

        async def page(since: int, until: int, most: int) -> Sequence[Entry]:
            ask = partial(self._account.trades, market.symbol, since, until, most)
            return await self._dispatch.read(f"ask for the trades in {market.symbol}", ask)

        told = await whole_range(
            page,
            self._account.trade_pages[leg],
            (since_ms, self.clock.now_ms() + _APART_MS),
            at=lambda trade: int(trade["timestamp"]),
            name=lambda trade: str(trade["id"]),
        )
        trades = [trade for trade in told if self._account.is_trade(trade)]
        names = await self._names_behind(market, trades)
        fills = (
            read_trade(trade, leg, market.instrument, market.per_unit, names[str(trade["order"])])
            for trade in trades
        )
        return sorted(fills, key=happened)

    async def positions(self) -> Sequence[Position]:
        """Return the perpetual positions that are not flat."""
        return await self._dispatch.read("ask for the positions", self._account.positions)

    async def balances(self) -> Balances:
        """Return what is in the wallets."""
        return await self._dispatch.read("ask for the balances", self._account.balances)

    async def funding_payments(self, since_ms: int) -> Sequence[FundingPayment]:
        """Return funding paid and received since an instant, the oldest first."""

        async def page(since: int, until: int, most: int) -> Sequence[Entry]:
            ask = partial(self._account.payments, since, until, most)
            return await self._dispatch.read("ask for funding payments", ask)

        told = await whole_range(
            page,
            self._account.payment_pages,
            (since_ms, self.clock.now_ms() + _APART_MS),
            at=lambda entry: int(entry["timestamp"]),
            name=payment_name,
        )
        found = (payment for entry in told if (payment := self._account.payment(entry)) is not None)
        return sorted(found, key=lambda payment: (payment.ts_ms, payment.payment_id))

    async def transfer(self, amount: Decimal, to: Wallet) -> TransferReport:
        """Move so much (> 0) of the quote coin from the other wallet to this one."""
        words = f"move {plain(amount)} {self._quote} to the {to} wallet"
        errand = Errand(Priority.URGENT if to is Wallet.FUTURES else Priority.ORDER)  # margin comes first
        return await self._dispatch.change(words, lambda: self._account.transfer(amount, to), errand)

    async def transfers(self, since_ms: int) -> Sequence[TransferReport]:
        """Return transfers between the two wallets since an instant, the oldest first."""
        return await self._dispatch.read("ask for transfers", lambda: self._account.transfers(since_ms))

    async def now_ms(self) -> int:
        """Return the venue's clock."""
        return int(await self._dispatch.read("ask for the time", self._exchange.fetch_time))

    async def permissions(self) -> KeyPermissions | None:
        """Return what our key may do; None where the venue does not tell."""
        return await self._dispatch.read("ask what the key may do", self._account.permissions)

    async def arm_dead_man(self, ticker: str, seconds: float) -> bool:
        """Let the venue cancel the ticker's perpetual orders unless this is called again."""
        symbol = self._markets["perp", ticker].symbol
        ask = partial(self._account.arm_dead_man, symbol, round(seconds * 1000))
        return await self._dispatch.read(f"set the countdown of {symbol}", ask, Priority.URGENT)

    def _report(self, order: Entry, market: TradedMarket, client_id: str | None) -> OrderReport:
        self._names.learn(market.symbol, str(order["id"]), client_id)
        return read_order(order, market.leg, market.instrument, market.per_unit, client_id)

    async def _names_behind(self, market: TradedMarket, trades: Sequence[Entry]) -> dict[str, str | None]:
        """Return our names for the orders behind trades, by the venue's; None for those that are not ours.

        Where trades tell no name, each order that is not known yet is asked for once. One that the venue
        finds no more has none, and is asked for again the next time.
        """
        account, symbol = self._account, market.symbol
        name_of = account.name_of
        if name_of is None:
            return {str(trade["order"]): account.client_id(account.order_name(trade)) for trade in trades}
        numbers = {str(trade["order"]) for trade in trades}
        names = self._names.known(symbol, numbers)

        async def learn(number: str) -> None:
            async def ask() -> tuple[str | None]:
                return (await name_of(symbol, number),)

            told = await self._dispatch.find(f"ask for order {number} in {symbol}", ask, Priority.QUESTION)
            names[number] = None if told is None else account.client_id(told[0])
            if told is not None:
                self._names.learn(symbol, number, names[number])

        await together(*(learn(number) for number in sorted(numbers - names.keys())))
        return names
