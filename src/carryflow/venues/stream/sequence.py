"""Gaps in the books of venues for which ccxt 4.5.84 does not look: Bybit and Deribit.

Both number the changes of a book. Neither sends a new snapshot but to a new subscription, so a gap ends the
connection, and with it the books that share it. Binance and OKX are looked after by ccxt.

Sources: Bybit V5 "Orderbook" (`u` grows by one with each message; 1 is a snapshot after a restart), Deribit
"book.{instrument_name}.{interval}" (`prev_change_id` is the `change_id` of the message before).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ccxt


class Change(NamedTuple):
    """Say which message of a book this is, and which one it follows; a snapshot follows none."""

    book: str
    number: int
    follows: int | None


def bybit_change(message: Mapping[str, Any]) -> Change:
    """Read the number of one of Bybit's order book messages."""
    number = int(message["data"]["u"])
    whole = message["type"] == "snapshot" or number == 1
    return Change(message["topic"], number, None if whole else number - 1)


def deribit_change(message: Mapping[str, Any]) -> Change:
    """Read the number of one of Deribit's order book messages."""
    params = message["params"]
    before = params["data"].get("prev_change_id")
    return Change(
        params["channel"], int(params["data"]["change_id"]), None if before is None else int(before)
    )


_NUMBERED: dict[str, Callable[[Mapping[str, Any]], Change]] = {
    "bybit": bybit_change,
    "deribit": deribit_change,
}


def guard_sequence(exchange: Any) -> None:
    """Let an exchange of ccxt.pro raise where a message of a book is missing; it is not connected yet."""
    read = _NUMBERED.get(exchange.id)
    if read is None:
        return
    handle: Callable[[Any, Mapping[str, Any]], Any] = exchange.handle_order_book
    last: dict[tuple[str, str], tuple[Any, int]] = {}

    def handle_in_sequence(client: Any, message: Mapping[str, Any]) -> Any:
        change = read(message)
        key = (client.url, change.book)
        known, number = last.get(key, (None, 0))
        if change.follows is not None and (known is not client or number != change.follows):
            last.pop(key, None)
            raise ccxt.InvalidNonce(
                f"{exchange.id}: message {change.number} of {change.book} follows {change.follows}, and the "
                f"one before was {number if known is client else 'of another connection'}"
            )
        last[key] = (client, change.number)
        return handle(client, message)

    exchange.handle_order_book = handle_in_sequence
