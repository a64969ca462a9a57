"""The replay of a position series: what the simulator says hour by hour, said at once."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from carryflow.core.account import PARTS
from carryflow.core.costs import CostSettings
from carryflow.core.errors import ActionError, MarketDataError
from carryflow.core.instrument import ContractType
from carryflow.env.replay.panel import BLOCK
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import Liquidity, MarketTape, PairLots
from carryflow.evaluation.backtest import backtest
from carryflow.evaluation.baselines import Floats, PlainChoice
from carryflow.evaluation.replay import Replay, Replayer, replay
from carryflow.features.spec import FeatureSpec

HOUR_MS = 3_600_000
CAPITAL = 100_000.0
SPEC = FeatureSpec(names=("spot_return",), lookback=3)


def wild_tape(seed: int, hours: int = 700, **fields: object) -> MarketTape:
    """Draw a market with all in it: wicks, halts, lots, thin books, a funding interval that changes."""
    generator = np.random.default_rng(seed)
    hour = np.arange(hours)
    spot = 100.0 * np.exp(np.cumsum(generator.normal(0.0, generator.choice([0.003, 0.015]), hours)))
    perp = spot * (1.0 + generator.normal(0.0, 5e-4, hours))
    mark = perp * (1.0 + generator.normal(0.0, 3e-4, hours))
    between = (
        np.maximum(mark, np.append(mark[:1], mark[:-1])),
        np.minimum(mark, np.append(mark[:1], mark[:-1])),
    )
    settles = np.where(hour < hours // 3, hour % 8 == 0, np.where(hour < hours // 2, hour % 4 == 0, True))
    inverse = generator.random() < 0.25
    rate = np.where(settles, generator.normal(2e-4, 4e-4, hours), 0.0)
    halted = np.zeros(hours, np.bool_)
    for start in generator.integers(0, hours - 6, generator.integers(0, 4)):
        halted[start : start + 5] = True
    taken = np.zeros(hours)
    if generator.random() < 0.6:
        taken[generator.integers(1, hours, 6)] = generator.uniform(0.1, 1.0, 6)
    book = np.where(generator.random((hours, 2)) < 0.5, np.nan, generator.uniform(0.5, 4.0, (hours, 2)))
    tape = MarketTape(
        ticker=f"T{seed:03}",
        decision_ms=HOUR_MS * np.cumsum(generator.choice([1, 1, 1, 2], hours)),
        spot=spot,
        perp=perp,
        mark=mark,
        tradable=~halted,
        settlement_cash=-rate / mark if inverse else -rate * mark,
        features=np.zeros((hours, 1), np.float32),
        spec=SPEC,
        kind=ContractType.INVERSE if inverse else ContractType.LINEAR,
        lots=PairLots(0.01, 10.0 if inverse else 0.1, 50.0) if generator.random() < 0.5 else PairLots(),
        liquidity=Liquidity(book, 1e6 * book, np.full((hours, 2), 1e7)) if generator.random() < 0.5 else None,
        mark_high=between[0] * (1.0 + np.abs(generator.normal(0.0, 0.01, hours))),
        mark_low=between[1] * (1.0 - np.abs(generator.normal(0.0, 0.01, hours))),
        deleveraged=taken,
    )
    return replace(tape, **fields)  # type: ignore[arg-type]


def wild_settings(seed: int) -> EnvSettings:
    """Draw an account: safe or with little margin, trading gladly or seldom, with its fees in either coin."""
    generator = np.random.default_rng(seed)
    return EnvSettings(
        spot_share=float(generator.choice([0.5, 0.8, 0.93])),
        hysteresis=float(generator.choice([0.0, 0.1, 0.25, 0.25])),
        costs=CostSettings(
            maker_share=float(generator.choice([0.0, 0.5])), fee_in_base=bool(generator.random() < 0.5)
        ),
    )


def wild_targets(seed: int, hours: int) -> np.ndarray:
    """Draw what is wanted: spells of one size, either way round or flat, with some noise on it."""
    generator = np.random.default_rng(seed)
    spells = np.repeat(generator.choice([-1.0, -0.4, 0.0, 0.0, 0.5, 1.0, 1.0], hours), 40)[:hours]
    starts = np.cumsum(generator.integers(1, 120, hours))
    wanted = spells[np.searchsorted(starts, np.arange(hours))]
    return np.clip(
        wanted + generator.choice([0.0, 0.02]) * generator.normal(size=hours) * (wanted != 0), -1, 1
    )


@dataclass
class Lived:
    """What the simulator says of one account, hour by hour."""

    equity: np.ndarray
    position: np.ndarray
    parts: np.ndarray
    turnover: float
    terminated: bool


def live(tape: MarketTape, targets: np.ndarray, env: EnvSettings) -> Lived:
    """Take an account through the simulator, one hour at a time."""
    simulator = HedgedSimulator([tape], 1, env)
    simulator.reset(0, 0, tape.first)
    equity, position, parts = [CAPITAL], [0.0], [np.zeros(len(PARTS))]
    terminated = False
    for target in targets[:-1]:
        result = simulator.step([target])
        terminated = terminated or bool(result.terminated[0])
        equity.append(simulator.equity[0])
        position.append(simulator.fraction[0])
        parts.append(result.parts_quote[0].copy())
    turnover = float(simulator.turnover_quote[0])
    return Lived(np.array(equity), np.array(position), np.array(parts), turnover, terminated)


SEEDS = range(60)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Replay, Lived]]:
    """Each draw, replayed and lived."""
    both = []
    for seed in SEEDS:
        tape, env = wild_tape(seed), wild_settings(seed)
        targets = wild_targets(seed, len(tape) - tape.first)
        both.append((replay([tape], targets[:, None], env, closes=False), live(tape, targets, env)))
    return both


def test_a_replay_is_worth_at_every_hour_what_the_simulator_is(pairs: list[tuple[Replay, Lived]]) -> None:
    for ours, lived in pairs:
        np.testing.assert_allclose(ours.equity[:, 0], lived.equity, rtol=0, atol=1e-9 * CAPITAL)
        np.testing.assert_allclose(ours.position[:, 0], lived.position, rtol=0, atol=1e-9)


def test_it_books_every_part_in_the_hour_in_which_the_simulator_does(
    pairs: list[tuple[Replay, Lived]],
) -> None:
    for ours, lived in pairs:
        np.testing.assert_allclose(ours.parts_by_hour[:, 0], lived.parts, rtol=0, atol=1e-9 * CAPITAL)
        for part, name in enumerate(PARTS):
            assert ours.parts[name][0] == pytest.approx(lived.parts[:, part].sum(), abs=1e-8 * CAPITAL)
        assert ours.trades["traded"].sum() == pytest.approx(lived.turnover)
        assert ours.terminated[0] == lived.terminated


def test_these_draws_held_everything_that_can_happen(pairs: list[tuple[Replay, Lived]]) -> None:
    liquidated = sum(lived.terminated for _, lived in pairs)
    assert 5 < liquidated < len(pairs) / 2
    total = {name: sum(abs(ours.parts[name][0]) for ours, _ in pairs) for name in PARTS}
    assert min(total.values()) > 1_000.0, total
    assert sum(ours.trades["traded"].len() for ours, _ in pairs) > 20 * len(pairs)
    taken = [wild_tape(seed).deleveraged for seed in SEEDS]
    struck = [(part[2:] > 0) & (lived.position > 0.1) for part, (_, lived) in zip(taken, pairs, strict=True)]
    assert sum(hours.sum() for hours in struck) > 30
    held = np.concatenate([lived.position for _, lived in pairs])
    assert (held < -0.1).mean() > 0.05
    assert (held > 0.1).mean() > 0.2


@pytest.mark.parametrize("row", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 5])
@pytest.mark.parametrize("strike", ["deleveraged", "squeezed", "squeezed while halted"])
def test_what_strikes_at_the_edge_of_a_block_is_not_stepped_over(row: int, strike: str) -> None:
    hours = 4 * BLOCK + 20
    still, zero = np.full(hours, 100.0), np.zeros(hours)
    taken, high, halted = zero.copy(), still.copy(), zero.astype(np.bool_)
    if strike == "deleveraged":
        taken[row] = 0.5
    else:
        high[row] = 250.0
    if strike == "squeezed while halted":
        halted[row : row + 3] = True
    tape = MarketTape(
        ticker="BTC",
        decision_ms=HOUR_MS * np.arange(hours),
        spot=still + 0.01 * np.arange(hours),
        perp=still,
        mark=still,
        tradable=~halted,
        settlement_cash=zero - 0.001,
        features=np.zeros((hours, 1), np.float32),
        spec=FeatureSpec(names=("spot_return",), lookback=1),
        mark_high=high,
        deleveraged=taken,
    )
    targets = np.ones(hours)
    ours, lived = (
        replay([tape], targets[:, None], EnvSettings(), closes=False),
        live(tape, targets, EnvSettings()),
    )
    np.testing.assert_allclose(ours.equity[:, 0], lived.equity, rtol=0, atol=1e-9 * CAPITAL)
    np.testing.assert_allclose(ours.position[:, 0], lived.position, rtol=0, atol=1e-9)
    assert ours.terminated[0] == lived.terminated == (strike != "deleveraged")
    assert row in ours.course.rows


@pytest.mark.parametrize("decisions", [2, 3, BLOCK, BLOCK + 1, BLOCK + 2, 2 * BLOCK])
@pytest.mark.parametrize("closes", [True, False])
def test_the_last_decision_but_one_closes_the_position_wherever_a_block_ends(
    decisions: int, closes: bool
) -> None:
    hours = 2 * BLOCK + 44
    whole = wild_tape(2, hours, deleveraged=None, tradable=np.ones(hours, np.bool_), lots=PairLots())
    assert whole.kind is ContractType.LINEAR
    tape = whole.slice(int(whole.decision_ms[2]), int(whole.decision_ms[2 + decisions]))
    targets = np.full(decisions, 0.5)
    ours = replay([tape], targets[:, None], EnvSettings(), closes=closes)
    if closes:
        targets[-2] = 0.0
    lived = live(tape, targets, EnvSettings())
    np.testing.assert_allclose(ours.equity[:, 0], lived.equity, rtol=0, atol=1e-9 * CAPITAL)
    assert (ours.position[-1, 0] == 0.0) == closes


def test_many_tickers_in_one_replay_are_each_what_they_are_alone() -> None:
    env = EnvSettings()
    clock = HOUR_MS * np.arange(700)
    tapes = [wild_tape(seed, decision_ms=clock) for seed in (1, 2, 3)]
    targets = np.column_stack([wild_targets(seed, 698) for seed in (1, 2, 3)])
    together = Replayer(tapes, env).replay(targets)
    for column, tape in enumerate(tapes):
        alone = replay([tape], targets[:, [column]], env)
        assert np.array_equal(together.equity[:, column], alone.equity[:, 0])
        own = together.trades.filter(pl.col("ticker") == tape.ticker)
        assert_frame_equal(own, alone.trades)


def test_its_ledger_is_that_of_a_backtest_which_wants_the_same() -> None:
    tapes = [wild_tape(seed, decision_ms=HOUR_MS * np.arange(700)) for seed in (4, 9)]
    wanted = [float(np.float32(0.7))] * 2

    def stay(observations: Floats) -> PlainChoice:
        return PlainChoice(np.full(len(observations), 0.7, dtype=np.float32))

    env = EnvSettings()
    expected = backtest(tapes, stay, env, 0, 2**62)
    assert_frame_equal(
        replay(tapes, np.tile(wanted, (698, 1)), env).ledger,
        expected,
        check_exact=False,
        abs_tol=1e-9 * CAPITAL,
    )


def test_the_second_replay_of_a_market_does_not_see_the_first() -> None:
    tape = wild_tape(7)
    player = Replayer([tape], EnvSettings())
    targets = wild_targets(7, 698)[:, None]
    first = player.replay(targets)
    before, trades = first.equity.copy(), first.trades
    assert first.ledger["equity"].len() == len(before)
    assert_frame_equal(first.trades, trades)
    player.replay(-targets)
    assert np.array_equal(player.replay(targets).equity, before)
    assert np.array_equal(first.equity, before)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1.5, -1.1])
def test_a_target_that_is_no_fraction_is_named(wrong: float) -> None:
    tape = wild_tape(5, decision_ms=HOUR_MS * np.arange(700))
    targets = np.zeros((698, 1))
    targets[650] = wrong
    with pytest.raises(ActionError, match=r"T005 at 1970-01-28T04:00Z.*\[-1, 1\], was"):
        replay([tape], targets, EnvSettings())


def test_targets_of_another_shape_are_refused() -> None:
    with pytest.raises(MarketDataError, match="698 decisions of 1 tickers"):
        replay([wild_tape(5)], np.zeros((700, 1)), EnvSettings())
