import math
import statistics
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError, SettingsError
from carryflow.features.alignment import align_legs
from carryflow.features.catalogue import CATALOGUE
from carryflow.features.frame import WARM_UP_HOURS, build_frame
from carryflow.features.spec import FeatureSettings
from carryflow.market.data import DataSettings
from carryflow.market.store import read_leg
from carryflow.market.timeframe import Timeframe

ROW = 500


def build(legs, data: DataSettings | None = None, **changed: pl.DataFrame) -> pl.DataFrame:
    spot, perp = changed.get("spot", legs["spot", "BTC"]), changed.get("perp", legs["perp", "BTC"])
    return build_frame(spot, perp, "BTC", data or DataSettings())


def test_a_row_says_what_plain_arithmetic_on_the_bars_says(legs):
    frame = build(legs)
    row = frame.row(ROW - WARM_UP_HOURS, named=True)
    spot, perp = legs["spot", "BTC"], legs["perp", "BTC"]
    now = spot["timestamp"][ROW]
    s, p = spot["close"].to_list(), perp["close"].to_list()
    basis = [(b / a - 1) * 1e4 for a, b in zip(s, p, strict=True)]
    returns = [0.0] + [math.log(b / a) for a, b in pairwise(s)]
    funding = [r for r in perp["funding_rate"][: ROW + 1].to_list() if r is not None]
    volume = [c * v for c, v in zip(p, perp["volume"].to_list(), strict=True)]

    def last(values: list[float], width: int) -> list[float]:
        return values[ROW + 1 - width : ROW + 1]

    def rms(width: int) -> float:
        return math.sqrt(statistics.fmean(r * r for r in last(returns, width)))

    hours_since = next(h for h in range(9) if perp["funding_rate"][ROW - h] is not None)
    expected = {
        "spot_return": returns[ROW],
        "basis_bp": basis[ROW],
        "premium_8h_bp": statistics.fmean(last(basis, 8)),
        "funding_last_apr": funding[-1] * 3 * 365,
        "carry_24h_apr": statistics.fmean(funding[-3:]) * 3 * 365,
        "carry_72h_apr": statistics.fmean(funding[-9:]) * 3 * 365,
        "carry_168h_apr": statistics.fmean(funding[-21:]) * 3 * 365,
        "hours_to_settlement": (8 - hours_since - 1) / 8 or 1.0,
        "vol_24h_apr": rms(24) * math.sqrt(8760),
        "vol_ratio": rms(24) / rms(168),
        "volume_shock": math.log1p(volume[ROW] / statistics.fmean(last(volume, 168))),
        "momentum_168h": math.log(s[ROW] / s[ROW - 168]),
    }
    assert (row["Date"], row["KnownAt"]) == (now, now + timedelta(hours=1))
    assert (row["SpotPrice"], row["PerpPrice"], row["Basis"]) == (s[ROW], p[ROW], p[ROW] - s[ROW])
    assert (row["MarkPrice"], row["SettleMark"]) == (perp["mark_close"][ROW], perp["mark_open"][ROW])
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-5), name


def test_the_frame_holds_the_chosen_features_alone_in_their_order(legs):
    names = ("impact_bp", "anomaly_score", "spot_return", "basis_bp", "volume_shock")
    frame = build_frame(
        legs["spot", "BTC"], legs["perp", "BTC"], "BTC", DataSettings(), features=FeatureSettings(names=names)
    )
    raw = [name for name in names if name != "anomaly_score"]  # the scaler makes it, from training rows
    assert frame.columns[-4:] == raw
    assert frame.schema["impact_bp"] == pl.Float32
    assert set(CATALOGUE) & set(frame.columns) == set(raw)
    assert frame.select(raw[1:]).equals(build(legs).select(raw[1:]))


def test_liquidity_falls_tenfold_when_a_tenth_is_traded(legs):
    thin = legs["perp", "BTC"].with_columns(pl.col("volume") / 10)
    fall = build(legs)["liquidity"] - build(legs, perp=thin)["liquidity"]
    np.testing.assert_allclose(fall.to_numpy(), 1.0, atol=1e-5)


