"""Races: ratios between contestants that take turns in one run, so that a busy machine slows all alike."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.env.tape import Liquidity, MarketTape
from carryflow.features.spec import FeatureSpec

PEERS = Path(__file__).parent / "peers"
sys.path.append(str(PEERS))  # both sides count their rounds by the same code, and play the same series

from rounds import rate_of  # noqa: E402

Race = Callable[[Mapping[str, Callable[[], object]], Mapping[str, int]], dict[str, float]]

collect_ignore = ["peers"]  # they run in an environment of their own
PEERS_PYTHON = PEERS.parents[2] / ".venv-peers" / "bin" / "python"

Turns = Callable[..., dict[str, dict[str, float]]]
TapeMaker = Callable[..., MarketTape]


@pytest.fixture
def race(benchmark: BenchmarkFixture) -> Race:
    """Give how many times as long as the first contestant each of them takes, by the best of its rounds.

    The first stands in the table of `make bench`, the ratios beside it. Where benchmarks are switched off,
    each contestant runs once and the test is skipped: a suite that shares the machine must not judge speed.
    """

    def run(contestants: Mapping[str, Callable[[], object]], rounds: Mapping[str, int]) -> dict[str, float]:
        for work in contestants.values():
            work()
        if benchmark.disabled:
            pytest.skip("speeds are compared by make bench")
        seconds = dict.fromkeys(contestants, float("inf"))
        for turn in range(max(rounds.values())):
            for name, work in contestants.items():
                if turn < rounds[name]:
                    begun = perf_counter()
                    work()
                    seconds[name] = min(seconds[name], perf_counter() - begun)
        first = next(iter(contestants))
        ratios = {name: taken / seconds[first] for name, taken in seconds.items()}
        benchmark.pedantic(contestants[first], rounds=rounds[first])
        for name, ratio in ratios.items():
            benchmark.extra_info[name] = round(ratio, 2)
            print(f"{name:40} {seconds[name] * 1e3:10.3f} ms {ratio:8.2f}×")  # noqa: T201
        return ratios

    return run


@pytest.fixture
def take_turns() -> Iterator[Turns]:
    """Let our work and scripts of `peers/` play in turns, as many rounds each and a second of CPU each.

    Ours gives the CPU seconds that it took, and how much it did; a script is named with its arguments. What
    comes back is each one's best round: how much it did in a second of CPU, `rate`, and what else it says.
    """
    with ExitStack() as running:

        def play(
            ours: Mapping[str, tuple[Callable[[], float], float]],
            peers: Mapping[str, Sequence[object]],
            rounds: int = 5,
        ) -> dict[str, dict[str, float]]:
            if not PEERS_PYTHON.exists():
                pytest.skip(f"{PEERS_PYTHON.parents[1]} does not hold what we compare with: run make bench")
            asked = {name: running.enter_context(started(*script)) for name, script in peers.items()}
            asked |= {name: lambda work=work: {"rate": rate_of(*work)} for name, work in ours.items()}
            best: dict[str, dict[str, float]] = {}
            for _ in range(rounds):
                for name, ask in asked.items():
                    facts = ask()
                    for fact, number in facts.items():
                        own = best.setdefault(name, {})
                        own[fact] = max(number, own.get(fact, number))
            for name, facts in best.items():
                print(f"{name:24}", *(f"{fact}: {number:,.0f}" for fact, number in facts.items()))  # noqa: T201
            return best

        yield play


@contextmanager
def started(script: str, *arguments: object) -> Iterator[Callable[[], dict[str, float]]]:
    """Start a script where the packages are that we compare with; give what asks it for a round."""
    with (
        TemporaryFile("w+") as errors,
        subprocess.Popen(
            [PEERS_PYTHON, PEERS / script, *map(str, arguments)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            bufsize=1,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def ask() -> dict[str, float]:
            process.stdin.write("a round\n")
            for line in process.stdout:
                if line.startswith("{"):
                    numbers: dict[str, float] = json.loads(line)
                    return numbers
            errors.seek(0)
            raise AssertionError(f"{script} failed: {errors.read()[-2000:]}")

        yield ask
        process.stdin.close()


@pytest.fixture(scope="session")
def make_tape() -> TapeMaker:
    """Draw a tape of some hours with twelve features, whose books were recorded, or not."""

    def make(hours: int, lookback: int = 48, seed: int = 7, *, books: bool = True) -> MarketTape:
        generator = np.random.default_rng(seed)
        spot = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 0.004, hours)))
        perp = spot * (1.0 + generator.normal(0.0, 2e-4, hours))
        recorded = Liquidity(*(np.full((hours, 2), value) for value in (0.5, 1e6, 5e7)))
        return MarketTape(
            ticker=f"C{seed}",
            decision_ms=np.arange(hours, dtype=np.int64) * 3_600_000,
            spot=spot,
            perp=perp,
            mark=perp,
            tradable=np.ones(hours, np.bool_),
            settlement_cash=np.where(np.arange(hours) % 8 == 0, -1e-4 * perp, 0.0),
            features=generator.normal(size=(hours, 12)).astype(np.float32),
            spec=FeatureSpec(tuple(f"f{k}" for k in range(12)), lookback),
            liquidity=recorded if books else None,
        )

    return make
