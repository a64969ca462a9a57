"""What a person and Prometheus are told while the engine runs."""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from carryflow.cli.trading.accounts import signed
from carryflow.cli.trading.policies import Held
from carryflow.execution.engine import Engine
from carryflow.execution.intents import Decision
from carryflow.execution.journal.records import Alert
from carryflow.execution.outcome import Outcome
from carryflow.execution.pair.states import State

if TYPE_CHECKING:
    from carryflow.cli.trading.session import Session
    from carryflow.monitoring.metrics import ExecutionMetrics

LOOK_SECONDS = 1.0
"""Pause between two looks at the engine for Prometheus (seconds of the machine)."""

Show = Callable[[int, str, str, str], None]
"""Prints an instant (UTC ms), a coin or nothing, words, and a style."""

_NUMBER = re.compile(r"-?\d[\d.,]*")

_STYLES = {"info": "dim", "warning": "yellow", "critical": "red"}


class Announcer:
    """Tell of outcomes, holds and alerts as they come; keep the metrics, if there are any, up to date."""

    def __init__(self, show: Show, now_ms: Callable[[], int], metrics: "ExecutionMetrics | None") -> None:
        """Print with `show`, dated by `now_ms` where nothing else is known."""
        self._show = show
        self._now_ms = now_ms
        self._metrics = metrics
        self._holds: dict[str, str] = {}
        self._looking: asyncio.Task[None] | None = None

    def alarm(self, alert: Alert) -> None:
        """Tell of an alert."""
        self._show(alert.ts_ms, alert.ticker or "", alert.words, _STYLES[alert.severity.value])
        if self._metrics is not None:
            self._metrics.count_alert(alert.severity.value)

    def held(self, held: Held) -> None:
        """Tell that a ticker is held, once for each reason."""
        if self._holds.get(held.ticker) != held.reason:
            self._holds[held.ticker] = held.reason
            self._show(self._now_ms(), held.ticker, f"held: {held.reason}", "yellow")

    def outcome(self, decision: Decision, outcome: Outcome) -> None:
        """Tell what came of a decision; that nothing did, once for each reason."""
        if outcome.action is None and not outcome.breaches and outcome.state is State.IDLE:
            reason = _NUMBER.sub("…", outcome.words)
            if self._holds.get(decision.ticker) == reason:
                return
            self._holds[decision.ticker] = reason
        else:
            self._holds.pop(decision.ticker, None)
        style = "red" if outcome.state is State.HALTED else "yellow" if outcome.breaches else ""
        self._show(
            self._now_ms(),
            decision.ticker,
            f"{signed(decision.fraction, '+.2%')} wanted; {outcome.words}",
            style,
        )

    def follow(self, session: "Session") -> None:
        """Look at the engine from now on, and date by its clock."""
        self._now_ms = session.clock.now_ms
        if self._metrics is not None:
            self._looking = asyncio.create_task(self._look(session, self._metrics))

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self, session: "Session", metrics: "ExecutionMetrics") -> None:
        from carryflow.cli.trading.gauges import Gauges

        gauges = Gauges(session, metrics)
        while True:
            try:
                gauges.look()
            except Exception as error:
                self.held(Held("", f"metrics are not up to date: {type(error).__name__} {error}"))
            await asyncio.sleep(LOOK_SECONDS)


class ToldEngine(Engine):
    """Tell the announcer what came of each decision."""

    _announcer: Announcer

    def telling(self, announcer: Announcer) -> Self:
        """Return the engine, which tells this one from now on."""
        self._announcer = announcer
        return self

    async def apply(self, decision: Decision) -> Outcome:
        """Follow a decision to its end, and tell of it."""
        outcome = await super().apply(decision)
        self._announcer.outcome(decision, outcome)
        return outcome
