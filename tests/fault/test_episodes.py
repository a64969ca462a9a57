"""Random lives with several faults each: whatever comes together, the account comes out whole."""

import asyncio
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.fault.episodes import draw_episode
from tests.fault.extent import EXTENT
from tests.fault.ground import grounds
from tests.fault.playing import Player
from tests.fault.tally import Tally

_AT_ONCE = min(2, os.cpu_count() or 1)
_TOGETHER = 25
"""Episodes that a process plays before it tells what became of them."""


@pytest.mark.timeout(1_800)
@pytest.mark.pitfall("P09")
@pytest.mark.pitfall("P12")
@pytest.mark.pitfall("P14")
def test_no_episode_leaves_one_leg_a_duplicate_an_orphan_or_a_lost_fill(tally: Tally) -> None:
    batches = [
        range(first, min(first + _TOGETHER, EXTENT.episodes))
        for first in range(0, EXTENT.episodes, _TOGETHER)
    ]
    broken: dict[int, list[str]] = {}
    with ProcessPoolExecutor(_AT_ONCE, get_context("spawn")) as processes:
        for found, counted in processes.map(play_all, batches):
            broken |= found
            tally.merge(counted)
    assert broken == {}


def play_all(seeds: range) -> tuple[dict[int, list[str]], Tally]:
    """Play some episodes; return what must not be, by the episode's seed, and what was counted."""
    logging.disable()  # a venue that hangs up, or is hung up on, says so
    tally = Tally()
    broken = {seed: found for seed in seeds if (found := play(seed, tally))}
    return broken, tally


def play(seed: int, tally: Tally) -> list[str]:
    """Play one episode on an exchange of its own; return what must not be."""
    with TemporaryDirectory() as folder, grounds(minute=seed % 600) as ground:
        try:
            at_rest, at_home, left = asyncio.run(Player(draw_episode(seed), ground, Path(folder)).play())
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
        tally.faults.update(ground.exchange.faults_happened)
    tally.add("episodes", at_rest)
    halted = [f"{ticker} is halted for good" for ticker in at_home.halted]
    still_open = [f"{what} was not closed" for what in left]
    return [*map(str, at_rest.findings), *map(str, at_home.findings), *halted, *still_open]
