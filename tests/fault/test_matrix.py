"""Whichever leg fails, in whichever way, while the pair is opened, closed or resized: never one leg alone."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from carryflow.execution.pair.states import State
from tests.fault.audit import Breach
from tests.fault.extent import PLAY_ALL
from tests.fault.ground import Ground, grounds
from tests.fault.matrix import Cell, cells, some_cells
from tests.fault.rest import come_to_rest, go_home
from tests.fault.stand import Stand, execution_settings, standing
from tests.fault.tally import Tally

TICKER = "ETH"

MEANWHILE = frozenset({Breach.ONE_LEG, Breach.DUPLICATE, Breach.CHURN, Breach.FUNDS, Breach.UNJOINED})
"""What must not be even while the venue still goes wrong."""


@pytest.mark.pitfall("P09")
@pytest.mark.pitfall("P11")
@pytest.mark.parametrize("cell", cells() if PLAY_ALL else some_cells(), ids=str)
def test_the_engine_is_never_left_with_one_leg(cell: Cell, tmp_path: Path, tally: Tally) -> None:
    with grounds() as ground:
        asyncio.run(play(cell, ground, tmp_path, tally))


async def play(cell: Cell, ground: Ground, folder: Path, tally: Tally) -> None:
    credentials = ground.open_account()
    ground.approach(before_close_ms=30_000)
    before, wanted = cell.phase.fractions
    url, way = ground.exchange.url, cell.over_websocket
    async with standing(url, credentials, folder, ground.clock, cell.style, over_websocket=way) as stand:
        if before:
            await stand.engine.apply(stand.decision(TICKER, before))
            assert held(stand) > 0
            await stand.engine.reconcile()  # on a busy machine the trades may not have been told in time
            assert ground.audit(credentials, stand.journal, stand.instruments).findings == ()
        happened = ground.exchange.faults_happened
        for fault in cell.faults:
            ground.inject(fault)
        begun_ms = stand.clock.now_ms()
        outcome = await stand.engine.apply(stand.decision(TICKER, wanted))
        tally.faults.update(ground.exchange.faults_happened - happened)
        assert stand.clock.now_ms() - begun_ms <= longest_ms(cell)
        found = ground.audit(credentials, stand.journal, stand.instruments)
        assert [finding for finding in found.findings if finding.breach in MEANWHILE] == []
        if not cell.lasting:
            assert outcome.state is State.IDLE
            assert found.count(Breach.ORPHAN) == 0
            assert wanted > 0 or outcome.action is None or held(stand) == 0
        ground.exchange.clear_faults()
        await come_to_rest(stand)
        audit = ground.audit(credentials, stand.journal, stand.instruments)
        tally.add("cells of the matrix", audit)
        assert audit.findings == ()
        await go_home(stand)
        audit = ground.audit(credentials, stand.journal, stand.instruments)
        assert audit.findings == ()
        assert audit.halted == ()
        assert ground.still_open(credentials, stand.instruments) == []


def held(stand: Stand) -> Decimal:
    """Return the perpetual that the engine says it holds, whatever its side (base)."""
    return next(abs(pair.perp_qty) for pair in stand.engine.status().pairs if pair.ticker == TICKER)


def longest_ms(cell: Cell) -> int:
    """Return how long the engine may take before its legs are together or a person is called (ms)."""
    settings = execution_settings(cell.style)
    seconds = settings.maker_wait_seconds * (cell.style == "maker_first")
    seconds += settings.hedge_seconds + settings.unwind_seconds + 2 * settings.unknown_seconds
    return round(1_000 * seconds)
