"""One hour of 64 accounts: stepped together, against the baseline of 64 gymnasium environments in a row."""

from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.env.vector import VectorCryptoEnv
from carryflow.features.spec import FeatureSettings, FeatureSpec

ACCOUNTS = 64
HOURS = 4_000

pytestmark = pytest.mark.benchmark(group="64 account hours, 48×14 windows copied")


@pytest.fixture(scope="module")
def tape() -> MarketTape:
    generator = np.random.default_rng(7)
    spec = FeatureSpec.of(FeatureSettings(), sentiment=False)
    spot = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 0.004, HOURS)))
    perp = spot * (1.0 + generator.normal(0.0, 2e-4, HOURS))
    paid = np.where(np.arange(HOURS) % 8 == 0, -1e-4 * perp, 0.0)
    return MarketTape(
        ticker="BTC",
        decision_ms=np.arange(HOURS, dtype=np.int64) * 3_600_000,
        spot=spot,
        perp=perp,
        mark=perp,
        tradable=np.ones(HOURS, np.bool_),
        settlement_cash=paid,
        features=generator.normal(size=(HOURS, len(spec.names))).astype(np.float32),
        spec=spec,
    )


def baseline_of_single_envs(tape: MarketTape) -> Callable[[], None]:
    envs = [CryptoTradingEnv([tape], EnvSettings()) for _ in range(ACCOUNTS)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    actions = np.random.default_rng(1).uniform(-1, 1, (ACCOUNTS, 1)).astype(np.float32)

    def step() -> None:
        for env, action in zip(envs, actions, strict=True):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return step


def batched_env(tape: MarketTape) -> Callable[[], None]:
    env = VectorCryptoEnv([tape], ACCOUNTS, EnvSettings(), seed=1)
    env.reset(seed=1)
    actions = np.random.default_rng(1).uniform(-1, 1, (ACCOUNTS, 1)).astype(np.float32)

    def step() -> None:
        env.step(actions)

    return step


@pytest.mark.parametrize("make", [baseline_of_single_envs, batched_env])
def test_one_hour_of_all_accounts(
    make: Callable[[MarketTape], Callable[[], None]], tape: MarketTape, benchmark: BenchmarkFixture
) -> None:
    benchmark(make(tape))
