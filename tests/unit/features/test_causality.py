from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import CoverageError
from carryflow.features.causality import Leak, Market, find_leaks, futures
from carryflow.features.frame import build_frame
from carryflow.features.spec import FITTED, MODEL_FEATURES
from carryflow.market.data import DataSettings
from carryflow.market.schema import validate_leg


@pytest.fixture
def market(legs) -> Market:
    return Market(legs["spot", "BTC"], legs["perp", "BTC"])


def frame_of(market: Market) -> pl.DataFrame:
    return build_frame(market.spot, market.perp, "BTC", DataSettings(), market.sentiment)


@pytest.mark.pitfall("P16")
def test_no_feature_moves_by_a_bit_when_the_future_is_another_or_none(market):
    dates = [market.spot["timestamp"][row] for row in (300, 471, 702, 900)]
    assert find_leaks(frame_of, market, dates, np.random.default_rng(3)) == []


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize(
    ("column", "leaky"),
    [
        ("centred", pl.col("basis_bp").rolling_mean(5, center=True)),
        ("scaled_by_all", pl.col("basis_bp") / pl.col("basis_bp").std()),
        ("next_rate", pl.col("FundingRate").backward_fill()),
        ("shifted", pl.col("spot_return").shift(-1)),
    ],
)
def test_a_planted_leak_is_caught_by_name_and_nothing_else_is(market, column: str, leaky: pl.Expr):
    leaks = find_leaks(
        lambda told: frame_of(told).with_columns(leaky.alias(column)),
        market,
        [market.spot["timestamp"][500]],
        np.random.default_rng(3),
    )
    assert {leak.column for leak in leaks} == {column}
    assert {leak.future for leak in leaks} == {"another", "none"}


def test_every_published_model_feature_is_under_watch(market):
    assert set(MODEL_FEATURES) - set(FITTED) <= set(frame_of(market).columns)


@pytest.mark.pitfall("P16")
def test_a_change_of_sign_of_nothing_is_a_change_and_a_missing_value_is_no_nan(market):
    date = market.spot["timestamp"][500]
    whole = len(market.spot)

    def compute(told: object, other: object):
        return lambda now: now.spot.select(
            Date="timestamp", column=pl.lit(told if len(now.spot) == whole else other, dtype=pl.Float64)
        )

    for told, other in ((0.0, -0.0), (float("nan"), None)):
        found = find_leaks(compute(told, other), market, [date], np.random.default_rng(3))
        assert [(leak.column, leak.date, leak.future) for leak in found] == [("column", date, "none")]
    assert find_leaks(compute(float("nan"), float("nan")), market, [date], np.random.default_rng(3)) == []


def test_another_future_is_a_market_that_the_schema_admits_and_moves_every_column(rough):
    spot, perp = rough(300, "1h")
    date = perp["timestamp"][100]
    for leg, table in (("spot", spot), ("perp", perp)):
        (_, _, another), _ = futures(Market(spot, perp), [date], np.random.default_rng(3))
        other = validate_leg(getattr(another, leg), leg)
        after, same = pl.col("timestamp") > date, pl.col("timestamp") <= date
        assert other.filter(same).equals(table.filter(same))
        for column in table.drop("timestamp").columns:
            moved = other.filter(after)[column] != table.filter(after)[column]
            assert moved.drop_nulls().all(), column
            assert other[column].is_null().equals(table[column].is_null())


@pytest.fixture
def moody(market) -> Market:
    """The market with a value a day, at midnight or 00:20, two days left out, and some past the end."""
    first = market.spot["timestamp"][0]
    days = [day for day in range(-1, 43) if day not in {21, 22}]
    stamps = [first + timedelta(days=day, minutes=20 * (day % 3 > 0)) for day in days]
    series = pl.DataFrame({"timestamp": stamps}, schema={"timestamp": market.spot.schema["timestamp"]})
    return replace(market, sentiment=series.with_columns(value=pl.int_range(pl.len()).cast(pl.Float64)))


@pytest.mark.pitfall("P16")
def test_what_sentiment_says_at_a_bar_s_close_or_later_is_another_or_not_there(moody):
    date = moody.spot["timestamp"][
        24 * 18 - 1
    ]  # a value is stamped at its close, the instant of the decision
    another, none = (later.sentiment for _, _, later in futures(moody, [date], np.random.default_rng(3)))
    known = pl.col("timestamp") < date + timedelta(hours=1)
    told = moody.sentiment.filter(known)
    assert none.equals(told)
    assert another.filter(known).equals(told)
    assert another["timestamp"].equals(moody.sentiment["timestamp"])
    assert (another.filter(~known)["value"] != moody.sentiment.filter(~known)["value"]).all()


@pytest.mark.pitfall("P16")
def test_today_s_mood_is_no_leak_right_at_its_stamps_nor_when_it_is_nearly_too_old(moody):
    rows = [24 * day + hour for day in (18, 19, 23) for hour in (-1, 0, 1)]
    dates = [moody.spot["timestamp"][row] for row in rows]
    assert frame_of(moody)["sentiment"].n_unique() > 20
    assert find_leaks(frame_of, moody, dates, np.random.default_rng(3)) == []


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize("row", [24 * 18 - 1, 24 * 18, 24 * 18 + 11])
def test_tomorrow_s_mood_is_caught_by_name_and_nothing_else_is(moody, row: int):
    def compute(told: Market) -> pl.DataFrame:
        mood = told.sentiment.select(Date="timestamp", tomorrow="value")
        return frame_of(told).join_asof(mood, on="Date", strategy="forward", allow_exact_matches=False)

    leaks = find_leaks(compute, moody, [moody.spot["timestamp"][row]], np.random.default_rng(3))
    assert {(leak.column, leak.future) for leak in leaks} == {("tomorrow", "another"), ("tomorrow", "none")}


def test_rows_that_cannot_be_told_without_the_future_are_a_leak_of_theirs(market):
    def compute(told: Market) -> pl.DataFrame:
        if len(told.spot) < len(market.spot):
            raise CoverageError("no bars")
        return frame_of(told)

    date = market.spot["timestamp"][500]
    assert find_leaks(compute, market, [date], np.random.default_rng(3)) == [Leak("Date", date, "none")]
