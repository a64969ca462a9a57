"""Step gym-trading-env 0.3.5 over windows of 48 rows × 12 numbers; answer with its steps per CPU second.

Ten columns of features and the two that it adds itself make twelve. Positions change on one step in 48 or
less, as the batched environment's do. Stand-alone: it runs in the environment of the peers.
"""

from time import process_time

import numpy as np
import pandas as pd
from gym_trading_env.environments import TradingEnv
from rounds import answer, rate_of

HOURS = 4_000
WINDOW = 48
STEPS = 2_400
STEPS_A_TRADE = 48


def market() -> pd.DataFrame:
    """Walk at random for some hours, with ten features beside the bars."""
    generator = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 0.004, HOURS)))
    bars = {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close}
    features = {f"feature_{k}": generator.normal(size=HOURS).astype(np.float32) for k in range(10)}
    return pd.DataFrame(bars | features, index=pd.date_range("2025-01-01", periods=HOURS, freq="h"))


def main() -> None:
    """Answer with rounds."""
    env = TradingEnv(
        market(),
        positions=[-1, 0, 1],
        windows=WINDOW,
        trading_fees=0.001,
        borrow_interest_rate=0.06 / 8760,
        verbose=0,
    )
    positions = np.random.default_rng(1).integers(0, 3, STEPS // STEPS_A_TRADE + 1).tolist()
    seen, _ = env.reset(seed=1)
    assert seen.shape == (WINDOW, 12)

    def play() -> float:
        begun = process_time()
        for step in range(STEPS):
            _, _, done, truncated, _ = env.step(positions[step // STEPS_A_TRADE])
            if done or truncated:
                env.reset()
        return process_time() - begun

    answer(lambda: {"rate": rate_of(play, STEPS)})


if __name__ == "__main__":
    main()
