"""Start the simulated exchange: beside the caller, or in the foreground."""

import asyncio
import errno
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import Field

from carryflow.core.errors import VenueError
from carryflow.core.section import Section
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.simulated.faults import Fault, FaultBox, Injected
from carryflow.venues.simulated.tape import Tape, load_tape, synthetic_tape

if TYPE_CHECKING:
    from aiohttp import web

    from carryflow.venues.simulated.exchange import SimulatedVenue


class ExchangeSettings(Section):
    """Say what the simulated exchange plays, and where it listens."""

    host: str = Field("127.0.0.1", min_length=1, description="address to bind")
    port: int = Field(8700, ge=0, le=65535, description="port to bind; 0 takes any free one")
    tape: Path | None = Field(
        None, description="folder of recorded hours to play; empty: the synthetic market"
    )
    synthetic: SyntheticSettings = SyntheticSettings()


def open_tape(
    settings: ExchangeSettings,
    tickers: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Tape:
    """Return the tape that the settings name; `start` and `end` cut recorded hours only.

    Raises:
        MarketDataError: the folder holds no such hours.
        UnknownTickerError: a ticker is not on the tape.
    """
    if settings.tape is not None:
        return load_tape(settings.tape, tickers, start, end)
    return synthetic_tape(settings.synthetic, tickers)


class RunningExchange:
    """Hold a simulated exchange that answers in a thread of its own; a context manager that stops it."""

    def __init__(self, tape: Tape, host: str, port: int) -> None:
        from carryflow.venues.simulated.exchange import SimulatedVenue

        self._venue: SimulatedVenue = SimulatedVenue(tape)
        self._faults = FaultBox()
        self._loop = asyncio.new_event_loop()
        try:
            self._runner: web.AppRunner = self._loop.run_until_complete(
                _listen(self._venue, self._faults, host, port)
            )
        except BaseException:
            self._loop.close()
            raise
        self.url = _url(self._runner)
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated-exchange", daemon=True)
        self._thread.start()

    @property
    def now_ms(self) -> int:
        """Return the venue's clock, milliseconds since 1970."""
        return self._venue.now_ms

    def set_clock(self, now_ms: int) -> None:
        """Set the venue's clock: it plays the tape up to this instant, milliseconds since 1970."""
        self._venue.now_ms = now_ms

    @property
    def requests(self) -> Counter[str]:
        """Return how many requests each path has had so far, whatever the answer was."""
        return self._faults.requests

    def inject(
        self, fault: Fault, times: int = 1, path: str = "", *, wait_seconds: int = 1, skew_ms: int = 120_000
    ) -> None:
        """Make the next `times` requests whose path contains `path` go wrong; faults take turns as injected.

        `wait_seconds` is what a refusal for too many requests, or a ban, says in Retry-After; `skew_ms` is
        added to the clock that a skewed venue tells.
        """
        self._faults.add(Injected(fault, times, path, wait_seconds, skew_ms))

    def stop(self) -> None:
        """Stop answering and free the port; a second call does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def __enter__(self) -> Self:
        """Return the running exchange."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the exchange."""
        self.stop()


def start_exchange(tape: Tape, host: str = "127.0.0.1", port: int = 0) -> RunningExchange:
    """Start answering for a tape in a thread beside the caller; `port` 0 takes any free one.

    Raises:
        VenueError: the port is in use, or the address is not this machine's.
    """
    return RunningExchange(tape, host, port)


def serve_exchange(tape: Tape, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Answer for a tape until interrupted; `announce` is told the URL once the exchange listens.

    Raises:
        VenueError: the port is in use, or the address is not this machine's.
    """
    from carryflow.venues.simulated.exchange import SimulatedVenue

    async def until_interrupted() -> None:
        runner = await _listen(SimulatedVenue(tape), FaultBox(), host, port)
        announce(_url(runner))
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    asyncio.run(until_interrupted())


async def _listen(venue: "SimulatedVenue", faults: FaultBox, host: str, port: int) -> "web.AppRunner":
    from aiohttp import web

    from carryflow.venues.simulated.routes import exchange_app

    runner = web.AppRunner(exchange_app(venue, faults), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        if error.errno == errno.EADDRINUSE:
            raise VenueError(
                f"port {port} on {host} is in use; choose another (-o exchange.port=0 takes any)"
            ) from error
        raise VenueError(f"cannot listen on {host}:{port}: {error.strerror}; set exchange.host") from error
    return runner


def _url(runner: "web.AppRunner") -> str:
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"
