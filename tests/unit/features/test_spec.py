import subprocess
import sys
from dataclasses import replace

import pytest

from carryflow.core.errors import SchemaMismatchError
from carryflow.features.spec import MODEL_FEATURES, POSITION_FEATURES, FeatureSettings, FeatureSpec

SPEC = FeatureSpec.of(FeatureSettings(lookback=48), sentiment=False)


def test_a_spec_comes_back_from_json_with_its_hash():
    again = FeatureSpec.from_json(SPEC.to_json())
    assert again == SPEC
    assert again.hash == SPEC.hash
    assert len(SPEC.hash) == 16


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, names=(SPEC.names[1], SPEC.names[0], *SPEC.names[2:])),
        replace(SPEC, names=SPEC.names[:-1]),
        replace(SPEC, lookback=47),
        replace(SPEC, version=SPEC.version + 1),
        FeatureSpec.of(FeatureSettings(lookback=48), sentiment=True),
    ],
    ids=["order", "names", "lookback", "version", "sentiment"],
)
@pytest.mark.pitfall("P18")
def test_anything_that_changes_the_tensor_changes_the_hash_and_is_refused(other: FeatureSpec):
    assert other.hash != SPEC.hash
    with pytest.raises(SchemaMismatchError, match=f"the bundle was made for feature spec {other.hash}"):
        SPEC.require(other.hash, "the bundle")


def test_sizes_count_window_and_position():
    assert SPEC.window_size == 48 * len(MODEL_FEATURES)
    assert SPEC.observation_size == SPEC.window_size + len(POSITION_FEATURES)


def test_sentiment_comes_last_so_that_the_others_keep_their_places():
    with_mood = FeatureSpec.of(FeatureSettings(), sentiment=True)
    assert with_mood.names == (*MODEL_FEATURES, "sentiment")
    assert with_mood.index("sentiment") == len(MODEL_FEATURES)


def test_an_unknown_feature_is_named_with_those_there_are():
    with pytest.raises(SchemaMismatchError, match=r"no feature 'rsi'; it has spot_return"):
        SPEC.index("rsi")


@pytest.mark.parametrize(
    "text", ["{}", "no json", '{"names": ["a"], "lookback": 2, "version": 1, "position": []}']
)
def test_text_that_is_no_spec_of_ours_is_refused(text: str):
    with pytest.raises(SchemaMismatchError):
        FeatureSpec.from_json(text)


def test_the_spec_imports_without_tables_or_kernels():
    code = (
        "import sys, carryflow.features.spec; print({'polars', 'numba', 'torch', 'feast'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
