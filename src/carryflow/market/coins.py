"""The coins that the synthetic market knows, and what each looks like on a quiet day."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from math import floor, log10

from carryflow.core.errors import UnknownTickerError


@dataclass(frozen=True, slots=True)
class Coin:
    """Describe one synthetic coin.

    `volatility` is annual (0.5 = 50 %), `turnover` the quote value traded per hour on the spot leg,
    `spread_bp` the quoted spread of spot, `depth` the quote value resting within 10 bp of the mid on each
    side of spot. The perpetual trades six times as much, as on Binance in 2024.
    """

    price: float
    volatility: float
    turnover: float
    spread_bp: float
    depth: float


COINS = {
    "BTC": Coin(95_000.0, 0.50, 1.2e8, 0.1, 2.8e6),
    "ETH": Coin(3_400.0, 0.65, 8.0e7, 0.2, 1.5e6),
    "SOL": Coin(190.0, 0.85, 4.0e7, 0.8, 7.0e5),
    "XRP": Coin(2.3, 0.80, 4.0e7, 1.0, 6.0e5),
    "BNB": Coin(700.0, 0.55, 1.5e7, 1.0, 4.0e5),
    "DOGE": Coin(0.32, 0.95, 2.5e7, 1.5, 4.0e5),
}


def tick_size(price: float) -> float:
    """Return the price step of a market whose price is of this size: five significant digits after the first.

    >>> tick_size(95_000.0), tick_size(190.0), tick_size(0.32)
    (0.1, 0.001, 1e-06)
    """
    return float(f"1e{floor(log10(price)) - 5}")


def nearest_tickers(ticker: str, known: Iterable[str], most: int = 5) -> list[str]:
    """Return the known tickers that look most like this one, best first; the first few if none does.

    >>> nearest_tickers("BTX", ["BTC", "ETH", "SOL"])
    ['BTC']
    """
    names = sorted(known)
    return difflib.get_close_matches(ticker.upper(), names, n=most) or names[:most]


def require_known(tickers: Iterable[str], known: Iterable[str], where: str) -> None:
    """Do nothing if every ticker is known.

    Raises:
        UnknownTickerError: one is not; the message lists the nearest that are.
    """
    listed = set(known)
    for ticker in tickers:
        if ticker not in listed:
            near = ", ".join(nearest_tickers(ticker, listed)) or "nothing"
            raise UnknownTickerError(f"{where} does not list {ticker}; nearest: {near} (set data.tickers)")
