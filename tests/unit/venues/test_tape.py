from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carryflow.core.errors import MarketDataError, UnknownTickerError
from carryflow.market.coins import COINS
from carryflow.market.schema import BAR_MS, BOOK_COLUMNS
from carryflow.market.store import merge_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.venues.simulated.book import Quote, ladder, modelled_quote
from carryflow.venues.simulated.decimals import plain
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
    rungs = ladder(Quote(bid, ask, *depths), tick)
    mid = (bid + ask) / 2
    assert (rungs.bid_price[0], rungs.ask_price[0]) == (bid, ask)
    assert len(rungs.bid_price) >= 20
    assert (rungs.bid_price[1:] < rungs.bid_price[:-1]).all()
    assert (rungs.ask_price[1:] > rungs.ask_price[:-1]).all()
    sides = zip((rungs.bid_price, rungs.ask_price), (rungs.bid_qty, rungs.ask_qty), depths, strict=True)
    for prices, quantities, depth in sides:
        near = abs(prices - mid) <= mid * 1e-3 * (1 + 1e-9)
        assert (prices * quantities)[near].sum() == pytest.approx(depth, rel=1e-9)
        assert (quantities > 0).all()


def test_a_book_that_nobody_recorded_is_modelled_from_its_bar() -> None:
    quote = modelled_quote(high=104.0, low=96.0, close=100.0, volume=5_000.0, tick=0.001)
    assert quote == Quote(99.998, 100.002, 5_000.0, 5_000.0)  # 0.05 % of a range of 8, 1 % of 500 000
    still = modelled_quote(high=100.0, low=100.0, close=100.0, volume=0.0, tick=0.001)
    assert still.ask - still.bid == pytest.approx(0.001)
    assert still.bid_depth == 1_000.0


@pytest.mark.parametrize(
    "value", [1e-7, 0.1 + 0.2, 94_256.7, 882.8603515625, 123456789012345.67, -3.4e-4, 1e22]
)
def test_a_number_as_the_venue_writes_it_reads_back_to_the_same_float(value: float) -> None:
    assert float(plain(value)) == value
    assert "e" not in plain(value)


def test_books_of_a_recording_without_books_are_absent_from_its_tables(recording: Path) -> None:
    table = load_tape(recording).tables["spot", "BTC"]
    assert table.select(BOOK_COLUMNS).null_count().sum_horizontal().item() == 0
