"""The market as a venue's public answers show it, asked for each time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Any

from carryflow.core.errors import MarketDataError, RejectedError, RetryableError
from carryflow.core.leg import Leg
from carryflow.execution.market import Book, Level, Mark
from carryflow.execution.ports import Clock
from carryflow.venues.budget import Priority, RequestBudget
from carryflow.venues.connection import VenueConnection, together
from carryflow.venues.settings import VenueSettings
from carryflow.venues.trading.accounts.known import ACCOUNTS
from carryflow.venues.trading.dispatch import Dispatch

_LEVELS = 100
_TOUCH = 5
_GRAIN = Decimal("1e-8")
_DOLLARS = {"USDT": ("USDC/USDT", True), "USDC": ("USDC/USDT", False)}
"""Market that tells what a quote coin is worth in dollars, and whether its price is the other way round."""


@asynccontextmanager
async def open_market_view(
    venue: VenueSettings,
    tickers: Sequence[str],
    quote: str,
    clock: Clock,
    budget: RequestBudget | None = None,
) -> "AsyncIterator[RestMarketView]":
    """Lend a view of a venue's market; `budget` is what its requests share with others of the venue.

    Raises:
        UnknownTickerError: the venue does not list both legs of a ticker.
        VenueError: it did not answer.
    """
    async with VenueConnection(venue, budget=budget) as connection:
        connection.budget.keep_time(lambda: clock.now_ms() / 1000, clock.sleep)
        connection.require_listed(tuple(tickers), quote)
        yield RestMarketView(connection, quote, clock)


class RestMarketView:
    """Ask for books and marks as they are wanted; a `MarketView`.

    What an answer shows was so when it was asked for at the earliest: that is its `seen_ms`.
    """

    def __init__(
        self,
        connection: VenueConnection,
        quote: str,
        clock: Clock,
        priority: Priority = Priority.QUESTION,
    ) -> None:
        """Ask over a connection; `priority` is how urgent that is where not all can be asked."""
        self._connection = connection
        self._priority = priority
        name = connection.settings.name
        self._dispatch = Dispatch(name, ACCOUNTS[name].codes)
        self._exchange = connection.exchange
        self._quote = quote
        self._clock = clock

    async def book(self, leg: Leg, ticker: str) -> Book:
        """Return the order book, in base coins.

        Raises:
            RetryableError: the venue did not answer.
            MarketDataError: a side is empty.
        """
        symbol = self._connection.symbol(leg, ticker, self._quote)
        counted = leg == "perp" and self._connection.dialect.sizes_in_contracts
        per_unit = _decimal(self._exchange.market(symbol)["contractSize"]) if counted else Decimal(1)
        seen_ms = self._clock.now_ms()
        told = await self._ask(self._exchange.fetch_order_book, symbol, _LEVELS)
        bids, asks = (_levels(told[side], per_unit) for side in ("bids", "asks"))
        if not bids or not asks:
            raise MarketDataError(f"the order book of {symbol} is empty on one side; look again later")
        return Book(leg, ticker, bids, asks, seen_ms)

    async def mark(self, ticker: str) -> Mark:
        """Return mark and funding.

        Raises:
            RetryableError: the venue did not answer, or told no mark.
        """
        symbol = self._connection.symbol("perp", ticker, self._quote)
        seen_ms = self._clock.now_ms()
        rate, told = await together(self._rate(symbol), self._mark(symbol))
        price = rate.get("markPrice") or told.get("markPrice")
        if price is None:
            raise RetryableError(
                f"{self._connection.settings.name} tells no mark of {symbol}; ask again later"
            )
        index = rate.get("indexPrice") or told.get("indexPrice")
        due = rate.get("fundingTimestamp")
        return Mark(
            ticker=ticker,
            price=_decimal(price),
            index=None if index is None else _decimal(index),
            funding_rate=None if rate.get("fundingRate") is None else _decimal(rate["fundingRate"]),
            next_funding_ms=None if due is None else int(due),
            seen_ms=seen_ms,
        )

    async def quote_price(self) -> Decimal | None:
        """Return what the quote coin is worth in the other dollar coin; None where no market tells.

        Raises:
            RetryableError: the venue did not answer.
        """
        symbol, inverted = _DOLLARS.get(self._quote, ("", False))
        if symbol not in self._exchange.markets:
            return None
        told = await self._ask(self._exchange.fetch_order_book, symbol, _TOUCH)
        if not told["bids"] or not told["asks"]:
            return None
        mid = (_decimal(told["bids"][0][0]) + _decimal(told["asks"][0][0])) / 2
        return (1 / mid if inverted else mid).quantize(_GRAIN)

    async def _rate(self, symbol: str) -> dict[str, Any]:
        """Return the funding that the venue predicts, with the mark where it tells both at once."""
        if not self._connection.dialect.predicts:
            return {}
        rate: dict[str, Any] = await self._ask(self._exchange.fetch_funding_rate, symbol)
        return rate

    async def _mark(self, symbol: str) -> dict[str, Any]:
        """Return the mark where it is not told with the funding."""
        if self._connection.dialect.marks_with_funding:
            return {}
        tells = self._exchange.fetch_mark_price if self._connection.has("fetchMarkPrice") else None
        mark: dict[str, Any] = await self._ask(tells or self._exchange.fetch_ticker, symbol)
        return mark

    async def _ask(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Ask once; what the venue refuses of a market that it lists may be otherwise the next time."""
        refusal: RejectedError
        try:
            return await self._dispatch.read(f"look at {args[0]}", partial(call, *args), self._priority)
        except RejectedError as error:
            refusal = error
        raise RetryableError(str(refusal))


def _levels(side: Sequence[Sequence[float]], per_unit: Decimal) -> tuple[Level, ...]:
    return tuple((_decimal(level[0]), _decimal(level[1]) * per_unit) for level in side)


def _decimal(number: Any) -> Decimal:
    """Return a float that was read from a short decimal as that decimal."""
    return Decimal(str(number))
