"""Kill the engine with SIGKILL wherever it is, start it again: nothing is sent twice, lost or left behind."""

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from carryflow.execution.journal.journal import Journal
from tests.fault.episodes import ORDER_PATHS, draw_trouble
from tests.fault.extent import EXTENT
from tests.fault.ground import Ground, grounds
from tests.fault.kills import Zygote, zygote
from tests.fault.market import TICKERS
from tests.fault.stand import Instruments, listed
from tests.fault.stepper import lend_clock
from tests.fault.tally import Tally
from tests.fault.zygote import Life

_LONGEST_LIFE_SECONDS = 10.0
"""An engine that has not sent its orders by then is killed all the same (the machine's seconds)."""


@pytest.mark.timeout(1_800)
@pytest.mark.pitfall("P11")
@pytest.mark.pitfall("P12")
def test_an_engine_that_is_killed_anywhere_goes_on_where_it_was(tally: Tally, tmp_path: Path) -> None:
    with (
        grounds() as ground,
        zygote() as process,
        lend_clock(lambda: ground.exchange.now_ms, ground.exchange.step) as clock,
    ):
        instruments = asyncio.run(listed(ground.exchange.url, ground.open_account(), TICKERS[:2]))
        trial = Trial(ground, process, clock, instruments, tally)
        broken = {
            seed: found
            for seed in range(EXTENT.kills)
            if (found := trial.play(seed, tmp_path / f"life-{seed}"))
        }
    assert broken == {}


class Trial:
    """Kill an engine, perhaps the next as well while it recovers, and audit what the last one makes of it."""

    def __init__(
        self,
        ground: Ground,
        process: Zygote,
        clock: tuple[str, int],
        instruments: Instruments,
        tally: Tally,
    ) -> None:
        self._ground = ground
        self._process = process
        self._clock = clock
        self._instruments = instruments
        self._tally = tally

    def play(self, seed: int, folder: Path) -> list[str]:
        """Return what must not be."""
        folder.mkdir()
        rng = random.Random(seed)  # noqa: S311 - no secret
        credentials = self._ground.open_account()
        style = rng.choice(("taker", "taker", "maker_first"))

        def life(recover: bool) -> Life:
            return Life(
                self._ground.exchange.url,
                *self._clock,
                credentials.key,
                credentials.secret,
                str(folder),
                seed,
                recover,
                style,
            )

        self._ground.approach(before_close_ms=rng.randint(1, 20_000))
        if rng.random() < 0.4:
            for _ in range(3):
                self._ground.inject(draw_trouble(rng))
        before = self._ground.exchange.faults_happened
        try:
            kills = self._process.kill(life(recover=False), self._moment(rng))
            if rng.random() < 0.3:
                kills += self._process.kill(life(recover=True), partial(time.sleep, rng.uniform(0.02, 0.2)))
            self._ground.clear()
            self._process.run(life(recover=True))
        except AssertionError as error:
            return [str(error)]
        journal = Journal.read(folder / "journal.db")
        try:
            audit = self._ground.audit(credentials, journal, self._instruments)
        finally:
            journal.close()
        self._tally.add("lives ended with kill -9", audit)
        self._tally.kills += kills
        self._tally.faults.update(self._ground.exchange.faults_happened - before)
        return [*map(str, audit.findings), *(f"{ticker} is halted" for ticker in audit.halted)]

    def _moment(self, rng: random.Random) -> Callable[[], None]:
        """Return what waits for a random moment: now and then soon after birth, else around an order."""
        if rng.random() < 0.2:
            return partial(time.sleep, rng.uniform(0.01, 0.4))
        number, later = rng.randint(1, 12), rng.choice((0.0, rng.uniform(0.0, 0.01)))
        begun = self._orders()

        def wait() -> None:
            until = time.monotonic() + _LONGEST_LIFE_SECONDS
            while self._orders() < begun + number and time.monotonic() < until:
                time.sleep(0.0005)
            time.sleep(later)

        return wait

    def _orders(self) -> int:
        """Return how many orders the venue has been sent, asked for and told to cancel."""
        requests = self._ground.exchange.requests
        return sum(requests[path] for path in ORDER_PATHS.values())
