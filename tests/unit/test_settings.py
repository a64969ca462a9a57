"""Settings come from four places, and what is unknown or wrong is said."""

from pathlib import Path

import pytest

from carryflow.core.errors import SettingsError
from carryflow.settings import resolve, valid_keys


def test_later_sources_win_over_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("env: {risk: {lambda_vol: 0.1, lambda_dd: 0.1, lambda_to: 0.1}}\n")
    environment = {"CARRYFLOW__ENV__RISK__LAMBDA_DD": "0.2", "CARRYFLOW__ENV__RISK__LAMBDA_TO": "0.2"}

    risk = resolve(file, environment, ["env.risk.lambda_to=0.3"]).env.risk

    assert (risk.lambda_vol, risk.lambda_dd, risk.lambda_to) == (0.1, 0.2, 0.3)


def test_variables_of_others_are_left_alone() -> None:
    assert resolve(environment={"CARRYFLOW_REAL_DATA": "/data", "PATH": "/bin"}) == resolve()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "env.risk.lambda_vl=1",
            "unknown setting 'env.risk.lambda_vl'; the nearest valid one is 'env.risk.lambda_vol'",
        ),
        ("train.iteration=1", "the nearest valid one is 'train.iterations'"),
        ("train.iterations=-1", "setting train.iterations = -1: input should be greater than or equal to 1"),
        ("train.iterations=many", "setting train.iterations = 'many'"),
        ("train.iterations", "is not of the form key=value"),
        ("seed.risk=1", "setting seed"),
        ("data.start=2025-13-01", "setting data.start = '2025-13-01'"),
    ],
)
def test_a_wrong_override_is_named_with_the_way_out(override: str, words: str) -> None:
    with pytest.raises(SettingsError) as raised:
        resolve(overrides=[override])
    assert words in str(raised.value)


def test_an_unknown_variable_is_an_error_too() -> None:
    with pytest.raises(SettingsError, match=r"unknown setting 'env\.capital'"):
        resolve(environment={"CARRYFLOW__ENV__CAPITAL": "1"})


@pytest.mark.parametrize(
    ("content", "words"), [("- 1\n", "must hold a mapping"), ("a: [", "is no YAML"), (None, "cannot be read")]
)
def test_a_file_that_is_no_settings_file_is_an_error(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=words):
        resolve(file)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.touch()
    assert resolve(file) == resolve()


def test_the_hash_names_the_resolution() -> None:
    assert resolve().hash == resolve(overrides=["seed=7"]).hash
    assert resolve().hash != resolve(overrides=["seed=8"]).hash


def test_every_valid_key_can_be_read_back_from_the_tree() -> None:
    settings = resolve()
    keys = list(valid_keys())
    assert len(keys) > 50
    for key in keys:
        branch: object = settings
        for name in key.split("."):
            branch = getattr(branch, name)


def test_each_market_has_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve().home_dir == tmp_path
    assert resolve(overrides=["exchange.tape=/recorded/crypto"]).home_dir == tmp_path / "markets" / "crypto"
    assert resolve(overrides=["venue.name=okx"]).home_dir == tmp_path / "markets" / "okx"
    assert resolve(overrides=["venue.name=okx", "home=/elsewhere"]).home_dir == Path("/elsewhere")


def test_a_group_of_settings_that_is_misspelt_is_named_and_not_a_switch_that_looks_like_it() -> None:
    with pytest.raises(SettingsError, match=r"the nearest valid one is 'execution\.limits'"):
        resolve(overrides=["execution.limit.max_leverage=2"])
