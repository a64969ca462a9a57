"""Pairs of orders, by hand; whatever the lots, see `tests/property/test_pair_sizing.py`."""

import numpy as np
import pytest

from carryflow.core.hedge import hedged_fraction, inverse_orders, pair_orders, pair_quantity, should_resize

LOTS = {"spot_lot": 0.001, "perp_lot": 0.001, "base_fee_rate": 0.0}
PRICES = {"spot_price": 100.0, "perp_price": 100.0, "min_notional_quote": 10.0}


def orders(spot_held: float, perp_held: float, target: float, **terms: float) -> tuple[float, float]:
    return pair_orders(spot_held, perp_held, target, **LOTS | PRICES | terms)


@pytest.mark.pitfall("P15")
def test_a_fee_in_coins_is_ordered_on_top_and_the_perpetual_hedges_what_is_left() -> None:
    # 5.005 less 0.1 % are 4.999995, of which the nearest lot is 5; a finer lot follows exactly
    assert orders(0.0, 0.0, 5.0, base_fee_rate=0.001) == (5.005, -5.0)
    finer = orders(0.0, 0.0, 5.0, base_fee_rate=0.001, perp_lot=0.000001)
    assert finer == (5.005, pytest.approx(-4.999995, abs=1e-12))
    # a coarse spot lot leaves less: 5.0 less 0.1 % are 4.995
    assert orders(0.0, 0.0, 5.0, base_fee_rate=0.001, spot_lot=0.5) == (5.0, pytest.approx(-4.995))
    continuous = orders(0.0, 0.0, 5.0, base_fee_rate=0.001, spot_lot=0.0, perp_lot=0.0)
    assert continuous == (pytest.approx(5.0 / 0.999), pytest.approx(-5.0))
    assert orders(5.0, -5.0, 2.0, base_fee_rate=0.001) == (-3.0, 3.0), "a sale pays in quote"


@pytest.mark.pitfall("P08")
def test_orders_are_rounded_so_that_the_legs_stay_within_a_lot() -> None:
    assert orders(0.0, 0.0, 5.0009) == (5.0, -5.0), "spot toward zero"
    assert orders(0.0, 0.0, 5.4, perp_lot=1.0) == (5.4, -5.0), "the perpetual to the nearest"
    assert orders(0.0, 0.0, 5.6, perp_lot=1.0) == (5.6, -6.0)
    assert orders(0.0, 0.0, 0.3, spot_lot=0.1, perp_lot=0.1) == (0.3, -0.3), "three lots in floating point"
    assert orders(0.3, -0.3, 0.0, spot_lot=0.1, perp_lot=0.1) == (-0.3, 0.3)
    assert orders(-2.0, 2.0, -5.0) == (-3.0, 3.0)


@pytest.mark.pitfall("P08")
def test_what_a_venue_would_refuse_is_not_ordered() -> None:
    assert orders(0.0, 0.0, 0.1) == (0.1, -0.1), "exactly the minimum of 10"
    assert orders(0.0, 0.0, 0.099) == (0.0, 0.0)
    assert orders(5.0, -5.0, 5.05) == (0.0, 0.0)
    assert orders(0.0, 0.0, 0.1, perp_price=99.0) == (0.0, 0.0), "the perpetual is worth 9.9: no naked spot"
    assert orders(5.0, -4.95, 5.0) == (0.0, 0.0), "5 quote of perpetual cannot be added"
    assert orders(5.0, -5.05, 5.0) == (0.0, pytest.approx(0.05)), "but it can be reduced by 5 quote"
    assert orders(0.05, -5.0, 0.0) == (0.0, 4.95), "the perpetual follows the dust that cannot be sold"
    assert orders(0.0, -0.05, 0.01) == (0.0, 0.05), "closing it all only reduces"
    assert orders(0.05, 0.02, 0.0) == (0.0, 0.0), "reducing by 0.02 and 0.05 more is not only reducing"


