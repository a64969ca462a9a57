"""What a forked engine does until it is killed, and what the next one does first."""

import asyncio
import random
from pathlib import Path

from carryflow.core.account import LINEAR_KIND, Column, open_account
from carryflow.core.hedge import hedged_fraction, pair_orders, pair_quantity, should_resize
from carryflow.core.ledger import fill_perp, fill_spot, mark_to_market, settle, transfer
from carryflow.venues.credentials import Credentials
from tests.fault.clock import SteppedClock
from tests.fault.rest import come_to_rest
from tests.fault.stand import standing
from tests.fault.stepper import RemoteClock
from tests.fault.zygote import Life

_PATIENCE_SECONDS = 2.0
"""How long an engine here waits for an answer: nothing is lost on its way but the engine itself."""

_FRACTIONS = (0.0, 0.2, 0.5, 0.8, 1.0)


def warm_up() -> None:
    """Load what an engine loads, and compile its kernels, so that every fork has them."""
    import ccxt.async_support as ccxt
    import numpy as np

    ccxt.binance()
    row = np.zeros(len(Column))
    open_account(row, LINEAR_KIND, 2.0, 0.5, 1.0, 1.0)
    fill_spot(row, 1.0, 1.0, 1.0, 0.0, 0.0)
    fill_perp(row, -1.0, 1.0, 1.0, 0.0)
    mark_to_market(row, 1.0, 1.0)
    settle(row, 0.0)
    transfer(row, 0.0)
    qty = pair_quantity(1.0, 1.0, 0.5, 0.0, 1.0, 1.0, 0.1, 0.0)
    pair_orders(0.0, 0.0, qty, 0.1, 0.1, 0.0, 1.0, 1.0, 0.0)
    should_resize(hedged_fraction(qty, 1.0, 0.5, 1.0), 0.0, 0.1)


def live(life: Life) -> None:
    """Decide on and on; or, after a crash, only start, let everything arrive, and end."""
    asyncio.run(_live(life))


async def _live(life: Life) -> None:
    clock = RemoteClock((life.clock_host, life.clock_port))
    stepped = SteppedClock(clock.now_ms, clock.step)
    credentials = Credentials(life.key, life.secret)
    folder = Path(life.folder)
    async with standing(
        life.url, credentials, folder, stepped, life.style, patience_seconds=_PATIENCE_SECONDS
    ) as stand:
        if life.recover:
            await come_to_rest(stand)
            return
        rng = random.Random(life.seed)  # noqa: S311 - no secret
        tickers = stand.journal.identity.tickers
        while True:
            await stand.engine.apply(stand.decision(rng.choice(tickers), rng.choice(_FRACTIONS)))
            if rng.random() < 0.2:
                await stand.engine.reconcile()
