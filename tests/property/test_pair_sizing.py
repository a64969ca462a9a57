"""Whatever the prices and the lots: both legs legal and equal, or both zero."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryflow.core.hedge import hedged_fraction, pair_quantity, should_resize

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
            assert abs(qty) / lot == pytest.approx(round(abs(qty) / lot), rel=1e-9)
            assert abs(wanted) - abs(qty) <= lot * (1 + 1e-9), "rounding leaves less than a lot"
    else:
        assert abs(wanted) * min(spot, perp) < max(least, lot * min(spot, perp)) * (1 + 1e-9) or not fraction


@pytest.mark.pitfall("P08")
def test_the_cheaper_leg_decides_whether_the_pair_is_large_enough() -> None:
    assert pair_quantity(1.0, 200.0, 0.5, 0.0, 100.0, 99.0, 0.0, 99.5) == 0.0
    assert pair_quantity(1.0, 200.0, 0.5, 0.0, 100.0, 99.0, 0.0, 98.5) == 1.0


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
