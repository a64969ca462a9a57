import math
import statistics
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.features.frame import WARM_UP_BARS, build_frame
from carryflow.market.data import DataSettings
from carryflow.market.store import read_leg

ROW = 500


def build(legs, data: DataSettings | None = None, **changed: pl.DataFrame) -> pl.DataFrame:
    spot, perp = changed.get("spot", legs["spot", "BTC"]), changed.get("perp", legs["perp", "BTC"])
    return build_frame(spot, perp, "BTC", data or DataSettings())


def test_a_row_says_what_plain_arithmetic_on_the_bars_says(legs):
    frame = build(legs)
    row = frame.row(ROW - WARM_UP_BARS, named=True)
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


def test_the_anomaly_score_is_the_surprise_against_the_week_before(legs):
    frame = build(legs)
    rows = frame.select("SpotPrice", "basis_bp").to_numpy()[: 168 + 2]
    perp = legs["perp", "BTC"]
    volume = (perp["close"] * perp["volume"]).to_numpy()[WARM_UP_BARS : WARM_UP_BARS + 170]
    z = []
    for series in (np.diff(np.log(rows[:, 0])), np.diff(rows[:, 1]), volume[1:]):
        week, newest = series[:-1], series[-1]
        z.append((newest - week.mean()) / week.std())
    expected = math.log1p(math.sqrt(sum(v * v for v in z) / 3))
    assert frame["anomaly_score"][169] == pytest.approx(expected, rel=1e-4)


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


def test_a_spot_halt_carries_the_price_and_the_last_tradable_basis(legs):
    spot = legs["spot", "BTC"]
    halted = spot["timestamp"].is_in(spot["timestamp"][ROW : ROW + 2].implode())
    frame = build(legs, spot=spot.filter(~halted)).slice(ROW - 1 - WARM_UP_BARS, 4)
    assert frame["Tradable"].to_list() == [True, False, False, True]
    assert frame["SpotPrice"][:3].n_unique() == 1
    assert frame["spot_return"][1:3].to_list() == [0.0, 0.0]
    assert frame["basis_bp"][:3].n_unique() == 1
    assert frame["Basis"].to_list() == (frame["PerpPrice"] - frame["SpotPrice"]).to_list()
    assert frame["SpotPrice"][3] == spot["close"][ROW + 2]


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
    short = {leg: legs[leg, "BTC"].head(WARM_UP_BARS) for leg in ("spot", "perp")}
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
