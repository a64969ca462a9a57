"""Every feature against plain pandas and numpy, written from the papers and not from our code."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from carryflow.features.alignment import align_legs
from carryflow.features.catalogue import CATALOGUE, Feature, catalogue_rows, compute_features
from carryflow.features.frame import WARM_UP_HOURS
from carryflow.features.spec import FITTED, MODEL_FEATURES, SENTIMENT_FEATURE
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.store import read_leg
from carryflow.market.timeframe import HOUR_MS, Timeframe, bar_ms

COMPUTED = tuple(name for name, feature in CATALOGUE.items() if feature.compute and name != SENTIMENT_FEATURE)
FROM_BARS = tuple(name for name in COMPUTED if not CATALOGUE[name].recorded)


def plainly(spot: pl.DataFrame, perp: pl.DataFrame, per_hour: int) -> pd.DataFrame:
    """Compute every feature with pandas over the perpetual's bars."""
    p = perp.to_pandas().set_index("timestamp")
    s = spot.to_pandas().set_index("timestamp").reindex(p.index)
    price, basis = s.close.ffill(), ((p.close / s.close - 1) * 1e4).ffill()
    r, value = np.log(price).diff(), p.close * p.volume
    day, week = 24 * per_hour, 168 * per_hour
    year = 8760 * per_hour

    rate = p.funding_rate.dropna()
    paid_for = rate.index.to_series().diff().dt.total_seconds() / 3600
    on_grid = pd.DataFrame({"rate": rate[paid_for.notna()], "hours": paid_for.dropna()}).reindex(p.index)
    interval = on_grid.hours.ffill()
    span = [per_hour * width for width in (24, 72, 168)]
    carry = [on_grid.fillna(0).rolling(w).sum().pipe(lambda t: t.rate / t.hours * 8760) for w in span]
    since = p.groupby(p.funding_rate.notna().cumsum()).cumcount() + 1
    to_go = (
        interval - since / per_hour
    ) % interval  # an interval that grew is known only once it has settled

    forecast = []
    for row, (bars, hours) in enumerate(zip(since, interval, strict=True)):
        premium = basis.iloc[row + 1 - bars : row + 1] / 1e4
        average = np.average(premium, weights=range(1, bars + 1))
        eight = average + min(max(0.0001 - average, -0.0005), 0.0005)
        forecast.append(min(max(eight / (8 / hours), -0.02), 0.02) * 8760 / hours)

    def shock(x: pd.Series) -> pd.Series:
        before = x.shift(1).rolling(week)
        return (x - before.mean()) / before.std(ddof=0)

    def vol(width: int) -> pd.Series:
        return ((r**2).rolling(width).mean() * year) ** 0.5

    high_low, close_open = np.log(p.high / p.low), np.log(p.close / p.open)

    def parkinson(width: int) -> pd.Series:
        return ((high_low**2).rolling(width).mean() / (4 * np.log(2)) * year) ** 0.5

    garman_klass = 0.5 * high_low**2 - (2 * np.log(2) - 1) * close_open**2
    beta = high_low**2 + high_low.shift(1) ** 2
    gamma = np.log(p.high.rolling(2).max() / p.low.rolling(2).min()) ** 2
    k = 3 - 2 * 2**0.5
    alpha = ((2 * beta) ** 0.5 - beta**0.5) / k - (gamma / k) ** 0.5
    spread = (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).where(lambda x: ~(x < 0), 0.0)
    hourly_value = value.rolling(day).mean() * per_hour
    quoted = [(leg.ask - leg.bid) / (leg.ask + leg.bid) * 2e4 for leg in (p, s)]
    sides = pd.concat([leg[side] for leg in (p, s) for side in ("bid_depth", "ask_depth")], axis=1)

    return pd.DataFrame(
        {
            "spot_return": r,
            "return_shock": shock(r),
            "basis_bp": basis,
            "basis_z_168h": shock(basis),
            "premium_8h_bp": basis.rolling(8 * per_hour).mean(),
            "funding_last_apr": (on_grid.rate / on_grid.hours * 8760).ffill(),
            "funding_predicted_apr": pd.Series(forecast, p.index),
            "carry_24h_apr": carry[0],
            "carry_72h_apr": carry[1],
            "carry_168h_apr": carry[2],
            "hours_to_settlement": to_go.where(to_go > 0, interval) / interval,
            "vol_24h_apr": vol(day),
            "vol_168h_apr": vol(week),
            "vol_parkinson_24h_apr": parkinson(day),
            "vol_parkinson_168h_apr": parkinson(week),
            "vol_garman_klass_24h_apr": (garman_klass.rolling(day).mean() * year) ** 0.5,
            "vol_ratio": vol(day) / vol(week),
            "spread_bp": ((quoted[0] + quoted[1]) / 2).ffill(),
            "depth_10bp": np.log10(sides.min(axis=1, skipna=False).ffill()),
            "imbalance_10bp": (p.bid_depth - p.ask_depth) / (p.bid_depth + p.ask_depth),
            "impact_bp": 1e4 * vol(day) / 365**0.5 * (1e5 / value.rolling(day).sum()) ** 0.5,
            "volume_shock": np.log(1 + value / value.rolling(week).mean()),
            "momentum_168h": np.log(price / price.shift(week)),
            "liquidity": np.log10(hourly_value / spread.rolling(day).mean().clip(lower=1e-6)),
        }
    )


