"""What the quote coin is worth in dollars, by the market of another coin that stands for a dollar."""

from collections.abc import Container
from decimal import Decimal
from typing import Any

from carryflow.core.errors import MarketDataError

_OTHER_DOLLAR = {"USDT": "USDC", "USDC": "USDT"}
"""Coins of a dollar, and the one against which each is priced."""


def dollar_market(listed: Container[str], quote: str) -> str | None:
    """Return the spot market that tells what the quote coin is worth; None where none is listed.

    >>> dollar_market({"USDC/USDT"}, "USDT"), dollar_market({"USDC/USDT"}, "EUR")
    ('USDC/USDT', None)
    """
    other = _OTHER_DOLLAR.get(quote)
    return next((s for s in (f"{other}/{quote}", f"{quote}/{other}") if other and s in listed), None)


def quote_in_dollars(symbol: str, quote: str, book: dict[str, Any]) -> Decimal:
    """Return the worth of the quote coin at the mid of its market's book.

    >>> quote_in_dollars("USDC/USDT", "USDT", {"bids": [[1.24, 1]], "asks": [[1.26, 1]]})
    Decimal('0.8')

    Raises:
        MarketDataError: a side of the book is empty.
    """
    if not book["bids"] or not book["asks"]:
        raise MarketDataError(
            f"the order book of {symbol} is empty on one side; what {quote} is worth is unknown"
        )
    mid = (Decimal(str(book["bids"][0][0])) + Decimal(str(book["asks"][0][0]))) / 2
    return mid if symbol.startswith(quote) else 1 / mid