@pytest.mark.pitfall("P08")
def test_a_hedge_that_would_be_off_by_more_than_the_coarser_lot_is_not_traded() -> None:
    no_hedge = {"spot_lot": 0.0, "perp_lot": 0.1, "min_notional_quote": 12.0}
    assert orders(0.0, 0.0, 0.14, **no_hedge) == (0.0, 0.0), "a contract of 0.1 is worth 10 of 12 quote"
    dust = {"spot_lot": 0.0, "perp_lot": 0.0, "perp_price": 40.0}
    assert orders(1e6, -1e6, 1e6 + 0.2, **dust) == (0.0, 0.0), "20 of spot, but 8 of 10 of the perpetual"
    terms = {"spot_lot": 0.0, "perp_lot_quote": 10.0, "base_fee_rate": 0.0, "perp_fee_rate": 0.0}
    terms |= {"spot_price": 50_000.0, "perp_price": 50_000.0, "min_notional_quote": 12.0}
    assert inverse_orders(0.0, 0.0, 0.00032, **terms) == (0.00032, -20.0)
    assert inverse_orders(0.0, 0.0, 0.000248, **terms) == (0.0, 0.0), "one contract of 10 of 12 quote"


@pytest.mark.pitfall("P08")
def test_flat_closes_all_of_the_perpetual_and_leaves_less_than_a_lot_of_coins() -> None:
    lot = {"spot_lot": 1.0, "perp_lot": 1.0}
    assert orders(0.0, 0.0, 5.0, base_fee_rate=0.001, **lot) == (5.0, -5.0)
    assert orders(4.995, -5.0, 0.0, base_fee_rate=0.001, **lot) == (-4.0, 5.0)
    assert orders(0.995, -1.0, 0.0, **lot) == (0.0, 1.0), "reduce-only: no minimum stands against it"
    assert orders(0.995, -0.37, 0.0, **lot) == (0.0, 0.37), "nor does what the venue left off the lot"
    assert orders(0.995, 0.0, 0.0, **lot) == (0.0, 0.0)
    terms = {"perp_lot_quote": 10.0, "base_fee_rate": 0.0, "perp_fee_rate": 0.0005, "spot_lot": 0.001}
    terms |= {"spot_price": 50_000.0, "perp_price": 50_000.0, "min_notional_quote": 10.0}
    assert inverse_orders(2.0009, -100_040.0, 0.0, **terms) == (-2.0, 100_040.0)


@pytest.mark.pitfall("P08")
def test_less_than_the_grain_of_a_lot_is_no_order() -> None:
    free = {"min_notional_quote": 0.0}
    assert orders(0.0, 5.55e-17, 1e-13, **free) == (0.0, 0.0)
    assert orders(5e-13, -5e-13, 0.0, **free)[0] == 0.0
    assert pair_quantity(1.0, 1e-10, 0.5, 0.0, 100.0, 100.0, 0.001, 0.0) == 0.0
    assert orders(1000.0, -1000.0, 1000.3, spot_lot=0.1, perp_lot=0.1)[0] == pytest.approx(0.3), (
        "a sum's error"
    )
    # in floating point these are 1 000 000 000.9999999 lots
    assert orders(0.0, 0.0, 100_000_000.1, spot_lot=0.1, perp_lot=0.1)[0] == 100_000_000.1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("lot", [0.0, 0.001])
def test_a_number_that_is_none_orders_nothing(wrong: float, lot: float) -> None:
    sized = [1.0, 10_000.0, 0.5, 0.001, 100.0, 100.0, lot, 0.0]
    linear = [0.05, -5.0, 4.0, lot, lot, 0.001, 100.0, 100.0, 0.0]
    inverse = [0.05, -500.0, 4.0, lot, 10_000 * lot, 0.001, 0.0005, 100.0, 100.0, 0.0]
    assert pair_quantity(*sized) > 0.0
    assert 0.0 not in (*pair_orders(*linear), *inverse_orders(*inverse))
    for size, nothing, arguments in (
        (pair_quantity, 0.0, sized),
        (pair_orders, (0.0, 0.0), linear),
        (inverse_orders, (0.0, 0.0), inverse),
    ):
        for at in range(len(arguments)):
            given = [*arguments[:at], wrong, *arguments[at + 1 :]]
            if size is pair_quantity and wrong == -np.inf and at >= 6:
                continue  # a lot or a minimum below zero is none
            assert size(*given) == nothing, (size, at)


def test_more_lots_than_a_float_can_count_are_none() -> None:
    assert pair_quantity(1.0, 1e30, 0.5, 0.0, 100.0, 100.0, 0.001, 10.0) == 0.0
    assert orders(0.0, 0.0, 1e20) == (0.0, 0.0)


