"""A session of the engine where something around it fails: sockets, this machine's clock, a person's wish."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from carryflow.cli.trading.announcer import Announcer
from carryflow.cli.trading.companions import accompany, serve_requests, watch_silence
from carryflow.cli.trading.place import Place
from carryflow.cli.trading.session import Session, Terms, open_session
from carryflow.core.errors import InvariantBroken, SettingsError
from carryflow.execution.intents import Decision
from carryflow.execution.journal.records import Alert, Mode, Severity
from carryflow.market.synthetic import SyntheticSettings
from carryflow.settings import resolve
from carryflow.venues.credentials import Credentials
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.settings import TradingSettings

TAPE = synthetic_tape(SyntheticSettings(hours=48), ["BTC"])
START_MS = TAPE.end_ms - 24 * 3_600_000 + 60_000
KEY = Credentials("session-key", "session-secret")

Opening = Callable[..., AbstractAsyncContextManager[Session]]


class ShiftedClock:
    """Tell the exchange's time, less or more."""

    speed = 1.0

    def __init__(self, exchange: RunningExchange, ahead_ms: int) -> None:
        self._exchange = exchange
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return self._exchange.now_ms + self._ahead_ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE, trading=TradingSettings(), start_ms=START_MS, speed=1.0) as exchange:
        exchange.open_account(KEY.key, KEY.secret, {"USDT": Decimal(50_000)}, Decimal(50_000))
        yield exchange


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def opening(exchange: RunningExchange, tmp_path: Path, told: list[str]) -> Opening:
    settings = resolve(
        overrides=["data.tickers=[BTC]", f"home={tmp_path}", f"venue.url={exchange.url}", "venue.retries=1"]
    )
    announcer = Announcer(lambda _, ticker, words, __: told.append(f"{ticker} {words}"), lambda: 0, None)
    place = Place.of(settings, Mode.SANDBOX)

    @asynccontextmanager
    async def opening(protective: bool = False, ahead_ms: int = 0) -> AsyncIterator[Session]:
        terms = Terms(settings, place, "simulated", KEY, protective)
        async with open_session(terms, announcer, ShiftedClock(exchange, ahead_ms)) as session:
            yield session

    return opening


async def hold_a_pair(opening: Opening) -> None:
    async with opening() as session:
        now_ms = session.clock.now_ms()
        wanted = Decision("d" * 16, "BTC", 1.0, now_ms, now_ms + 3_600_000, "a test", "")
        outcome = await session.engine.apply(wanted)
        assert outcome.action is not None, outcome.words


def held(exchange: RunningExchange) -> tuple[dict[str, object], Decimal]:
    statement = exchange.floor_statement(KEY.key)
    return statement["positions"], Decimal(statement["spot"].get("BTC", {"free": "0"})["free"])


async def require_closed(opening: Opening, exchange: RunningExchange, ahead_ms: int = 0) -> None:
    """Close everything with an engine of its own, and find nothing at the venue that could be sold."""
    async with opening(protective=True, ahead_ms=ahead_ms) as session:
        await session.engine.flatten("a test")
    positions, coins = held(exchange)
    assert positions == {}
    assert coins < Decimal("0.001")


def test_everything_is_closed_over_rest_while_no_socket_says_anything(
    opening: Opening, exchange: RunningExchange
) -> None:
    async def main() -> None:
        await hold_a_pair(opening)
        assert held(exchange)[1] > 0
        exchange.inject(Fault.STREAM_DROP, times=1_000_000)
        began = time.monotonic()
        await require_closed(opening, exchange)
        assert time.monotonic() - began < 20  # nobody waited for the feed

    asyncio.run(main())


@pytest.mark.parametrize("ahead_ms", [1_500, -4_000])
def test_everything_is_closed_whatever_this_machines_clock_says(
    opening: Opening, exchange: RunningExchange, ahead_ms: int
) -> None:
    async def main() -> None:
        await hold_a_pair(opening)
        await require_closed(opening, exchange, ahead_ms)

    asyncio.run(main())


def test_a_session_that_opens_refuses_a_clock_that_is_off(opening: Opening) -> None:
    async def main() -> None:
        async with opening(ahead_ms=-700):
            raise AssertionError("it opened")

    with pytest.raises(SettingsError, match=r"ms behind the venue's.*set it by NTP"):
        asyncio.run(main())


class Unsound:
    """Stand for an engine whose books do not add up."""

    async def resume(self, ticker: str, reason: str) -> bool:
        raise InvariantBroken(f"the books of {ticker} do not add up")


def test_a_wish_that_breaks_the_engine_ends_the_session_and_a_person_is_told(
    tmp_path: Path, told: list[str]
) -> None:
    place = Place(Mode.SANDBOX, tmp_path)
    place.ask_to_resume("BTC", "looked")
    alerts: list[Alert] = []
    session = SimpleNamespace(
        terms=SimpleNamespace(tickers=("BTC",), place=place),
        engine=Unsound(),
        clock=SimpleNamespace(now_ms=lambda: START_MS),
        journal=SimpleNamespace(record_alert=alerts.append),
    )
    announcer = Announcer(lambda _, __, words, style: told.append(f"{style}: {words}"), lambda: 0, None)

    async def main() -> bool:
        stop = asyncio.Event()
        with pytest.raises(InvariantBroken):
            await accompany(serve_requests(session), session, announcer, stop)  # type: ignore[arg-type]
        return stop.is_set()

    assert asyncio.run(main())
    words = "the engine stops: InvariantBroken the books of BTC do not add up"
    assert [(alert.severity, alert.words) for alert in alerts] == [(Severity.CRITICAL, words)]
    assert told == [f"red: {words}"]


def test_a_venue_that_falls_silent_is_told_of_once_and_once_when_it_is_back(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carryflow.cli.trading.companions.PAUSE_SECONDS", 0.0)
    alerts: list[Alert] = []
    minutes = [0, 1, 2, 3, 4, 5, 6, 7]  # of the clock
    reconciled = [0, 1, 1, 1, 1, 1, 6, 7]  # when the venue told last

    class Clock:
        def now_ms(self) -> int:
            return minutes[0] * 60_000

    def status() -> SimpleNamespace:
        minutes.pop(0)
        if not minutes:
            raise InvariantBroken("over")
        return SimpleNamespace(reconciled_ms=reconciled[minutes[0]] * 60_000)

    session = SimpleNamespace(
        terms=SimpleNamespace(settings=resolve()),
        engine=SimpleNamespace(status=status),
        clock=Clock(),
        journal=SimpleNamespace(record_alert=alerts.append),
    )
    announcer = Announcer(lambda _, __, words, ___: told.append(words), lambda: 0, None)
    with pytest.raises(InvariantBroken):
        asyncio.run(watch_silence(session, announcer))  # type: ignore[arg-type]
    assert [alert.severity for alert in alerts] == [Severity.CRITICAL, Severity.INFO]
    assert told == [
        "the venue has not told for 240 s what there is; nothing is opened; look at it",
        "the venue tells again what there is",
    ]
