from datetime import UTC, datetime, timedelta
from math import isnan, nan
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import MarketDataError, UnknownTickerError
from carryflow.market.coins import COINS
from carryflow.market.schema import BAR_MS, DEPTH_BANDS, TIMESTAMP
from carryflow.market.store import Source, leg_path, merge_leg, write_source
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.venues.simulated.bars import PriceBars
from carryflow.venues.simulated.book import Quote, ladder, modelled_quote
from carryflow.venues.simulated.decimals import plain
from carryflow.venues.simulated.funding import running_rate
from carryflow.venues.simulated.tape import load_tape, synthetic_tape

SETTINGS = SyntheticSettings(hours=48)
START = SETTINGS.start


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    for (leg, ticker), table in synthetic_market(SETTINGS, ["BTC", "ETH"]).items():
        merge_leg(tmp_path, leg, ticker, table)
    return tmp_path


def test_a_recorded_tape_plays_the_files_of_a_folder_and_ends_when_its_last_bar_closes(
    recording: Path,
) -> None:
    tape = load_tape(recording)
    assert tape.tickers == ("BTC", "ETH")
    assert tape.tables["perp", "ETH"].equals(synthetic_market(SETTINGS, ["ETH"])["perp", "ETH"])
    assert tape.end_ms == START.timestamp() * 1000 + 48 * BAR_MS
    assert tape.tape_id == load_tape(recording, ["BTC"]).tape_id


def test_a_recorded_tape_can_be_cut(recording: Path) -> None:
    tape = load_tape(recording, ["BTC"], START + timedelta(hours=10), START + timedelta(hours=20))
    assert len(tape.tables["spot", "BTC"]) == 10
    assert tape.tables["spot", "BTC"]["timestamp"][0] == START + timedelta(hours=10)


def test_a_tape_that_is_not_there_is_a_clear_error(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match="no such folder"):
        load_tape(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MarketDataError, match="no coin there has both"):
        load_tape(tmp_path / "empty")
    with pytest.raises(UnknownTickerError, match="does not list DOGE; nearest: BTC, ETH"):
        load_tape(recording, ["BTC", "DOGE"])
    with pytest.raises(MarketDataError, match="holds no hours of BTC"):
        load_tape(recording, ["BTC"], datetime(2030, 1, 1, tzinfo=UTC))


def test_the_synthetic_tape_is_named_by_its_settings_and_not_by_the_coins_asked_for() -> None:
    tape = synthetic_tape(SETTINGS)
    assert tape.tickers == tuple(sorted(COINS))
    assert tape.tape_id == synthetic_tape(SETTINGS, ["XRP"]).tape_id
    assert tape.tape_id != synthetic_tape(SyntheticSettings(hours=48, seed=8)).tape_id


@pytest.mark.parametrize("depths", [(2.5e6, 1.1e6), (8_000.0, 300.0)])
@pytest.mark.parametrize(
    ("bid", "ask", "tick"), [(95_000.0, 95_000.1, 0.1), (1.9998, 2.0003, 0.0001), (0.999, 1.001, 0.001)]
)
def test_a_ladder_starts_at_the_touch_and_holds_the_depth_within_ten_basis_points(
    bid: float, ask: float, tick: float, depths: tuple[float, float]
) -> None:
    rungs = ladder(Quote(bid, ask, *(_ten_bp(depth) for depth in depths)), tick)
    mid = (bid + ask) / 2
    assert (rungs.bid_price[0], rungs.ask_price[0]) == (bid, ask)
    assert len(rungs.bid_price) >= 10
    assert (rungs.bid_price[1:] < rungs.bid_price[:-1]).all()
    assert (rungs.ask_price[1:] > rungs.ask_price[:-1]).all()
    sides = zip((rungs.bid_price, rungs.ask_price), (rungs.bid_qty, rungs.ask_qty), depths, strict=True)
    for prices, quantities, depth in sides:
        near = abs(prices - mid) <= mid * 1e-3 * (1 + 1e-9)
        assert (prices * quantities)[near].sum() == pytest.approx(depth, rel=1e-9)
        assert (quantities > 0).all()


def _ten_bp(depth: float) -> tuple[float, ...]:
    return (nan, depth, nan, nan)


