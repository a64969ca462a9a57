"""ccxt's unmodified classes read each venue's own answers, and what lands on disk is the same market."""

import asyncio
import copy
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import polars as pl
import pytest
from aiohttp import web

from carryflow.core.errors import CoverageError, MarketDataError, SettingsError, UnknownTickerError
from carryflow.core.instrument import ContractType
from carryflow.core.leg import Leg
from carryflow.market.contracts import read_contracts
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap
from carryflow.market.schema import BAR_MS
from carryflow.market.store import read_leg, read_source
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.ccxt_market import MarketSnapshot, VenueSettings, fetch_market
from carryflow.venues.connection import VenueConnection
from carryflow.venues.paging import fetch_bars, fetch_settlements
from carryflow.venues.settings import VenueName
from carryflow.venues.stored import NOT_LISTED
from carryflow.venues.terms import contract_terms

RECORDED = Path(__file__).parent / "recorded"
START = datetime(2024, 3, 1, 7, tzinfo=UTC)
T0 = int(START.timestamp() * 1000)
NOW = T0 + 10 * HOUR_MS + 20_123
BARS = 10


@dataclass(frozen=True)
class Expected:
    """What differs between the venues: words, and what one of them does not publish."""

    quote: str
    settled: dict[int, float]
    predicted: float | None
    interval_hours: float
    perp_size: str
    perp_lot: str
    inverse_size: str
    inverse_lot: str
    settlement_marks: bool = False
    mark: bool = True


EIGHT_HOURLY = {1: 0.00012345, 9: -0.00006789}
HOURLY = {i: round(1e-6 * (7 + i), 8) for i in range(BARS)}

VENUES: dict[VenueName, Expected] = {
    "binance": Expected("USDT", EIGHT_HOURLY, 0.00031, 8.0, "1", "0.001", "100", "1", settlement_marks=True),
    "bybit": Expected("USDT", EIGHT_HOURLY, 0.00031, 8.0, "1", "0.001", "1", "1"),
    "okx": Expected("USDT", EIGHT_HOURLY, 0.00031, 8.0, "0.01", "0.1", "100", "1"),
    "deribit": Expected("USDC", HOURLY, None, 1.0, "0.0001", "10", "10", "1", mark=False),
}


class RecordedVenue:
    """Answer on the loopback with what a venue's documentation says it answers."""

    def __init__(self, venue: str) -> None:
        self.answers = [json.loads(path.read_text()) for path in sorted((RECORDED / venue).glob("*.json"))]
        self.now_ms = NOW
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._loop = asyncio.new_event_loop()
        self._runner = self._loop.run_until_complete(self._listen())
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _listen(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.query)))
        for known in self.answers:
            if not known.get("times", 1):
                continue
            if known["path"] == request.path and known["query"].items() <= dict(request.query).items():
                if "times" in known:
                    known["times"] -= 1
                text = json.dumps(known["answer"]).replace(str(NOW), str(self.now_ms))
                return web.Response(text=text, content_type="application/json")
        return web.json_response({"unexpected": request.path_qs}, status=404)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


@pytest.fixture(scope="module", autouse=True)
def _no_waiting() -> Iterator[None]:
    """Ask at once: the pace that ccxt keeps with a venue is not what is tested here."""

    async def at_once(exchange: Any, cost: Any = None) -> None:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ccxt.Exchange, "throttle", at_once)
        yield


@pytest.fixture(scope="module", params=list(VENUES))
def name(request: pytest.FixtureRequest) -> VenueName:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def venue(name: VenueName) -> Iterator[RecordedVenue]:
    running = RecordedVenue(name)
    yield running
    running.stop()


@dataclass(frozen=True)
class Fetched:
    """What one fetch from a recorded venue left behind."""

    name: VenueName
    folder: Path
    snapshot: MarketSnapshot

    @property
    def expected(self) -> Expected:
        return VENUES[self.name]

    def leg(self, leg: Leg) -> pl.DataFrame:
        return read_leg(self.folder, leg, "BTC")


@pytest.fixture(scope="module")
def fetched(name: VenueName, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetched]:
    running = RecordedVenue(name)
    folder = tmp_path_factory.mktemp(name)
    yield Fetched(name, folder, fetch(name, running, folder))
    running.stop()


def settings_of(name: VenueName, venue: RecordedVenue) -> VenueSettings:
    return VenueSettings(name=name, url=venue.url, retries=0)


def fetch(name: VenueName, venue: RecordedVenue, folder: Path, **wanted: Any) -> MarketSnapshot:
    data = {"tickers": ("BTC",), "quote": VENUES[name].quote, "start": START} | wanted
    return fetch_market(
        folder, settings_of(name, venue), DataSettings.model_validate(data), clock=lambda: venue.now_ms + 900
    )


