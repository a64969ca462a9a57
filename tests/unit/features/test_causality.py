import numpy as np
import polars as pl
import pytest

from carryflow.features.causality import find_leaks
from carryflow.features.frame import build_frame
from carryflow.features.spec import MODEL_FEATURES
from carryflow.market.data import DataSettings


@pytest.fixture
def market(legs):
    return legs["spot", "BTC"], legs["perp", "BTC"]


def frame_of(spot: pl.DataFrame, perp: pl.DataFrame) -> pl.DataFrame:
    return build_frame(spot, perp, "BTC", DataSettings())


@pytest.mark.pitfall("P16")
def test_no_feature_moves_by_a_bit_when_the_future_is_another_or_none(market):
    spot, perp = market
    dates = [spot["timestamp"][row] for row in (300, 471, 702, 900)]
    assert find_leaks(frame_of, spot, perp, dates, np.random.default_rng(3)) == []


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
    spot, perp = market
    leaks = find_leaks(
        lambda s, p: frame_of(s, p).with_columns(leaky.alias(column)),
        spot,
        perp,
        [spot["timestamp"][500]],
        np.random.default_rng(3),
    )
    assert {leak.column for leak in leaks} == {column}
    assert {leak.future for leak in leaks} == {"another", "none"}


def test_every_model_feature_is_under_watch(market):
    assert set(MODEL_FEATURES) <= set(frame_of(*market).columns)
