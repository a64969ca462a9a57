"""The hedged account: what a step trades, pays and sees."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from carryflow.core.account import PARTS, Column
from carryflow.core.costs import CostSettings, MarginSettings
from carryflow.core.errors import ActionError, MarketDataError, SchemaMismatchError
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import MarketTape, PairLots
from carryflow.features.spec import FeatureSpec

TapeMaker = Callable[..., MarketTape]
FlatMarket = Callable[[int], dict[str, np.ndarray]]


def start(tape: MarketTape, settings: EnvSettings, fraction: float = 0.0) -> HedgedSimulator:
    simulator = HedgedSimulator([tape], 1, settings)
    simulator.reset(0, 0, tape.first, fraction)
    return simulator


def column(simulator: HedgedSimulator, name: Column) -> float:
    return float(simulator.ledger[0, name])


def test_a_full_hedge_worked_by_hand(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(6)
    market["settlement_cash"][3] = -0.01  # 1 bp on 100
    market["spot"][4], market["perp"][4], market["mark"][4] = 110.0, 111.0, 111.0
    simulator = start(make_tape(n=6, lookback=1, **market), free)
    simulator.step([1.0])
    assert column(simulator, Column.SPOT_QTY) == pytest.approx(50.0)
    assert column(simulator, Column.PERP_QTY) == pytest.approx(-50.0)
    simulator.step([1.0])
    assert simulator.attribution["funding"][0] == 0.0
    paid = simulator.step([1.0])
    assert paid.profit_quote[0] == pytest.approx(0.5)
    assert paid.reward[0] == pytest.approx(0.5)  # 0.5 on 10 000 is half a basis point
    moved = simulator.step([1.0])
    assert moved.profit_quote[0] == pytest.approx(50 * 10 - 50 * 11)
    assert simulator.fraction[0] == pytest.approx(50 * 110 / (0.5 * 9950.5))
    assert simulator.drawdown[0] == pytest.approx(50 / 10_000.5)


def test_opening_costs_fees_and_slippage_of_both_legs(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    costs = CostSettings(spot_taker_bp=10, perp_taker_bp=5, spot_slippage_bp=2, perp_slippage_bp=1)
    simulator = start(make_tape(n=4, lookback=1, **flat_market(4)), free.model_copy(update={"costs": costs}))
    step = simulator.step([1.0])
    notional = 5000 / 1.0018
    parts = dict(zip(PARTS, step.parts_quote[0], strict=True))
    assert parts["slippage"] == pytest.approx(-notional * 3e-4)
    assert parts["fees"] == pytest.approx(-notional * (1.0002 * 10e-4 + 0.9999 * 5e-4))
    assert step.profit_quote[0] == pytest.approx(parts["slippage"] + parts["fees"])
    assert simulator.turnover_quote[0] == pytest.approx(notional * (1.0002 + 0.9999))
    assert column(simulator, Column.SPOT_CASH) >= 0, "the spot wallet paid for it"


def test_the_reverse_trade_borrows_coins_and_pays_interest(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    costs = free.costs.model_copy(update={"borrow_apr": 0.0876})
    simulator = start(make_tape(n=4, lookback=1, **flat_market(4)), free.model_copy(update={"costs": costs}))
    step = simulator.step([-1.0])
    assert column(simulator, Column.SPOT_QTY) == pytest.approx(-50.0)
    assert step.profit_quote[0] == pytest.approx(-5000 * 0.0876 / 8760)
    assert simulator.attribution["borrow"][0] == pytest.approx(step.profit_quote[0])


@pytest.mark.pitfall("P02")
@pytest.mark.parametrize("fraction", [1.0, -1.0])
@pytest.mark.parametrize("rate", [1e-3, -1e-3])
def test_long_spot_short_perp_earns_a_positive_rate(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings, fraction: float, rate: float
) -> None:
    market = flat_market(4)
    market["settlement_cash"][1] = -rate * 100.0
    simulator = start(make_tape(n=4, lookback=1, **market), free, fraction)
    assert simulator.step([fraction]).profit_quote[0] == pytest.approx(fraction * rate * 5000)


@pytest.mark.pitfall("P06")
def test_value_and_margin_follow_the_mark_and_fills_follow_the_book(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(5)
    market["perp"] = np.array([101.0, 400.0, 400.0, 103.0, 103.0])  # the last price runs away, the mark stays
    simulator = start(make_tape(n=5, lookback=1, **market), free)
    simulator.step([1.0])
    assert column(simulator, Column.PERP_ENTRY) == pytest.approx(101.0)
    step = simulator.step([1.0])
    assert not step.terminated[0]
    assert step.profit_quote[0] == 0.0
    simulator.step([1.0])
    simulator.step([0.0])
    # sold at 101, bought back at 103
    assert simulator.equity[0] == pytest.approx(10_000 - 50 * 2)
    assert simulator.attribution["slippage"][0] == 0.0, "the mark is not what it traded on"


def test_a_resize_evens_out_the_wallets(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(5)
    for name in ("spot", "perp", "mark"):
        market[name][1:] = 140.0
    simulator = start(make_tape(n=5, lookback=1, **market), free)
    simulator.step([1.0])
    assert column(simulator, Column.PERP_WALLET) - 50 * 40 == pytest.approx(3000.0)
    simulator.step([1.0])
    # 40 % drift is worth a trade: 5000 of coins again, and 5000 of margin beside them
    assert column(simulator, Column.SPOT_QTY) == pytest.approx(5000 / 140)
    assert column(simulator, Column.SPOT_CASH) == pytest.approx(0.0, abs=1e-9)
    margin = column(simulator, Column.PERP_WALLET) + column(simulator, Column.PERP_QTY) * 40
    assert margin == pytest.approx(5000.0)


@pytest.mark.pitfall("P13")
def test_a_short_whose_mark_doubles_is_liquidated_and_its_spot_sold(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(5)
    for name in ("spot", "perp", "mark"):
        market[name][2:] = 200.0
    settings = free.model_copy(update={"margin": MarginSettings(liquidation_fee_rate=0.01)})
    simulator = start(make_tape(n=5, lookback=1, **market), settings)
    assert not simulator.step([1.0]).terminated[0]
    step = simulator.step([1.0])
    assert step.terminated[0]
    assert not step.truncated[0]
    assert column(simulator, Column.PERP_QTY) == column(simulator, Column.SPOT_QTY) == 0.0
    # the wallet of 5000 went to 0, so the fund bears the fee; the spot is worth 10 000
    assert simulator.equity[0] == pytest.approx(10_000.0)
    rest = simulator.step([1.0])
    assert rest.terminated[0]
    assert rest.reward[0] == rest.profit_quote[0] == 0.0


@pytest.mark.pitfall("P13")
def test_a_thin_margin_is_liquidated_by_a_rise_of_a_tenth(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(4)
    for name in ("spot", "perp", "mark"):
        market[name][1:] = 111.0
    simulator = start(make_tape(n=4, lookback=1, **market), free.model_copy(update={"spot_share": 0.9}), 1.0)
    assert simulator.step([1.0]).terminated[0]
    # 90 coins short on a margin of 1000 are closed at 110.67, where 0.4 % are left; the fee takes them
    assert simulator.attribution["liquidation"][0] == pytest.approx(-0.004 * 10_000 / 1.004)
    assert simulator.equity[0] == pytest.approx(9990.0)


def test_a_halted_market_trades_nothing_and_still_pays_funding(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(5)
    market["settlement_cash"][2] = -0.01
    tradable = np.array([True, False, True, True, True])
    simulator = start(make_tape(n=5, lookback=1, tradable=tradable, **market), free)
    simulator.step([1.0])
    halted = simulator.step([0.0])
    assert column(simulator, Column.SPOT_QTY) == pytest.approx(50.0)
    assert halted.profit_quote[0] == pytest.approx(0.5)
    simulator.step([0.0])
    assert column(simulator, Column.SPOT_QTY) == 0.0


def test_near_targets_do_not_trade_and_flat_always_does(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    simulator = start(make_tape(n=9, lookback=1, **flat_market(9)), free)
    held = []
    for action in (0.2, 0.5, 0.3, 0.7, 0.76, 0.6, 0.0):
        simulator.step([action])
        held.append(round(float(simulator.fraction[0]), 9))
    assert held == [0.0, 0.5, 0.5, 0.5, 0.76, 0.76, 0.0]


@pytest.mark.pitfall("P08")
def test_lots_and_least_notional_keep_the_legs_equal(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    simulator = start(make_tape(n=4, lookback=1, lots=PairLots(7.0, 1.0), **flat_market(4)), free)
    simulator.step([1.0])
    assert column(simulator, Column.SPOT_QTY) == pytest.approx(49.0)
    assert column(simulator, Column.PERP_QTY) == pytest.approx(-49.0)
    dear = free.model_copy(update={"min_notional_quote": 6000.0})
    simulator = start(make_tape(n=4, lookback=1, **flat_market(4)), dear)
    simulator.step([1.0])
    assert column(simulator, Column.SPOT_QTY) == column(simulator, Column.PERP_QTY) == 0.0


@pytest.mark.parametrize("action", [np.nan, np.inf, -np.inf, 1.01, -1.01])
def test_an_action_that_is_no_fraction_is_refused_before_anyone_moves(
    make_tape: TapeMaker, free: EnvSettings, action: float
) -> None:
    simulator = HedgedSimulator([make_tape()], 2, free)
    simulator.reset([0, 1], 0, 5)
    before = simulator.ledger.copy()
    with pytest.raises(ActionError, match="account 1: an action must be a fraction"):
        simulator.step([1.0, action])
    assert np.array_equal(simulator.ledger, before)
    assert simulator.row.tolist() == [5, 5]


def test_the_wrong_number_of_actions_is_refused(make_tape: TapeMaker, free: EnvSettings) -> None:
    with pytest.raises(ActionError, match="expected 1 actions"):
        start(make_tape(), free).step([0.0, 0.0])


def test_an_account_must_be_reset_where_a_window_and_a_step_are_left(
    make_tape: TapeMaker, free: EnvSettings
) -> None:
    simulator = HedgedSimulator([make_tape(n=10, lookback=4)], 1, free)
    assert simulator.step([1.0]).reward[0] == 0.0, "an account that was never opened rests"
    assert simulator.row[0] == 3, "where a whole window is to be seen"
    assert np.array_equal(simulator.observe()[0, :8], simulator.tapes[0].features[:4].reshape(-1))
    for row in (2, 9):
        with pytest.raises(MarketDataError, match=r"choose one of 3 to 8"):
            simulator.reset(0, 0, row)
    with pytest.raises(ActionError, match="inherited position"):
        simulator.reset(0, 0, 3, 1.5)


def test_an_inherited_position_is_free_and_the_next_step_is_not(make_tape: TapeMaker) -> None:
    simulator = start(make_tape(), EnvSettings(), fraction=-0.6)
    assert simulator.fraction[0] == pytest.approx(-0.6)
    assert simulator.equity[0] == pytest.approx(100_000.0)
    assert simulator.turnover_quote[0] == 0.0
    assert all(abs(quote[0]) < 1e-9 for quote in simulator.attribution.values())
    simulator.step([1.0])
    assert simulator.attribution["fees"][0] < 0


def test_an_episode_is_cut_after_its_bars_or_at_the_end_of_the_tape(
    make_tape: TapeMaker, free: EnvSettings
) -> None:
    simulator = HedgedSimulator([make_tape(n=10)], 2, free)
    simulator.reset(0, 0, 2, bars=3)
    simulator.reset(1, 0, 2)
    cut = [simulator.step([0.0, 0.0]).truncated.tolist() for _ in range(7)]
    assert cut == [[False, False]] * 2 + [[True, False]] * 4 + [[True, True]]
    assert simulator.row.tolist() == [5, 9]


def test_the_observation_is_the_window_then_the_position(make_tape: TapeMaker) -> None:
    tape = make_tape(lookback=4)
    simulator = start(tape, EnvSettings(), 0.5)
    simulator.step([0.5])
    seen = simulator.observe()
    assert seen.dtype == np.float32
    assert np.array_equal(seen[0, :8], tape.features[1:5].reshape(-1))
    assert seen[0, 8] == np.float32(simulator.fraction[0])
    assert seen[0, 9] == pytest.approx(simulator.drawdown[0], abs=1e-7)


@pytest.mark.pitfall("P16")
def test_nothing_later_than_the_row_reaches_the_observation_or_the_past_rewards(make_tape: TapeMaker) -> None:
    tape, other, now = make_tape(seed=1), make_tape(seed=2), 30
    mixed = replace(
        tape,
        **{
            name: np.concatenate([getattr(tape, name)[: now + 1], getattr(other, name)[now + 1 :]])
            for name in ("spot", "perp", "mark", "tradable", "settlement_cash", "features")
        },
    )
    simulator = HedgedSimulator([tape, mixed], 2, EnvSettings())
    simulator.reset([0, 1], [0, 1], tape.first)
    rng = np.random.default_rng(0)
    while simulator.row[0] < now:
        action = rng.uniform(-1, 1)
        step = simulator.step([action, action])
        assert step.reward[0] == step.reward[1]
        seen = simulator.observe()
        assert np.array_equal(seen[0], seen[1])
    assert simulator.step([1.0, 1.0]).reward.std() > 0, "the futures do differ"


def test_accounts_do_not_touch_each_other(make_tape: TapeMaker) -> None:
    tapes = [make_tape(seed=seed, n=40 + seed) for seed in range(3)]
    actions = np.random.default_rng(4).uniform(-1, 1, (30, 6))
    together = HedgedSimulator(tapes, 6, EnvSettings())
    together.reset(range(6), [0, 1, 2, 2, 1, 0], [2, 3, 4, 5, 6, 7], [0, 1, -1, 0.5, 0, 0.1])
    both = np.array([together.step(row).reward for row in actions])
    for account, (tape, first, held) in enumerate(
        zip([0, 1, 2, 2, 1, 0], [2, 3, 4, 5, 6, 7], [0, 1, -1, 0.5, 0, 0.1], strict=True)
    ):
        alone = HedgedSimulator([tapes[tape]], 1, EnvSettings())
        alone.reset(0, 0, first, held)
        rewards = [alone.step(row[account : account + 1]).reward[0] for row in actions]
        assert np.array_equal(rewards, both[:, account])
        assert np.array_equal(alone.observe()[0], together.observe()[account])
        assert alone.now_ms[0] == together.now_ms[account]


def test_the_books_balance_after_a_wild_ride(make_tape: TapeMaker) -> None:
    rng = np.random.default_rng(8)
    wild = 100 * np.exp(np.cumsum(rng.normal(0, 0.05, 400)))
    tape = make_tape(n=400, spot=wild, perp=wild * 1.01, mark=wild * 0.99)
    simulator = HedgedSimulator([tape], 8, EnvSettings())
    simulator.reset(range(8), 0, 5, rng.uniform(-1, 1, 8))
    profit = np.zeros(8)
    while simulator.running.any():
        step = simulator.step(rng.uniform(-1, 1, 8))
        profit += step.profit_quote
        assert step.parts_quote.sum(axis=1) == pytest.approx(step.profit_quote, abs=1e-5)
    simulator.check_books()
    assert simulator.equity == pytest.approx(100_000 + profit)


def test_no_tape_or_tapes_of_two_specs_are_refused(make_tape: TapeMaker) -> None:
    with pytest.raises(MarketDataError, match="at least one tape"):
        HedgedSimulator([], 1, EnvSettings())
    with pytest.raises(SchemaMismatchError, match="differ in their feature specs"):
        HedgedSimulator([make_tape(), make_tape(spec=FeatureSpec(("x", "y"), 3))], 1, EnvSettings())


def test_observations_are_never_written_beyond_the_array_that_takes_them(make_tape: TapeMaker) -> None:
    simulator = HedgedSimulator([make_tape()], 4, EnvSettings())
    simulator.reset(range(4), 0, 20)
    size = simulator.observation_size
    wide = np.full((4, size + 3), 7.0, np.float32)
    assert np.array_equal(simulator.observe(wide)[:, :size], simulator.observe())
    simulator.play(np.zeros((4, 1)), wide)
    assert (wide[:, size:] == 7.0).all(), "what is behind an observation is somebody else's"
    for wrong in (wide[:2], wide[:, : size - 1].copy(), wide[:, :size], wide.astype(np.float64), wide[0]):
        with pytest.raises(SchemaMismatchError, match=f"need a writable.* \\(4, {size}\\)"):
            simulator.observe(wrong)
        with pytest.raises(SchemaMismatchError, match="leave it out"):
            simulator.play(np.zeros((4, 1)), wrong)
    for actions in (np.zeros((2, 1)), np.zeros((4, 3)), np.zeros(4)):
        with pytest.raises(ActionError, match=r"expected actions \(4, 1 or 2\)"):
            simulator.play(actions, wide)
