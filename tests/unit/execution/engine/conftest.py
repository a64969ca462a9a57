"""Scenarios on the simulated exchange: `play(scenario)` runs one on an engine that has started."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from carryflow.execution.settings import ExecutionSettings, LimitSettings
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.trading.settings import TradingSettings
from tests.unit.execution.engine.stage import (
    CAPITAL,
    FIRST_MS,
    KEY,
    MINUTE_MS,
    SECRET,
    Stage,
    staged,
    tape_of,
)

Scenario = Callable[[Stage], Awaitable[None]]
CALM = [1.0] * 240
BEGUN = 30
"""Minutes that have passed when a scenario begins."""


@pytest.fixture
def exchange_on() -> Iterator[Callable[..., RunningExchange]]:
    """Start a stepped exchange: `exchange_on(minutes)`, prices as multiples of the first."""
    with ExitStack() as running:

        def start(
            minutes: Sequence[float] = CALM, basis: float = 0.0, flow_quote: float = 40e6
        ) -> RunningExchange:
            plenty = TradingSettings(
                spot_orders_per_10s=10**9,
                perp_orders_per_10s=10**9,
                spot_weight_per_minute=10**9,
                perp_weight_per_minute=10**9,
            )
            start_ms = FIRST_MS + BEGUN * MINUTE_MS
            return running.enter_context(
                start_exchange(tape_of(minutes, basis, flow_quote), trading=plenty, start_ms=start_ms)
            )

        yield start


@pytest.fixture
def exchange(exchange_on: Callable[..., RunningExchange]) -> RunningExchange:
    """A stepped exchange on which no price moves, with twice the capital on our account."""
    running = exchange_on()
    running.open_account(KEY, SECRET, {"USDT": CAPITAL}, CAPITAL)
    return running


@pytest.fixture
def settings() -> ExecutionSettings:
    """How the engine trades: as it is delivered, with a market that may be seen long ago."""
    return ExecutionSettings(capital_quote=float(CAPITAL), limits=LimitSettings(max_feed_age_seconds=3_600.0))


@pytest.fixture
def play(tmp_path: Path, exchange: RunningExchange, settings: ExecutionSettings) -> Callable[..., None]:
    """Run a scenario on an engine: `play(scenario, style="maker_first")`, settings by name."""

    def run(
        scenario: Scenario,
        on: RunningExchange | None = None,
        tickers: tuple[str, ...] = ("BTC",),
        **changes: Any,
    ) -> None:
        async def scene() -> None:
            changed = settings.model_copy(update=changes)
            async with staged(on or exchange, tmp_path, changed, tickers) as stage:
                await scenario(stage)

        asyncio.run(scene())

    return run


@pytest.fixture
def half() -> Decimal:
    """Half of the capital (quote)."""
    return CAPITAL / 2