@pytest.mark.pitfall("P04")
def test_a_settled_rate_is_invisible_to_the_decision_at_its_own_instant(legs):
    perp = legs["perp", "BTC"]
    settled_at = perp.filter(pl.col("funding_rate").is_not_null())["timestamp"][60]
    doubled = pl.when(pl.col("timestamp") == settled_at).then(0.0123).otherwise(pl.col("funding_rate"))
    told, retold = build(legs), build(legs, perp=perp.with_columns(doubled.alias("funding_rate")))
    funding = ["funding_last_apr", "carry_24h_apr", "carry_72h_apr", "carry_168h_apr"]
    unaware = pl.col("KnownAt") <= settled_at
    assert told.filter(unaware).equals(retold.filter(unaware))
    first_aware = pl.col("KnownAt") == settled_at + timedelta(hours=1)
    moved = (
        told.filter(first_aware).select(funding).to_numpy()
        != retold.filter(first_aware).select(funding).to_numpy()
    )
    assert moved.all()


@pytest.mark.pitfall("P16")
def test_a_later_start_leaves_every_row_as_it_was_to_the_last_bit(legs):
    cut = {leg: legs[leg, "BTC"].slice(101) for leg in ("spot", "perp")}
    assert build(legs, **cut).equals(build(legs).slice(101))


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize(("hours", "timeframe"), [(400, "1h"), (200, "15m")])
def test_any_history_that_holds_the_warm_up_gives_the_same_bits(rough, hours: int, timeframe: Timeframe):
    spot, perp = rough(hours, timeframe)
    data = DataSettings(tickers=("X",), timeframe=timeframe)
    features = FeatureSettings(
        names=tuple(n for n, feature in CATALOGUE.items() if not feature.recorded and n != "sentiment")
    )
    whole = build_frame(spot, perp, "X", data, features=features)
    warm_up = len(perp) - len(whole)
    for skipped in (1, 13, 50):
        late = perp.slice(skipped)
        frame = build_frame(
            spot.filter(pl.col("timestamp") >= late["timestamp"][0]), late, "X", data, features=features
        )
        assert len(late) - len(frame) == warm_up
        assert frame.equals(whole.slice(skipped))


def test_a_feature_of_ones_own_may_use_every_column_of_the_legs(rough):
    spot, perp = rough(40, "1h")
    hours = align_legs(spot, perp, "X", DataSettings(tickers=("X",)))
    np.testing.assert_array_equal(hours["perp_mark_close"], perp["mark_close"].to_numpy())
    halted = np.isnan(hours["spot_volume"])
    assert halted.sum() == 3
    np.testing.assert_array_equal(hours["spot_volume"][~halted], spot["volume"].to_numpy())
    assert np.isnan(hours["perp_index_close"]).all()  # the venue's index was not recorded


def test_bars_longer_than_an_hour_are_refused(legs):
    with pytest.raises(SettingsError, match="features need bars of an hour or less"):
        build(legs, DataSettings(timeframe="4h"))


@pytest.mark.pitfall("P05")
def test_a_book_feature_over_bars_that_nobody_watched_names_them(rough):
    spot, perp = rough(280, "1h", halted=False)
    gone = perp["timestamp"][250]
    unwatched = perp.with_columns(
        pl.when(pl.col("timestamp") != gone).then(pl.col(name)).alias(name)
        for name in ("bid", "ask", "bid_depth", "ask_depth")
    )
    data = DataSettings(tickers=("X",))
    for name in ("spread_bp", "depth_10bp", "imbalance_10bp"):
        chosen = FeatureSettings(names=("basis_bp", name))
        assert build_frame(spot, perp, "X", data, features=FeatureSettings(names=("basis_bp",))).height == 104
        with pytest.raises(CoverageError, match=f"X: {name} needs a recorded .* at {gone:%Y-%m-%d %H:%M}"):
            build_frame(spot, unwatched, "X", data, features=chosen)
    unasked = build_frame(spot, unwatched, "X", data)
    assert unasked.filter(pl.col("Date") == gone).select("Spread", "Depth", "Imbalance").row(0) == (None,) * 3


@pytest.mark.pitfall("P04")
def test_a_row_says_when_the_newest_settlement_in_it_was_known(rough):
    frame = build_frame(*rough(400, "1h"), "X", DataSettings(tickers=("X",)))
    settled = frame.filter(pl.col("FundingRate").is_not_null())
    assert (settled["FundingKnownAt"] == settled["KnownAt"]).all()
    age = (frame["KnownAt"] - frame["FundingKnownAt"]).dt.total_hours()
    assert sorted(set(age.to_list())) == list(range(8))
    assert (frame["FundingKnownAt"] <= frame["KnownAt"]).all()


