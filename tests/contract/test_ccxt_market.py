"""ccxt's own classes against the simulated exchange: what it plays is what lands on disk."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError, RetryableError, UnknownTickerError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.contracts import contract_at, read_contracts
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap, read_gaps
from carryflow.market.schema import BAR_MS, OPTIONAL_COLUMNS
from carryflow.market.settlements import read_settlements
from carryflow.market.store import merge_leg, read_leg, read_source
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.ccxt_market import VenueSettings, fetch_market
from carryflow.venues.settings import VenueName
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import Tape, load_tape, synthetic_tape
from carryflow.venues.stored import NOT_LISTED

TAPE = synthetic_tape(SyntheticSettings(hours=2500), ["BTC", "ETH"])
DATA = DataSettings(tickers=("BTC", "ETH"))
START = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shared_exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE) as running:
        yield running


@pytest.fixture
def exchange(shared_exchange: RunningExchange) -> Iterator[RunningExchange]:
    yield shared_exchange
    shared_exchange.set_clock(TAPE.end_ms)


def asking(exchange: RunningExchange) -> VenueSettings:
    return VenueSettings(url=exchange.url, retries=0)


def assert_equals_tape(folder: Path, tape: Tape, tickers: tuple[str, ...], rows: slice = slice(None)) -> None:
    for ticker in tickers:
        for leg in LEGS:
            stored, played = read_leg(folder, leg, ticker), tape.tables[leg, ticker]
            seen = [name for name in stored.columns if name not in OPTIONAL_COLUMNS]
            assert stored.select(seen).equals(played.select(seen)[rows]), (leg, ticker)


def fewest(leg: Leg, ticker: str = "BTC", rows: slice = slice(None)) -> pl.DataFrame:
    """Rows of the tape without what only somebody who watched it has."""
    table = TAPE.tables[leg, ticker]
    return table.drop(name for name in OPTIONAL_COLUMNS if name in table.columns)[rows]


def test_every_bar_mark_and_settlement_of_the_tape_lands_on_disk_unchanged(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    snapshot = fetch_market(tmp_path, asking(exchange), DATA, lambda *step: told.append(step))
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"))
    assert snapshot.rows_new == 4 * 2500
    assert snapshot.end_ms == snapshot.venue_time_ms == TAPE.end_ms
    assert [c.settlements for c in snapshot.coverage] == [313, 313]
    assert [step for step in told if step[0] == "BTC"] == [("BTC", 2500, 5000), ("BTC", 5000, 5000)]
    source = read_source(tmp_path)
    assert source is not None
    assert (source.venue, source.tape_id) == ("simulated", TAPE.tape_id)


def test_the_present_books_are_stored_with_the_last_closed_bar_only(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    fetch_market(tmp_path, asking(exchange), DATA)
    for leg in LEGS:
        stored, tape = read_leg(tmp_path, leg, "ETH"), TAPE.tables[leg, "ETH"]
        assert stored["bid"][:-1].null_count() == 2499
        assert stored.select("bid", "ask").row(-1) == tape.select("bid", "ask").row(-1)
        assert stored.select("bid_depth", "ask_depth").row(-1) == pytest.approx(
            tape.select("bid_depth", "ask_depth").row(-1), rel=1e-6
        )


def test_the_bar_that_is_still_open_is_left_out(exchange: RunningExchange, tmp_path: Path) -> None:
    exchange.set_clock(TAPE.end_ms - 99 * BAR_MS - BAR_MS // 2)
    snapshot = fetch_market(tmp_path, asking(exchange), DATA)
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"), slice(0, 2400))
    assert snapshot.end_ms == TAPE.end_ms - 100 * BAR_MS


def test_a_second_fetch_adds_only_the_new_hours_and_keeps_the_books_it_saw(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    exchange.set_clock(TAPE.end_ms - 24 * BAR_MS)
    first = fetch_market(tmp_path, asking(exchange), DATA)
    assert fetch_market(tmp_path, asking(exchange), DATA).version == first.version
    exchange.set_clock(TAPE.end_ms)
    told: list[int] = []
    before = exchange.requests
    second = fetch_market(tmp_path, asking(exchange), DATA, lambda _, __, total: told.append(total))
    assert second.rows_new == 4 * 24
    assert set(told) == {48}
    new = exchange.requests - before
    assert (new["/api/v3/klines"], new["/fapi/v1/klines"], new["/fapi/v1/fundingRate"]) == (2, 2, 2)
    assert second.version != first.version
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"))
    books = read_leg(tmp_path, "perp", "BTC")["bid"]
    assert [i for i, bid in enumerate(books) if bid is not None] == [2475, 2499]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_killed_fetch_goes_on_where_it_stopped(
    exchange: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    class Killed(BaseException):
        pass

    written: list[int] = []

    def kill(_: str, done: int, __: int) -> None:
        written.append(done)
        if len(written) == parts:
            raise Killed

    monkeypatch.setattr("carryflow.venues.ticker_fetch.PAGES_IN_A_PART", 1)
    data = DataSettings(tickers=("BTC",))
    with pytest.raises(Killed):
        fetch_market(tmp_path / "killed", asking(exchange), data, kill)
    kept = sum(len(read_leg(tmp_path / "killed", leg, "BTC")) for leg in LEGS if kept_any(tmp_path, leg))
    assert kept >= written[-1]
    before = exchange.requests
    again = fetch_market(tmp_path / "killed", asking(exchange), data)
    assert again.rows_new == 2 * 2500 - kept
    assert_equals_tape(tmp_path / "killed", TAPE, ("BTC",))
    clean = fetch_market(tmp_path / "clean", asking(exchange), data)
    assert again.version == clean.version
    assert (exchange.requests - before)["/api/v3/klines"] < 2 * (1 + 3)


def kept_any(folder: Path, leg: Leg) -> bool:
    return any((folder / "killed" / "parts" / f"{leg}_BTC").glob("*.parquet"))


@pytest.mark.parametrize("leg", LEGS)
def test_a_fetch_killed_between_its_two_legs_goes_on_with_the_one_behind(
    exchange: RunningExchange, tmp_path: Path, leg: Leg
) -> None:
    other: Leg = "perp" if leg == "spot" else "spot"
    merge_leg(tmp_path, leg, "BTC", fewest(leg, rows=slice(0, 2000)))
    merge_leg(tmp_path, other, "BTC", fewest(other, rows=slice(0, 1000)))
    snapshot = fetch_market(tmp_path, asking(exchange), DataSettings(tickers=("BTC",)))
    assert snapshot.rows_new == 500 + 1500
    assert_equals_tape(tmp_path, TAPE, ("BTC",))


def test_holes_that_disjoint_fetches_left_are_healed_and_nothing_else_is_asked_for(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    for a, b in ((200, 500), (1500, 1700), (600, 900)):
        apart = {"start": START + timedelta(hours=a), "end": START + timedelta(hours=b), "tickers": ("BTC",)}
        fetch_market(tmp_path, asking(exchange), DataSettings.model_validate(apart))
    whole = DataSettings(tickers=("BTC",))
    assert fetch_market(tmp_path, asking(exchange), whole).rows_new == 2 * (2500 - 800)
    assert_equals_tape(tmp_path, TAPE, ("BTC",))
    before = exchange.requests
    assert fetch_market(tmp_path, asking(exchange), whole).rows_new == 0
    asked = Counter({path: n for path, n in (exchange.requests - before).items() if "lines" in path})
    assert not asked


def test_what_settled_after_its_bar_was_stored_is_written_into_it(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    unpaid = fewest("perp").with_columns(
        funding_rate=pl.when(~pl.int_range(pl.len()).is_in([800, 2496])).then("funding_rate")
    )
    merge_leg(tmp_path, "perp", "BTC", unpaid)
    merge_leg(tmp_path, "spot", "BTC", fewest("spot"))
    fetch_market(tmp_path, asking(exchange), DataSettings(tickers=("BTC",)))
    assert_equals_tape(tmp_path, TAPE, ("BTC",))


@pytest.fixture(scope="module")
def halting_exchange() -> Iterator[RunningExchange]:
    """An exchange that halted spot twice: three hours from hour 700 on, and 25 from hour 1000 on."""
    here = ~pl.int_range(pl.len()).is_in([700, 701, 702, *range(1000, 1025)])
    halted: dict[tuple[Leg, str], pl.DataFrame] = {
        ("spot", ticker): TAPE.tables["spot", ticker].filter(here) for ticker in ("BTC", "ETH")
    }
    with start_exchange(replace(TAPE, tables=dict(TAPE.tables) | halted)) as running:
        yield running


def hour(index: int) -> int:
    return TAPE.end_ms - (2500 - index) * BAR_MS


def test_hours_that_the_venue_does_not_have_are_known_gaps_and_not_asked_for_again(
    halting_exchange: RunningExchange, tmp_path: Path
) -> None:
    data = DATA.model_copy(update={"end": START + timedelta(hours=900)})
    first = fetch_market(tmp_path, asking(halting_exchange), data)
    for ticker in ("BTC", "ETH"):
        gap = KnownGap(ticker, "spot", hour(700), hour(703), "the venue was asked twice and has no bars")
        assert gap in first.gaps
    assert [c.halted_ms for c in first.coverage] == [(hour(700), hour(701), hour(702))] * 2
    before = halting_exchange.requests
    again = fetch_market(tmp_path, asking(halting_exchange), data)
    assert again.version == first.version
    assert (halting_exchange.requests - before)["/api/v3/klines"] == 0


def test_a_gap_too_long_to_be_borne_is_refused_and_asked_for_again_by_each_fetch(
    halting_exchange: RunningExchange, tmp_path: Path
) -> None:
    data = DataSettings(tickers=("BTC",), start=START + timedelta(hours=900))
    for asked in (4, 2):  # two pages and the first bar at first; the range itself, and once more, each time
        before = halting_exchange.requests
        with pytest.raises(CoverageError, match="spot has no bars for 25 hours"):
            fetch_market(tmp_path, asking(halting_exchange), data)
        assert (halting_exchange.requests - before)["/api/v3/klines"] == asked
    assert not [gap for gap in read_gaps(tmp_path) if gap.leg == "spot" and gap.start_ms == hour(1000)]
    wider = data.model_copy(update={"max_halt_hours": 25})
    assert len(fetch_market(tmp_path, asking(halting_exchange), wider).coverage[0].halted_ms) == 25


def test_a_start_inside_a_halt_is_not_taken_for_the_listing(
    halting_exchange: RunningExchange, tmp_path: Path
) -> None:
    window = {"start": START + timedelta(hours=701), "end": START + timedelta(hours=900), "tickers": ("BTC",)}
    inside = fetch_market(tmp_path, asking(halting_exchange), DataSettings.model_validate(window))
    halt = KnownGap("BTC", "spot", hour(701), hour(703), "the venue was asked twice and has no bars")
    assert inside.gaps == (halt,)
    assert inside.coverage[0].start_ms == hour(703)
    early = window | {"start": START - timedelta(hours=5)}
    before = fetch_market(tmp_path, asking(halting_exchange), DataSettings.model_validate(early))
    assert KnownGap("BTC", "perp", hour(-5), hour(0), NOT_LISTED) in before.gaps


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize(("late_ms", "seen"), [(120_000, 1), (120_001, 0)])
def test_what_is_seen_two_minutes_after_the_close_is_not_taken_for_the_close(
    exchange: RunningExchange, tmp_path: Path, late_ms: int, seen: int
) -> None:
    for skew in (0, late_ms):  # the venue's clock at the beginning, and when the book has come
        exchange.inject(Fault.SKEWED_CLOCK, path="/time", skew_ms=skew)
    late = DataSettings(tickers=("BTC",), start=START + timedelta(hours=2400))
    fetch_market(tmp_path, asking(exchange), late)
    perp = read_leg(tmp_path, "perp", "BTC")
    assert [len(perp[column].drop_nulls()) for column in ("bid", "predicted_rate")] == [seen, seen]


@pytest.mark.pitfall("P01")
@pytest.mark.parametrize(("timeframe", "bars"), [("4h", 625), ("8h", 312), ("1d", 104)])
def test_coarse_bars_keep_every_settlement_beside_them(
    exchange: RunningExchange, tmp_path: Path, timeframe: str, bars: int
) -> None:
    data = DataSettings.model_validate({"tickers": ("BTC",), "timeframe": timeframe})
    snapshot = fetch_market(tmp_path, asking(exchange), data)
    assert len(read_leg(tmp_path, "perp", "BTC", timeframe=data.timeframe)) == bars
    settled = read_settlements(tmp_path, "BTC", timeframe=data.timeframe)
    tape = TAPE.tables["perp", "BTC"].filter(pl.col("funding_rate").is_not_null())[: len(settled)]
    assert snapshot.end_ms - 8 * BAR_MS <= settled["timestamp"].dt.epoch("ms")[-1] < snapshot.end_ms
    assert settled["funding_rate"].to_list() == tape["funding_rate"].to_list()
    assert settled["mark"].to_list() == tape["mark_open"].to_list()
    assert fetch_market(tmp_path, asking(exchange), data).version == snapshot.version
    with pytest.raises(MarketDataError, match="must not be mixed"):
        fetch_market(tmp_path, asking(exchange), DATA)


def test_index_predicted_rate_and_contract_terms_come_along(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    fetch_market(tmp_path, asking(exchange), DATA)
    perp = read_leg(tmp_path, "perp", "ETH")
    assert perp.select("index_open", "index_close").null_count().row(0) == (0, 0)
    assert [i for i, rate in enumerate(perp["predicted_rate"]) if rate is not None] == [2499]
    terms = read_contracts(tmp_path)
    assert len(terms) == 4
    perp_terms = contract_at(terms, "perp", "BTC", TAPE.end_ms)
    assert (perp_terms.instrument.symbol, perp_terms.funding_interval_hours) == ("BTC/USDT:USDT", 8.0)
    assert perp_terms.instrument.contract_size == 1


def test_an_earlier_start_fills_in_the_hours_before(exchange: RunningExchange, tmp_path: Path) -> None:
    late = DATA.model_copy(update={"start": START + timedelta(hours=2000)})
    fetch_market(tmp_path, asking(exchange), late)
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"), slice(2000, None))
    fetch_market(tmp_path, asking(exchange), DATA)
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"))


def test_only_the_hours_asked_for_are_fetched(exchange: RunningExchange, tmp_path: Path) -> None:
    window = DATA.model_copy(
        update={"start": START + timedelta(hours=100), "end": START + timedelta(hours=900)}
    )
    snapshot = fetch_market(tmp_path, asking(exchange), window)
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"), slice(100, 900))
    assert snapshot.coverage[0].bars == 800
    assert read_leg(tmp_path, "spot", "BTC")["bid"].null_count() == 800


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize(
    ("column", "rows", "words"),
    [
        ("funding_rate", [800], "a settlement is missing"),
        ("mark_close", [801], "mark price is missing at 2025-02-03 09:00"),
    ],
)
def test_what_the_venue_lost_is_an_error_and_not_a_zero(
    tmp_path: Path, column: str, rows: list[int], words: str
) -> None:
    here = pl.int_range(pl.len()).is_in(rows)
    holed = TAPE.tables["perp", "BTC"].with_columns(pl.when(~here).then(column).alias(column))
    tape = replace(TAPE, tables=dict(TAPE.tables) | {("perp", "BTC"): holed})
    with start_exchange(tape) as running, pytest.raises(CoverageError, match=words):
        fetch_market(tmp_path, asking(running), DataSettings(tickers=("BTC",)))


def test_a_coin_whose_hours_stopped_is_refused(tmp_path: Path) -> None:
    stopped: dict[tuple[Leg, str], pl.DataFrame] = {
        ("perp", "BTC"): TAPE.tables["perp", "BTC"][:2000],
        ("spot", "BTC"): TAPE.tables["spot", "BTC"][:2000],
    }
    with (
        start_exchange(replace(TAPE, tables=dict(TAPE.tables) | stopped)) as running,
        pytest.raises(CoverageError, match="BTC: the venue's hours stop at 2025-03-25 07:00, 500 hours"),
    ):
        fetch_market(tmp_path, asking(running), DATA)


def test_an_unknown_ticker_is_refused_with_the_nearest_ones(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    with pytest.raises(UnknownTickerError, match="does not list BTX; nearest: BTC"):
        fetch_market(tmp_path, asking(exchange), DataSettings(tickers=("BTX",)))
    with pytest.raises(MarketDataError, match="quote assets that would do: USDT"):
        fetch_market(tmp_path, asking(exchange), DataSettings(quote="USDC"))
    assert not list(tmp_path.iterdir())


def test_hours_of_another_tape_are_not_mixed_in(exchange: RunningExchange, tmp_path: Path) -> None:
    fetch_market(tmp_path, asking(exchange), DATA)
    other = synthetic_tape(SyntheticSettings(hours=48, seed=99))
    with start_exchange(other) as running, pytest.raises(MarketDataError, match="-o home="):
        fetch_market(tmp_path, asking(running), DATA)
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"))


def test_a_venue_that_is_not_there_is_asked_again_and_then_named(tmp_path: Path) -> None:
    gone = start_exchange(TAPE)
    gone.stop()
    settings = VenueSettings(url=gone.url, retries=2, backoff_seconds=0)
    with pytest.raises(RetryableError, match=r"did not answer 3 times.*exchange up") as caught:
        fetch_market(tmp_path, settings, DATA)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["binance", "bybit", "okx", "deribit"])
def test_a_real_venue_is_one_ccxt_class_under_its_own_rate_limit(name: VenueName) -> None:
    from carryflow.venues.connection import VenueConnection

    async def look() -> None:
        connection = VenueConnection(VenueSettings(name=name))
        try:
            connection.require_features("1h")
            assert connection.exchange.enableRateLimit
            assert connection.tape_id == "live"
        finally:
            await connection.__aexit__(None, None, None)

    asyncio.run(look())


@pytest.mark.real
def test_recorded_hours_with_halts_and_two_hourly_settlements_come_through_unchanged(
    real_data: Path, tmp_path: Path
) -> None:
    start, end = datetime(2022, 11, 1, tzinfo=UTC), datetime(2023, 4, 1, tzinfo=UTC)
    tape = load_tape(real_data / "crypto", ["SOL"], start, end)
    with start_exchange(tape) as running:
        snapshot = fetch_market(tmp_path, asking(running), DataSettings(tickers=("SOL",)))
    assert_equals_tape(tmp_path, tape, ("SOL",))
    assert len(snapshot.coverage[0].halted_ms) == 1
    assert snapshot.coverage[0].unpublished_marks == snapshot.coverage[0].bars
