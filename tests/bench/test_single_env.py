"""One Gymnasium environment, one hour at a time, the whole attribution in `info`, against gym-trading-env.

One core, CPU seconds, in turns, the best of several rounds of a second; both show windows of 48 × 12 numbers
and change their position on one step in 48 or less.
"""

from collections.abc import Callable
from time import process_time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.core.account import PARTS
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape

HOURS, STEPS, STEPS_A_WISH = 4_000, 5_000, 48

pytestmark = [
    pytest.mark.benchmark(group="one environment, one hour, 48×12 window, info"),
    pytest.mark.timeout(300),
]


def test_a_single_environment_is_as_fast_as_promised(
    make_tape: Callable[..., MarketTape],
    take_turns: Callable[..., dict[str, dict[str, float]]],
    benchmark: BenchmarkFixture,
) -> None:
    env = CryptoTradingEnv([make_tape(HOURS, books=False)], EnvSettings())
    env.reset(seed=1)
    wish = np.array([0.3], np.float32)
    seen, _, _, _, info = env.step(wish)
    assert seen.shape == (48 * 12 + 2,)
    assert {*PARTS, "equity", "portfolio_change_bp"} <= info.keys()
    if benchmark.disabled:
        pytest.skip("speeds are compared by make bench")
    wishes = list(np.random.default_rng(1).uniform(-1, 1, (STEPS // STEPS_A_WISH + 1, 1)).astype(np.float32))

    def play() -> float:
        begun = process_time()
        for step in range(STEPS):
            _, _, terminated, truncated, _ = env.step(wishes[step // STEPS_A_WISH])
            if terminated or truncated:
                env.reset()
        return process_time() - begun

    best = take_turns({"carryflow": (play, STEPS)}, {"gym-trading-env": ["windowed_trading.py"]})
    ratio = best["carryflow"]["rate"] / best["gym-trading-env"]["rate"]
    env.reset(seed=1)
    benchmark.pedantic(env.step, (wish,), rounds=300)
    benchmark.extra_info["gym-trading-env"] = round(ratio, 1)
    print(f"{ratio:.1f} × gym-trading-env")  # noqa: T201
    assert ratio >= 5
