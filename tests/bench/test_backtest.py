"""The full-ledger backtest of a position series: 20 pairs, five years of hours, against what others do.

All play the market and the series of `peers/carry_series.py`: prices and funding drawn by seed, in and out by
a threshold of trailing funding. Ours pays fees, spread, funding, interest and margin, and books every part;
the others pay fees and, where they can, slippage. Everybody values both legs at every bar. What can be made
beforehand is: ours lays out its tapes, theirs make their frames, feeds and engines; what is compiled is warm.
What laying out takes, once a market, is said beside the ratios. backtrader reads its feeds in each run; it is
shown with that and without. CPU seconds, in turns, the best of several rounds of a second; the slow ones play
fewer hours. Everybody sends the same number of orders.
"""

from collections.abc import Callable, Iterator
from time import process_time

import numpy as np
import pytest
from carry_series import CarrySeries, carry_series  # of `peers/`, which conftest.py puts on the path
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.core.costs import CostSettings
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.evaluation.replay import Replay, Replayer
from carryflow.features.spec import FeatureSpec

PAIRS, HOURS = 20, 5 * 8760
ENV = EnvSettings(costs=CostSettings(spot_taker_bp=10, perp_taker_bp=5))
Turns = Callable[..., dict[str, dict[str, float]]]

pytestmark = [
    pytest.mark.benchmark(group="backtest of a position series, 20 pairs, 5 years of hours"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def series() -> CarrySeries:
    """The series that the peers play, from their own module."""
    return carry_series(PAIRS, HOURS)


def tapes_of(series: CarrySeries) -> list[MarketTape]:
    """Ticker after ticker in memory, as a frame keeps its columns."""
    hours, spec = len(series.spot), FeatureSpec(("spot_return",), lookback=1)
    spot, perp, rate = (np.asfortranarray(prices) for prices in (series.spot, series.perp, series.rate))
    return [
        MarketTape(
            ticker=f"C{pair:02}",
            decision_ms=3_600_000 * np.arange(hours),
            spot=spot[:, pair],
            perp=perp[:, pair],
            mark=perp[:, pair],
            tradable=np.ones(hours, np.bool_),
            settlement_cash=-rate[:, pair] * perp[:, pair],
            features=np.zeros((hours, 1), np.float32),
            spec=spec,
        )
        for pair in range(PAIRS)
    ]


@pytest.fixture(scope="module")
def tapes(series: CarrySeries) -> list[MarketTape]:
    return tapes_of(series)


@pytest.fixture(scope="module")
def replayer(tapes: list[MarketTape]) -> Replayer:
    return Replayer(tapes, ENV)


@pytest.fixture(scope="module")
def targets(series: CarrySeries) -> np.ndarray:
    """Ticker after ticker in memory, as a frame keeps its columns."""
    return np.asfortranarray(series.target)


def cpu_seconds(work: Callable[[], object], rounds: int) -> Iterator[float]:
    for _ in range(rounds):
        begun = process_time()
        work()
        yield process_time() - begun


def test_the_whole_ledger_of_a_series_is_replayed_as_fast_as_promised(
    replayer: Replayer,
    targets: np.ndarray,
    series: CarrySeries,
    take_turns: Turns,
    benchmark: BenchmarkFixture,
) -> None:
    def work() -> Replay:
        return replayer.replay(targets)

    warm = work()
    if benchmark.disabled:
        pytest.skip("speeds are compared by make bench")
    assert (warm.decision_ms.size, len(warm.tickers)) == (HOURS, PAIRS)
    assert not warm.terminated.any()
    hours = {"vectorbt": HOURS, "nautilus_trader": 2_000, "backtrader": 1_000}
    best = take_turns(
        {"carryflow": (lambda: next(cpu_seconds(work, 1)), PAIRS * HOURS)},
        {name: [f"{name.partition('_')[0]}_orders.py", PAIRS, played] for name, played in hours.items()},
    )
    for name, played in hours.items():
        theirs = carry_series(PAIRS, played)
        ours_of_it = Replayer(tapes_of(theirs), ENV).replay(theirs.target, closes=False)
        sent = 2 * len(ours_of_it.trades)
        assert sent == pytest.approx(best[name]["orders"], rel=0.005), "but for drifts that only ours mends"
    ours = best["carryflow"]["rate"]
    ratios = {name: ours / best[name]["rate"] for name in hours}
    ratios["backtrader, its feeds once read"] = ours / best["backtrader"]["once read"]
    benchmark.pedantic(work, rounds=20)
    once = min(cpu_seconds(lambda: Replayer(tapes_of(series), ENV).replay(targets), 3))
    print(  # noqa: T201
        f"carryflow: {1e3 * PAIRS * HOURS / ours:.2f} ms, {ours / 1e6:,.0f} M pair-bars a second of CPU; "
        + ", ".join(f"{ratio:,.0f} × {name}" for name, ratio in ratios.items())
        + f"; from arrays to equity, once a market, {1e3 * once:.0f} ms"
    )
    benchmark.extra_info.update({name: round(ratio) for name, ratio in ratios.items()})
    assert len(warm.trades) > 100 * PAIRS
    assert ratios["vectorbt"] >= 100
    assert ratios["nautilus_trader"] >= 1_000
    assert ratios["backtrader"] >= 20_000


def test_what_else_it_takes_is_said(
    replayer: Replayer, targets: np.ndarray, tapes: list[MarketTape], benchmark: BenchmarkFixture
) -> None:
    """Targets in rows instead of columns, no trades or many, the parts of every hour, and the laying out."""
    if benchmark.disabled:
        pytest.skip("speeds are compared by make bench")
    rows, flat = np.ascontiguousarray(targets), np.zeros_like(targets)
    daily = np.asfortranarray(
        np.broadcast_to(np.arange(HOURS)[:, None] // 24 % 2, targets.shape), dtype=float
    )
    kinds: dict[str, Callable[[], object]] = {
        "replay": lambda: replayer.replay(targets),
        "replay of targets row by row": lambda: replayer.replay(rows),
        "replay of nothing": lambda: replayer.replay(flat),
        "replay of a trade a day": lambda: replayer.replay(daily),
        "replay, with every hour's parts": lambda: replayer.replay(targets).parts_by_hour,
        "laying out the tapes, once": lambda: Replayer(tapes, ENV),
    }
    for name, work in kinds.items():
        work()
        milliseconds = 1e3 * min(cpu_seconds(work, 20))
        print(f"{name:40} {milliseconds:8.2f} ms")  # noqa: T201
        benchmark.extra_info[name] = round(milliseconds, 2)
    benchmark.pedantic(kinds["replay"], rounds=5)
