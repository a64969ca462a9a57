"""What went wrong with a market, in a feed's words."""

import asyncio

import ccxt

from carryflow.venues.credentials import Credentials, scrub
from carryflow.venues.stream.health import StreamState


def diagnosis(error: Exception, credentials: Credentials | None) -> tuple[StreamState, str]:
    """Return what an error makes of a market, and the error in one line without keys."""
    words = scrub(f"{type(error).__name__} {' '.join(str(error).split())}", credentials)[:200]
    gap = isinstance(error, ccxt.InvalidNonce)
    return StreamState.RESYNCING if gap else StreamState.RECONNECTING, words


def is_cancelled() -> bool:
    """Say whether it is the running task that is cancelled, and not a future that it waited for.

    ccxt cancels what waits for a connection that it closes.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