def test_a_spot_halt_carries_the_price_and_the_last_tradable_basis(legs):
    spot = legs["spot", "BTC"]
    halted = spot["timestamp"].is_in(spot["timestamp"][ROW : ROW + 2].implode())
    frame = build(legs, spot=spot.filter(~halted)).slice(ROW - 1 - WARM_UP_HOURS, 4)
    assert frame["Tradable"].to_list() == [True, False, False, True]
    assert frame["SpotPrice"][:3].n_unique() == 1
    assert frame["spot_return"][1:3].to_list() == [0.0, 0.0]
    assert frame["basis_bp"][:3].n_unique() == 1
    assert frame["Basis"].to_list() == (frame["PerpPrice"] - frame["SpotPrice"]).to_list()
    assert frame["SpotPrice"][3] == spot["close"][ROW + 2]
    assert frame["Spread"][:3].n_unique() == frame["Depth"][:3].n_unique() == 1


def test_a_halt_after_a_bar_that_nobody_watched_has_no_book_either(rough):
    spot, perp = rough(300, "1h")  # halted from 270 to 272
    unwatched = pl.int_range(pl.len()) == 269
    perp = perp.with_columns(pl.when(~unwatched).then(pl.col("bid")).alias("bid"))
    frame = build_frame(spot, perp, "X", DataSettings(tickers=("X",))).slice(268 - WARM_UP_HOURS, 6)
    assert frame["Tradable"].to_list() == [True, True, False, False, False, True]
    assert frame["Spread"].is_null().to_list() == [False, True, True, True, True, False]


@pytest.mark.pitfall("P05")
def test_a_deleted_settlement_names_its_row(legs):
    perp = legs["perp", "BTC"]
    gone = perp.filter(pl.col("funding_rate").is_not_null())["timestamp"][40]
    without = pl.when(pl.col("timestamp") != gone).then(pl.col("funding_rate"))
    with pytest.raises(CoverageError, match=f"{gone - timedelta(hours=8):%Y-%m-%d %H:%M}"):
        build(legs, perp=perp.with_columns(without.alias("funding_rate")))


def test_where_no_mark_was_published_the_perpetual_stands_in_or_the_hours_are_refused(legs):
    blind = legs["perp", "BTC"].with_columns(
        pl.lit(None, pl.Float64).alias("mark_open"), pl.lit(None, pl.Float64).alias("mark_close")
    )
    frame = build(legs, perp=blind)
    assert frame["MarkPrice"].equals(frame["PerpPrice"], null_equal=False)
    with pytest.raises(CoverageError, match="mark"):
        build(legs, DataSettings(mark="required"), perp=blind)


def test_hours_without_any_volume_are_refused_and_not_filled(legs):
    still = legs["perp", "BTC"].with_columns(
        pl.when(pl.int_range(pl.len()).is_between(400, 430))
        .then(0.0)
        .otherwise(pl.col("volume"))
        .alias("volume")
    )
    with pytest.raises(MarketDataError, match="BTC: liquidity is not a number at"):
        build(legs, perp=still)


def test_a_history_no_longer_than_the_warm_up_is_refused(legs):
    short = {leg: legs[leg, "BTC"].head(WARM_UP_HOURS) for leg in ("spot", "perp")}
    with pytest.raises(MarketDataError, match="no more than the warm-up of 176"):
        build(legs, **short)


@pytest.mark.real
@pytest.mark.pitfall("P03")
def test_solana_in_november_2022_is_told_through_its_two_hour_settlements(real_data: Path):
    sol = (read_leg(real_data / "crypto", leg, "SOL") for leg in ("spot", "perp"))
    frame = build_frame(*sol, "SOL", DataSettings(tickers=("SOL",)))
    crash = frame.filter(pl.col("Date").dt.date().is_between(date(2022, 11, 11), date(2022, 11, 16)))
    assert frame["funding_last_apr"].min() == pytest.approx(-0.02 / 2 * 8760)
    assert set(crash["hours_to_settlement"].to_list()) == {0.5, 1.0}
    assert frame["carry_24h_apr"].min() > frame["funding_last_apr"].min()
