"""What a market order loses to the book."""

from itertools import pairwise

import numpy as np
import pytest

from carryflow.core.slippage import EXPONENT, slippage_rate


@pytest.mark.parametrize(("notional", "bp"), [(1e6, 1.0 + 5.5556), (1e5, 1.0 + 5.5556 * 0.1**0.8)])
def test_the_curve_is_half_the_spread_and_the_mean_of_the_depth_walked(notional: float, bp: float) -> None:
    assert 1e4 * slippage_rate(notional, 1e-4, 1e6, 1.0) == pytest.approx(bp, abs=1e-4)


@pytest.mark.pitfall("P15")
def test_only_the_share_that_takes_pays_the_spread_and_walks_the_book() -> None:
    """A quarter of 1 M takes: 250 k lose 1 bp and 5.5556 bp · 0.25^0.8, the rest nothing."""
    assert 1e4 * slippage_rate(1e6, 1e-4, 1e6, 0.25) == pytest.approx(0.25 * (1.0 + 1.8327), abs=1e-4)
    assert slippage_rate(1e6, 1e-4, 1e6, 0.25) == pytest.approx(0.25 * slippage_rate(2.5e5, 1e-4, 1e6, 1.0))


def test_the_curve_is_the_walk_through_a_book_of_its_own_shape() -> None:
    """D(x) = D10 · (x / 10 bp)^1.25, summed up in bands so fine that their edges do not matter."""
    taken = np.linspace(0.0, 2e6, 100_001)
    rates = 1e-3 * (taken / 1e6) ** EXPONENT
    walked = np.mean(0.5 * (rates[1:] + rates[:-1]))
    assert slippage_rate(2e6, 0.0, 1e6, 1.0) == pytest.approx(walked, rel=1e-5)


def test_larger_orders_and_thinner_books_cost_more_up_to_the_worst() -> None:
    sizes = [slippage_rate(notional, 1e-4, 1e6, 1.0) for notional in (0.0, 1e4, 1e5, 1e6, 1e8)]
    assert all(a < b for a, b in pairwise(sizes))
    depths = [slippage_rate(1e5, 1e-4, depth, 1.0) for depth in (np.inf, 1e8, 1e6, 1e4, 1.0)]
    assert depths[0] == pytest.approx(1e-4)
    assert all(a < b for a, b in pairwise(depths))
    assert depths[-1] == 0.5 == slippage_rate(1e5, 1e-4, 0.0, 1.0)


def test_orders_that_rest_and_orders_of_nothing_lose_nothing() -> None:
    assert slippage_rate(1e6, 1e-4, 1e6, 0.0) == 0.0
    assert slippage_rate(0.0, 1e-4, 0.0, 1.0) == 0.0
