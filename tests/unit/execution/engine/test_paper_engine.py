"""The same engine with paper money: nothing is sent, and all else is as it is at a venue."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from carryflow.execution.intents import Action
from carryflow.execution.orders import Wallet
from carryflow.execution.pair.states import State
from carryflow.execution.settings import ExecutionSettings
from carryflow.venues.simulated.server import RunningExchange
from tests.unit.execution.engine.stage import KEY, Stage, staged_on_paper

D = Decimal


def test_paper_money_is_traded_like_any_other_and_nothing_is_sent(
    exchange: RunningExchange, settings: ExecutionSettings, tmp_path: Path
) -> None:
    async def scenario(stage: Stage) -> None:
        outcome = await stage.decide(1.0)
        assert (outcome.action, outcome.state) == (Action.OPEN, State.IDLE)
        assert abs(outcome.delta_base) <= D("0.001")
        await stage.venue.transfer(D(10), Wallet.FUTURES)
        stage.exchange.step(1_000)
        assert (await stage.decide(0.5)).action is Action.RESIZE
        found = await stage.engine.reconcile()
        assert found.complete
        assert found.differences == ()
        equities.append(stage.engine.books.equity)

    async def again(stage: Stage) -> None:
        assert stage.pair().state is State.IDLE
        assert stage.engine.books.equity == pytest.approx(equities[0], abs=1e-6)
        assert (await stage.decide(0.0)).action is Action.CLOSE
        assert stage.pair().perp_qty == 0
        assert (await stage.engine.reconcile()).differences == ()

    async def both() -> None:
        for one in (scenario, again):
            async with staged_on_paper(exchange, tmp_path, settings) as stage:
                await one(stage)

    equities: list[float] = []
    asyncio.run(both())
    assert exchange.orders(KEY) == []
