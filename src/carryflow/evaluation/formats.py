"""How the report writes numbers: true minus signs, units that are said, a dash where there is no number."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from carryflow.evaluation.metrics import Sharpe, Split

NARROW = "\u202f"
NONE = "–"


def format_percent(value: float, digits: int = 2, *, signed: bool = True) -> str:
    """Write a fraction as a percentage; what rounds to zero has no sign.

    >>> format_percent(-0.01234), format_percent(0.5, 0, signed=False), format_percent(-1e-9)
    ('−1.23\u202f%', '50\u202f%', '0.00\u202f%')
    """
    return f"{_signed(100.0 * value, digits, signed=signed)}{NARROW}%"


def format_points(value: float, digits: int = 2) -> str:
    """Write a difference of two fractions in percentage points.

    >>> format_points(0.0123)
    '+1.23\u202fpp'
    """
    return f"{_signed(100.0 * value, digits, signed=True)}{NARROW}pp"


def format_money(value: float) -> str:
    """Write an amount of quote currency, without sign for what rounds to zero.

    >>> format_money(-1234.5), format_money(300_000.0)
    ('−1\u202f234', '300\u202f000')
    """
    return _signed(value, 0, signed=False).replace(",", NARROW)


def format_sharpe(sharpe: Sharpe | None) -> str:
    """Write a Sharpe ratio with its standard error.

    >>> format_sharpe(Sharpe(ratio=-1.234, error=0.5, periods=6)), format_sharpe(None)
    ('−1.2 ± 0.5', '–')
    """
    return NONE if sharpe is None else f"{_signed(sharpe.ratio, 1, signed=False)} ± {sharpe.error:.1f}"


def format_hour(at_ms: int) -> str:
    """Write an instant to the minute.

    >>> format_hour(1_700_000_000_000)
    '2023-11-14 22:13 UTC'
    """
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def format_day(at_ms: int) -> str:
    """Write the day of an instant.

    >>> format_day(1_700_000_000_000)
    '14 Nov 2023'
    """
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%-d %b %Y}"


def costs(split: Split) -> float:
    """Add up what trading and holding cost (quote, negative)."""
    return split.fees + split.slippage + split.borrow + split.liquidation


def _signed(value: float, digits: int, *, signed: bool) -> str:
    """Write a number with a true minus sign and, if asked, a plus."""
    text = f"{abs(value):,.{digits}f}"
    if float(text.replace(",", "")) == 0.0:
        return text
    return ("−" if value < 0.0 else "+" if signed else "") + text


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "percent": format_percent,
        "points": format_points,
        "money": format_money,
        "sharpe": format_sharpe,
        "hour": format_hour,
        "day": format_day,
        "costs": costs,
    }
)
"""The formats by the names under which a template uses them."""
