"""ccxt's own classes against the simulated exchange: what it plays is what lands on disk."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError, RetryableError, UnknownTickerError
from carryflow.market.data import DataSettings
from carryflow.market.schema import BAR_MS, BOOK_COLUMNS, LEGS, Leg
from carryflow.market.store import merge_leg, read_leg, read_source
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.ccxt_market import VenueSettings, fetch_market
from carryflow.venues.settings import VenueName
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import Tape, load_tape, synthetic_tape

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
            stored = read_leg(folder, leg, ticker).drop(BOOK_COLUMNS)
            assert stored.equals(tape.tables[leg, ticker].drop(BOOK_COLUMNS)[rows]), (leg, ticker)


def test_every_bar_mark_and_settlement_of_the_tape_lands_on_disk_unchanged(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    snapshot = fetch_market(tmp_path, asking(exchange), DATA, lambda *step: told.append(step))
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"))
    assert snapshot.rows_new == 4 * 2500
    assert snapshot.end_ms == snapshot.venue_time_ms == TAPE.end_ms
    assert [c.settlements for c in snapshot.coverage] == [313, 313]
    assert [step for step in told if step[0] == "BTC"] == [("BTC", n, 2500) for n in (1000, 2000, 2500)]
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
    second = fetch_market(tmp_path, asking(exchange), DATA, lambda _, __, total: told.append(total))
    assert second.rows_new == 4 * 24
    assert set(told) == {25}
    assert second.version != first.version
    assert_equals_tape(tmp_path, TAPE, ("BTC", "ETH"))
    books = read_leg(tmp_path, "perp", "BTC")["bid"]
    assert [i for i, bid in enumerate(books) if bid is not None] == [2475, 2499]


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_killed_fetch_goes_on_where_it_stopped(
    exchange: RunningExchange, tmp_path: Path, blocks: int
) -> None:
    class Killed(BaseException):
        pass

    def kill(_: str, done: int, __: int) -> None:
        if done == 1000 * blocks:
            raise Killed

    data = DataSettings(tickers=("BTC",))
    with pytest.raises(Killed):
        fetch_market(tmp_path / "killed", asking(exchange), data, kill)
    assert_equals_tape(tmp_path / "killed", TAPE, ("BTC",), slice(0, 1000 * blocks))
    again = fetch_market(tmp_path / "killed", asking(exchange), data)
    clean = fetch_market(tmp_path / "clean", asking(exchange), data)
    assert again.rows_new == 2 * (2500 - 1000 * blocks)
    assert again.version == clean.version


@pytest.mark.parametrize("leg", LEGS)
def test_a_fetch_killed_between_its_two_legs_goes_on_with_the_one_behind(
    exchange: RunningExchange, tmp_path: Path, leg: Leg
) -> None:
    other: Leg = "perp" if leg == "spot" else "spot"
    merge_leg(tmp_path, leg, "BTC", TAPE.tables[leg, "BTC"].drop(BOOK_COLUMNS)[:2000])
    merge_leg(tmp_path, other, "BTC", TAPE.tables[other, "BTC"].drop(BOOK_COLUMNS)[:1000])
    fetch_market(tmp_path, asking(exchange), DataSettings(tickers=("BTC",)))
    assert_equals_tape(tmp_path, TAPE, ("BTC",))


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
    stopped = {
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
    settings = VenueSettings(url=gone.url, retries=2, backoff_seconds=0.01)
    with pytest.raises(RetryableError, match=r"did not answer 3 times.*exchange up") as caught:
        fetch_market(tmp_path, settings, DATA)
    assert "\n" not in str(caught.value)


def test_ccxt_understands_what_is_listed_and_quoted(exchange: RunningExchange) -> None:
    from carryflow.venues.connection import VenueConnection

    async def look() -> None:
        async with VenueConnection(asking(exchange)) as connection:
            spot, perp = connection.legs["spot"], connection.legs["perp"]
            market = perp.market("BTC/USDT:USDT")
            assert (market["linear"], market["contractSize"], market["precision"]["price"]) == (
                True,
                1.0,
                0.1,
            )
            assert spot.market("BTC/USDT")["limits"]["cost"]["min"] == 5.0
            rate = await perp.fetch_funding_rate("BTC/USDT:USDT")
            last = TAPE.tables["perp", "BTC"]
            assert rate["markPrice"] == last["mark_close"][-1]
            assert rate["fundingRate"] == last["funding_rate"].drop_nulls()[-1]

    asyncio.run(look())


@pytest.mark.parametrize("name", ["binance", "bybit", "okx", "deribit"])
def test_a_real_venue_is_one_ccxt_class_for_both_legs(name: VenueName) -> None:
    from carryflow.venues.connection import VenueConnection

    async def look() -> None:
        connection = VenueConnection(VenueSettings(name=name))
        try:
            assert connection.legs["spot"] is connection.legs["perp"]
            assert all(
                connection.legs["perp"].has[what]
                for what in ("fetchOHLCV", "fetchFundingRateHistory", "fetchTime")
            )
            assert connection.tape_id == "live"
        finally:
            await connection.__aexit__(None, None, None)

    asyncio.run(look())


def test_binances_one_class_gives_the_same_rows_as_the_two(exchange: RunningExchange) -> None:
    from carryflow.venues.connection import VenueConnection, redirect

    async def look() -> None:
        connection = VenueConnection(VenueSettings(name="binance", retries=0))
        both = connection.legs["spot"]
        both.urls["api"] = redirect(both.urls["api"], exchange.url)
        async with connection:
            connection.require_listed(("BTC", "ETH"), "USDT")
            assert await connection.clock_ms() == TAPE.end_ms
            since = int(START.timestamp() * 1000)
            for leg, column, params in (
                ("spot", "open", {}),
                ("perp", "open", {}),
                ("perp", "mark_open", {"price": "mark"}),
            ):
                symbol = connection.symbol(leg, "BTC", "USDT")
                bars = await connection.ask(both.fetch_ohlcv, symbol, "1h", since, 50, params)
                assert [bar[1] for bar in bars] == TAPE.tables[leg, "BTC"][column][:50].to_list()
            paid = await connection.ask(both.fetch_funding_rate_history, "BTC/USDT:USDT", since, 3)
            assert [p["fundingRate"] for p in paid] == TAPE.tables["perp", "BTC"][
                "funding_rate"
            ].drop_nulls()[:3].to_list()

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
