import subprocess
import sys
from dataclasses import replace

import pytest

from carryflow.core.errors import SchemaMismatchError, SettingsError
from carryflow.features.spec import (
    MODEL_FEATURES,
    POSITION_FEATURES,
    SPEC_VERSION,
    FeatureSettings,
    FeatureSpec,
)

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
    assert SPEC.published_window_size == 48 * (len(MODEL_FEATURES) - 1)


def test_what_is_published_is_what_is_seen_less_the_fitted_features_in_the_same_order():
    names = ("volume_shock", "anomaly_score", "basis_bp", "spot_return")
    assert FeatureSpec(names, 2).published == ("volume_shock", "basis_bp", "spot_return")
    assert FeatureSpec(names[2:], 2).published == names[2:]


def test_settings_choose_features_and_their_order():
    spec = FeatureSpec.of(FeatureSettings(names=("impact_bp", "basis_bp")), sentiment=True)
    assert spec.names == ("impact_bp", "basis_bp", "sentiment")
    placed = FeatureSettings(names=("sentiment", "basis_bp"))
    assert FeatureSpec.of(placed, sentiment=True).names == ("sentiment", "basis_bp")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("basis_bp", "carry_24h_arp"), "'carry_24h_arp', which is no feature; did you mean 'carry_24h_apr'"),
        (("rsi_14",), "'rsi_14', which is no feature; `carryflow features list`"),
        (("basis_bp", "basis_bp"), "more than once"),
        (("anomaly_score", "basis_bp"), "add spot_return, volume_shock to features.names"),
    ],
    ids=["misspelt", "unknown", "twice", "fitted without its inputs"],
)
def test_a_choice_that_cannot_be_made_is_refused_with_the_way_out(names: tuple[str, ...], words: str):
    with pytest.raises(SettingsError, match=words):
        FeatureSettings(names=names)


def test_a_fitted_feature_without_its_inputs_makes_no_spec():
    with pytest.raises(SettingsError, match="anomaly_score is made of spot_return, basis_bp, volume_shock"):
        FeatureSpec(("anomaly_score", "basis_bp", "spot_return"), 2)


def test_sentiment_that_is_chosen_needs_a_series():
    with pytest.raises(SettingsError, match=r"set data\.sentiment"):
        FeatureSpec.of(FeatureSettings(names=("basis_bp", "sentiment")), sentiment=False)


@pytest.mark.pitfall("P18")
def test_bundles_of_the_formulas_before_this_version_are_refused():
    older = replace(SPEC, version=SPEC_VERSION - 1)
    with pytest.raises(SchemaMismatchError, match="train and publish with one spec"):
        SPEC.require(older.hash, "the bundle")


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
