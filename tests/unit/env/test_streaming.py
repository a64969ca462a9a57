"""One row at a time: a market played as it comes is the market played from a tape, to the last bit."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from carryflow.core.errors import ActionError, CoverageError, MarketDataError, SchemaMismatchError
from carryflow.core.instrument import ContractType
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.feed import Feed, FeedRow, stream_feed, tape_feed
from carryflow.env.portfolio.tapes import on_shared_decisions
from carryflow.env.settings import EnvSettings
from carryflow.env.streaming import StreamingCryptoEnv
from carryflow.env.tape import Liquidity, MarketTape, PairLots, tape_of
from carryflow.features.dataset import write_dataset
from carryflow.features.frame import build_frame
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import Split
from carryflow.features.stream import FeatureStream
from carryflow.market.closed_bars import ClosedBar, recorded_bars
from carryflow.market.data import DataSettings
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

HOUR_MS = 3_600_000
WHOLE = EnvSettings(random_start=False, episode_bars=10**6)


def wild(make_tape: Callable[..., MarketTape], kind: ContractType, lookback: int) -> MarketTape:
    """A tape with halts, funding, forced closes, a book that comes and goes, and moves that liquidate."""
    rng, n = np.random.default_rng(lookback), 1_500
    spot = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, n)))
    mark = spot * (1 + rng.normal(0.0, 1e-2, n))
    spiked = rng.random(n) < 0.02
    liquidity = np.exp(rng.normal(0.0, 1.0, (3, n, 2))) * np.array([1.0, 1e6, 1e8])[:, None, None]
    liquidity[:2, rng.random(n) < 0.3] = np.nan
    return make_tape(
        n,
        lookback=lookback,
        kind=kind,
        spot=spot,
        mark=mark,
        perp=spot * (1 + rng.normal(0.0, 1e-2, n)),
        tradable=rng.random(n) > 0.05,
        settlement_cash=np.where(rng.random(n) < 0.2, rng.normal(0.0, 3e-4, n), 0.0)
        * (1 / mark if kind is ContractType.INVERSE else mark),
        lots=PairLots(0.001, 10.0 if kind is ContractType.INVERSE else 0.01, 20.0),
        mark_high=mark * np.where(spiked, 2.5, 1.01),
        mark_low=mark * np.where(spiked, 0.2, 0.99),
        deleveraged=np.where(rng.random(n) < 0.01, rng.random(n), 0.0),
        liquidity=Liquidity(*liquidity),
    )


def assert_same(now: tuple[Any, ...], then: tuple[Any, ...]) -> None:
    """Two answers of an environment are equal to the last bit: observation, reward, ends and info."""
    np.testing.assert_array_equal(now[0], then[0])
    assert now[1:] == then[1:]


@pytest.mark.pitfall("P16")
@pytest.mark.pitfall("P18")
@pytest.mark.parametrize(
    ("kind", "lookback", "action", "gaps"),
    [
        (ContractType.LINEAR, 3, "fraction_and_margin", False),
        (ContractType.INVERSE, 40, "weights", False),
        (ContractType.LINEAR, 5, "fraction", True),
    ],
)
def test_a_replayed_tape_is_the_historical_environment_to_the_last_bit(
    make_tape: Callable[..., MarketTape], kind: ContractType, lookback: int, action: str, gaps: bool
) -> None:
    tape, rng = wild(make_tape, kind, lookback), np.random.default_rng(lookback)
    if gaps:
        kept = tape.decision_ms[rng.random(len(tape)) < 0.7]
        tape, _ = on_shared_decisions([tape, make_tape(len(kept), lookback=lookback, decision_ms=kept)])
    settings = WHOLE.model_copy(update={"action": action})
    live = StreamingCryptoEnv(tape_feed(tape), settings)
    endings, row = [], tape.first
    while row < len(tape) - 1:
        rest = tape.slice(int(tape.decision_ms[row]), int(tape.decision_ms[-1]) + 1)
        past = CryptoTradingEnv([rest], settings)
        assert_same(live.reset(), past.reset())
        ended = False
        while not ended:
            wanted = rng.choice([-1.0, 0.0, 1.0, rng.uniform(-1, 1)], past.action_space.shape).astype(
                np.float32
            )
            told = live.step(wanted)
            assert_same(told, past.step(wanted))
            np.testing.assert_array_equal(live.simulator.ledger, past.simulator.ledger)
            row += 1
            ended = told[2] or told[3]
        live.simulator.check_books()
        endings.append("liquidated" if told[2] else "cut")
    # coins margin what they hedge: an inverse pair outlives every wick
    assert endings.count("liquidated") >= 3 if kind is ContractType.LINEAR else "cut" in endings
    assert row == len(tape) - 1
    with pytest.raises(MarketDataError, match="ABC: the feed has ended"):
        live.reset()


def history(tape: MarketTape, rows: int) -> list[FeedRow]:
    return list(islice(tape_feed(tape).rows, rows))


def feed_of(tape: MarketTape, rows: Iterator[FeedRow]) -> Feed:
    return replace(tape_feed(tape), rows=rows)


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"decision_ms": 8 * HOUR_MS}, CoverageError, "ABC: the row of 1970-01-01T08:00Z came when that of"),
        (
            {"decision_ms": 6 * HOUR_MS},
            CoverageError,
            "1970-01-01T06:00Z came when that of 1970-01-01T07:00Z",
        ),
        ({"mark": float("nan")}, CoverageError, "no mark price"),
        ({"spot": 0.0}, CoverageError, "no spot price"),
        ({"settlement_cash": float("nan")}, CoverageError, "no settlement cash"),
        ({"features": np.array([0.0, np.nan], np.float32)}, CoverageError, "no finite feature"),
        ({"features": np.zeros(3, np.float32)}, SchemaMismatchError, "the spec wants"),
    ],
)
def test_a_row_that_cannot_be_played_is_refused_and_the_right_one_taken_in_its_place(
    make_tape: Callable[..., MarketTape], change: dict[str, Any], error: type[Exception], message: str
) -> None:
    tape = make_tape(12)
    rows = history(tape, 12)
    wrong = StreamingCryptoEnv(feed_of(tape, iter([*rows[:6], replace(rows[6], **change), *rows[6:]])), WHOLE)
    right = StreamingCryptoEnv(tape_feed(tape), WHOLE)
    for env in (wrong, right):
        env.reset()
        for _ in range(3):
            env.step(np.ones(1, np.float32))
    with pytest.raises(error, match=message):
        wrong.step(np.ones(1, np.float32))
    np.testing.assert_array_equal(wrong.simulator.ledger, right.simulator.ledger)
    for _ in range(6):
        assert_same(wrong.step(np.ones(1, np.float32)), right.step(np.ones(1, np.float32)))


def test_after_rows_that_never_come_a_reset_begins_with_a_new_window(
    make_tape: Callable[..., MarketTape],
) -> None:
    tape = make_tape(40, lookback=3)
    rows = history(tape, 40)
    env = StreamingCryptoEnv(feed_of(tape, iter(rows[:9] + rows[14:])), WHOLE)
    env.reset()
    for _ in range(6):
        env.step(np.ones(1, np.float32))
    stood = env.simulator.ledger.copy()
    for _ in range(2):  # rows 14 and 15 come, for 9
        with pytest.raises(CoverageError, match=r"came when that of .* was due; bring it first, or reset"):
            env.step(np.ones(1, np.float32))
    np.testing.assert_array_equal(env.simulator.ledger, stood)
    past = CryptoTradingEnv([tape.slice(int(tape.decision_ms[17]), int(tape.decision_ms[-1]) + 1)], WHOLE)
    assert_same(env.reset(), past.reset())
    ended = False
    while not ended:
        told = env.step(np.ones(1, np.float32))
        assert_same(told, past.step(np.ones(1, np.float32)))
        ended = told[3]


def test_a_window_that_is_dropped_takes_its_episode_along(make_tape: Callable[..., MarketTape]) -> None:
    tape = make_tape(12)
    rows = history(tape, 12)
    torn = replace(rows[9], mark=float("nan"))
    env = StreamingCryptoEnv(feed_of(tape, iter([*rows[:4], rows[8], torn])), WHOLE)
    env.reset()
    env.step(np.ones(1, np.float32))
    with pytest.raises(CoverageError, match="or reset"):
        env.step(np.ones(1, np.float32))
    with pytest.raises(CoverageError, match="no mark price"):
        env.reset()
    *_, reward, terminated, truncated, info = env.step(np.ones(1, np.float32))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert np.isfinite(info["equity"])


def test_an_action_that_is_none_is_refused_and_costs_no_row(make_tape: Callable[..., MarketTape]) -> None:
    env, same = (StreamingCryptoEnv(tape_feed(make_tape(9)), WHOLE) for _ in range(2))
    for each in (env, same):
        each.reset()
    for wrong in (np.nan, 1.5):
        with pytest.raises(ActionError, match=f"was .*{wrong}"):
            env.step(np.array([wrong], np.float32))
    with pytest.raises(ActionError, match=r"must be \(1,\) real numbers, was 'up'"):
        env.step("up")  # type: ignore[arg-type]
    assert env.simulator.taken == same.simulator.taken  # nobody waited for a row to be told so
    assert_same(env.step([1]), same.step(np.ones(1, np.float32)))  # type: ignore[arg-type]


def test_a_feed_that_ends_unannounced_cuts_the_episode_where_it_stands(
    make_tape: Callable[..., MarketTape],
) -> None:
    tape = make_tape(12)
    env = StreamingCryptoEnv(feed_of(tape, iter(history(tape, 9))), WHOLE)
    env.reset()
    for _ in range(6):
        seen, *_, info = env.step(np.ones(1, np.float32))
    then, *ended, told = env.step(np.zeros(1, np.float32))
    np.testing.assert_array_equal(then, seen)
    assert ended == [0.0, False, True]
    assert (told["now_ms"], told["equity"]) == (info["now_ms"], info["equity"])
    assert told["portfolio_change_bp"] == 0.0 != info["portfolio_change_bp"]
    assert not env.simulator.running[0]
    with pytest.raises(MarketDataError, match="ABC: the feed has ended"):
        env.reset()


def test_a_feed_shorter_than_a_window_is_refused(make_tape: Callable[..., MarketTape]) -> None:
    tape = make_tape(12)
    with pytest.raises(MarketDataError, match="ABC: the feed has ended after 2 rows"):
        StreamingCryptoEnv(feed_of(tape, iter(history(tape, 2))), WHOLE).reset()


def test_an_episode_is_cut_after_its_bars_and_the_next_begins_where_the_market_stands(
    make_tape: Callable[..., MarketTape],
) -> None:
    tape = make_tape(230)
    env = StreamingCryptoEnv(tape_feed(tape), WHOLE, bars=70)
    for episode in range(3):
        _, info = env.reset()
        assert info["now_ms"] == tape.decision_ms[tape.first + 70 * episode]
        assert info["equity"] == WHOLE.capital_quote
        cut = [env.step(np.ones(1, np.float32))[3] for _ in range(70)]
        assert cut == [False] * 69 + [True]


def endless(tape: MarketTape) -> Iterator[FeedRow]:
    rows = history(tape, len(tape))
    for k in count():
        yield replace(rows[k % len(rows)], decision_ms=(k + 1) * HOUR_MS, final=False)


def test_a_stream_without_end_keeps_its_memory(make_tape: Callable[..., MarketTape]) -> None:
    tape = make_tape(50)
    env = StreamingCryptoEnv(feed_of(tape, endless(tape)), WHOLE)
    env.reset()
    held = []
    tracemalloc.start()
    try:
        for step in range(1_500):
            env.step(np.array([1.0 if step % 9 else 0.0], np.float32))
            if step % 500 == 499:
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[2] - held[1] < 4_000  # a row is 200 bytes and more


def test_gymnasium_accepts_the_environment(make_tape: Callable[..., MarketTape]) -> None:
    env = StreamingCryptoEnv(tape_feed(make_tape(60)), WHOLE)
    env.spec = EnvSpec("Streaming-v0", nondeterministic=True)  # a reset does not bring the hours back
    check_env(env, skip_render_check=True, skip_close_check=True)


@pytest.fixture(scope="module")
def legs() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Raw hours of one coin; spot is halted for three of them, and the first window ends on a settlement."""
    market = synthetic_market(SyntheticSettings(hours=260), ("BTC",))
    spot, perp = (market[leg, "BTC"].slice(7) for leg in ("spot", "perp"))
    return spot.filter(~pl.int_range(pl.len()).is_between(220, 222)), perp


