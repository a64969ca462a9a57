from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryflow.core.costs import CostSettings
from carryflow.core.errors import MarketDataError
from carryflow.core.instrument import ContractType, Instrument
from carryflow.core.leg import Leg
from carryflow.execution.intents import Action, Intent
from carryflow.execution.market import Book, Mark
from carryflow.execution.orders import Side
from carryflow.execution.pair.planner import (
    ENDLESS,
    Means,
    Seen,
    action_of,
    fill_cost,
    plan,
    resting_price,
    target_base,
    worst_price,
)
from carryflow.execution.pair.sizing import Holding, LegOrder, PairMarkets
from carryflow.execution.settings import ExecutionSettings

D = Decimal
FLAT = Holding(D(0), D(0))
COSTS = CostSettings(spot_taker_bp=10.0, perp_taker_bp=5.0, fee_in_base=True)
SETTINGS = ExecutionSettings()


def instrument(kind: ContractType, lot: str, least: str, tick: str = "0.1") -> Instrument:
    return Instrument(
        "binance", "BTC/USDT", "BTC", kind, "BTC", "USDT", "USDT", D(1), D(tick), D(lot), D(lot), D(least)
    )


MARKETS = PairMarkets(
    instrument(ContractType.SPOT, "0.00001", "5"), instrument(ContractType.LINEAR, "0.001", "50")
)


def book(leg: Leg, mid: str = "100", half_spread: str = "0.1", depth: str = "1000") -> Book:
    middle, half = D(mid), D(half_spread)
    bids = tuple((middle - half * (i + 1), D(depth)) for i in range(3))
    asks = tuple((middle + half * (i + 1), D(depth)) for i in range(3))
    return Book(leg, "BTC", bids, asks, 0)


def seen(spot: Book | None = None, perp: Book | None = None, mark: str = "100") -> Seen:
    return Seen(spot or book("spot"), perp or book("perp"), Mark("BTC", D(mark), None, None, None, 0))


def intent(target: str, action: Action = Action.OPEN) -> Intent:
    return Intent("00ff00ff00ff00ff", "d", "BTC", action, D(target), D(100), D(100), D(100), 0)


def target(fraction: float, held: Holding = FLAT, equity: float = 10_000.0, cash: str = "5000") -> D | None:
    return target_base(fraction, held, Means(equity, D(cash), 0.001), MARKETS, seen(), SETTINGS, COSTS)


def test_half_a_fraction_is_half_of_the_spot_wallet_less_what_it_costs_to_get_there() -> None:
    coins = target(0.5)
    assert coins is not None
    assert 24.9 < coins < 25
    assert coins % MARKETS.coarser_lot == 0


def test_a_position_that_is_near_enough_to_the_decision_stays() -> None:
    assert target(0.5, Holding(D(20), D(-20))) is None
    assert target(0.5, Holding(D(5), D(-5))) is not None


def test_what_is_too_small_for_both_markets_is_nothing() -> None:
    assert target(0.3, equity=300.0) == 0


def test_no_more_is_bought_than_the_wallet_can_pay_at_the_worst_price() -> None:
    coins = target(1.0, cash="1000")
    assert coins is not None
    assert coins * D("100.2") * D("1.001") <= 1000
    assert coins > D("9.9")


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(0, 1e6), st.integers(0, 300), st.booleans())
def test_a_target_lies_on_the_coarser_lot_and_never_beyond_the_decision(
    fraction: float, equity: float, lots: int, hedged: bool
) -> None:
    held = Holding(D(lots), D(-lots) if hedged else D(0))
    coins = target(fraction, held, equity, "1e9")
    if coins is not None:
        assert coins % MARKETS.coarser_lot == 0
        assert abs(float(coins)) * 100 <= abs(fraction) * 0.5 * equity + 1e-6


