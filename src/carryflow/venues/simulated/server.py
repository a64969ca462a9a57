"""Start the simulated exchange: beside the caller, or in the foreground."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from carryflow.core.errors import VenueError
from carryflow.core.leg import Leg
from carryflow.venues.simulated.faults import Fault, FaultBox, Injected
from carryflow.venues.simulated.tape import Tape
from carryflow.venues.simulated.trading.accounts import Income, VenueTransfer
from carryflow.venues.simulated.trading.orders import Side, Trade, VenueOrder
from carryflow.venues.simulated.trading.settings import TradingSettings

if TYPE_CHECKING:
    from carryflow.venues.simulated.signed.desk import TradingDesk

Result = TypeVar("Result")


class RunningExchange:
    """Hold a simulated exchange that answers in a thread of its own; a context manager that stops it.

    What is asked of it here is done in that thread, between two requests.
    """

    def __init__(
        self,
        tape: Tape,
        host: str,
        port: int,
        *,
        trading: TradingSettings | None = None,
        start_ms: int | None = None,
        speed: float = 0.0,
        control_port: int | None = None,
    ) -> None:
        from carryflow.venues.simulated.premises import Premises

        self._premises = Premises(tape, trading, start_ms, speed)
        self._loop = asyncio.new_event_loop()
        try:
            self.url, self.control_url = self._loop.run_until_complete(
                self._premises.open(host, port, control_port)
            )
        except BaseException:
            self._loop.close()
            raise
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated-exchange", daemon=True)
        self._thread.start()

    @property
    def now_ms(self) -> int:
        """Return the venue's clock, milliseconds since 1970."""
        return self._premises.pace.now_ms()

    @property
    def speed(self) -> float:
        """Return the seconds of the venue's clock in one of the machine's; 0: it stands until it is set."""
        return self._premises.pace.speed

    def set_clock(self, now_ms: int) -> None:
        """Set the venue's clock: it plays the tape up to this instant, milliseconds since 1970.

        Raises:
            VenueError: it would go back after somebody has traded.
        """
        self._do(lambda: self._premises.set_clock(now_ms))

    def step(self, ms: int) -> None:
        """Let so much of the venue's time pass at once."""
        self._do(lambda: self._premises.set_clock(self._premises.pace.now_ms() + ms))

    @property
    def requests(self) -> Counter[str]:
        """Return how many requests each path has had so far, whatever the answer was."""
        return self._faults.requests

    @property
    def faults_happened(self) -> Counter[Fault]:
        """Return how often each fault has happened so far."""
        return self._faults.happened

    def inject(
        self,
        fault: Fault,
        times: int = 1,
        path: str = "",
        *,
        method: str = "",
        wait_seconds: int = 1,
        skew_ms: int = 120_000,
        delay_seconds: float = 0.0,
        fraction: float = 0.0,
        late_ms: int = 0,
        code: int = -2010,
        words: str = "",
    ) -> None:
        """Make the next `times` requests of these path and method go wrong; faults take turns as injected.

        See `Injected` for what the numbers mean.
        """
        self._faults.add(
            Injected(
                fault,
                times,
                path,
                wait_seconds,
                skew_ms,
                method,
                delay_seconds,
                fraction,
                late_ms,
                code,
                words,
            )
        )

    def clear_faults(self) -> None:
        """Forget the faults that are still due."""
        self._faults.clear()

    def open_account(
        self, key: str, secret: str, spot: Mapping[str, Decimal], futures: Decimal, withdraw: bool = False
    ) -> None:
        """Give out an API key, with coins in the spot wallet and quote in that of the futures.

        Raises:
            SettingsError: the key has been given out before.
        """
        self._do(lambda: self._desk.open_account(key, secret, spot, futures, withdraw))

    def floor_statement(self, key: str) -> dict[str, Any]:
        """Return all that an account has and has paid, to the last unit."""
        return self._do(lambda: self._desk.floor.statement(self._desk.account(key)))

    def orders(self, key: str) -> list[VenueOrder]:
        """Return copies of all orders that an account ever had, the oldest first."""
        return self._do(lambda: self._desk.every_order(key))

    def trades(self, key: str) -> list[Trade]:
        """Return all trades that an account ever had, the oldest first."""
        return self._do(lambda: self._desk.every_trade(key))

    def incomes(self, key: str) -> list[Income]:
        """Return every change of an account's futures wallet, the oldest first."""
        return self._do(lambda: self._desk.every_income(key))

    def transfers(self, key: str) -> list[VenueTransfer]:
        """Return every transfer between an account's wallets, the oldest first."""
        return self._do(lambda: self._desk.every_transfer(key))

    def foreign_order(self, key: str, leg: Leg, ticker: str, side: Side | str, qty: Decimal) -> VenueOrder:
        """Trade on an account as its owner does by hand: at the market.

        Raises:
            Refusal: the venue does not want to.
        """
        return self._do(lambda: self._desk.foreign_order(key, leg, ticker, Side(side.upper()), qty))

    def deleverage(self, key: str, ticker: str, fraction: Decimal | float) -> None:
        """Close a part of a position (0 to 1) against its owner's will, as auto-deleveraging does."""
        self._do(lambda: self._desk.deleverage(key, ticker, Decimal(str(fraction))))

    def halt(self, leg: Leg, ticker: str, on: bool = True) -> None:
        """Take no orders in a market, or take them again."""
        self._do(lambda: self._desk.halt(leg, ticker, on))

    def maintain(self, on: bool = True) -> None:
        """Close the venue for its upkeep, or open it again."""
        self._do(lambda: self._desk.maintain(on))

    def set_quote_price(self, dollars: Decimal | float | str) -> None:
        """Say what the quote coin is worth in dollars."""
        self._do(lambda: self._desk.floor.set_quote_price(Decimal(str(dollars))))

    def stop(self) -> None:
        """Stop answering and free the port; a second call does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._premises.close(), self._loop).result(timeout=10)
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

    @property
    def _faults(self) -> FaultBox:
        return self._premises.faults

    @property
    def _desk(self) -> "TradingDesk":
        if self._premises.desk is None:
            raise VenueError("nobody can trade on this exchange; start it with trading=TradingSettings()")
        return self._premises.desk

    def _do(self, action: Callable[[], Result]) -> Result:
        """Do something in the thread of the exchange, or here once that has ended."""
        if self._loop.is_closed():
            return action()

        async def inside() -> Result:
            return action()

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(timeout=60)


def start_exchange(
    tape: Tape,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    trading: TradingSettings | None = None,
    start_ms: int | None = None,
    speed: float = 0.0,
    control_port: int | None = None,
) -> RunningExchange:
    """Start answering for a tape in a thread beside the caller; `port` 0 takes any free one.

    Without `trading` nobody can trade. The clock starts at `start_ms` (UTC), by default at the tape's end,
    or a day before it if it runs: `speed` seconds in one of the machine's.

    Raises:
        VenueError: the port is in use, or the address is not this machine's.
        SettingsError: a control port is wanted where others could reach it.
    """
    return RunningExchange(
        tape, host, port, trading=trading, start_ms=start_ms, speed=speed, control_port=control_port
    )


def serve_exchange(
    tape: Tape,
    host: str,
    port: int,
    announce: Callable[[str], None],
    *,
    trading: TradingSettings | None = None,
    start_ms: int | None = None,
    speed: float = 0.0,
    control_port: int | None = None,
) -> None:
    """Answer for a tape until interrupted; see `start_exchange`.

    `announce` is told the URL once the exchange listens, and then that of the control port, if there is one.

    Raises:
        VenueError: a port is in use, or the address is not this machine's.
        SettingsError: a control port is wanted where others could reach it.
    """
    from carryflow.venues.simulated.premises import Premises

    async def until_interrupted() -> None:
        premises = Premises(tape, trading, start_ms, speed)
        for url in await premises.open(host, port, control_port):
            if url is not None:
                announce(url)
        try:
            await asyncio.Event().wait()
        finally:
            await premises.close()

    asyncio.run(until_interrupted())
