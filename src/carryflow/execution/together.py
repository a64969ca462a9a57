"""Work that is done at once, and to its end: nothing goes on behind the back of whoever has waited for it."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def all_of(works: Iterable[Awaitable[Result]]) -> list[Result]:
    """Wait until every one of these has ended, and return their results in order.

    Raises:
        BaseException: the first that one of them has raised, once the others have ended, too.
    """
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
