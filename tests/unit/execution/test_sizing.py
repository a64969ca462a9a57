from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryflow.core.errors import SettingsError
from carryflow.core.instrument import ContractType, Instrument
from carryflow.execution.pair.sizing import (
    Holding,
    LegOrder,
    PairMarkets,
    Prices,
    hedge_order,
    pair_legs,
    perp_order,
    unwinding_orders,
)

D = Decimal
Markets = Callable[..., PairMarkets]


def instrument(kind: ContractType, lot: str, least: str, size: str = "1") -> Instrument:
    settle = "USDT" if kind is not ContractType.INVERSE else "BTC"
    names = ("binance", "BTC/USDT", "BTC", kind, "BTC", "USDT", settle)
    return Instrument(*names, D(size), D("0.01"), D(lot), D(lot), D(least))


def markets(spot_lot: str = "0.00001", perp_lot: str = "0.001", perp_size: str = "1") -> PairMarkets:
    return PairMarkets(
        instrument(ContractType.SPOT, spot_lot, "5"),
        instrument(ContractType.LINEAR, perp_lot, "50", perp_size),
    )


lots = st.sampled_from(["0.00001", "0.001", "0.1", "1"])
fees = st.sampled_from([0.0, 0.001, 0.00075])
prices = st.decimals(D("0.05"), D(90_000), places=2)
coins = st.decimals(D(0), D(500), places=5)


@pytest.mark.pitfall("P08")
@settings(deadline=None)  # the first call compiles
@given(lots, lots, fees, prices, coins, coins)
def test_both_legs_are_legal_and_differ_by_no_more_than_the_coarser_lot_or_nothing_is_traded(
    spot_lot: str, perp_lot: str, fee: float, price: D, held: D, target: D
) -> None:
    pair = markets(spot_lot, perp_lot)
    lot = pair.coarser_lot
    holding = Holding(held, -(held // pair.lot("perp") * pair.lot("perp")))
    target = target // lot * lot
    orders = pair_legs(holding, target, pair, fee, Prices(price, price))
    after = {"spot": holding.spot, "perp": holding.perp}
    for order in orders:
        assert pair.takes(order, price)
        assert order.reduce_only == (order.leg == "perp" and order.qty > 0)
        net = order.qty * (1 - D(repr(fee))) if order.leg == "spot" and order.qty > 0 else order.qty
        after[order.leg] += net
    if orders:
        assert abs(after["spot"] + after["perp"]) <= lot
        assert after["spot"] >= 0
        assert after["perp"] <= 0


@pytest.mark.pitfall("P10")
@given(st.decimals(D(-9), D(9), places=3), st.decimals(D(-9), D(9), places=3))
def test_a_perpetual_order_never_turns_a_position_round(qty: D, held: D) -> None:
    order = perp_order(qty, held)
    if order is None:
        assert qty == 0
    elif order.reduce_only:
        assert abs(held + order.qty) <= abs(held)
        assert (held + order.qty) * held >= 0
    else:
        assert held * order.qty >= 0


@pytest.mark.pitfall("P10")
def test_a_target_on_the_other_side_is_reached_over_flat() -> None:
    orders = pair_legs(Holding(D(2), D(-2)), D(-1), markets(), 0.0, Prices(D(100), D(100)))
    assert orders == (LegOrder("spot", D(-2)), LegOrder("perp", D(2), reduce_only=True))


@pytest.mark.pitfall("P15")
def test_the_perpetual_follows_the_coins_that_are_left_after_a_fee_in_coins() -> None:
    bought = Holding(D("5.005") - D("0.005005"), D(0))
    order = hedge_order("perp", bought, markets(), 0.001, D(100), closing=False)
    assert order == LegOrder("perp", D("-5.000"))


def test_a_close_leaves_no_perpetual_where_only_a_residue_of_coins_is_left() -> None:
    order = hedge_order("perp", Holding(D("0.0004"), D("-0.003")), markets(), 0.001, D(100), closing=True)
    assert order == LegOrder("perp", D("0.003"), reduce_only=True)


def test_no_more_coins_are_sold_than_there_are() -> None:
    order = hedge_order("spot", Holding(D("4.999995"), D(0)), markets(), 0.001, D(100), closing=True)
    assert order == LegOrder("spot", D("-4.99999"))


def test_the_leg_that_holds_too_much_is_unwound_first_and_the_other_only_if_it_may_open() -> None:
    held, at = Holding(D(3), D(-1)), Prices(D(100), D(100))
    sale, short = LegOrder("spot", D(-2)), LegOrder("perp", D(-2))
    assert unwinding_orders(held, markets(), 0.0, at, may_open=True) == [sale, short]
    assert unwinding_orders(held, markets(), 0.0, at, may_open=False) == [sale]
    purchase = LegOrder("perp", D(2), reduce_only=True)
    assert unwinding_orders(Holding(D(1), D(-3)), markets(), 0.0, at, may_open=False) == [purchase]


@settings(deadline=None)  # the first call compiles
@given(lots, lots, fees, prices, coins, coins, st.booleans())
def test_unwinding_always_ends_with_legs_that_differ_by_no_more_than_the_coarser_lot(
    spot_lot: str, perp_lot: str, fee: float, price: D, spot: D, perp: D, may_open: bool
) -> None:
    pair = markets(spot_lot, perp_lot)
    holding = Holding(spot, -(perp // pair.lot("perp") * pair.lot("perp")))
    for _ in range(6):
        if pair.is_hedged(holding):
            return
        order = unwinding_orders(holding, pair, fee, Prices(price, price), may_open)[0]
        assert pair.takes(order, price)
        net = order.qty * (1 - D(repr(fee))) if order.leg == "spot" and order.qty > 0 else order.qty
        holding = (
            Holding(holding.spot + net, holding.perp)
            if order.leg == "spot"
            else Holding(holding.spot, holding.perp + net)
        )
    assert pair.is_hedged(holding)


@pytest.mark.pitfall("P07")
def test_lots_are_counted_in_coins_whatever_a_contract_holds() -> None:
    pair = markets("0.00001", "1", perp_size="0.01")
    assert pair.coarser_lot == D("0.01")
    assert pair_legs(Holding(D(0), D(0)), D("1.23"), pair, 0.0, Prices(D(100), D(100))) == (
        LegOrder("spot", D("1.23")),
        LegOrder("perp", D("-1.23")),
    )


def test_inverse_perpetuals_are_refused() -> None:
    inverse = instrument(ContractType.INVERSE, "1", "0", "10")
    with pytest.raises(SettingsError, match="only linear perpetuals"):
        PairMarkets(instrument(ContractType.SPOT, "0.001", "5"), inverse)
