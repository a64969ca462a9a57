"""How long a bar is: the lengths that venues publish, from a minute to a day."""

from typing import Literal, get_args

Timeframe = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]
"""Length of a bar, as venues and ccxt spell it."""

TIMEFRAMES: tuple[Timeframe, ...] = get_args(Timeframe)

HOUR_MS = 3_600_000

_UNIT_MS = {"m": 60_000, "h": HOUR_MS, "d": 24 * HOUR_MS}


def bar_ms(timeframe: Timeframe) -> int:
    """Return the length of a bar (ms).

    >>> bar_ms("1m"), bar_ms("1h"), bar_ms("1d")
    (60000, 3600000, 86400000)
    """
    return int(timeframe[:-1]) * _UNIT_MS[timeframe[-1]]


def holds_settlements(timeframe: Timeframe) -> bool:
    """Say whether a bar can hold at most one settlement, at its open, so that its row can carry the rate.

    Venues settle on the hour; a bar of two hours or more may see several settlements, which then live in a
    table of their own (`market.settlements`).

    >>> holds_settlements("1h"), holds_settlements("2h")
    (True, False)
    """
    return bar_ms(timeframe) <= HOUR_MS
