"""Send one request of an account, and raise what a failure means in our words, without secrets."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import localcontext
from typing import Any, TypeVar

from carryflow.core.errors import AmbiguousError, CarryflowError
from carryflow.venues.budget import Errand, Priority, on_errand
from carryflow.venues.credentials import Credentials, scrub
from carryflow.venues.trading.accounts.account import Codes
from carryflow.venues.trading.verdicts import is_gone, verdict

Answer = TypeVar("Answer")

_SAID = 300
"""Most characters of a venue's own words in a message."""


class Dispatch:
    """Ask one venue, once for each call; whoever calls decides whether to ask again."""

    def __init__(self, name: str, codes: Codes, credentials: Credentials | None = None) -> None:
        self._name = name
        self._codes = codes
        self._credentials = credentials

    async def read(
        self, words: str, ask: Callable[[], Awaitable[Answer]], priority: Priority = Priority.QUESTION
    ) -> Answer:
        """Ask for something that changes nothing, or that may be said twice.

        Raises:
            RetryableError: no answer came.
            RejectedError: the venue refused.
        """
        answer: Answer = await self._carry_out(words, ask, Errand(priority), changes=False)
        return answer

    async def find(
        self,
        words: str,
        ask: Callable[[], Awaitable[Answer | None]],
        priority: Priority = Priority.URGENT,
    ) -> Answer | None:
        """Ask for something that may not exist; None if the venue says so."""
        errand = Errand(priority)
        answer: Answer | None = await self._carry_out(words, ask, errand, changes=False, gone=True)
        return answer

    async def change(self, words: str, ask: Callable[[], Awaitable[Answer]], errand: Errand) -> Answer:
        """Ask for something that changes the account; an answer that cannot be read tells nothing of it.

        Raises:
            AmbiguousError: it may have happened.
            RetryableError: it did not happen.
            RejectedError: it was refused.
        """
        answer: Answer = await self._carry_out(words, ask, errand, changes=True)
        return answer

    async def end(self, words: str, ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Ask to end an order; None if the venue says that none is open."""
        errand = Errand(Priority.URGENT)
        answer: Answer | None = await self._carry_out(words, ask, errand, changes=True, gone=True)
        return answer

    async def _carry_out(
        self,
        words: str,
        ask: Callable[[], Awaitable[Any]],
        errand: Errand,
        *,
        changes: bool,
        gone: bool = False,
    ) -> Any:
        """Ask, and keep nothing of ccxt's own error: not even as its cause, since it may hold secrets."""
        failure: CarryflowError
        with on_errand(errand), localcontext():  # ccxt changes how decimals are rounded
            try:
                return await ask()
            except asyncio.CancelledError:
                if not (changes and errand.sends):
                    raise
                failure = AmbiguousError(
                    f"{self._name}: nobody waited for the answer after it was asked to {words}; ask before "
                    "sending again"
                )
            except Exception as error:
                if gone and is_gone(error, errand, self._codes):
                    return None
                said = scrub(" ".join(str(error).split()), self._credentials)[:_SAID]
                cause = f"{self._name}: could not {words}: {type(error).__name__} {said}"
                failure = verdict(error, errand, self._codes, cause, changes=changes)
        raise failure
