"""Play an episode on a real engine and a stepped exchange, and hand back the account as it is at the end."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from carryflow.core.errors import CarryflowError, VenueError
from carryflow.execution.limits.kill import Level
from carryflow.execution.orders import Side
from carryflow.execution.pair.states import State
from carryflow.venues.credentials import Credentials
from carryflow.venues.simulated.refusals import Refusal
from tests.fault.audit import Audit
from tests.fault.episodes import (
    ByHand,
    Crash,
    Decide,
    Deleverage,
    Episode,
    Halt,
    Look,
    Maintain,
    Move,
    Resume,
    Step,
    Switch,
    Trouble,
    Wait,
)
from tests.fault.evidence import OURS
from tests.fault.ground import Ground
from tests.fault.rest import come_to_rest, go_home, let_look
from tests.fault.stand import Stand, standing
from tests.fault.statement import truth_of

_STARTS = 30
"""How often an engine is started before the venue must have let it."""

_STRANGERS_SECONDS = 130.0
"""After that everything has happened that others were to do later."""


class Player:
    """Play one episode on one account."""

    def __init__(self, episode: Episode, ground: Ground, folder: Path) -> None:
        self.credentials: Credentials = ground.open_account()
        self._episode = episode
        self._ground = ground
        self._folder = folder
        self._clock = ground.clock
        self._later: list[asyncio.Task[None]] = []
        self._crash: Crash | None = None
        self._stack = AsyncExitStack()

    async def play(self) -> tuple[Audit, Audit, list[str]]:
        """Return what is found once everything has come to rest, after all was closed, and what was not."""
        self._ground.approach(self._episode.before_close_ms)
        try:
            stand = await self._start()
            for step in self._episode.steps:
                stand = await self._take(step, stand)
            await self._clock.sleep(_STRANGERS_SECONDS)
            await asyncio.gather(*self._later)
            self._ground.clear()
            await come_to_rest(stand)
            at_rest = self._audit(stand)
            stand.kill.clear()
            await go_home(stand)
            left = self._ground.still_open(self.credentials, stand.instruments)
            return at_rest, self._audit(stand), left
        finally:
            for task in self._later:
                task.cancel()
            await self._stack.aclose()
            self._ground.clear()

    def _audit(self, stand: Stand) -> Audit:
        return self._ground.audit(self.credentials, stand.journal, stand.instruments)

    async def _take(self, step: Step, stand: Stand) -> Stand:
        """Let one thing happen."""
        exchange = self._ground.exchange
        match step:
            case Decide():
                return await self._decide(step, stand)
            case Trouble(injected):
                self._ground.inject(injected)
            case ByHand() | Deleverage() | Move():
                self._later.append(asyncio.create_task(self._strange(step, stand)))
            case Halt(leg, ticker, seconds):
                exchange.halt(leg, ticker)
                self._after(seconds, lambda: exchange.halt(leg, ticker, False))
            case Maintain(seconds):
                exchange.maintain()
                self._after(seconds, lambda: exchange.maintain(False))
            case Wait(seconds):
                await self._clock.sleep(seconds)
            case Look():
                await stand.engine.reconcile()
                await stand.engine.watch()
            case Resume():
                stand.kill.clear()
                await let_look(stand)
            case Switch(None):
                stand.kill.clear()
            case Switch(level):
                stand.kill.set(level or Level.RUN, "a test", "a test", self._clock.now_ms())
            case Crash():
                self._crash = step
        return stand

    async def _decide(self, step: Decide, stand: Stand) -> Stand:
        """Act on a decision, unless the engine ends within it."""
        decision = stand.decision(step.ticker, step.fraction)
        if self._crash is None:
            outcome = await stand.engine.apply(decision)
            if outcome.state is State.IDLE:
                self._require_no_orphan(step.ticker)
            return stand
        crash, self._crash = self._crash, None
        work = asyncio.create_task(stand.engine.apply(decision))
        for _ in range(crash.turns):
            if work.done():
                break
            await asyncio.sleep(0.001)
        stand.journal.close()  # as of a process that is gone: whatever it still wants to write is not written
        work.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await work
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        return await self._start()

    def _require_no_orphan(self, ticker: str) -> None:
        """Fail if a pair that says it is idle has an order that may still be filled."""
        for order in truth_of(self._ground.exchange, self.credentials.key).orders:
            if order.open and order.ticker == ticker and order.client_id.startswith(OURS):
                raise AssertionError(f"{ticker} is idle, and {order} is open")

    async def _start(self) -> Stand:
        """Start an engine, again and again if the venue does not let it: it must not trade before it has."""
        for _ in range(_STARTS):
            with suppress(VenueError):
                return await self._stack.enter_async_context(
                    standing(
                        self._ground.exchange.url,
                        self.credentials,
                        self._folder,
                        self._clock,
                        self._episode.style,
                        over_websocket=self._episode.seed % 3 > 0,
                    )
                )
            await self._clock.sleep(5.0)
        raise AssertionError(f"the engine of episode {self._episode.seed} did not start {_STARTS} times")

    async def _strange(self, step: ByHand | Deleverage | Move, stand: Stand) -> None:
        """Let somebody else do something to the account, who may be refused, too."""
        exchange, key = self._ground.exchange, self.credentials.key
        if not isinstance(step, Move) and step.later_seconds:
            await self._clock.passed(step.later_seconds)
        with suppress(Refusal, CarryflowError):
            match step:
                case ByHand(leg, ticker, lots, _):
                    side = Side.BUY if lots > 0 else Side.SELL
                    exchange.foreign_order(key, leg, ticker, side, abs(lots) * stand.coarser_lot(ticker))
                case Deleverage(ticker, fraction, _):
                    exchange.deleverage(key, ticker, fraction)
                case Move(amount, to):
                    await stand.venue.transfer(amount, to)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        async def wait() -> None:
            await self._clock.passed(seconds)
            action()

        self._later.append(asyncio.create_task(wait()))
