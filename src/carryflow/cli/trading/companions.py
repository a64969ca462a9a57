"""What goes on beside an engine while it trades, and ends with it."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING

from carryflow.cli.trading.pace import paced
from carryflow.core.errors import VenueError
from carryflow.execution.journal.records import Alert, Severity

if TYPE_CHECKING:
    from carryflow.cli.trading.announcer import Announcer
    from carryflow.cli.trading.session import Session

PAUSE_SECONDS = 1.0
"""Pause between two looks (seconds of the machine)."""

SILENT_PAUSES = 3
"""Pauses between reconciliations after which a venue that told nothing is called silent."""


async def serve_requests(session: "Session") -> None:
    """Do what persons ask of the running engine; while the venue does not answer it is tried again."""
    while True:
        for request in session.terms.place.requests():
            with suppress(VenueError):
                if request.ticker in session.terms.tickers:
                    await session.engine.resume(request.ticker, request.reason)
                request.file.unlink(missing_ok=True)
        await asyncio.sleep(PAUSE_SECONDS)


async def watch_silence(session: "Session", announcer: "Announcer") -> None:
    """Tell once that the venue does not say what there is any more, and once that it does again."""
    clock = session.clock
    settings = paced(session.terms.settings.execution, getattr(clock, "speed", 1.0))
    began_ms, silent = clock.now_ms(), False
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        told_ms = session.engine.status().reconciled_ms or began_ms
        seconds = (clock.now_ms() - told_ms) / 1000
        was, silent = silent, seconds > SILENT_PAUSES * settings.reconcile_seconds
        if silent and not was:
            words = f"the venue has not told for {seconds:.0f} s what there is; nothing is opened; look at it"
            _tell(session, announcer, Severity.CRITICAL, words)
        elif was and not silent:
            _tell(session, announcer, Severity.INFO, "the venue tells again what there is")


async def accompany(
    work: Awaitable[None], session: "Session", announcer: "Announcer", stop: asyncio.Event
) -> None:
    """Do something until it is over, and let the session end then; a person hears of its failure.

    Raises:
        Exception: as the work did.
    """
    try:
        await work
    except Exception as error:
        words = f"the engine stops: {type(error).__name__} {error}"
        _tell(session, announcer, Severity.CRITICAL, words)
        raise
    finally:
        stop.set()


def _tell(session: "Session", announcer: "Announcer", severity: Severity, words: str) -> None:
    alert = Alert(session.clock.now_ms(), severity, None, words)
    announcer.alarm(alert)
    session.journal.record_alert(alert)
