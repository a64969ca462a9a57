import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import UnknownTickerError
from carryflow.market.coverage import check_coverage
from carryflow.market.data import DataSettings
from carryflow.market.premium import average_premium, settled_rate
from carryflow.market.schema import BOOK_COLUMNS, INDEX_COLUMNS
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

SETTINGS = SyntheticSettings(seed=11)
MARKET = synthetic_market(SETTINGS, ["BTC", "ETH", "SOL"])


def basis(ticker: str) -> np.ndarray:
    return MARKET["perp", ticker]["close"].to_numpy() / MARKET["spot", ticker]["close"].to_numpy() - 1


def whole(table: pl.DataFrame) -> list[str]:
    return [column.name for column in table if not column.null_count()]


def test_the_published_formula_worked_by_hand() -> None:
    premium = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 20.0]) * 1e-4
    assert average_premium(premium) == pytest.approx((140 + 160) / 36 * 1e-4)
    assert settled_rate(premium) == pytest.approx(300 / 36 * 1e-4 - 5e-4)
    assert settled_rate(np.full(8, -3e-4)) == pytest.approx(1e-4 - 0.0)
    assert settled_rate(np.full(8, -5e-4)) == pytest.approx(0.0, abs=1e-12)
    assert settled_rate(np.full(8, -0.03)) == pytest.approx(-0.02)


def test_later_premiums_weigh_more() -> None:
    rising, falling = np.linspace(0, 0.002, 8), np.linspace(0.002, 0, 8)
    assert settled_rate(rising) > settled_rate(falling)


@pytest.mark.parametrize("ticker", ["BTC", "ETH", "SOL"])
def test_each_settled_rate_follows_from_the_eight_closes_before_it(ticker: str) -> None:
    rate = MARKET["perp", ticker]["funding_rate"].to_numpy()
    settled = np.flatnonzero(np.isfinite(rate))
    assert settled.tolist() == list(range(0, 4380, 8))
    premium = basis(ticker)
    expected = [settled_rate(premium[t - 8 : t]) for t in settled[1:]]
    np.testing.assert_allclose(rate[settled[1:]], expected, atol=1e-5)  # prices are rounded to their tick


def test_the_same_seed_gives_the_same_market_whatever_other_coins_are_asked_for() -> None:
    alone = synthetic_market(SETTINGS, ["ETH"])
    assert alone["perp", "ETH"].equals(MARKET["perp", "ETH"])
    assert alone["spot", "ETH"].equals(MARKET["spot", "ETH"])
    other = synthetic_market(SyntheticSettings(seed=12), ["ETH"])
    assert not other["spot", "ETH"].equals(MARKET["spot", "ETH"])


def test_the_market_is_whole() -> None:
    for ticker in ("BTC", "ETH", "SOL"):
        spot, perp = MARKET["spot", ticker], MARKET["perp", ticker]
        assert check_coverage(spot, perp, ticker, DataSettings(mark="required")).bars == 4380
        assert set(spot.columns) - set(whole(spot)) == set(BOOK_COLUMNS[4:])
        unwatched = {*BOOK_COLUMNS[4:], *INDEX_COLUMNS, "predicted_rate", "funding_rate"}
        assert set(perp.columns) - set(whole(perp)) == unwatched
        assert (perp["open"][1:] == perp["close"][:-1]).all()


def test_moods_last_and_funding_is_neutral_bull_and_bear() -> None:
    rates = np.concatenate(
        [MARKET["perp", t]["funding_rate"].drop_nulls().to_numpy() for t in ("BTC", "ETH", "SOL")]
    )
    assert (rates == 1e-4).mean() > 0.2
    assert (rates > 2.5e-4).mean() > 0.1
    assert (rates < 0).mean() > 0.03
    premium = pl.Series(basis("BTC"))
    assert np.corrcoef(premium[24:], premium[:-24])[0, 1] > 0.4


def test_the_basis_comes_back_after_a_shock() -> None:
    premium = basis("SOL") * 1e4
    slow = pl.Series(premium).rolling_mean(72, center=True).to_numpy()
    away = (premium - slow)[40:-40]
    step = np.diff(away)
    assert np.corrcoef(away[:-1], step)[0, 1] < -0.15


def test_stress_widens_spreads_and_thins_depth() -> None:
    spot = MARKET["spot", "BTC"].with_columns(
        range=pl.col("high") / pl.col("low") - 1,
        spread=(pl.col("ask") - pl.col("bid")) / pl.col("close"),
        depth=pl.col("bid_depth") + pl.col("ask_depth"),
    )
    calm, wild = (
        spot.filter(pl.col("range").rank("ordinal") <= 1000),
        spot.filter(pl.col("range").rank("ordinal") > 3380),
    )
    assert wild["spread"].mean() > 1.3 * calm["spread"].mean()
    assert wild["depth"].mean() < 0.75 * calm["depth"].mean()


@pytest.mark.pitfall("P06")
def test_mark_is_neither_the_last_price_nor_the_index() -> None:
    perp, spot = MARKET["perp", "ETH"], MARKET["spot", "ETH"]
    assert (perp["mark_close"] != perp["close"]).mean() > 0.9
    assert (perp["mark_close"] != spot["close"]).mean() > 0.9
    assert ((perp["mark_close"] / perp["close"] - 1).abs() < 0.002).all()
    assert (perp["mark_open"][1:] == perp["mark_close"][:-1]).all()


def test_an_unknown_coin_is_refused_with_the_nearest_known_ones() -> None:
    with pytest.raises(UnknownTickerError, match="does not list BTCX; nearest: BTC"):
        synthetic_market(SETTINGS, ["BTCX"])