def test_the_leg_that_costs_more_to_fill_leads() -> None:
    wide = book("perp", half_spread="0.5")
    planned = plan(intent("5"), FLAT, MARKETS, 0.0, seen(perp=wide), SETTINGS)
    assert planned is not None
    assert (planned.lead, planned.hedge) == (LegOrder("perp", D(-5)), LegOrder("spot", D(5)))
    planned = plan(intent("5"), FLAT, MARKETS, 0.0, seen(spot=book("spot", depth="1")), SETTINGS)
    assert planned is not None
    assert planned.lead.leg == "spot"


@pytest.mark.pitfall("P10")
def test_a_close_of_the_perpetual_is_always_reduce_only() -> None:
    planned = plan(intent("0", Action.CLOSE), Holding(D(5), D(-5)), MARKETS, 0.0, seen(), SETTINGS)
    assert planned is not None
    assert {planned.lead, planned.hedge} == {
        LegOrder("spot", D(-5)),
        LegOrder("perp", D(5), reduce_only=True),
    }


def test_nothing_is_planned_that_one_of_the_markets_would_refuse() -> None:
    assert plan(intent("0.4"), FLAT, MARKETS, 0.0, seen(), SETTINGS) is None


def test_actions_are_named_by_what_they_do() -> None:
    some = Holding(D(1), D(-1))
    assert action_of(FLAT, D(1), MARKETS) is Action.OPEN
    assert action_of(some, D(2), MARKETS) is Action.RESIZE
    assert action_of(some, D(0), MARKETS) is Action.CLOSE
    assert action_of(Holding(D("0.0004"), D(0)), D(1), MARKETS) is Action.OPEN


def test_a_book_without_enough_coins_costs_more_than_any_other() -> None:
    assert fill_cost(book("spot", depth="1"), Side.BUY, D(4)) == ENDLESS
    assert fill_cost(book("spot"), Side.BUY, D(4)) == D("0.001")


@pytest.mark.pitfall("P06")
def test_a_limit_stays_within_the_bound_of_the_mid_and_the_band_of_the_mark() -> None:
    market = instrument(ContractType.LINEAR, "0.001", "50")
    assert worst_price(market, Side.BUY, D(100), 80.0, D(100), 100.0) == D("100.8")
    assert worst_price(market, Side.BUY, D(100), 80.0, D(99), 100.0) == D("99.9")
    assert worst_price(market, Side.SELL, D(100), 80.0, D(99), 100.0) == D("99.2")
    assert worst_price(market, Side.SELL, D(100), 300.0, D(99), 100.0) == D("98.1")


@pytest.mark.pitfall("P06")
def test_spot_prices_are_held_against_the_index_or_their_own_book_and_never_against_the_mark() -> None:
    apart = seen(mark="76")  # a perpetual may trade far below spot
    assert (apart.anchor("spot"), apart.anchor("perp")) == (100, 76)
    with_index = replace(apart, mark=Mark("BTC", D(76), D(99), None, None, 0))
    assert with_index.anchor("spot") == 99
    unmarked = replace(apart, mark=None)
    assert (unmarked.anchor("spot"), unmarked.anchor("perp")) == (100, 100)


def test_a_price_below_every_tick_is_an_error() -> None:
    coarse = instrument(ContractType.LINEAR, "0.001", "50", tick="10")
    with pytest.raises(MarketDataError, match="tick of 10"):
        worst_price(coarse, Side.BUY, D(5), 20.0, D(5), 100.0)


def test_what_rests_stands_on_its_own_side_of_the_book() -> None:
    market = instrument(ContractType.SPOT, "0.001", "5")
    assert resting_price(market, Side.BUY, book("spot"), D(100), 100.0) == D("99.9")
    assert resting_price(market, Side.BUY, book("spot"), D(98), 100.0) == D("98.9")
    higher = replace(book("spot"), asks=((D("100.13"), D(1)),))
    assert resting_price(market, Side.SELL, higher, D(100), 100.0) == D("100.2")
