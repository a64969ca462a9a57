import json

import numpy as np
import pytest

from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSpec

SPEC = FeatureSpec(("calm", "wild"), 2)
ROWS = np.random.default_rng(1).normal([3.0, -40.0], [0.5, 20.0], size=(4000, 2)).astype(np.float32)


def test_scaled_training_rows_are_centred_and_of_one_unit():
    scaled = Scaler.fit(ROWS, SPEC).transform(ROWS)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=0.05)


def test_one_crash_does_not_set_the_scale_of_quiet_hours():
    crashed = ROWS.copy()
    crashed[7] = 1e6
    np.testing.assert_allclose(Scaler.fit(crashed, SPEC).scale, Scaler.fit(ROWS, SPEC).scale, rtol=0.02)
    assert Scaler.fit(crashed, SPEC).transform(crashed)[7].tolist() == [5.0, 5.0]


@pytest.mark.pitfall("P18")
def test_a_row_scales_to_the_same_bits_alone_in_a_batch_and_after_a_trip_through_json():
    scaler = Scaler.fit(ROWS, SPEC)
    stored = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    batch = scaler.transform(ROWS)
    alone = np.stack([stored.transform(row) for row in ROWS[:200]])
    assert batch.dtype == np.float32
    assert alone.tobytes() == batch[:200].tobytes()
    windows = stored.transform(ROWS.reshape(-1, 50, 2))
    assert windows.tobytes() == batch.tobytes()


def test_a_feature_that_never_moved_scales_to_zero():
    still = np.full((50, 1), 0.1, dtype=np.float32)
    assert not Scaler.fit(still, FeatureSpec(("still",), 2)).transform(still).any()


def test_a_missing_value_is_refused_and_not_filled():
    with pytest.raises(MarketDataError, match=r"1 training rows are not finite, the first at \[3\]"):
        Scaler.fit(np.where(np.arange(5)[:, None] == 3, np.nan, 1.0), FeatureSpec(("gone",), 2))


def test_features_of_another_spec_are_refused():
    with pytest.raises(SchemaMismatchError, match="takes 2 raw features"):
        Scaler.fit(ROWS, SPEC).transform(np.zeros((4, 3), dtype=np.float32))


def test_rows_of_another_spec_are_refused_before_anything_is_fitted():
    with pytest.raises(SchemaMismatchError, match="publishes 1 features, the rows have 2"):
        Scaler.fit(ROWS, FeatureSpec(("calm",), 2))
