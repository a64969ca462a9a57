"""The market as a feed last saw it, exact, for whoever prices orders."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from carryflow.core.errors import MarketDataError, RetryableError, UnknownTickerError
from carryflow.core.leg import Leg
from carryflow.execution.market import Book, Level, Mark
from carryflow.venues.stream.channel import Channel

_LEVELS_SHOWN = 50
"""Levels a side that are made exact: what an order within any allowed price band walks."""


class FeedView:
    """Show books, marks and the price of the quote coin out of a feed's memory; a `MarketView`."""

    def __init__(
        self,
        books: Mapping[tuple[Leg, str], Channel],
        marks: Mapping[str, Channel],
        quote: Channel | None,
        contract_sizes: Mapping[tuple[Leg, str], Decimal],
    ) -> None:
        """Look at these channels; `contract_sizes` are the base coins that a size of one stands for."""
        self._books = books
        self._marks = marks
        self._quote = quote
        self._sizes = contract_sizes
        self._made: dict[tuple[Leg, str], tuple[int, Book]] = {}

    async def book(self, leg: Leg, ticker: str) -> Book:
        """Return the order book.

        Raises:
            RetryableError: nothing is known of it at the moment.
            MarketDataError: a side is empty.
            UnknownTickerError: the feed does not watch it.
        """
        channel = self._watched(self._books.get((leg, ticker)), ticker)
        known = channel.known()
        made = self._made.get((leg, ticker))
        if made is not None and made[0] == channel.updates:
            return made[1]
        if not known["bids"] or not known["asks"]:
            raise MarketDataError(
                f"the order book of {ticker} {leg} is empty on one side; nothing can be priced on it: wait"
            )
        size = self._sizes[leg, ticker]
        book = Book(leg, ticker, _exact(known["bids"], size), _exact(known["asks"], size), _seen(channel))
        self._made[leg, ticker] = (channel.updates, book)
        return book

    async def mark(self, ticker: str) -> Mark:
        """Return mark and funding.

        Raises:
            RetryableError: nothing is known of it at the moment.
            UnknownTickerError: the feed does not watch it.
        """
        mark: Mark = self._watched(self._marks.get(ticker), ticker).known()
        return mark

    async def quote_price(self) -> Decimal | None:
        """Return what the quote coin is worth in dollars; None where the venue has no market that tells.

        Raises:
            RetryableError: there is one, and nothing is known of it at the moment.
        """
        if self._quote is None:
            return None
        price: Decimal = self._quote.known()
        return price

    @staticmethod
    def _watched(channel: Channel | None, ticker: str) -> Channel:
        if channel is None:
            raise UnknownTickerError(f"the feed does not watch {ticker}; open it with this ticker")
        return channel


def _seen(channel: Channel) -> int:
    if channel.seen_ms is None:
        raise RetryableError(f"the feed has not heard of {channel.name} yet; ask again shortly")
    return channel.seen_ms


def _exact(side: Any, size: Decimal) -> tuple[Level, ...]:
    """Return ccxt's levels, floats read from short decimal words, as these words, sizes in base coins."""
    if size == 1:
        return tuple([(Decimal(str(level[0])), Decimal(str(level[1]))) for level in side[:_LEVELS_SHOWN]])
    return tuple([(Decimal(str(level[0])), Decimal(str(level[1])) * size) for level in side[:_LEVELS_SHOWN]])
