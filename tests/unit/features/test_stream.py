from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError, SettingsError
from carryflow.features.catalogue import CATALOGUE
from carryflow.features.frame import build_frame
from carryflow.features.spec import MODEL_FEATURES, FeatureSettings
from carryflow.features.stream import FeatureStream
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.store import read_leg
from carryflow.market.timeframe import Timeframe

DATA = DataSettings(tickers=("X",))
FROM_BARS = FeatureSettings(
    names=tuple(name for name, feature in CATALOGUE.items() if not feature.recorded and name != "sentiment")
)


def streamed(stream: FeatureStream, spot: pl.DataFrame, perp: pl.DataFrame, primed: int) -> pl.DataFrame:
    """Prime with so many bars and push the others; a bar that spot lacks is a halt."""
    now = perp["timestamp"][primed]
    if primed:
        assert stream.prime(spot.filter(pl.col("timestamp") < now), perp.head(primed)) == now
    known = {row["timestamp"]: row for row in spot.to_dicts()}
    rows = [stream.push(known.get(row["timestamp"]), row) for row in perp.slice(primed).to_dicts()]
    return pl.concat(row for row in rows if row is not None)


@pytest.mark.pitfall("P16")
@pytest.mark.pitfall("P18")
@pytest.mark.parametrize(("hours", "timeframe"), [(380, "1h"), (200, "15m")])
def test_streamed_rows_are_those_of_the_batch_to_the_last_bit(rough, hours: int, timeframe: Timeframe):
    spot, perp = rough(hours, timeframe)  # a halt of spot, and an interval that goes from 8 h to 2 h
    unwatched = pl.int_range(pl.len()) % 5 == 0
    perp = perp.with_columns(pl.when(~unwatched).then(pl.col("bid", "ask", "bid_depth", "ask_depth")))
    data = DataSettings(tickers=("X",), timeframe=timeframe)
    frame = build_frame(spot, perp, "X", data, features=FROM_BARS)
    assert not frame["Tradable"].all()
    assert frame["Spread"].null_count() > 0
    warm_up = len(perp) - len(frame)
    assert streamed(FeatureStream("X", data, FROM_BARS), spot, perp, warm_up).equals(frame)


def test_a_stream_that_is_primed_within_a_halt_says_where_to_go_on(rough):
    spot, perp = rough(210, "1h")
    halt = perp.join(spot, on="timestamp", how="anti")["timestamp"]
    assert halt.to_list() == perp["timestamp"][189:192].to_list()
    stream = FeatureStream("X", DATA)
    assert stream.prime(spot.head(189), perp.head(191)) == halt[0]
    row = stream.push(None, perp.row(189, named=True))
    assert row is not None
    assert row.equals(build_frame(spot, perp, "X", DATA).filter(pl.col("Date") == halt[0]))


def test_a_stream_tells_sentiment_as_the_batch_does(rough):
    spot, perp = rough(195, "1h")
    mood = pl.DataFrame({"timestamp": perp["timestamp"].gather_every(24)}).with_columns(
        value=pl.int_range(pl.len()).cast(pl.Float64)
    )
    frame = build_frame(spot, perp, "X", DATA, mood)
    assert frame["sentiment"].n_unique() > 1
    assert streamed(FeatureStream("X", DATA, sentiment=mood), spot, perp, primed=0).equals(frame)


@pytest.fixture
def warm(rough) -> tuple[FeatureStream, list[dict], list[dict]]:
    """A stream one bar before its first row, and the bars to come of spot and perpetual."""
    spot, perp = rough(200, "1h", halted=False)
    stream = FeatureStream("X", DATA)
    stream.prime(spot.head(176), perp.head(176))
    return stream, spot.slice(176).to_dicts(), perp.slice(176).to_dicts()