def with_connection(
    name: VenueName, venue: RecordedVenue, look: Callable[[VenueConnection], Awaitable[None]]
) -> None:
    """Open a connection to all contracts of a venue, inverse ones among them."""

    async def run() -> None:
        connection = VenueConnection(settings_of(name, venue))
        if "fetchMarkets" in connection.dialect.options:
            types = {"types": [*connection.dialect.options["fetchMarkets"]["types"], "inverse"]}
            connection.exchange.options["fetchMarkets"] = (
                types if name != "okx" else {"types": ["spot", "swap"]}
            )
        async with connection:
            await look(connection)

    asyncio.run(run())


def test_the_same_ten_hours_land_on_disk_from_every_venue(fetched: Fetched) -> None:
    spot, perp = fetched.leg("spot"), fetched.leg("perp")
    assert fetched.snapshot.end_ms == T0 + BARS * BAR_MS
    assert spot["timestamp"].dt.epoch("ms").to_list() == [T0 + i * BAR_MS for i in range(BARS)]
    first = spot.select("open", "high", "low", "close", "volume").row(0)
    assert first == (61500, 61525.5, 61484.5, 61510, 100.5)
    assert perp.select("open", "high", "low", "close").row(9) == (61610, 61635.5, 61594.5, 61620)
    assert fetched.snapshot.coverage[0].bars == BARS
    source = read_source(fetched.folder)
    assert source is not None
    assert (source.venue, source.tape_id) == (fetched.name, "live")


@pytest.mark.pitfall("P06")
def test_mark_last_and_index_are_three_prices(fetched: Fetched) -> None:
    first = fetched.leg("perp").row(0, named=True)
    assert (first["open"], first["close"]) == (61520, 61530)
    published = (first["mark_open"], first["mark_close"], first["index_open"], first["index_close"])
    assert published == ((61513, 61523, 61503, 61513) if fetched.expected.mark else (None,) * 4)


@pytest.mark.pitfall("P04")
def test_settled_and_predicted_funding_are_told_apart(fetched: Fetched) -> None:
    perp = fetched.leg("perp")
    rates = {i: rate for i, rate in enumerate(perp["funding_rate"]) if rate is not None}
    assert rates == fetched.expected.settled
    assert perp["predicted_rate"].to_list() == [None] * 9 + [fetched.expected.predicted]


@pytest.mark.pitfall("P04")
def test_a_settled_rate_is_invisible_before_its_bar_has_closed(
    name: VenueName, venue: RecordedVenue, tmp_path: Path
) -> None:
    venue.now_ms = T0 + 9 * HOUR_MS + 59 * 60_000  # the rate of 16:00 is in the venue's history already
    fetch(name, venue, tmp_path)
    perp = read_leg(tmp_path, "perp", "BTC")
    assert len(perp) == 9
    assert perp["funding_rate"].drop_nulls().to_list() == [
        rate for i, rate in VENUES[name].settled.items() if i < 9
    ]
    venue.now_ms = NOW
    fetch(name, venue, tmp_path)
    assert read_leg(tmp_path, "perp", "BTC")["funding_rate"][9] == VENUES[name].settled[9]


@pytest.mark.pitfall("P07")
def test_depth_is_quote_value_whatever_a_level_counts(fetched: Fetched) -> None:
    perp = fetched.leg("perp").row(9, named=True)
    assert (perp["bid"], perp["ask"]) == (61623.9, 61624.1)
    near = 2.5 * 61623.9 + 4 * 61600
    assert perp["bid_depth_5bp"] == perp["bid_depth"] == pytest.approx(near)
    assert perp["bid_depth_50bp"] == pytest.approx(near + 20 * 61420)
    assert perp["ask_depth_100bp"] == pytest.approx(1.5 * 61624.1 + 6 * 61650 + 24 * 61820 + 90 * 62170)


@pytest.mark.pitfall("P07")
def test_terms_count_contracts_as_the_venue_does(fetched: Fetched) -> None:
    expected = fetched.expected
    perp, spot = sorted(read_contracts(fetched.folder), key=lambda terms: terms.instrument.type)
    assert (spot.instrument.type, perp.instrument.type) == (ContractType.SPOT, ContractType.LINEAR)
    assert perp.instrument.contract_size == Decimal(expected.perp_size)
    assert perp.instrument.lot == perp.instrument.min_qty == Decimal(expected.perp_lot)
    assert perp.instrument.base_qty(perp.instrument.lot, Decimal(60000)) == Decimal("0.001")
    assert (perp.funding_interval_hours, spot.funding_interval_hours) == (expected.interval_hours, None)


