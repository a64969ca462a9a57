"""A session of the sandbox in a process of its own, which tells how its memory grew and what nobody caught.

Started by `test_day.py` with `Day` as a line of JSON on standard input; the key is in the environment, as
persons give it. Writes a line once it trades, and at the end `Diary` as a line of JSON.
"""

import asyncio
import json
import logging
import os
import random
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from carryflow.cli.trading.announcer import Announcer
from carryflow.cli.trading.place import Place, machine_ms
from carryflow.cli.trading.policies import Held, Standing
from carryflow.cli.trading.preparation import read_credentials
from carryflow.cli.trading.session import Session, Terms, open_session, trade
from carryflow.execution.intents import Decision
from carryflow.execution.journal.records import Mode
from carryflow.execution.pair.states import State
from carryflow.settings import resolve

TIMEFRAME = "15m"
SPEED = 720.0

_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LOOK_SECONDS = 0.25
_ARRIVAL_SECONDS = 2_500.0
"""After that nothing that was sent can still arrive (seconds of the venue: orders live long there)."""


@dataclass(frozen=True, slots=True)
class Day:
    """Say what is played: an address, a folder, hours of the venue's clock, and the seed of the decisions."""

    url: str
    home: str
    tickers: tuple[str, ...]
    capital_quote: float
    hours: float
    seed: int


@dataclass(slots=True)
class Diary:
    """Hold what became of it.

    Attributes:
        resident: memory of the process (bytes), looked at again and again while it traded.
        uncaught: what the event loop was told that nobody had caught, and what was logged as an error.
        decisions: decisions that were made.
    """

    resident: list[int] = field(default_factory=list)
    uncaught: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)


class Wanderer:
    """Want something else at every bar."""

    about = "a wanderer"

    def __init__(self, seed: int, diary: Diary) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._diary = diary

    def learn(self, ticker: str, bar: object) -> None:
        """Take in nothing."""

    def decide(self, ticker: str, standing: Standing, now_ms: int) -> Decision | Held:
        """Draw a fraction."""
        name = f"{self._rng.getrandbits(64):016x}"
        self._diary.decisions.append(name)
        return Decision(name, ticker, self._rng.choice(_FRACTIONS), now_ms, now_ms + 3_600_000, "wanderer")


class Uncaught(logging.Handler):
    """Note errors that are only logged."""

    def __init__(self, diary: Diary) -> None:
        super().__init__(logging.ERROR)
        self._diary = diary

    def emit(self, record: logging.LogRecord) -> None:
        """Note one."""
        self._diary.uncaught.append(self.format(record))


def main() -> None:
    """Trade a day, then let a person look and close everything."""
    day, diary = Day(**json.loads(sys.stdin.readline())), Diary()
    logging.getLogger().addHandler(Uncaught(diary))
    sys.unraisablehook = lambda raised: diary.uncaught.append(repr(raised.exc_value))
    done = threading.Event()
    looking = threading.Thread(target=_look, args=(diary, done))
    looking.start()
    try:
        asyncio.run(_live(day, diary, done))
    finally:
        done.set()
        looking.join()
    print(json.dumps(asdict(diary)))  # noqa: T201 - the protocol


def _look(diary: Diary, done: threading.Event) -> None:
    while not done.wait(_LOOK_SECONDS):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        diary.resident.append(pages * _PAGE_BYTES)


async def _live(day: Day, diary: Diary, done: threading.Event) -> None:
    def uncaught(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        diary.uncaught.append(f"{context.get('message')} {context.get('exception')!r}")

    asyncio.get_running_loop().set_exception_handler(uncaught)
    terms = _terms(day)
    announcer = Announcer(lambda *_: None, machine_ms, None)
    async with open_session(terms, announcer) as session:
        policy = Wanderer(day.seed, diary)
        print("trading", flush=True)  # noqa: T201 - the protocol
        await trade(session, policy, announcer, lambda: terms.place.market, None, day.hours)
    done.set()
    async with open_session(terms, announcer) as session:
        await _go_home(session)


async def _go_home(session: Session) -> None:
    for _ in range(2):
        await session.clock.sleep(_ARRIVAL_SECONDS)
        await session.engine.reconcile()
    for pair in session.journal.pairs():
        if pair.blocked is not None or pair.state == State.HALTED:
            await session.engine.resume(pair.ticker, "the day is over")
    await session.engine.flatten("the day is over")
    await session.engine.reconcile()


def _terms(day: Day) -> Terms:
    overrides = {
        "home": day.home,
        "venue.url": day.url,
        "venue.retries": 1,
        "venue.backoff_seconds": 0.05,
        "venue.request_timeout_seconds": 1.0,
        "data.timeframe": TIMEFRAME,
        "data.tickers": list(day.tickers),
        "execution.capital_quote": day.capital_quote,
        "execution.limits.max_orders_per_minute": 10_000,
        "execution.limits.max_daily_loss": 1.0,
        "execution.limits.max_leverage": 10.0,
    }
    settings = resolve(None, {}, [f"{key}={json.dumps(value)}" for key, value in overrides.items()])
    place = Place.of(settings, Mode.SANDBOX)
    return Terms(settings, place, f"simulated {day.url}", read_credentials(settings))


if __name__ == "__main__":
    main()
