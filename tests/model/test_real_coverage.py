"""The account of recorded hours is right: counted here a second time, by plain joins and differences."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import CoverageError
from carryflow.market.coverage import CoverageLedger, check_coverage, survey_folder, write_ledger
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.schedule import INTERVALS_H, Schedule, read_schedule
from carryflow.market.store import read_leg

pytestmark = pytest.mark.real

TICKERS = ("BTC", "ETH", "XRP", "ADA", "LTC", "SOL", "DOGE", "BNB", "TRX")
HALTED_HOURS = {
    "BTC": 36,
    "ETH": 32,
    "XRP": 32,
    "ADA": 32,
    "LTC": 32,
    "SOL": 1,
    "DOGE": 1,
    "BNB": 1,
    "TRX": 0,
}


@pytest.fixture(scope="module")
def ledgers(real_data: Path) -> dict[str, CoverageLedger]:
    found = survey_folder(real_data / "crypto", DataSettings(tickers=TICKERS))
    return {ledger.ticker: ledger for ledger in found}


@pytest.mark.parametrize("ticker", TICKERS)
def test_every_recorded_hour_is_there_or_accounted_for(
    ledgers: dict[str, CoverageLedger], real_data: Path, ticker: str
) -> None:
    ledger = ledgers[ticker]
    folder = real_data / "crypto"
    spot, perp = (pl.read_parquet(folder / f"{leg}_{ticker}.parquet") for leg in ("spot", "perp"))
    first = max(spot["timestamp"][0], perp["timestamp"][0])
    last = min(spot["timestamp"][-1], perp["timestamp"][-1])
    hours = pl.datetime_range(first, last, "1h", time_unit="ms", eager=True)
    halted = sorted(set(hours.to_list()) - set(spot["timestamp"].to_list()))
    assert set(hours.to_list()) <= set(perp["timestamp"].to_list())
    assert ledger.bars == len(hours)
    assert ledger.holes == ()
    assert len(halted) == HALTED_HOURS[ticker]
    named = [
        at for gap in ledger.gaps if gap.kind == "bar" for at in range(gap.start_ms, gap.end_ms, 3_600_000)
    ]
    assert named == list(ledger.halted_ms) == [round(at.timestamp() * 1000) for at in halted]
    assert {gap.reason for gap in ledger.gaps if gap.kind == "bar"} <= {
        "spot has no bars and the perpetual traded on: halted, or not recorded"
    }
    shared = perp.filter(pl.col("timestamp").is_between(first, last))
    assert ledger.settlements == shared["funding_rate"].count()
    unmarked = shared.filter(pl.col("mark_open").is_null() | pl.col("mark_close").is_null())
    assert ledger.unpublished_marks == len(unmarked)
    assert sum(gap.count for gap in ledger.gaps if gap.kind == "mark") == len(unmarked)


def test_halts_of_the_whole_venue_show_on_every_coin(ledgers: dict[str, CoverageLedger]) -> None:
    for hour, count in (("2020-02-19T12:00Z", 5), ("2021-02-11T04:00Z", 1), ("2023-03-24T13:00Z", 1)):
        at = round(datetime.fromisoformat(hour).timestamp() * 1000)
        for ticker in TICKERS:
            counts = {gap.start_ms: gap.count for gap in ledgers[ticker].gaps if gap.kind == "bar"}
            listed = ledgers[ticker].start_ms <= at and ticker != "TRX"
            assert counts.get(at) == (count if listed else None), (ticker, hour)


@pytest.mark.pitfall("P03")
def test_solana_settled_every_two_hours_in_november_2022(ledgers: dict[str, CoverageLedger]) -> None:
    segments = ledgers["SOL"].segments
    assert [(s.interval_hours, s.settlements) for s in segments] == [(8, 939), (4, 3), (2, 98), (8, 2683)]
    two_hours = segments[2]
    days = [str(np.datetime64(at, "ms")) for at in (two_hours.start_ms, two_hours.end_ms)]
    assert days == ["2022-11-10T04:00:00.000", "2022-11-18T08:00:00.000"]
    assert all(len(ledgers[ticker].segments) == 1 for ticker in TICKERS if ticker != "SOL")


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize("lost", [slice(-1, None), slice(0, 2)])
def test_a_two_hour_settlement_lost_at_an_edge_is_refused(real_data: Path, lost: slice) -> None:
    start, end = (datetime(2022, 11, day, 0 if day == 12 else 1, tzinfo=UTC) for day in (12, 15))
    settings = DataSettings(tickers=("SOL",), start=start, end=end)
    spot, perp = (
        read_leg(real_data / "crypto", leg, "SOL", to_ms(start), to_ms(end)) for leg in ("spot", "perp")
    )
    assert check_coverage(spot, perp, "SOL", settings).settlements == 37
    gone = perp.filter(pl.col("funding_rate").is_not_null())["timestamp"][lost]
    holed = perp.with_columns(
        funding_rate=pl.when(~pl.col("timestamp").is_in(gone.implode())).then("funding_rate")
    )
    with pytest.raises(CoverageError, match=r"a settlement is missing between .* \(1\)"):
        check_coverage(spot, holed, "SOL", settings)


def test_the_ledger_is_written_whole(ledgers: dict[str, CoverageLedger], tmp_path: Path) -> None:
    write_ledger(tmp_path / "coverage.json", list(ledgers.values()))
    written = json.loads((tmp_path / "coverage.json").read_text())
    assert [(entry["ticker"], len(entry["halted_ms"])) for entry in written] == list(HALTED_HOURS.items())
    assert written[5]["segments"][2]["settlements"] == 98


@pytest.fixture(scope="module")
def venues(real_data: Path) -> dict[tuple[str, str], pl.DataFrame]:
    table = pl.read_parquet(real_data / "aux" / "funding_venues.parquet").sort("timestamp")
    return {(str(v), str(t)): rows for (v, t), rows in table.group_by("venue", "ticker", maintain_order=True)}


def scheduled(rows: pl.DataFrame) -> Schedule:
    return read_schedule(rows["timestamp"].dt.epoch("ms").to_numpy(), rows["funding_rate"].to_numpy())


@pytest.mark.pitfall("P03")
def test_the_intervals_of_every_venue_are_what_they_published(
    venues: dict[tuple[str, str], pl.DataFrame],
) -> None:
    """One recording holds 28800 (seconds) where it means 8 hours; holes and delays make no interval."""
    assert len({venue for venue, _ in venues}) == 9
    for (venue, ticker), rows in venues.items():
        schedule = scheduled(rows)
        published = rows["interval_h"].to_numpy()
        late = np.isin(schedule.settle_ms, schedule.displaced)
        regular = ~(late | np.roll(late, 1) | np.isnan(schedule.hours)) & np.isin(published, INTERVALS_H)
        assert (schedule.hours[regular] == published[regular]).all(), (venue, ticker)
        assert (~regular).sum() <= 1 + 1 + 2 * len(schedule.displaced) + len(schedule.holes), (venue, ticker)
        assert sum(segment.settlements for segment in schedule.segments) == len(rows)


@pytest.mark.pitfall("P05")
def test_the_holes_of_every_venue_are_the_steps_that_their_interval_does_not_explain(
    venues: dict[tuple[str, str], pl.DataFrame],
) -> None:
    holed = {}
    for (venue, ticker), rows in venues.items():
        step = np.diff(rows["timestamp"].dt.epoch("ms").to_numpy()) // 3_600_000
        interval = rows["interval_h"].to_numpy()[1:]
        skipped = (step % interval == 0) & (step > interval) & (interval < 24)
        schedule = scheduled(rows)
        assert [hole.missing for hole in schedule.holes] == (step / interval - 1)[skipped].tolist()
        if schedule.holes:
            holed[venue, ticker] = len(schedule.holes)
            with pytest.raises(CoverageError, match=rf"{ticker}: \d+ settlement\(s\) are missing"):
                schedule.require_whole(ticker)
    expected = {"gate": 1, "bybit": 1, "htx": 1, "hyperliquid": 15}
    assert holed == {(venue, ticker): n for venue, n in expected.items() for ticker in ("BTC", "ETH")}


def test_the_late_settlements_of_one_venue_are_told_apart_from_missing_ones(
    venues: dict[tuple[str, str], pl.DataFrame],
) -> None:
    displaced = {key: len(scheduled(rows).displaced) for key, rows in venues.items()}
    assert {key: n for key, n in displaced.items() if n} == {("htx", "BTC"): 7, ("htx", "ETH"): 7}


@pytest.mark.pitfall("P16")
def test_what_was_read_of_a_schedule_stays_when_later_settlements_come_in(
    venues: dict[tuple[str, str], pl.DataFrame],
) -> None:
    for key, rows in venues.items():
        whole = scheduled(rows)
        steps = np.diff(whole.settle_ms)
        changes = np.flatnonzero(np.diff(steps)) + 2
        for cut in {int(at) + after for at in changes for after in range(-1, 5) if at + after <= len(rows)}:
            early = scheduled(rows[:cut])
            unlike = np.flatnonzero(~np.isclose(early.hours, whole.hours[:cut], rtol=0, equal_nan=True))
            assert unlike.tolist() in ([], [cut - 1]), "only the newest step may turn out to be a hole"
            assert np.isnan(whole.hours[unlike]).all(), (key, cut)
            assert set(early.holes) <= set(whole.holes), (key, cut)
