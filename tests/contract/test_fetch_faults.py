"""A venue that fails in every way it can: each time a clear error or a correct retry, and whole files."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from carryflow.core.errors import (
    RejectedError,
    RetryableError,
    SettingsError,
    UnknownTickerError,
    VenueError,
)
from carryflow.core.leg import LEGS
from carryflow.market.data import DataSettings
from carryflow.market.store import read_leg
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.ccxt_market import MarketSnapshot, VenueSettings, fetch_market
from carryflow.venues.connection import VenueConnection
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape

HOURS = 2500
TAPE = synthetic_tape(SyntheticSettings(hours=HOURS), ["BTC", "ETH"])
DATA = DataSettings(tickers=("BTC",))
START = datetime(2025, 1, 1, tzinfo=UTC)
EVERYWHERE = (
    "/api/v3/exchangeInfo",
    "/api/v3/klines",
    "/fapi/v1/markPriceKlines",
    "/fapi/v1/fundingRate",
    "/fapi/v1/depth",
)


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(exchange: RunningExchange, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The files of a fetch to which nothing happened, and how many requests it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, fetch(exchange, folder).requests


def fetch(exchange: RunningExchange, folder: Path, **wanted: Any) -> MarketSnapshot:
    venue = VenueSettings(url=exchange.url, retries=2, backoff_seconds=0)
    return fetch_market(folder, venue, DataSettings.model_validate(DATA.model_dump() | wanted))


def files(folder: Path) -> dict[str, object]:
    """What each file says; that of a leg, whichever parts it was folded from."""
    return {
        str(p.relative_to(folder)): pl.read_parquet(p).rows() if p.suffix == ".parquet" else p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.TRUNCATED, Fault.RESET])
def test_a_request_without_a_whole_answer_is_sent_once_more(
    exchange: RunningExchange, undisturbed: tuple[Path, int], tmp_path: Path, fault: Fault
) -> None:
    for path in EVERYWHERE:
        exchange.inject(fault, path=path)
    before = exchange.requests.total()
    fetch(exchange, tmp_path)
    assert files(tmp_path) == files(undisturbed[0])
    sent_again = exchange.requests.total() - before - undisturbed[1]
    assert sent_again in {len(EVERYWHERE), len(EVERYWHERE) + 1}  # the two lists of markets are asked as one


@pytest.mark.pitfall("P20")
def test_everybody_waits_as_long_as_the_venue_asks(
    exchange: RunningExchange, undisturbed: tuple[Path, int], tmp_path: Path
) -> None:
    exchange.inject(Fault.TOO_MANY_REQUESTS, times=2, path="/fapi/v1/klines", wait_seconds=1)
    began = time.monotonic()
    snapshot = fetch(exchange, tmp_path)
    assert time.monotonic() - began >= 1
    assert files(tmp_path) == files(undisturbed[0])
    assert snapshot.requests == undisturbed[1] + 2


def test_a_venue_that_asks_for_a_long_pause_is_left_alone(
    exchange: RunningExchange, undisturbed: tuple[Path, int], tmp_path: Path
) -> None:
    exchange.inject(Fault.TOO_MANY_REQUESTS, path="/fapi/v1/fundingRate", wait_seconds=7200)
    with pytest.raises(RetryableError, match=r"left alone until .* UTC \(HTTP 429, 7200 s\)"):
        fetch(exchange, tmp_path)
    fetch(exchange, tmp_path)
    assert files(tmp_path) == files(undisturbed[0])


@pytest.mark.pitfall("P20")
def test_a_ban_stops_every_request_and_says_when_it_ends(
    exchange: RunningExchange, undisturbed: tuple[Path, int], tmp_path: Path
) -> None:
    exchange.inject(Fault.BANNED, path="/fapi/v1/fundingRate", wait_seconds=600)
    before = exchange.requests.total()
    end = datetime.fromtimestamp(exchange.now_ms / 1000 + 600, UTC)
    with pytest.raises(RejectedError, match=f"banned this address until {end:%Y-%m-%d %H:%M:%S} UTC"):
        fetch(exchange, tmp_path, tickers=("BTC", "ETH"))
    assert exchange.requests["/fapi/v1/fundingRate"] >= 1
    assert exchange.requests.total() - before < 2 * undisturbed[1] - 8
    fetch(exchange, tmp_path)
    assert files(tmp_path)["perp_BTC.parquet"] == files(undisturbed[0])["perp_BTC.parquet"]


def test_a_venue_that_stays_away_is_named_and_what_came_is_kept(
    exchange: RunningExchange, undisturbed: tuple[Path, int], tmp_path: Path
) -> None:
    exchange.inject(Fault.SERVER_ERROR, times=3, path="/fapi/v1/fundingRate")
    with pytest.raises(RetryableError, match=r"did not answer 3 times: ExchangeNotAvailable.*overloaded"):
        fetch(exchange, tmp_path)
    fetch(exchange, tmp_path)
    assert files(tmp_path) == files(undisturbed[0])


def test_a_refused_request_is_never_repeated_and_leaves_nothing_behind(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    before = exchange.requests
    with pytest.raises(SettingsError, match=r"no bars of 15m of BTC.*set data\.timeframe to the length of"):
        fetch(exchange, tmp_path, timeframe="15m")
    asked = exchange.requests - before
    assert max(asked["/api/v3/klines"], asked["/fapi/v1/klines"]) == 1
    with pytest.raises(UnknownTickerError, match="does not list DOGE; nearest"):
        fetch(exchange, tmp_path, tickers=("DOGE",))
    assert not list(tmp_path.iterdir())


def test_overlapping_ranges_are_stored_once(
    exchange: RunningExchange, undisturbed: tuple[Path, int], tmp_path: Path
) -> None:
    for first, last, new in ((0, 900, 900), (500, 1300, 400), (100, 600, 0)):
        span = {"start": START + timedelta(hours=first), "end": START + timedelta(hours=last)}
        assert fetch(exchange, tmp_path, **span).rows_new == 2 * new
    for leg in LEGS:
        whole = read_leg(undisturbed[0], leg, "BTC")
        columns = [c for c in whole.columns if "depth" not in c and c not in {"bid", "ask", "predicted_rate"}]
        assert read_leg(tmp_path, leg, "BTC").select(columns).equals(whole.select(columns)[:1300])


@pytest.mark.pitfall("P20")
def test_a_venue_whose_clock_is_off_is_refused_with_both_clocks(tmp_path: Path) -> None:
    with start_exchange(TAPE) as running:
        venue = VenueSettings(name="binance", url=running.url, retries=0)
        now = datetime(2025, 2, 1, 12, tzinfo=UTC)
        running.set_clock(int(now.timestamp() * 1000))

        async def ask(machine: datetime) -> int:
            async with VenueConnection(venue) as connection:
                return await connection.clock_ms(int(machine.timestamp() * 1000))

        assert asyncio.run(ask(now + timedelta(seconds=59))) == running.now_ms
        with pytest.raises(VenueError, match=r"2025-02-01 12:00:00 and this machine's 2025-02-01 12:01:01"):
            asyncio.run(ask(now + timedelta(seconds=61)))
        running.inject(Fault.SKEWED_CLOCK, skew_ms=-90_000)
        with pytest.raises(VenueError, match=r"clock says 2025-02-01 11:58:30 .* 90 s apart.*NTP"):
            fetch_market(tmp_path, venue, DATA, clock=lambda: running.now_ms)
    assert not list(tmp_path.iterdir())


FETCH = """
import sys
from pathlib import Path
from carryflow.market.data import DataSettings
from carryflow.venues import ticker_fetch
from carryflow.venues.ccxt_market import VenueSettings, fetch_market
ticker_fetch.PAGES_IN_A_PART = 1
fetch_market(Path(sys.argv[1]), VenueSettings(url=sys.argv[2]), DataSettings(tickers=("BTC",)),
             lambda *told: print(told, flush=True))
"""


@pytest.mark.pitfall("P20")
def test_a_fetch_killed_by_force_goes_on_and_asks_only_for_what_it_lacks(
    exchange: RunningExchange, undisturbed: tuple[Path, int], tmp_path: Path
) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", FETCH, str(tmp_path), exchange.url], stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    for _ in range(3):
        killed.stdout.readline()
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    kept = {
        leg: len(read_leg(tmp_path, leg, "BTC"))
        for leg in LEGS
        if any((tmp_path / "parts").glob(f"{leg}_*/*.parquet"))
    }
    assert sum(kept.values()) >= 2 * 500
    before = exchange.requests
    snapshot = fetch(exchange, tmp_path)
    assert snapshot.rows_new == 2 * HOURS - sum(kept.values())
    assert files(tmp_path) == files(undisturbed[0])
    pages = {leg: -(-(HOURS - kept.get(leg, 0)) // 1000) for leg in LEGS}
    asked = exchange.requests - before
    assert asked["/api/v3/klines"] <= pages["spot"] + 1
    assert asked["/fapi/v1/markPriceKlines"] == pages["perp"]
