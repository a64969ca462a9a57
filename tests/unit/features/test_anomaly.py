import json

import numpy as np
import pytest
from numpy.typing import NDArray

from carryflow.core.errors import SchemaMismatchError
from carryflow.features.scaling import CLIP, Scaler
from carryflow.features.spec import FeatureSpec

SPEC = FeatureSpec(("liquidity", "spot_return", "anomaly_score", "volume_shock", "basis_bp"), 4)
PLACE = SPEC.index("anomaly_score")


def draw(rows: int, seed: int = 3) -> NDArray[np.float32]:
    """Raw rows (n, 4) in the order of `SPEC.published`: liquidity, spot_return, volume_shock, basis_bp."""
    generator = np.random.default_rng(seed)
    return generator.normal([9.0, 0.0, 0.7, 6.0], [0.5, 0.01, 0.2, 4.0], (rows, 4)).astype(np.float32)


TRAINING = draw(3000)


def score(scaler: Scaler, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return scaler.transform(rows)[..., PLACE]


def test_the_score_is_what_its_formula_says():
    row = np.array([[9.0, 0.03, 0.9, -10.0]], dtype=np.float32)
    z = []
    for column, value in ((1, 0.03), (2, 0.9), (3, -10.0)):
        x = TRAINING[:, column].astype(np.float64)
        z.append((value - np.median(x)) / (1.4826 * np.median(np.abs(x - np.median(x)))))
    r = np.sqrt(np.mean(np.square(z)))
    assert score(Scaler.fit(TRAINING, SPEC), row)[0] == pytest.approx(r / (1 + r / CLIP), rel=1e-5)


def test_the_score_stands_where_the_spec_puts_it_and_leaves_the_others_alone():
    scaler = Scaler.fit(TRAINING, SPEC)
    plain = Scaler.fit(TRAINING, FeatureSpec(SPEC.published, 4))
    seen = scaler.transform(TRAINING)
    assert seen.shape == (3000, 5)
    np.testing.assert_array_equal(np.delete(seen, PLACE, axis=1), plain.transform(TRAINING))
    assert (scaler.center[PLACE], scaler.scale[PLACE]) == (0.0, 1.0)


@pytest.mark.pitfall("P16")
def test_outliers_in_the_training_part_do_not_move_the_score_of_other_hours():
    crashed = TRAINING.copy()
    crashed[::20] *= np.float32(-500)  # one hour in twenty is absurd
    calm, told = score(Scaler.fit(TRAINING, SPEC), TRAINING), score(Scaler.fit(crashed, SPEC), TRAINING)
    np.testing.assert_allclose(told, calm, atol=0.1)
    outliers = score(Scaler.fit(crashed, SPEC), crashed[::20])
    assert np.median(outliers) > 0.9 * CLIP
    assert outliers.max() <= CLIP


def test_a_deeper_crash_scores_higher_and_never_reaches_the_bound():
    rows = np.array([[9.0, -depth, 0.7, 6.0] for depth in (0.02, 0.05, 0.2, 0.9)], dtype=np.float32)
    scores = score(Scaler.fit(TRAINING, SPEC), rows)
    assert (np.diff(scores) > 0).all()
    assert scores[-1] < CLIP


@pytest.mark.pitfall("P18")
def test_a_row_scores_the_same_bits_alone_in_any_batch_and_after_a_trip_through_json():
    scaler = Scaler.fit(TRAINING, SPEC)
    stored = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert stored == scaler
    batch = scaler.transform(TRAINING)
    assert np.stack([stored.transform(row) for row in TRAINING[:300]]).tobytes() == batch[:300].tobytes()
    for rows in (7, 48, 1000):
        assert stored.transform(TRAINING[5 : 5 + rows]).tobytes() == batch[5 : 5 + rows].tobytes()
    assert stored.transform(TRAINING.reshape(50, 60, 4)).tobytes() == batch.tobytes()
    assert stored.transform(np.asfortranarray(TRAINING)).tobytes() == batch.tobytes()
    assert stored.transform(TRAINING[::-1])[::-1].tobytes() == batch.tobytes()


def test_an_input_that_stands_still_in_most_hours_is_measured_by_its_deviation_instead():
    still = TRAINING.copy()
    still[:2000, 1] = 0.0  # the median absolute deviation of the return is 0
    scaler = Scaler.fit(still, SPEC)
    assert scaler.anomaly is not None
    assert 0 < scaler.anomaly.deviation[0] == scaler.scale[SPEC.index("spot_return")]
    assert np.isfinite(scaler.transform(still)).all()


def test_a_window_that_already_holds_a_score_is_refused():
    with pytest.raises(SchemaMismatchError, match="takes 4 raw features"):
        Scaler.fit(TRAINING, SPEC).transform(np.zeros((3, 5), dtype=np.float32))
