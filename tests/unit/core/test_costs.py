"""Fees by tier, maker and taker."""

import pytest
from pydantic import ValidationError

from carryflow.core.costs import BINANCE_BTCUSDT, FEE_TIERS, CostSettings, MarginSettings

LISTED = [  # spot maker and taker, perpetual maker and taker (bp), regular to VIP 9
    (10.0, 10.0, 2.0, 5.0),
    (9.0, 10.0, 1.6, 4.0),
    (8.0, 10.0, 1.4, 3.5),
    (4.2, 6.0, 1.2, 3.2),
    (4.2, 5.4, 1.0, 3.0),
    (3.6, 4.8, 0.8, 2.7),
    (3.0, 4.2, 0.6, 2.5),
    (2.4, 3.6, 0.4, 2.2),
    (1.8, 3.0, 0.2, 2.0),
    (1.2, 2.4, 0.0, 1.7),
]


@pytest.mark.pitfall("P15")
@pytest.mark.parametrize("tier", range(10))
def test_a_tier_charges_what_the_venue_lists(tier: int) -> None:
    takes, rests = (CostSettings(fee_tier=tier, maker_share=share) for share in (0.0, 1.0))
    charged = [rests.spot_fee_rate, takes.spot_fee_rate, rests.perp_fee_rate, takes.perp_fee_rate]
    assert [1e4 * rate for rate in charged] == pytest.approx(LISTED[tier])


def test_what_is_not_set_is_what_everybody_pays_on_binance() -> None:
    assert CostSettings().model_dump() == {
        "fee_tier": 0,
        "spot_taker_bp": None,
        "spot_maker_bp": None,
        "perp_taker_bp": None,
        "perp_maker_bp": None,
        "maker_share": 0.0,
        "fee_in_base": False,
        "spot_slippage_bp": 1.0,
        "perp_slippage_bp": 1.0,
        "spot_depth_share": 0.022,
        "perp_depth_share": 0.0072,
        "borrow_apr": 0.06,
    }
    assert MarginSettings().liquidation_fee_rate == 0.0125
    assert MarginSettings().brackets == BINANCE_BTCUSDT


def test_no_tier_charges_more_than_the_one_before_it() -> None:
    for better, worse in zip(FEE_TIERS[1:], FEE_TIERS[:-1], strict=True):
        assert all(a <= b for a, b in zip(better, worse, strict=True))
        assert better.spot_maker_bp <= better.spot_taker_bp
        assert better.perp_maker_bp <= better.perp_taker_bp


@pytest.mark.pitfall("P15")
def test_the_share_that_rests_pays_the_maker_fee() -> None:
    costs = CostSettings(maker_share=0.25)
    assert costs.taker_share == 0.75
    assert 1e4 * costs.spot_fee_rate == pytest.approx(10.0)
    assert 1e4 * costs.perp_fee_rate == pytest.approx(0.25 * 2.0 + 0.75 * 5.0)


def test_a_fee_that_is_given_stands_before_the_tier() -> None:
    costs = CostSettings(fee_tier=9, spot_taker_bp=7.0, perp_maker_bp=-0.5, maker_share=0.5)
    assert 1e4 * costs.spot_fee_rate == pytest.approx(0.5 * 7.0 + 0.5 * 1.2)
    assert 1e4 * costs.perp_fee_rate == pytest.approx(0.5 * 1.7 - 0.5 * 0.5)
    free = CostSettings(spot_taker_bp=0.0, perp_taker_bp=0.0)
    assert (free.spot_fee_rate, free.perp_fee_rate) == (0.0, 0.0)


@pytest.mark.parametrize(
    "wrong", [{"fee_tier": 10}, {"fee_tier": -1}, {"maker_share": 1.1}, {"spot_taker_bp": float("nan")}]
)
def test_what_no_venue_charges_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        CostSettings(**wrong)
