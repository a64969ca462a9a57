"""Whatever the prices and the lots: both legs legal and equal, or both zero."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryflow.core.hedge import (
    hedged_fraction,
    inverse_orders,
    pair_orders,
    pair_quantity,
    should_resize,
)

prices = st.floats(1e-4, 1e5)
fractions = st.floats(-1.0, 1.0)
lots = st.sampled_from([0.0, 1e-5, 1e-3, 0.1, 1.0, 10.0])


@pytest.mark.pitfall("P08")
@given(
    fraction=fractions,
    equity=st.floats(1.0, 1e7),
    spot=prices,
    premium=st.floats(-0.2, 0.2),
    lot=lots,
    least=st.floats(0.0, 1000.0),
)
def test_the_pair_is_legal_or_nothing(
    fraction: float, equity: float, spot: float, premium: float, lot: float, least: float
) -> None:
    perp = spot * (1 + premium)
    qty = pair_quantity(fraction, equity, 0.5, 0.002, spot, perp, lot, least)
    wanted = fraction * 0.5 * equity / 1.002 / spot
    assert qty * wanted >= 0, "the sign is the action's"
    assert abs(qty) <= abs(wanted) * (1 + 1e-9) + 1e-9 * lot, "never more than wanted"
    if qty:
        assert abs(qty) * min(spot, perp) >= least
        if lot:
            assert on_lot(qty, lot)
            assert abs(qty) / lot == pytest.approx(round(abs(qty) / lot), rel=1e-9)
            assert abs(wanted) - abs(qty) <= lot * (1 + 1e-9), "rounding leaves less than a lot"
    else:
        assert abs(wanted) * min(spot, perp) < max(least, lot * min(spot, perp)) * (1 + 1e-9) or not fraction


def on_lot(qty: float, lot: float) -> bool:
    """Say whether an order is whole lots, and at least one."""
    return lot == 0 or (abs(qty / lot - round(qty / lot)) <= 1e-6 and abs(round(qty / lot)) >= 1)


@pytest.mark.pitfall("P08")
@pytest.mark.pitfall("P15")
@given(
    held=st.floats(-1000.0, 1000.0),
    lost=st.sampled_from([0.0, 0.0, 0.01, 0.5, 1.0]),
    target=st.floats(-1000.0, 1000.0),
    spot_lot=lots,
    perp_lot=lots,
    fee=st.sampled_from([0.0, 0.001]),
    price=st.floats(0.1, 1e4),
    premium=st.floats(-0.2, 0.2),
    least=st.sampled_from([0.0, 5.0, 100.0]),
)
def test_a_pair_of_orders_is_legal_and_hedged_or_nothing(
    held: float,
    lost: float,
    target: float,
    spot_lot: float,
    perp_lot: float,
    fee: float,
    price: float,
    premium: float,
    least: float,
) -> None:
    """From any holding, part of whose perpetual leg the venue has closed."""
    perp_held = -held * (1.0 - lost)
    if perp_lot:
        perp_held = round(perp_held / perp_lot) * perp_lot
    perp_price = price * (1 + premium)
    spot, perp = pair_orders(held, perp_held, target, spot_lot, perp_lot, fee, price, perp_price, least)
    reduces = perp * perp_held < 0 and abs(perp) <= abs(perp_held)
    if spot:
        assert on_lot(spot, spot_lot)
        assert abs(spot) * price >= least
        assert (spot > 0) == (target > held), "towards the target"
    if perp:
        assert on_lot(perp, perp_lot)
        assert reduces or abs(perp) * perp_price >= least
    coins = held + spot - max(spot, 0.0) * fee
    assert abs(coins - held) <= abs(target - held) * (1 + 1e-9) + 1e-6, "never past the target"
    if spot or perp:
        coarser = max(spot_lot, perp_lot)
        assert abs(coins + perp_held + perp) <= coarser * (1 + 1e-6) + 1e-9, "what is held net is hedged"


@pytest.mark.pitfall("P08")
@given(
    held=st.floats(-1000.0, 1000.0),
    target=st.floats(-1000.0, 1000.0),
    fee=st.sampled_from([0.0, 0.001]),
    price=prices,
)
def test_without_lots_and_minima_the_target_is_met_and_the_legs_are_equal(
    held: float, target: float, fee: float, price: float
) -> None:
    spot, perp = pair_orders(held, -held, target, 0.0, 0.0, fee, price, price, 0.0)
    coins = held + (spot - fee * max(spot, 0.0))
    assert coins == pytest.approx(target, abs=1e-9)
    assert -held + perp == pytest.approx(-coins, abs=1e-9)
    assert pair_orders(held, -held, 0.0, 0.0, 0.0, fee, price, price, 0.0)[1] == held


@pytest.mark.pitfall("P08")
@pytest.mark.pitfall("P15")
@given(
    targets=st.lists(st.floats(-1000.0, 1000.0), min_size=1, max_size=4),
    spot_lot=lots,
    perp_lot=lots,
    fee=st.sampled_from([0.0, 0.001]),
    price=st.floats(0.1, 1e4),
    premium=st.floats(-0.2, 0.2),
    part=st.floats(0.0, 0.4),
    deleveraged=st.sampled_from([0.0, 0.0, 0.37]),
)
def test_a_pair_that_was_opened_can_be_closed(
    targets: list[float],
    spot_lot: float,
    perp_lot: float,
    fee: float,
    price: float,
    premium: float,
    part: float,
    deleveraged: float,
) -> None:
    """Resized at will, part of it taken by the venue: flat has no perpetual, and at most a lot of coins.

    The minimum is part of what the smallest target is worth, which may not be less than the coins to sell.
    """
    perp_price, coarser = price * (1 + premium), max(spot_lot, perp_lot)
    least = part * min(abs(target) for target in targets) * min(price, perp_price)
    coins = perp_held = 0.0
    for target in [*targets, 0.0]:
        if target == 0.0:
            perp_held *= 1.0 - deleveraged
        terms = (spot_lot, perp_lot, fee, price, perp_price, least)
        spot, perp = pair_orders(coins, perp_held, target, *terms)
        coins, perp_held = coins + spot - max(spot, 0.0) * fee, perp_held + perp
    assert perp_held == 0.0
    assert abs(coins) <= coarser * (1 + 1e-9) + 1e-9


@pytest.mark.pitfall("P07")
@pytest.mark.pitfall("P08")
@given(
    coins_held=st.floats(0.0, 1000.0),
    target=st.floats(0.0, 1000.0),
    perp_lot=st.sampled_from([1.0, 10.0, 100.0]),
    spot_lot=st.sampled_from([0.0, 1e-5, 1e-3]),
    fee=st.sampled_from([0.0, 0.001]),
    perp_fee=st.sampled_from([0.0, 0.0005]),
    price=st.floats(100.0, 1e5),
    premium=st.floats(-0.1, 0.1),
)
def test_an_inverse_pair_of_orders_is_legal_and_hedged_or_nothing(
    coins_held: float,
    target: float,
    perp_lot: float,
    spot_lot: float,
    fee: float,
    perp_fee: float,
    price: float,
    premium: float,
) -> None:
    perp_price, least = price * (1 + premium), 20.0
    perp_held = -round(coins_held * perp_price / perp_lot) * perp_lot
    spot, perp = inverse_orders(
        coins_held, perp_held, target, spot_lot, perp_lot, fee, perp_fee, price, perp_price, least
    )
    if spot:
        assert on_lot(spot, spot_lot)
        assert abs(spot) * price >= least
    if perp:
        assert on_lot(perp, perp_lot)
        assert (perp > 0 and perp <= -perp_held) or abs(perp) >= least
    if spot or perp:
        coins = coins_held + spot - max(spot, 0.0) * fee - perp_fee * abs(perp) / perp_price
        delta = coins + (perp_held + perp) / perp_price
        if target == 0.0:
            delta += perp_fee * abs(perp) / perp_price  # what closing costs is the caller's to set aside
        assert abs(delta) <= max(spot_lot, perp_lot / perp_price) * (1 + 1e-6) + 1e-9


@pytest.mark.pitfall("P07")
@given(
    target=st.floats(0.01, 1000.0),
    perp_lot=st.sampled_from([0.0, 1.0, 10.0, 100.0]),
    spot_lot=lots,
    fee=st.sampled_from([0.0, 0.001]),
    price=st.floats(100.0, 1e5),
    premium=st.floats(-0.1, 0.1),
)
def test_an_inverse_pair_that_was_opened_can_be_closed(
    target: float, perp_lot: float, spot_lot: float, fee: float, price: float, premium: float
) -> None:
    perp_price = price * (1 + premium)
    terms = (spot_lot, perp_lot, fee, 0.0005, price, perp_price, 0.4 * target * min(price, perp_price))
    spot, perp = inverse_orders(0.0, 0.0, target, *terms)
    coins = spot * (1.0 - fee) - 0.0005 * abs(perp) / perp_price
    sold, bought = inverse_orders(coins, perp, 0.0, *terms)
    assert perp + bought == 0.0
    assert 0.0 <= coins + sold <= max(spot_lot, perp_lot / perp_price) * (1 + 1e-9) + 1e-9


@given(fraction=fractions, equity=st.floats(1e3, 1e7), spot=prices)
def test_the_fraction_of_a_sized_pair_is_the_fraction_asked_for(
    fraction: float, equity: float, spot: float
) -> None:
    qty = pair_quantity(fraction, equity, 0.5, 0.0, spot, spot, 0.0, 0.0)
    assert hedged_fraction(qty, spot, 0.5, equity) == pytest.approx(fraction, abs=1e-12)


@given(current=st.floats(-1.5, 1.5), target=fractions, hysteresis=st.floats(0.0, 1.0))
def test_only_a_distant_target_or_flat_is_worth_a_trade(
    current: float, target: float, hysteresis: float
) -> None:
    assert should_resize(target, current, hysteresis) == (
        abs(target - current) > hysteresis or (target == 0 and current != 0)
    )
