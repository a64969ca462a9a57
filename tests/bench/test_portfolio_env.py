"""Portfolios of nine coins, one hour: one environment with its whole info, and many stepped together.

One core, CPU seconds, the best of several rounds of one run. Each step sizes, limits and settles nine pairs
on one margin wallet, and copies nine windows of 48 hours × 12 features into the observation.
"""

from collections.abc import Callable
from time import process_time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.env.check.markets import wild_tape
from carryflow.env.portfolio.env import CryptoPortfolioEnv
from carryflow.env.portfolio.vector import VectorPortfolioEnv
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.features.spec import FeatureSpec

COINS, HOURS, LOOKBACK, FEATURES, STEPS = 9, 4_000, 48, 12, 2_000
STEPS_A_WISH = 48

pytestmark = pytest.mark.benchmark(group="portfolio of 9 coins, one hour, 9 windows of 48×12")


@pytest.fixture(scope="module")
def tapes() -> list[MarketTape]:
    generator = np.random.default_rng(7)
    spec = FeatureSpec(tuple(f"f{k}" for k in range(FEATURES)), LOOKBACK)
    return [wild_tape(spec, HOURS, generator, ticker=f"C{k}", calm=True) for k in range(COINS)]


def wishes(*shape: int) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return list(generator.uniform(-1, 1, (STEPS // STEPS_A_WISH + 1, *shape)).astype(np.float32))


def best_of(rounds: int, play: Callable[[], None]) -> float:
    """Give the CPU seconds of the quickest round."""
    seconds = []
    for _ in range(rounds):
        begun = process_time()
        play()
        seconds.append(process_time() - begun)
    return min(seconds)


def test_one_portfolio(tapes: list[MarketTape], benchmark: BenchmarkFixture) -> None:
    env = CryptoPortfolioEnv(tapes, EnvSettings())
    env.reset(seed=1)
    actions = wishes(COINS)

    def play() -> None:
        for step in range(STEPS):
            _, _, terminated, truncated, _ = env.step(actions[step // STEPS_A_WISH])
            if terminated or truncated:
                env.reset()

    if benchmark.disabled:
        play()
        pytest.skip("speeds are measured by make bench")
    rate = STEPS / best_of(10, play)
    benchmark.pedantic(play, rounds=3)
    benchmark.extra_info["steps_per_cpu_second"] = round(rate)
    print(f"one portfolio of {COINS}: {rate / 1e3:.0f} k steps a CPU second")  # noqa: T201
    assert rate > 20_000  # measured 134 000; a busy machine must not fail it


@pytest.mark.parametrize("portfolios", [8, 64])
def test_many_portfolios(tapes: list[MarketTape], portfolios: int, benchmark: BenchmarkFixture) -> None:
    env = VectorPortfolioEnv(tapes, portfolios, EnvSettings(), seed=1)
    env.reset()
    actions = wishes(portfolios, COINS)

    def play() -> None:
        for step in range(STEPS // 4):
            env.step(actions[step // STEPS_A_WISH])

    if benchmark.disabled:
        play()
        pytest.skip("speeds are measured by make bench")
    rate = portfolios * (STEPS // 4) / best_of(6, play)
    benchmark.pedantic(play, rounds=3)
    benchmark.extra_info["steps_per_cpu_second"] = round(rate)
    print(f"{portfolios} portfolios of {COINS}: {rate / 1e3:.0f} k steps a CPU second")  # noqa: T201
    assert rate > 50_000  # measured 516 000 and 665 000
