"""Step EnvPool's CartPole-v1, 64 environments in one thread; answer with its steps per CPU second.

A process's CPU time counts that thread too, beside the one of Python. Stand-alone: it runs in the environment
of the peers.
"""

from time import process_time

import envpool
import numpy as np
from rounds import answer, rate_of

ENVS = 64
STEPS = 10_000


def main() -> None:
    """Answer with rounds."""
    env = envpool.make_gymnasium("CartPole-v1", num_envs=ENVS, num_threads=1, seed=1)
    actions = np.random.default_rng(1).integers(0, 2, (50, ENVS)).astype(np.int32)
    env.reset()

    def play() -> float:
        begun = process_time()
        for step in range(STEPS):
            env.step(actions[step % 50])
        return process_time() - begun

    answer(lambda: {"rate": rate_of(play, STEPS * ENVS)})


if __name__ == "__main__":
    main()
