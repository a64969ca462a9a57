"""Arithmetic that keeps every digit of money."""

from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

EXACT = Context(prec=40)
"""Enough digits for a price of 17 times a quantity of 12, summed up for years."""

CENT = Decimal("1e-8")
"""Smallest amount that the venue pays."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def exactly(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function reckon with 40 digits; Python's own context has 28."""

    @wraps(function)
    def inner(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with localcontext(EXACT):
            return function(*args, **kwargs)

    return inner


def paid(amount: Decimal) -> Decimal:
    """Return an amount as the venue pays it: to 8 decimals, half to even.

    >>> paid(Decimal("0.123456785"))
    Decimal('0.12345678')
    """
    return amount.quantize(CENT, ROUND_HALF_EVEN, EXACT)


def charged(commission: Decimal) -> Decimal:
    """Return a commission as the venue takes it: to 8 decimals and never more, so that a lock pays it.

    >>> charged(Decimal("0.123456789"))
    Decimal('0.12345678')
    """
    return commission.quantize(CENT, ROUND_DOWN, EXACT)