@pytest.mark.pitfall("P16")
@pytest.mark.pitfall("P18")
def test_bars_as_they_close_are_the_historical_environment_over_the_built_frame(
    legs: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path
) -> None:
    spot, perp = legs
    data, features = DataSettings(tickers=("BTC",)), FeatureSettings(lookback=6)
    spec = FeatureSpec.of(features, sentiment=False)
    frame = build_frame(spot, perp, "BTC", data, features=features)
    close_ms = frame["KnownAt"].dt.epoch("ms").to_numpy()
    split = Split(*(int(close_ms[row]) for row in (0, 40, 50, -1)))
    dataset = write_dataset(frame, spec, split, "a-market", tmp_path)
    tape = tape_of(dataset, "BTC")

    stream = FeatureStream("BTC", data, features)
    until = perp["timestamp"][170]
    stream.prime(spot.filter(pl.col("timestamp") < until), perp.head(170))
    bars = recorded_bars(spot.filter(pl.col("timestamp") >= until), perp.slice(170))
    live = StreamingCryptoEnv(stream_feed(stream, bars, dataset.scaler), WHOLE)
    past = CryptoTradingEnv([tape], WHOLE)
    assert_same(live.reset(), past.reset())
    rng, ended, steps = np.random.default_rng(1), False, 0
    while not ended:
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        told = live.step(action)
        assert_same(told, past.step(action))
        ended, steps = told[3], steps + 1
    assert steps == len(tape) - spec.lookback
    assert not tape.tradable.all()
    assert told[4]["funding"] != 0.0


@pytest.mark.pitfall("P05")
def test_a_settlement_that_the_feed_did_not_tell_stops_it(legs: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    spot, perp = legs
    stream = FeatureStream("BTC", DataSettings(tickers=("BTC",)), FeatureSettings(lookback=2))
    until = perp["timestamp"][176]
    stream.prime(spot.filter(pl.col("timestamp") < until), perp.head(176))
    bars = recorded_bars(spot.filter(pl.col("timestamp") >= until), perp.slice(176))
    untold = (ClosedBar(bar.spot, bar.perp) for bar in bars)
    from carryflow.features.scaling import Scaler

    width = len(stream.spec.published)
    feed = stream_feed(stream, untold, Scaler.fit(np.eye(width), stream.spec))
    with pytest.raises(CoverageError, match=r"BTC: the bar that opened at .* but None was paid"):
        list(islice(feed.rows, 9))