def test_a_ladder_holds_every_depth_that_was_recorded() -> None:
    recorded = (400.0, 1_000.0, 2_500.0, 9_000.0)
    rungs = ladder(Quote(99.999, 100.001, recorded, _ten_bp(1_000.0)), tick=0.001)
    for prices, quantities, expected in (
        (rungs.bid_price, rungs.bid_qty, recorded),
        (rungs.ask_price, rungs.ask_qty, (250.0, 1_000.0, 9_000.0, 19_000.0)),
    ):
        value = prices * quantities
        within = [value[abs(prices - 100.0) <= 100.0 * band * (1 + 1e-9)].sum() for band in DEPTH_BANDS]
        assert within == pytest.approx(expected)


def test_nothing_rests_within_five_basis_points_of_a_spread_that_is_wider() -> None:
    rungs = ladder(Quote(99.93, 100.07, (0.0, 500.0, 700.0, 900.0), _ten_bp(500.0)), tick=0.01)
    assert (rungs.bid_price[0], rungs.bid_price[-1]) == (99.93, 99.0)
    near = rungs.bid_price >= 99.9
    assert (rungs.bid_price * rungs.bid_qty)[near].sum() == pytest.approx(500.0)


def test_a_book_that_nobody_recorded_is_modelled_from_its_bar() -> None:
    quote = modelled_quote(high=104.0, low=96.0, close=100.0, volume=5_000.0, tick=0.001)
    assert (quote.bid, quote.ask) == (99.998, 100.002)  # 0.05 % of a range of 8
    assert quote.bid_depths == quote.ask_depths == (1_250.0, 5_000.0, 45_000.0, 95_000.0)  # 1 % of 500 000
    still = modelled_quote(high=100.0, low=100.0, close=100.0, volume=0.0, tick=0.001)
    assert still.ask - still.bid == pytest.approx(0.001)
    assert still.bid_depths[1] == 1_000.0


@pytest.mark.parametrize(
    "value", [1e-7, 0.1 + 0.2, 94_256.7, 882.8603515625, 123456789012345.67, -3.4e-4, 1e22]
)
def test_a_number_as_the_venue_writes_it_reads_back_to_the_same_float(value: float) -> None:
    assert float(plain(value)) == value
    assert "e" not in plain(value)


def test_books_of_a_recording_are_on_its_tape(recording: Path) -> None:
    table = load_tape(recording).tables["spot", "BTC"]
    assert table.select("bid", "ask").null_count().sum_horizontal().item() == 0


def test_a_broken_file_is_named_and_stops_only_those_who_want_its_coin(recording: Path) -> None:
    broken = leg_path(recording, "spot", "ETH")
    broken.write_bytes(broken.read_bytes()[:-100])
    assert load_tape(recording, ["BTC"]).tickers == ("BTC",)
    with pytest.raises(MarketDataError, match=r"spot_ETH\.parquet"):
        load_tape(recording)


def test_a_tapes_bars_are_as_long_as_its_folder_says(tmp_path: Path) -> None:
    quarter = 15 * 60_000
    stamps = [START + timedelta(milliseconds=i * quarter) for i in range(48)]
    for (leg, ticker), table in synthetic_market(SETTINGS, ["BTC"]).items():
        rows = table.with_columns(timestamp=pl.Series(stamps).cast(TIMESTAMP))
        merge_leg(tmp_path, leg, ticker, rows, "15m")
    write_source(tmp_path, Source("simulated", "quarters", 0, "15m"))
    tape = load_tape(tmp_path)
    assert (tape.bar_ms, tape.end_ms) == (quarter, START.timestamp() * 1000 + 48 * quarter)


def test_a_tape_of_bars_longer_than_an_hour_is_refused(recording: Path) -> None:
    write_source(recording, Source("simulated", "days", 0, "1d"))
    with pytest.raises(MarketDataError, match="bars of 1d; the exchange plays bars of an hour at most"):
        load_tape(recording)


@pytest.mark.pitfall("P03")
def test_intervals_of_two_hours_predict_a_quarter_of_the_rate_of_eight() -> None:
    premium = PriceBars(
        pl.DataFrame(
            {"open_ms": [i * BAR_MS for i in range(4)]}
            | {name: [0.001] * 4 for name in ("open", "high", "low", "close")}
            | {"volume": [0.0] * 4, "quote_volume": [0.0] * 4}
        ),
        BAR_MS,
    )
    eight, two = (running_rate(premium, 2 * BAR_MS, hours, 4 * BAR_MS) for hours in (8, 2))
    assert (eight, two) == pytest.approx((0.0005, 0.000125))
    assert running_rate(premium, 3 * BAR_MS, 8, 3 * BAR_MS + 1) == pytest.approx(0.0005)  # the bar before
    assert isnan(running_rate(premium, 4 * BAR_MS, 8, 5 * BAR_MS))
