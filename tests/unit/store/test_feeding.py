"""Which rows feed which spec."""

import pytest

from carryflow.features.spec import SPEC_VERSION, FeatureSpec
from carryflow.store.feeding import MINUTE_MS, why_not_fed

HOUR_MS = 60 * MINUTE_MS
NAMES = ("basis_bp", "vol_ratio")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (FeatureSpec(("basis_bp",), lookback=3), ""),
        (FeatureSpec(("spread_bp", "basis_bp"), lookback=3), "the rows lack spread_bp"),
        (FeatureSpec(NAMES, 3, version=SPEC_VERSION - 1), f"its formulas are of version {SPEC_VERSION - 1}"),
        (FeatureSpec(NAMES, 3, bar_ms=5 * MINUTE_MS), "it has bars of 5 minutes, the rows of 60"),
    ],
)
def test_rows_feed_a_spec_of_their_names_formulas_and_bars(spec: FeatureSpec, why: str) -> None:
    told = why_not_fed(spec, NAMES, SPEC_VERSION, HOUR_MS)
    assert told.startswith(why)
    assert bool(told) == bool(why)
