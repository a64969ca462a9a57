"""What trading costs, what the venue takes, and what becomes of an account whose margin is gone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from carryflow.core.account import Column
from carryflow.core.costs import Bracket, CostSettings, MarginSettings
from carryflow.core.errors import ActionError
from carryflow.core.instrument import ContractType
from carryflow.core.slippage import slippage_rate
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import Liquidity, MarketTape, PairLots

TapeMaker = Callable[..., MarketTape]
FlatMarket = Callable[[int], dict[str, np.ndarray]]


def start(tape: MarketTape, settings: EnvSettings, fraction: float = 0.0) -> HedgedSimulator:
    simulator = HedgedSimulator([tape], 1, settings)
    simulator.reset(0, 0, tape.first, fraction)
    return simulator


def column(simulator: HedgedSimulator, name: Column) -> float:
    return float(simulator.ledger[0, name])


def with_costs(settings: EnvSettings, **costs: Any) -> EnvSettings:
    return settings.model_copy(update={"costs": settings.costs.model_copy(update=costs)})


def liquidity(n: int, spread: float, depth: float, turnover: float) -> Liquidity:
    return Liquidity(*(np.full((n, 2), value) for value in (spread, depth, turnover)))


def test_an_order_pays_half_the_spread_and_walks_the_recorded_book_of_each_leg(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    book = Liquidity(
        half_spread_bp=np.tile([2.0, 1.0], (4, 1)),
        depth_quote=np.tile([20_000.0, 5_000.0], (4, 1)),
        turnover_quote=np.full((4, 2), np.nan),
    )
    simulator = start(make_tape(n=4, lookback=1, liquidity=book, **flat_market(4)), free)
    step = simulator.step([1.0])
    held = 100 * column(simulator, Column.SPOT_QTY)
    lost = held * (slippage_rate(held, 2e-4, 20_000.0, 1.0) + slippage_rate(held, 1e-4, 5_000.0, 1.0))
    assert simulator.attribution["slippage"][0] == pytest.approx(-lost)
    # 5000 into a book with 5000 within 10 bp: half a spread of 1 bp and 5.56 bp of depth
    assert slippage_rate(5000.0, 1e-4, 5_000.0, 1.0) == pytest.approx(6.5556e-4, rel=1e-4)
    assert step.profit_quote[0] == pytest.approx(-lost)
    assert column(simulator, Column.SPOT_CASH) >= 0, "what the walk costs was set aside"
    resting = with_costs(free, maker_share=1.0, spot_maker_bp=0, perp_maker_bp=0)
    patient = start(make_tape(n=4, lookback=1, liquidity=book, **flat_market(4)), resting)
    assert patient.step([1.0]).profit_quote[0] == 0.0, "a resting order waits for its price"


def test_where_no_book_was_recorded_the_settings_say_spread_and_depth(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    costs = {"spot_slippage_bp": 3.0, "perp_slippage_bp": 1.0}
    costs |= {"spot_depth_share": 0.02, "perp_depth_share": 0.01}
    settings = with_costs(free, **costs)
    lost = []
    for book in (None, liquidity(4, np.nan, np.nan, np.nan), liquidity(4, np.nan, np.nan, 1e6)):
        simulator = start(make_tape(n=4, lookback=1, liquidity=book, **flat_market(4)), settings)
        simulator.step([1.0])
        lost.append(-simulator.attribution["slippage"][0] / (100 * column(simulator, Column.SPOT_QTY)))
    assert lost[:2] == pytest.approx([4e-4, 4e-4]), "nobody knows a bottom"
    legs = (slippage_rate(5000.0, 3e-4, 2e4, 1.0), slippage_rate(5000.0, 1e-4, 1e4, 1.0))
    assert lost[2] == pytest.approx(sum(legs), rel=1e-3)


@pytest.mark.pitfall("P15")
def test_a_fee_in_coins_leaves_the_perpetual_sized_on_what_is_left(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    settings = with_costs(free, spot_taker_bp=10, fee_in_base=True)
    simulator = start(make_tape(n=4, lookback=1, **flat_market(4)), settings)
    simulator.step([1.0])
    assert simulator.delta_base[0] == pytest.approx(0.0, abs=1e-12)
    coins = column(simulator, Column.SPOT_QTY)
    assert simulator.attribution["fees"][0] == pytest.approx(-coins / 0.999 * 1e-3 * 100)
    assert column(simulator, Column.SPOT_CASH) >= 0
    assert simulator.equity[0] == pytest.approx(10_000 + simulator.attribution["fees"][0])
    simulator.step([0.0])
    assert column(simulator, Column.SPOT_QTY) == 0.0
    lots = PairLots(spot_base=0.01, perp=0.5)
    simulator = start(make_tape(n=4, lookback=1, lots=lots, **flat_market(4)), settings)
    simulator.step([0.9])
    assert column(simulator, Column.PERP_QTY) == pytest.approx(-44.5)
    assert abs(simulator.delta_base[0]) <= 0.5


@pytest.mark.pitfall("P13")
@pytest.mark.parametrize(
    ("fraction", "wick", "dies"), [(1, 1.18, False), (1, 1.22, True), (-1, 1.22, False), (-1, 1 / 1.26, True)]
)
def test_a_wick_between_two_rows_liquidates_the_side_that_it_hurts(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings, fraction: int, wick: float, dies: bool
) -> None:
    marks = {"mark_high": np.full(4, 100.0), "mark_low": np.full(4, 100.0)}
    marks["mark_high" if wick > 1 else "mark_low"][1] = 100.0 * wick
    settings = free.model_copy(update={"spot_share": 5 / 6})  # margin of a fifth of the notional
    simulator = start(make_tape(n=4, lookback=1, **flat_market(4), **marks), settings, fraction)
    assert simulator.step([fraction]).terminated[0] == dies
    assert (column(simulator, Column.PERP_QTY) == 0.0) == dies
    assert (column(simulator, Column.SPOT_QTY) == 0.0) == dies
    # the margin is lost, and no more: what the wick took beyond it, the insurance fund bears
    assert simulator.equity[0] == pytest.approx(10_000 * (5 / 6 if dies else 1))
    # it was closed before the wick's end, where 0.4 % of some 9 960 were left, and the venue's fee took them
    left = 0.004 * (10_000 / 1.004 if fraction > 0 else 10_000 / 1.5 / 0.996)
    assert simulator.attribution["liquidation"][0] == pytest.approx(-left if dies else 0.0)


@pytest.mark.pitfall("P13")
def test_a_larger_position_needs_a_larger_part_of_its_notional(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(4)
    market["mark"][1:] = 108.0  # 20 of margin on 100 have become 12
    margin = MarginSettings(brackets=(Bracket(0.0, 0.005), Bracket(50_000.0, 0.3)))
    ends = []
    for capital in (10_000.0, 1_000_000.0):
        given = {"spot_share": 5 / 6, "margin": margin, "capital_quote": capital}
        simulator = start(make_tape(n=4, lookback=1, **market), free.model_copy(update=given), 1.0)
        ends.append(bool(simulator.step([1.0]).terminated[0]))
    assert ends == [False, True]


def test_what_is_left_after_a_liquidation_in_a_halt_is_sold_when_the_market_opens(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(7)
    for name in ("spot", "perp", "mark"):
        market[name][2:] = [200.0, 150.0, 150.0, 120.0, 90.0]
    tradable = np.array([True, True, False, False, True, True, True])
    settings = with_costs(free, spot_taker_bp=100)
    simulator = start(make_tape(n=7, lookback=1, tradable=tradable, **market), settings, 1.0)
    steps = [simulator.step([1.0]) for _ in range(5)]
    assert [bool(step.terminated[0]) for step in steps] == [False, False, False, True, True]
    assert column(simulator, Column.PERP_QTY) == column(simulator, Column.SPOT_QTY) == 0.0
    # the margin is gone; 50 coins were sold at 150, the first price at which anything traded
    assert simulator.equity[0] == pytest.approx(50 * 150 * 0.99)
    assert steps[4].profit_quote[0] == 0.0
    simulator.check_books()


def test_a_tape_that_ends_in_the_halt_truncates_with_the_coins_unsold(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(4)
    market["mark"][2:] = 300.0
    tradable = np.array([True, True, False, False])
    simulator = start(make_tape(n=4, lookback=1, tradable=tradable, **market), free, 1.0)
    last = [simulator.step([1.0]) for _ in range(3)][-1]
    assert (last.terminated[0], last.truncated[0]) == (False, True)
    assert column(simulator, Column.SPOT_QTY) == pytest.approx(50.0)


def test_a_deleveraged_short_is_seen_and_hedged_anew_whatever_the_hysteresis(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    taken = np.array([0.0, 0.0, 0.4, 0.0, 0.0])
    tape = make_tape(n=5, lookback=1, deleveraged=taken, **flat_market(5))
    simulator = start(tape, free, 1.0)
    simulator.step([1.0])
    assert simulator.delta_base[0] == 0.0
    simulator.step([1.0])
    assert simulator.delta_base[0] == pytest.approx(20.0)
    assert simulator.equity[0] == pytest.approx(10_000.0)
    simulator.step([1.0])
    assert simulator.delta_base[0] == pytest.approx(0.0)
    assert column(simulator, Column.PERP_QTY) == pytest.approx(-50.0)
    reverse = start(tape, free, -1.0)
    for _ in range(2):
        reverse.step([-1.0])
    assert reverse.delta_base[0] == 0.0, "nobody takes a long away to spare a long"


def test_a_policy_may_choose_its_margin_within_the_settings(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    simulator = start(make_tape(n=6, lookback=1, **flat_market(6)), free)
    assert simulator.margin_ratio[0] == np.inf
    simulator.step([1.0], margin_ratio=0.25)
    assert column(simulator, Column.SPOT_QTY) == pytest.approx(80.0)
    assert simulator.margin_ratio[0] == pytest.approx(0.25)
    assert simulator.fraction[0] == pytest.approx(1.0)
    simulator.step([1.0], margin_ratio=[1.0])
    assert column(simulator, Column.SPOT_QTY) == pytest.approx(50.0), "more margin leaves less to work"
    before = simulator.ledger.copy()
    for ratio in (np.nan, np.inf, 0.09, 1.1):
        with pytest.raises(ActionError, match=r"margin ratio must lie in \[0.1, 1.0\], was"):
            simulator.step([1.0], margin_ratio=ratio)
    assert np.array_equal(simulator.ledger, before)


def test_an_inverse_pair_is_margined_by_its_coins_whatever_the_price_does(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(7)
    for name in ("spot", "perp", "mark"):
        market[name][2:] = [20.0, 1000.0, 50.0, 50.0, 50.0]
    market["settlement_cash"][5] = -1e-4 / 50.0  # 1 bp in coins for a quote of notional
    settings = with_costs(free, spot_taker_bp=10, perp_taker_bp=5)
    tape = make_tape(n=7, lookback=1, kind=ContractType.INVERSE, lots=PairLots(0.001, 10.0), **market)
    simulator = start(tape, settings)
    simulator.step([1.0])
    notional, coins = -column(simulator, Column.PERP_QTY), column(simulator, Column.PERP_WALLET)
    assert notional == pytest.approx(9980, abs=10), "all of the capital works, less 15 bp of fees"
    assert column(simulator, Column.SPOT_QTY) == 0.0, "what was bought is its margin"
    assert coins * 100 == pytest.approx(notional, abs=10)
    worth = simulator.equity[0]
    for _ in range(3):
        assert not simulator.step([1.0]).terminated[0]
        assert simulator.equity[0] == pytest.approx(worth, abs=100), "off by the lot's coins at most"
    paid = simulator.step([1.0])
    assert paid.parts_quote[0, 0] == pytest.approx(notional * 1e-4)
    simulator.step([0.0])
    assert abs(simulator.delta_base[0]) <= 0.001
    assert column(simulator, Column.PERP_QTY) == 0.0
    simulator.check_books()


def test_an_inverse_pair_has_no_reverse_and_a_negative_target_is_flat(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    tape = make_tape(n=4, lookback=1, kind=ContractType.INVERSE, **flat_market(4))
    simulator = start(tape, free, -1.0)
    assert simulator.fraction[0] == 0.0
    simulator.step([-1.0])
    assert simulator.turnover_quote[0] == 0.0
    simulator.step([0.5])
    assert simulator.fraction[0] == pytest.approx(0.5)
    simulator.step([-0.7])
    assert simulator.fraction[0] == pytest.approx(0.0)


def test_a_loan_is_paid_by_the_hour_that_it_lasts(make_tape: TapeMaker, flat_market: FlatMarket) -> None:
    settings = EnvSettings(
        random_start=False,
        costs=CostSettings(
            spot_taker_bp=0, perp_taker_bp=0, spot_slippage_bp=0, perp_slippage_bp=0, borrow_apr=0.0876
        ),
    )
    hours = np.array([1, 2, 6, 30]) * 3_600_000
    simulator = start(make_tape(n=4, lookback=1, decision_ms=hours, **flat_market(4)), settings, -1.0)
    paid = [float(simulator.step([-1.0]).parts_quote[0, 4]) for _ in range(3)]
    assert paid == pytest.approx([-0.5, -2.0, -12.0])