@pytest.mark.pitfall("P07")
def test_inverse_contracts_trade_base_coins_and_are_worth_a_fixed_quote_value(
    fetched: Fetched, venue: RecordedVenue
) -> None:
    async def look(connection: VenueConnection) -> None:
        bars = await fetch_bars(connection, "BTC/USD:BTC", "1h", (T0, T0 + BARS * BAR_MS))
        assert (
            bars[:, 5].tolist()
            == fetched.leg("perp")["volume"].to_list()
            == [200.25 + i for i in range(BARS)]
        )
        coin = contract_terms(connection, "BTC/USD:BTC", None, NOW).instrument
        assert (coin.type, coin.settle) == (ContractType.INVERSE, "BTC")
        assert coin.contract_size == Decimal(fetched.expected.inverse_size)
        assert coin.lot == Decimal(fetched.expected.inverse_lot)
        assert coin.notional_quote(coin.lot, Decimal(60000)) == Decimal(fetched.expected.inverse_size)

    with_connection(fetched.name, venue, look)


@pytest.mark.pitfall("P01")
def test_a_settlement_keeps_its_instant_and_its_mark(fetched: Fetched, venue: RecordedVenue) -> None:
    settled = fetched.expected.settled

    async def look(connection: VenueConnection) -> None:
        symbol = connection.symbol("perp", "BTC", fetched.expected.quote)
        found = await fetch_settlements(connection, symbol, (T0, T0 + BARS * BAR_MS))
        assert found["timestamp"].dt.epoch("ms").to_list() == [T0 + i * BAR_MS for i in settled]
        marks = [61523.0, 61603.0] if fetched.expected.settlement_marks else [None] * len(settled)
        assert found["mark"].to_list() == marks

    with_connection(fetched.name, venue, look)


def test_coarse_bars_of_every_venue_keep_their_settlements_beside_them(
    name: VenueName, venue: RecordedVenue, tmp_path: Path
) -> None:
    def every_other(answer: Any) -> Any:
        return answer[1::2] if isinstance(answer, list) else answer

    for known in venue.answers:  # the venue has two-hour bars from 08:00 on
        answer = known["answer"]
        if "line" in known["path"] or "candles" in known["path"]:
            rows = (
                answer if isinstance(answer, list) else answer.get("result", {}).get("list") or answer["data"]
            )
            rows[:] = [row for row in rows if int(row[0]) % (2 * HOUR_MS) == 0]
        if "chart" in known["path"]:
            answer["result"] = {key: every_other(value) for key, value in answer["result"].items()}
    fetch(name, venue, tmp_path, timeframe="2h", start=datetime(2024, 3, 1, 8, tzinfo=UTC))
    settled = pl.read_parquet(tmp_path / "funding_BTC.parquet")
    expected = {i: rate for i, rate in VENUES[name].settled.items() if 1 <= i < 9}
    assert settled["funding_rate"].to_list() == list(expected.values())


def test_what_the_venue_does_not_have_is_named(name: VenueName, venue: RecordedVenue, tmp_path: Path) -> None:
    with pytest.raises(UnknownTickerError, match=f"{name}.*does not list BTX; nearest: BTC"):
        fetch(name, venue, tmp_path, tickers=("BTX",))
    with pytest.raises(
        MarketDataError, match=f"no coin with both.*quote assets that would do: {VENUES[name].quote}"
    ):
        fetch(name, venue, tmp_path, quote="EUR")
    if name != "binance":
        with pytest.raises(SettingsError, match=f"{name} has no bars of 8h; it has 1m, 3m"):
            fetch(name, venue, tmp_path, timeframe="8h")
    assert not list(tmp_path.iterdir())


def test_a_leg_without_any_bars_is_named_and_leaves_no_file_of_its_own(tmp_path: Path) -> None:
    venue = RecordedVenue("bybit")
    try:
        for known in venue.answers:
            if known["path"] == "/v5/market/kline" and known["query"]["category"] == "spot":
                known["answer"]["result"]["list"] = []
        with pytest.raises(MarketDataError, match="BTC: the venue has no spot bars of 1h in these hours"):
            fetch("bybit", venue, tmp_path)
        assert not (tmp_path / "spot_BTC.parquet").exists()
    finally:
        venue.stop()


@pytest.mark.parametrize("feature", ["fetchFundingRateHistory", "spot", "swap"])
def test_a_venue_without_what_a_hedge_needs_is_refused(feature: str) -> None:
    async def look() -> None:
        connection = VenueConnection(VenueSettings(name="bybit"))
        try:
            connection.exchange.has[feature] = False
            with pytest.raises(SettingsError, match=r"cannot do without; choose another venue\.name"):
                connection.require_features("1h")
        finally:
            await connection.__aexit__(None, None, None)

    asyncio.run(look())


