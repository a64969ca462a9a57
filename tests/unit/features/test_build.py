import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError, SettingsError
from carryflow.core.instrument import ContractType, Instrument
from carryflow.features.build import ORDER_SIZES, build_features, read_frame
from carryflow.features.frame import build_frame
from carryflow.features.spec import FeatureSettings
from carryflow.market.contracts import ContractTerms, record_contracts
from carryflow.market.coverage import survey_folder
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap, record_gaps
from carryflow.market.store import merge_leg

DATA = DataSettings(tickers=("ETH", "BTC"))
FEATURES = FeatureSettings(lookback=24, names=("impact_bp", "basis_z_168h"))


@pytest.fixture
def market(legs, tmp_path: Path) -> Path:
    for (leg, ticker), table in legs.items():
        merge_leg(tmp_path / "market", leg, ticker, table)
    return tmp_path / "market"


def elsewhere(function: Callable[[str], str], tickers: Sequence[str]) -> list[str]:
    """Apply as a cluster does: a function that came over the wire, to the last ticker first."""
    sent = pickle.dumps(function)
    done = {ticker: pickle.loads(sent)(ticker) for ticker in reversed(tickers)}  # noqa: S301 - our own bytes
    return [done[ticker] for ticker in tickers]


def test_the_frame_is_the_same_whoever_computes_its_partitions(legs, market: Path, tmp_path: Path):
    expected = pl.concat(
        build_frame(legs["spot", ticker], legs["perp", ticker], ticker, DATA, features=FEATURES)
        for ticker in ("BTC", "ETH")
    )
    for name, each in (("here", map), ("elsewhere", elsewhere)):
        build_features(market, tmp_path / name, DATA, FEATURES, each)
        frame = read_frame(tmp_path / name)
        assert frame.table.drop(ORDER_SIZES).equals(expected)
        assert frame.spec.names == FEATURES.names
        assert frame.bar_ms == 3_600_000
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["frame.json", "frame.parquet"]


@pytest.mark.pitfall("P08")
def test_a_row_says_how_finely_one_could_order_then(legs, market: Path, tmp_path: Path):
    size, tick, lot, smallest = map(Decimal, ("1", "0.1", "0.001", "5"))
    spot = Instrument(
        "v", "BTC/USDT", "BTC", ContractType.SPOT, "BTC", "USDT", "USDT", size, tick, lot, lot, size
    )
    perp = replace(
        spot,
        symbol="BTC/USDT:USDT",
        type=ContractType.LINEAR,
        contract_size=Decimal("0.1"),
        lot=Decimal("0.01"),
        min_notional=smallest,
    )
    noon = int(legs["perp", "BTC"]["timestamp"].dt.epoch("ms")[400])
    coarser = replace(perp, lot=Decimal("0.05"))
    fee = Decimal("0.001")
    terms = [
        ContractTerms(instrument, fee, fee, None, None, known_at_ms)
        for instrument, known_at_ms in ((spot, noon - 1), (perp, noon - 1), (coarser, noon))
    ]
    record_contracts(market, terms)
    build_features(market, tmp_path / "frame", DATA, FEATURES)
    table = read_frame(tmp_path / "frame").table
    bitcoin = table.filter(pl.col("Ticker") == "BTC").with_columns(at=pl.col("KnownAt").dt.epoch("ms"))
    before, after = (bitcoin.filter(keep) for keep in (pl.col("at") < noon, pl.col("at") >= noon))
    assert set(before.select(ORDER_SIZES).iter_rows()) == {(0.001, 0.001, 5.0)}
    assert set(after.select(ORDER_SIZES).iter_rows()) == {(0.001, 0.005, 5.0)}
    assert table.filter(pl.col("Ticker") == "ETH").select(ORDER_SIZES).null_count().row(0) == (784,) * 3


def test_bars_that_features_cannot_be_made_of_are_refused_before_any_is_read(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"features need bars of an hour or less"):
        build_features(tmp_path, tmp_path, DataSettings(timeframe="4h"), FEATURES)


def test_a_frame_of_shorter_bars_says_how_long_they_are(rough, tmp_path: Path):
    data = DataSettings(tickers=("X",), timeframe="15m")
    for leg, table in zip(("spot", "perp"), rough(200, "15m"), strict=True):
        merge_leg(tmp_path, leg, "X", table, "15m")
    build_features(tmp_path, tmp_path / "processed", data, FEATURES)
    frame = read_frame(tmp_path / "processed")
    assert frame.bar_ms == 900_000
    assert json.loads((tmp_path / "processed" / "frame.json").read_text())["bar_ms"] == 900_000
    assert len(frame.table) == (200 - 176) * 4


@pytest.mark.pitfall("P05")
def test_a_recorded_gap_of_the_perpetual_is_refused_with_its_reason_and_the_way_out(
    legs, market: Path, tmp_path: Path
):
    perp = legs["perp", "ETH"]
    first = int(perp["timestamp"].dt.epoch("ms")[701])
    (market / "perp_ETH.parquet").unlink()
    merge_leg(market, "perp", "ETH", perp.filter(~pl.int_range(pl.len()).is_in([701, 702])))
    record_gaps(market, [KnownGap("ETH", "perp", first, first + 2 * 3_600_000, "the venue was offline")])
    ledger = survey_folder(market, DataSettings(tickers=("ETH",)))[0]
    assert ledger.holes == ()
    with pytest.raises(CoverageError) as caught:
        build_features(market, tmp_path / "out", DATA, FEATURES)
    assert f"no bars (the venue was offline) from {perp['timestamp'][701]:%Y-%m-%d %H:%M}" in str(
        caught.value
    )
    assert "set data.start or data.end around it" in str(caught.value)
    assert "fetch" not in str(caught.value)
    later = DATA.model_copy(update={"start": perp["timestamp"][703]})
    build_features(market, tmp_path / "out", later, FEATURES)


@pytest.mark.pitfall("P05")
def test_a_ticker_whose_legs_are_broken_is_named_and_the_old_frame_stays(legs, market: Path, tmp_path: Path):
    build_features(market, tmp_path / "out", DATA, FEATURES)
    before = read_frame(tmp_path / "out").table
    perp = legs["perp", "ETH"]
    (market / "perp_ETH.parquet").unlink()
    merge_leg(market, "perp", "ETH", perp.filter(pl.int_range(pl.len()) != 700))
    with pytest.raises(CoverageError, match=f"ETH: .*{perp['timestamp'][700]:%Y-%m-%d %H:%M}"):
        build_features(market, tmp_path / "out", DATA, FEATURES)
    (market / "perp_ETH.parquet").write_bytes(b"torn")
    with pytest.raises(MarketDataError, match=r"perp_ETH\.parquet is no Parquet file"):
        build_features(market, tmp_path / "out", DATA, FEATURES)
    assert read_frame(tmp_path / "out").table.equals(before)
    assert not list((tmp_path / "out").glob("partitions-*"))
