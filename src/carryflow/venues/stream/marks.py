"""Marks and funding as a venue streams them, or as it answers when it is asked."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from carryflow.core.errors import MarketDataError
from carryflow.execution.market import Mark


def streamed_mark(ticker: str, told: Mapping[str, Any], now_ms: int) -> Mark:
    """Return what one of Binance's mark price messages says, as ccxt hands it on in `info`.

    `r` and `T` are the rate that the running interval leads to so far, and when it settles: Binance,
    "Mark price stream".
    """
    info = told["info"]
    made_ms = told["timestamp"]
    due = info.get("T")
    return Mark(
        ticker=ticker,
        price=_stated(ticker, info.get("p")),
        index=_number(info.get("i")),
        funding_rate=_number(info.get("r")),
        next_funding_ms=int(due) if due else None,
        seen_ms=now_ms if made_ms is None else min(now_ms, int(made_ms)),
    )


def polled_mark(ticker: str, rate: Mapping[str, Any], seen_ms: int, *, predicts: bool) -> Mark:
    """Return what ccxt's answer for a funding rate says.

    Args:
        ticker: the coin.
        rate: ccxt's funding rate.
        seen_ms: when it was asked for (the engine's clock, UTC ms).
        predicts: whether its rate is the venue's prediction of the next settlement.

    """
    due = rate.get("fundingTimestamp")
    return Mark(
        ticker=ticker,
        price=_stated(ticker, rate.get("markPrice")),
        index=_number(rate.get("indexPrice")),
        funding_rate=_number(rate.get("fundingRate")) if predicts else None,
        next_funding_ms=int(due) if due else None,
        seen_ms=seen_ms,
    )


def _stated(ticker: str, word: Any) -> Decimal:
    number = _number(word)
    if number is None:
        raise MarketDataError(
            f"the venue names no mark price of {ticker}; nothing is valued without it: wait"
        )
    return number


def _number(word: Any) -> Decimal | None:
    return None if word is None or word == "" else Decimal(str(word))
