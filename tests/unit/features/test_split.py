import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import MarketDataError, SettingsError
from carryflow.features.build import UnifiedFrame
from carryflow.features.dataset import split_rows
from carryflow.features.split import DAY_MS, HOUR_MS, Split, SplitSettings

SETTINGS = SplitSettings(test_days=10, embargo_hours=48, min_train_days=5)


def test_every_hour_is_training_embargo_or_test_and_never_two():
    split = Split.before(30 * DAY_MS, 0, SETTINGS)
    hours = np.arange(0, 30 * DAY_MS, HOUR_MS)
    train, test = split.in_train(hours), split.in_test(hours)
    assert not (train & test).any()
    assert (train.sum(), (~train & ~test).sum(), test.sum()) == (18 * 24, 48, 10 * 24)
    assert hours[train].max() + 49 * HOUR_MS == hours[test].min()


def test_a_history_too_short_to_learn_from_says_how_short():
    with pytest.raises(MarketDataError, match=r"16\.0 days of features leave 4\.0 to learn"):
        Split.before(16 * DAY_MS, 0, SETTINGS)


def test_a_split_comes_back_from_json():
    split = Split.before(30 * DAY_MS, 0, SETTINGS)
    assert Split.from_json(split.to_json()) == split


def test_an_embargo_shorter_than_a_window_is_refused(unified: UnifiedFrame):
    with pytest.raises(SettingsError, match=r"split\.embargo_hours=24"):
        split_rows(unified.table, SplitSettings(test_days=5, embargo_hours=23), lookback=24)


def test_the_test_part_ends_with_the_ticker_that_ends_first(unified: UnifiedFrame):
    btc = unified.table.filter(pl.col("Ticker") == "BTC")
    eth = unified.table.filter(pl.col("Ticker") == "ETH")
    split = split_rows(pl.concat([btc, eth.head(-24)]), SETTINGS, lookback=24)
    assert split.test_end_ms == btc["KnownAt"].dt.epoch("ms")[-1] - 23 * HOUR_MS


def test_a_ticker_listed_after_training_is_named(unified: UnifiedFrame):
    btc = unified.table.filter(pl.col("Ticker") == "BTC")
    late = unified.table.filter(pl.col("Ticker") == "ETH").tail(24 * 11)
    with pytest.raises(MarketDataError, match="ETH has no window before"):
        split_rows(pl.concat([btc, late]), SETTINGS, lookback=24)