@pytest.mark.pitfall("P05")
def test_a_bar_that_does_not_follow_is_refused_and_the_stream_goes_on_with_the_right_one(warm):
    stream, spot, perp = warm
    for wrong in (1, 2):
        with pytest.raises(
            CoverageError, match=f"X: the bar of .* when that of {perp[0]['timestamp']:%F %H:%M}"
        ):
            stream.push(spot[wrong], perp[wrong])
    first = stream.push(spot[0], perp[0])
    assert first is not None
    assert first["Date"][0] == perp[0]["timestamp"]
    with pytest.raises(CoverageError, match="push every bar once"):
        stream.push(spot[0], perp[0])


@pytest.mark.pitfall("P05")
def test_a_settlement_that_did_not_come_stops_the_stream(warm):
    stream, spot, perp = warm
    silent = [{**bar, "funding_rate": None} for bar in perp]
    # The last one came at 174; a venue may go from 2 h to 8 h, so that only after 182 one must be missing.
    for bars in zip(spot[:6], silent[:6], strict=True):
        stream.push(*bars)
    with pytest.raises(
        CoverageError, match="X: a settlement is missing in the 8 hours up to 2024-03-08 15:00"
    ):
        stream.push(spot[6], silent[6])


def test_bars_of_two_opens_are_refused(warm):
    stream, spot, perp = warm
    with pytest.raises(CoverageError, match="push the bars of one open together"):
        stream.push(spot[1], perp[0])


def test_a_halt_is_carried_as_long_as_settings_allow(rough):
    spot, perp = (leg.to_dicts() for leg in rough(60, "1h"))
    stream = FeatureStream("X", DataSettings(tickers=("X",), max_halt_hours=2))
    with pytest.raises(CoverageError, match="begin with a bar that both legs have"):
        stream.push(None, perp[0])
    stream.push(spot[0], perp[0])
    stream.push(None, perp[1])
    stream.push(None, perp[2])
    with pytest.raises(CoverageError, match="spot has had no bars for 3 hours at 2024-03-01 03:00"):
        stream.push(None, perp[3])


def test_a_mark_that_is_required_is_not_stood_in_for(rough):
    spot, perp = (leg.to_dicts() for leg in rough(60, "1h"))
    stream = FeatureStream("X", DataSettings(tickers=("X",), mark="required"))
    with pytest.raises(CoverageError, match="X: the mark price is missing at 2024-03-01 00:00"):
        stream.push(spot[0], {**perp[0], "mark_close": None})


def test_a_bar_that_contradicts_itself_is_refused(warm):
    stream, spot, perp = warm
    with pytest.raises(MarketDataError, match="perp table X"):
        stream.push(spot[0], {**perp[0], "high": perp[0]["low"] / 2})
    with pytest.raises(MarketDataError, match="a stamp off the hour"):
        stream.push(spot[0], {**perp[0], "timestamp": perp[0]["timestamp"] + timedelta(minutes=1)})


def test_a_stream_of_bars_longer_than_an_hour_is_refused():
    with pytest.raises(SettingsError, match=r"data\.timeframe is 2h"):
        FeatureStream("X", DataSettings(tickers=("X",), timeframe="2h"))


def test_a_stream_tells_what_the_default_model_sees(warm):
    stream, spot, perp = warm
    row = stream.push(spot[0], perp[0])
    assert row is not None
    assert tuple(row.columns[-13:]) == tuple(name for name in MODEL_FEATURES if not CATALOGUE[name].fitted)


@pytest.mark.real
@pytest.mark.pitfall("P03")
def test_the_stream_of_solana_s_crash_is_that_of_the_batch_through_its_interval_changes(real_data: Path):
    day = [datetime(2022, month, day, tzinfo=UTC) for month, day in ((10, 28), (11, 9), (11, 13))]
    legs = [
        read_leg(real_data / "crypto", leg, "SOL", to_ms(day[0]), to_ms(day[2])) for leg in ("spot", "perp")
    ]
    data = DataSettings(tickers=("SOL",))
    rows = streamed(FeatureStream("SOL", data, FROM_BARS), *legs, primed=12 * 24)
    assert rows.equals(build_frame(*legs, "SOL", data, features=FROM_BARS).filter(pl.col("Date") >= day[1]))
    assert rows["hours_to_settlement"].is_in([0.125, 0.5]).any()