@pytest.mark.parametrize("worth", [0.0, -1.0, -10_000.0])
def test_who_has_nothing_orders_nothing(worth: float) -> None:
    for lot in (0.0, 0.001):
        assert pair_quantity(1.0, worth, 0.5, 0.0, 100.0, 100.0, lot, 0.0) == 0.0


def test_a_price_of_nothing_orders_nothing() -> None:
    for price in (0.0, -100.0):
        for terms in ({"spot_price": price}, {"perp_price": price}):
            assert orders(0.0, 0.0, 5.0, **terms) == (0.0, 0.0)
            assert orders(0.0, 0.0, 5.0, **terms, min_notional_quote=0.0) == (0.0, 0.0)
    assert pair_quantity(1.0, 100.0, 0.5, 0.0, 100.0, 0.0, 0.0, 0.0) == 0.0


@pytest.mark.pitfall("P08")
def test_a_leg_that_was_lost_is_hedged_again_or_sold() -> None:
    assert orders(5.0, 0.0, 5.0) == (0.0, -5.0)
    assert orders(5.0, 0.0, 0.0) == (-5.0, 0.0)
    assert orders(0.0, -5.0, 0.0) == (0.0, 5.0)


@pytest.mark.pitfall("P07")
def test_an_inverse_pair_is_sized_in_quote_on_the_coins_of_both_wallets() -> None:
    terms = {"spot_lot": 0.001, "perp_lot_quote": 10.0, "base_fee_rate": 0.0, "perp_fee_rate": 0.0}
    terms |= {"spot_price": 50_000.0, "perp_price": 50_010.0, "min_notional_quote": 10.0}
    assert inverse_orders(0.0, 0.0, 2.0, **terms) == (2.0, -100_020.0)
    assert inverse_orders(2.0, -100_020.0, 2.0, **terms) == (0.0, 0.0)
    # 1.25 coins are 62 512.5 quote, 37 507.5 less than are sold, nearest ten above
    assert inverse_orders(2.0, -100_020.0, 1.25, **terms) == (-0.75, 37_510.0)
    assert inverse_orders(2.0, -100_020.0, 0.0, **terms) == (-2.0, 100_020.0)
    # 2.002002 less 0.1 % are 2; of the 100 020 to sell, 5 bp fall away with the fee's own coins
    fees = {"base_fee_rate": 0.001, "perp_fee_rate": 0.0005}
    assert inverse_orders(0.0, 0.0, 2.0, **terms | fees) == (pytest.approx(2.002), -99_970.0)
    # buying back 50 010 costs 5 bp in coins, which then need no hedge: 50 035, nearest ten above
    assert inverse_orders(1.0, -100_020.0, 1.0, **terms | {"perp_fee_rate": 0.0005}) == (0.0, 50_040.0)
    assert inverse_orders(0.0001, 0.0, 0.0001, **terms | {"min_notional_quote": 20.0}) == (0.0, 0.0)


@pytest.mark.pitfall("P08")
def test_the_pair_is_set_aside_its_costs_and_rounded_down() -> None:
    assert pair_quantity(1.0, 10_000.0, 0.5, 0.25, 100.0, 100.0, 0.0, 10.0) == 40.0
    assert pair_quantity(-1.0, 10_000.0, 0.5, 0.0, 100.0, 100.0, 3.0, 10.0) == -48.0
    assert pair_quantity(1.0, 200.0, 0.5, 0.0, 100.0, 99.0, 0.0, 99.0) == 1.0, "exactly the minimum"
    assert pair_quantity(1.0, 200.0, 0.5, 0.0, 100.0, 99.0, 0.0, 99.5) == 0.0, "the cheaper leg decides"
    assert pair_quantity(1.0, 60.0, 0.5, 0.0, 100.0, 100.0, 0.1, 10.0) == pytest.approx(0.3)


def test_only_what_lies_beyond_the_band_or_flat_is_worth_a_trade() -> None:
    assert not should_resize(0.75, 0.5, 0.25)
    assert should_resize(0.75, 0.499, 0.25)
    assert should_resize(0.25, 0.501, 0.25)
    assert should_resize(0.0, 0.1, 0.25)
    assert not should_resize(0.0, 0.0, 0.25)
    assert hedged_fraction(-25.0, 100.0, 0.5, 10_000.0) == -0.5