def test_okx_keeps_three_months_of_settled_funding_and_older_hours_are_refused(tmp_path: Path) -> None:
    venue = RecordedVenue("okx")
    try:
        with pytest.raises(CoverageError, match="from 2023-11-01 00:00 on, and okx keeps it from 2023-12-02"):
            fetch("okx", venue, tmp_path, start=datetime(2023, 11, 1, tzinfo=UTC))
        assert not [path for path, _ in venue.asked if "candles" in path]
        fetch("okx", venue, tmp_path)
        pages = [query for path, query in venue.asked if path.endswith("funding-rate-history")]
        assert [(page["before"], page["after"]) for page in pages] == [(str(T0 - 1), str(T0 + BARS * BAR_MS))]
    finally:
        venue.stop()


def without_hours(venue: RecordedVenue, category: str, *hours: int) -> dict[str, Any]:
    """Bybit's answer of one leg's bars, with these hours left out."""
    known = next(
        a for a in venue.answers if a["path"].endswith("/kline") and a["query"].get("category") == category
    )
    short: dict[str, Any] = copy.deepcopy(known)
    gone = {str(T0 + i * BAR_MS) for i in hours}
    short["answer"]["result"]["list"] = [r for r in known["answer"]["result"]["list"] if r[0] not in gone]
    return short


@pytest.fixture
def bybit() -> Iterator[RecordedVenue]:
    running = RecordedVenue("bybit")
    yield running
    running.stop()


def test_one_short_answer_is_not_taken_for_a_gap(bybit: RecordedVenue, tmp_path: Path) -> None:
    bybit.answers.insert(0, without_hours(bybit, "spot", 4, 5) | {"times": 1})
    snapshot = fetch("bybit", bybit, tmp_path)
    assert (snapshot.rows_new, snapshot.gaps) == (2 * BARS, ())
    asked = [q for path, q in bybit.asked if path.endswith("/kline") and q["category"] == "spot"]
    assert [(q["start"], q["end"]) for q in asked[1:]] == [(str(T0 + 4 * BAR_MS), str(T0 + 6 * BAR_MS - 1))]


@pytest.mark.pitfall("P05")
def test_an_outage_over_a_settlement_is_refused_and_leaves_the_bars_and_a_way_out(
    bybit: RecordedVenue, tmp_path: Path
) -> None:
    whole = list(bybit.answers)
    bybit.answers.insert(0, without_hours(bybit, "linear", 1, 2))
    for _ in range(2):  # the gap is not asked for again, and what settled in it is not forgotten
        with pytest.raises(CoverageError, match=OUTAGE):
            fetch("bybit", bybit, tmp_path)
        assert (len(read_leg(tmp_path, "spot", "BTC")), len(read_leg(tmp_path, "perp", "BTC"))) == (10, 8)
    after = datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert fetch("bybit", bybit, tmp_path, start=after).coverage[0].bars == 7
    bybit.answers = whole
    (tmp_path / "gaps.json").unlink()
    assert fetch("bybit", bybit, tmp_path).rows_new == 2


OUTAGE = (
    "BTC: funding settled at 2024-03-01 08:00, where the perpetual has no bar. BTC: the venue was asked "
    r"twice and has no bars of perp 2024-03-01 08:00 to 2024-03-01 10:00; .*gaps\.json"
)


def test_where_a_venue_states_the_listing_the_time_before_it_is_known_to_be_empty(
    bybit: RecordedVenue, tmp_path: Path
) -> None:
    listed = T0 + 2 * BAR_MS
    for known in bybit.answers:
        if known["path"].endswith("/instruments-info") and known["query"].get("category") == "linear":
            known["answer"]["result"]["list"][0]["launchTime"] = str(listed - 1)
    snapshot = fetch("bybit", bybit, tmp_path)
    assert snapshot.gaps == (KnownGap("BTC", "perp", T0, listed, NOT_LISTED),)
    assert snapshot.coverage[0].start_ms == listed


@pytest.mark.pitfall("P04")
@pytest.mark.parametrize(("hours", "kept"), [(0, 0), (8, 1), (9, 0)])
def test_only_what_is_predicted_for_the_first_settlement_after_the_close_is_kept(
    bybit: RecordedVenue, tmp_path: Path, hours: int, kept: int
) -> None:
    for known in bybit.answers:
        if known["path"].endswith("/tickers"):
            known["answer"]["result"]["list"][0]["nextFundingTime"] = str(T0 + (BARS + hours) * BAR_MS)
    fetch("bybit", bybit, tmp_path)
    perp = read_leg(tmp_path, "perp", "BTC")
    assert (len(perp["predicted_rate"].drop_nulls()), len(perp["bid"].drop_nulls())) == (kept, 1)
