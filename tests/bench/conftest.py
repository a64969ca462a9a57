"""Races: ratios between contestants that take turns in one run, so that a busy machine slows all alike."""

from collections.abc import Callable, Mapping
from time import perf_counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

Race = Callable[[Mapping[str, Callable[[], object]], Mapping[str, int]], dict[str, float]]


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