def assert_as_plain(
    spot: pl.DataFrame, perp: pl.DataFrame, data: DataSettings, names: tuple[str, ...]
) -> None:
    hours = align_legs(spot, perp, data.tickers[0], data)
    warm_up = hours.bars(WARM_UP_HOURS)
    ours = compute_features(hours, names)
    theirs = plainly(spot, perp, HOUR_MS // bar_ms(data.timeframe))
    for name in names:
        np.testing.assert_allclose(
            ours[name][warm_up:], theirs[name].to_numpy()[warm_up:], rtol=1e-7, atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize(("hours", "timeframe"), [(520, "1h"), (240, "15m")])
def test_every_feature_is_what_its_paper_says_over_a_halt_and_an_interval_change(
    rough, hours: int, timeframe: Timeframe
):
    assert_as_plain(*rough(hours, timeframe), DataSettings(tickers=("X",), timeframe=timeframe), COMPUTED)


@pytest.mark.real
@pytest.mark.pitfall("P03")
def test_every_feature_is_what_its_paper_says_in_solana_s_november_2022(real_data: Path):
    start, end = (to_ms(datetime(2022, month, day, tzinfo=UTC)) for month, day in ((10, 25), (11, 25)))
    legs = [read_leg(real_data / "crypto", leg, "SOL", start, end) for leg in ("spot", "perp")]
    assert legs[1]["funding_rate"].drop_nulls().len() > 31 * 3 + 60  # the two-hour settlements are in it
    assert_as_plain(*legs, DataSettings(tickers=("SOL",)), FROM_BARS)


@pytest.mark.real
@pytest.mark.pitfall("P04")
def test_the_predicted_rate_is_near_what_then_settled(real_data: Path):
    start, end = (to_ms(datetime(2024, month, 1, tzinfo=UTC)) for month in (1, 5))
    legs = [read_leg(real_data / "crypto", leg, "BTC", start, end) for leg in ("spot", "perp")]
    data = DataSettings(tickers=("BTC",))
    features = compute_features(align_legs(*legs, "BTC", data), ("funding_predicted_apr", "funding_last_apr"))
    rows = np.flatnonzero(~np.isnan(legs[1]["funding_rate"].to_numpy()))[30:]
    settled = features["funding_last_apr"][rows]
    predicted = features["funding_predicted_apr"][rows - 1]  # the last bar before each settlement
    assert np.corrcoef(predicted, settled)[0, 1] > 0.9
    assert np.median(np.abs(predicted - settled)) < 0.05


def test_the_default_features_and_the_fitted_ones_are_in_the_catalogue():
    assert set(MODEL_FEATURES) <= set(CATALOGUE)
    assert {name for name, feature in CATALOGUE.items() if feature.fitted} == set(FITTED)
    assert {name for inputs in FITTED.values() for name in inputs} <= set(COMPUTED)


@pytest.mark.parametrize("feature", CATALOGUE.values(), ids=CATALOGUE)
def test_every_feature_says_what_it_is(feature: Feature):
    assert all((feature.unit, feature.sign, feature.formula, feature.source))
    assert feature.max_age_hours > 0
    function = getattr(feature.compute, "func", feature.compute)
    if function is not None and function.__name__ != "<lambda>":
        assert ">>> " in function.__doc__


def test_the_catalogue_cannot_be_changed_by_who_reads_it():
    with pytest.raises(TypeError):
        CATALOGUE["mine"] = CATALOGUE["basis_bp"]  # type: ignore[index]


def test_the_listing_gives_one_row_of_words_per_feature():
    rows = list(catalogue_rows())
    assert [row["name"] for row in rows] == list(CATALOGUE)
    assert {row["known"] for row in rows} == {"every bar", "watched bars only", "fitted on the training part"}
