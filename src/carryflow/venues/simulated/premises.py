"""The exchange as it stands: its venue, its clock, what is to go wrong, and the sockets it answers on."""

import asyncio
import errno
import logging
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from carryflow.core.errors import SettingsError, VenueError
from carryflow.venues.simulated.control import control_app
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.faults import FaultBox
from carryflow.venues.simulated.pace import Pace
from carryflow.venues.simulated.routes import exchange_app
from carryflow.venues.simulated.signed.account_routes import add_account_routes
from carryflow.venues.simulated.signed.desk import TradingDesk
from carryflow.venues.simulated.signed.order_routes import add_order_routes
from carryflow.venues.simulated.streams.hub import StreamHub
from carryflow.venues.simulated.streams.routes import add_stream_routes
from carryflow.venues.simulated.tape import Tape
from carryflow.venues.simulated.trading.live_book import SLOT_MS
from carryflow.venues.simulated.trading.settings import TradingSettings

_DAY_MS = 86_400_000
_LONGEST_TICK_SECONDS = 0.05
_SHORTEST_TICK_SECONDS = 0.005
_FAST = 2.0
"""Speed from which the book's 100 ms pass more often than there are ticks."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Premises:
    """Hold one exchange; everything but reading the clock is done in the thread of its event loop.

    Attributes:
        venue: its markets.
        pace: its clock.
        faults: what is to go wrong.
        desk: its trading desk; None where trading is off.
    """

    def __init__(
        self, tape: Tape, trading: TradingSettings | None, start_ms: int | None, speed: float
    ) -> None:
        self.venue = SimulatedVenue(tape)
        if start_ms is None:
            start_ms = _last_day_ms(tape) if speed else tape.end_ms
        self.venue.now_ms = start_ms
        self.pace = Pace(start_ms, tape.end_ms, speed)
        self.faults = FaultBox()
        self.desk: TradingDesk | None = None
        if trading is not None:
            self.desk = TradingDesk(self.venue, trading, self.pace, self.faults)
        self._hub: StreamHub | None = None
        self._runners: list[web.AppRunner] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, host: str, port: int, control_port: int | None = None) -> tuple[str, str | None]:
        """Start answering; return the URL, and that of the control port.

        Raises:
            VenueError: a port is in use, or the address is not this machine's.
            SettingsError: a control port is wanted where others could reach it, or there is nothing to
                control.
        """
        if control_port is not None:
            _require_controllable(host, self.desk)
        app = exchange_app(self.venue, self.faults, self.pace, self.desk)
        if self.desk is not None:
            self._hub = StreamHub(self.desk.floor, self.faults, self.pace)
            self.desk.on_maintenance.append(self._hub.cut_all)
            add_order_routes(app)
            add_account_routes(app)
            add_stream_routes(app, self._hub)
            self._keep(self._hub.send_forever())
        if self.pace.speed:
            self._keep(self._tick_forever())
        try:
            url = await self._listen(app, host, port)
            if control_port is None or self.desk is None:
                return url, None
            return url, await self._listen(control_app(self), host, control_port)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop answering and free the ports; streams are cut."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._hub is not None:
            self._hub.cut_all()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    def set_clock(self, now_ms: int) -> None:
        """Play on, or back, to an instant (UTC ms), and tell those who listen."""
        before_ms = self.pace.now_ms()
        self.pace.set(now_ms)
        try:
            self.tick()
        except BaseException:
            self.pace.set(before_ms)
            raise

    def tick(self) -> None:
        """Bring the venue up to its clock, and tell those who listen what is new."""
        if self.desk is None:
            self.venue.now_ms = self.pace.now_ms()
            return
        now_ms = self.desk.catch_up()
        if self._hub is not None:
            self._hub.publish(now_ms)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the requests until the exchange closes; what breaks it is logged."""
        task = asyncio.create_task(work)
        task.add_done_callback(_log_breakdown)
        self._tasks.append(task)

    async def _tick_forever(self) -> None:
        """Tick whenever the book's next 100 ms begin, or as often as may be in a clock that runs fast."""
        shortest = _LONGEST_TICK_SECONDS if self.pace.speed > _FAST else _SHORTEST_TICK_SECONDS
        while True:
            left_ms = SLOT_MS - self.pace.now_ms() % SLOT_MS
            wait = min(self.pace.seconds(left_ms), _LONGEST_TICK_SECONDS)
            await asyncio.sleep(max(wait, shortest))
            self.tick()

    async def _listen(self, app: web.Application, host: str, port: int) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise VenueError(
                    f"port {port} on {host} is in use; choose another (-o exchange.port=0 takes any)"
                ) from error
            raise VenueError(
                f"cannot listen on {host}:{port}: {error.strerror}; set exchange.host"
            ) from error
        bound_host, bound_port = runner.addresses[0][:2]
        return f"http://{bound_host}:{bound_port}"


def _log_breakdown(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logging.getLogger(__name__).error("the simulated exchange stands still", exc_info=error)


def _last_day_ms(tape: Tape) -> int:
    """Return when the tape's last day begins, or its first bar closes."""
    first_ms = min(int(table["timestamp"].dt.epoch("ms")[0]) for table in tape.tables.values())
    return max(tape.end_ms - _DAY_MS, min(first_ms + tape.bar_ms, tape.end_ms))


def _require_controllable(host: str, desk: TradingDesk | None) -> None:
    if host not in _LOOPBACK:
        raise SettingsError(
            f"exchange.control_port asks for no password, and exchange.host={host} lets others reach it; "
            "set exchange.host=127.0.0.1, or leave the control port out"
        )
    if desk is None:
        raise SettingsError("exchange.control_port steers trading, which is off here; leave it out")
