import json
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError, SettingsError
from carryflow.market.absences import HALTED, UNRECORDED
from carryflow.market.coverage import check_coverage, survey, survey_folder, write_ledger
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap, record_gaps
from carryflow.market.leg_files import recorded_tickers
from carryflow.market.parts import append_part
from carryflow.market.schema import TIMESTAMP
from carryflow.market.settlements import merge_settlements, settlements_of
from carryflow.market.store import Source, merge_leg, read_leg, write_source
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

MARKET = synthetic_market(SyntheticSettings(hours=400), ["BTC"])
SPOT, PERP = MARKET["spot", "BTC"], MARKET["perp", "BTC"]
SETTINGS = DataSettings()


def without(table: pl.DataFrame, *rows: int) -> pl.DataFrame:
    return table.filter(~pl.int_range(pl.len()).is_in(list(rows)))


def nulled(column: str, *rows: int) -> pl.DataFrame:
    here = pl.int_range(pl.len()).is_in(list(rows))
    return PERP.with_columns(pl.when(here).then(None).otherwise(pl.col(column)).alias(column))


def settling_every(hours: int) -> pl.DataFrame:
    due = pl.int_range(pl.len()) % hours == 0
    return PERP.with_columns(funding_rate=pl.when(due).then(1e-4))


def test_a_whole_market_is_counted() -> None:
    coverage = check_coverage(SPOT, PERP, "BTC", SETTINGS)
    assert (coverage.bars, coverage.settlements, coverage.halted_ms, coverage.unpublished_marks) == (
        400,
        50,
        (),
        0,
    )
    assert coverage.end_ms - coverage.start_ms == 400 * 3_600_000


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize("row", [8, 200, 392])
def test_one_missing_settlement_is_an_error_that_names_the_hours(row: int) -> None:
    around = [f"{PERP['timestamp'][i]:%Y-%m-%d %H:%M}" for i in (row - 8, row + 8) if i < 400]
    with pytest.raises(CoverageError, match="settlement is missing") as caught:
        check_coverage(SPOT, nulled("funding_rate", row), "BTC", SETTINGS)
    assert all(stamp in str(caught.value) for stamp in around)


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize("hours", [1, 2, 4])
def test_a_missing_settlement_shows_on_markets_that_settle_more_often(hours: int) -> None:
    perp = settling_every(hours)
    assert check_coverage(SPOT, perp, "BTC", SETTINGS).settlements == 400 // hours
    here = pl.int_range(pl.len()) == 200
    with pytest.raises(CoverageError, match="settlement is missing"):
        check_coverage(
            SPOT, perp.with_columns(funding_rate=pl.when(~here).then("funding_rate")), "BTC", SETTINGS
        )


def test_no_settlement_at_all_is_an_error() -> None:
    with pytest.raises(CoverageError, match="no settlement at all"):
        check_coverage(SPOT, PERP.with_columns(funding_rate=pl.lit(None, pl.Float64)), "BTC", SETTINGS)


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize("column", ["mark_open", "mark_close"])
def test_a_hole_in_the_published_marks_is_an_error_that_names_the_row(column: str) -> None:
    with pytest.raises(
        CoverageError, match=f"mark price is missing at {PERP['timestamp'][77]:%Y-%m-%d %H:%M}"
    ):
        check_coverage(SPOT, nulled(column, 77), "BTC", SETTINGS)


def test_marks_that_were_not_published_yet_are_counted_or_refused_as_the_settings_say() -> None:
    rows = range(100)
    perp = nulled("mark_close", *rows).with_columns(
        mark_open=pl.when(pl.int_range(pl.len()) >= 100).then("mark_open")
    )
    assert check_coverage(SPOT, perp, "BTC", SETTINGS).unpublished_marks == 100
    with pytest.raises(CoverageError, match=r"to 2025-01-05 04:00 \(100\).*data\.mark=perp"):
        check_coverage(SPOT, perp, "BTC", DataSettings(mark="required"))


@pytest.mark.pitfall("P05")
def test_a_missing_bar_of_the_perpetual_is_an_error() -> None:
    with pytest.raises(CoverageError, match=f"missing at {PERP['timestamp'][33]:%Y-%m-%d %H:%M}"):
        check_coverage(SPOT, without(PERP, 33), "BTC", SETTINGS)


def test_a_short_halt_of_spot_is_listed_and_a_long_one_refused() -> None:
    halt = range(100, 106)
    coverage = check_coverage(without(SPOT, *halt, 200), PERP, "BTC", SETTINGS)
    assert coverage.halted_ms == tuple(PERP["timestamp"].dt.epoch("ms")[i] for i in (*halt, 200))
    assert coverage.bars == 400
    with pytest.raises(CoverageError, match=r"no bars for 6 hours.*max_halt_hours"):
        check_coverage(without(SPOT, *halt), PERP, "BTC", DataSettings(max_halt_hours=5))


def test_legs_that_begin_or_end_far_apart_are_refused() -> None:
    with pytest.raises(CoverageError, match="spot begins at"):
        check_coverage(SPOT[30:], PERP, "BTC", SETTINGS)
    with pytest.raises(CoverageError, match="spot ends at"):
        check_coverage(SPOT, PERP[:300], "BTC", SETTINGS)
    with pytest.raises(CoverageError, match="no hour is in both"):
        check_coverage(SPOT[:50], PERP[60:], "BTC", SETTINGS)
    with pytest.raises(CoverageError, match="spot leg holds no rows"):
        check_coverage(SPOT[:0], PERP, "BTC", SETTINGS)


def ms(row: int) -> int:
    return int(PERP["timestamp"].dt.epoch("ms")[row])


@pytest.mark.pitfall("P05")
def test_the_ledger_of_a_holed_market_names_every_row_and_raises_nothing() -> None:
    perp = nulled("mark_close", 50, 51)
    lost = pl.int_range(pl.len()).is_in([200])
    perp = without(perp.with_columns(funding_rate=pl.when(~lost).then("funding_rate")), 33, 34, 70)
    ledger = survey(without(SPOT, 10, 33), perp, "BTC", SETTINGS)
    found = [(hole.kind, hole.leg, hole.start_ms, hole.end_ms, hole.count) for hole in ledger.holes]
    assert found == [
        ("bar", "spot", ms(33), ms(34), 1),
        ("bar", "perp", ms(33), ms(35), 2),
        ("bar", "perp", ms(70), ms(71), 1),
        ("settlement", "perp", ms(192), ms(208), 1),
        ("mark", "perp", ms(50), ms(52), 2),
    ]
    assert [(gap.start_ms, gap.reason) for gap in ledger.gaps] == [
        (ms(10), "spot has no bars and the perpetual traded on: halted, or not recorded")
    ]
    assert (ledger.bars, ledger.halted_ms) == (400, (ms(10),))
    with pytest.raises(CoverageError) as caught:
        check_coverage(without(SPOT, 10, 33), perp, "BTC", SETTINGS)
    assert str(caught.value) == ledger.refusal
    for words in (
        "bars are missing at 2025-01-02 09:00; fetch",
        "bars are missing from 2025-01-02 09:00 to 2025-01-02 11:00 (2), at 2025-01-03 22:00",
        "a settlement is missing between 2025-01-09 00:00 and 2025-01-09 16:00 (1)",
        "the mark price is missing from 2025-01-03 02:00 to 2025-01-03 04:00 (2)",
    ):
        assert words in ledger.refusal
    assert ledger.words.endswith("5 holes")


def test_a_gap_that_was_recorded_gives_its_reason_and_is_no_hole() -> None:
    asked = "the venue was asked and has no bars"
    gaps = [KnownGap("BTC", "perp", ms(33), ms(36), asked), KnownGap("ETH", "perp", ms(70), ms(71), asked)]
    perp = without(PERP, 33, 34, 35)
    ledger = check_coverage(SPOT, perp, "BTC", SETTINGS, gaps=gaps)
    assert [(gap.leg, gap.start_ms, gap.end_ms, gap.count, gap.reason) for gap in ledger.gaps] == [
        ("perp", ms(33), ms(36), 3, asked)
    ]
    assert ledger.words.endswith("no perpetual in 3 (recorded gaps)")
    with pytest.raises(CoverageError, match="missing at 2025-01-03 22:00"):
        check_coverage(SPOT, without(perp, 67), "BTC", SETTINGS, gaps=gaps)
    way = r"perp has no bars for 3 hours from .*; set data\.start or data\.end around it .*max_halt_hours"
    with pytest.raises(CoverageError, match=way):
        check_coverage(SPOT, perp, "BTC", DataSettings(max_halt_hours=2), gaps=gaps)


def test_a_halt_of_spot_is_told_as_one_only_where_the_venue_was_asked() -> None:
    gaps = [KnownGap("BTC", "spot", ms(10), ms(11), HALTED)]
    ledger = check_coverage(without(SPOT, 10, 20), PERP, "BTC", SETTINGS, gaps=gaps)
    assert [(gap.start_ms, gap.reason) for gap in ledger.gaps] == [(ms(10), HALTED), (ms(20), UNRECORDED)]
    assert "no spot in 2 hours" in ledger.words


def test_settlements_that_no_schedule_explains_are_a_hole_and_not_a_crash() -> None:
    ledger = survey(SPOT, settling_every(6), "BTC", SETTINGS)
    assert [(hole.kind, hole.reason) for hole in ledger.holes] == [
        ("settlement", "no funding schedule can be read off the settlements")
    ]
    with pytest.raises(CoverageError, match="come 6 hours after the one before"):
        check_coverage(SPOT, settling_every(6), "BTC", SETTINGS)


def test_a_leg_without_rows_has_a_ledger_too() -> None:
    ledger = survey(SPOT[:0], PERP, "BTC", SETTINGS)
    assert (ledger.bars, ledger.settlements, [hole.leg for hole in ledger.holes]) == (0, 0, ["spot"])
    assert ledger.refusal.startswith(
        "BTC: the spot leg holds no rows from 2025-01-01 00:00 to 2025-01-17 16:00"
    )
    both = survey(SPOT[:0], PERP[:0], "BTC", SETTINGS)
    assert [hole.leg for hole in both.holes] == ["spot", "perp"]
    assert "the perp leg holds no rows at any time; widen data.start" in both.refusal


def test_the_funding_interval_is_told_as_it_changed() -> None:
    later = pl.int_range(pl.len()) % pl.when(pl.int_range(pl.len()) < 200).then(8).otherwise(2) == 0
    ledger = check_coverage(SPOT, PERP.with_columns(funding_rate=pl.when(later).then(1e-4)), "BTC", SETTINGS)
    assert [(s.interval_hours, s.settlements) for s in ledger.segments] == [(8, 26), (2, 99)]
    assert ledger.words.endswith("funding every 8 h, 2 h")


def resampled(table: pl.DataFrame, hours: int) -> pl.DataFrame:
    """Make hourly bars coarser: first open, highest, lowest, last of everything else; no settlements."""
    first = {
        "open": pl.first("open"),
        "high": pl.max("high"),
        "low": pl.min("low"),
        "volume": pl.sum("volume"),
    }
    last = {c: pl.last(c) for c in table.columns if c not in {*first, "timestamp", "mark_open"}}
    if "mark_open" in table.columns:
        first["mark_open"] = pl.first("mark_open")
        last["funding_rate"] = pl.lit(None, pl.Float64)
    return table.group_by_dynamic("timestamp", every=f"{hours}h").agg(**first, **last)


@pytest.mark.pitfall("P05")
def test_bars_of_a_day_are_covered_with_the_settlements_beside_them(tmp_path: Path) -> None:
    days = DataSettings(tickers=("BTC",), timeframe="1d", max_halt_hours=48)
    paid = settlements_of(PERP)
    for leg, table in (("spot", SPOT), ("perp", PERP)):
        merge_leg(tmp_path, leg, "BTC", resampled(table, 24)[:16], "1d")
    merge_settlements(tmp_path, "BTC", paid)
    (ledger,) = survey_folder(tmp_path, days)
    assert (ledger.bars, ledger.settlements, ledger.holes, ledger.gaps) == (16, 48, (), ())
    assert ledger.words.startswith("BTC: 16 bars of 1d, 48 settlements, no spot in 0 bars")
    spot, perp = (read_leg(tmp_path, leg, "BTC", timeframe="1d") for leg in ("spot", "perp"))
    with pytest.raises(
        CoverageError, match="a settlement is missing between 2025-01-03 08:00 and 2025-01-04"
    ):
        check_coverage(spot, perp, "BTC", days, settlements=without(paid, 8))
    unmarked = paid.with_columns(mark=pl.when(pl.int_range(pl.len()) != 8).then("mark"))
    with pytest.raises(CoverageError, match="the mark price is missing at 2025-01-03 16:00"):
        check_coverage(spot, perp, "BTC", days, settlements=unmarked)


def test_minutes_are_covered_like_hours() -> None:
    minutes = {
        leg: table.with_columns(
            timestamp=(pl.lit(ms(0)) + 60_000 * pl.int_range(pl.len(), dtype=pl.Int64)).cast(TIMESTAMP)
        )
        for leg, table in (("spot", SPOT), ("perp", PERP))
    }
    once = pl.int_range(pl.len()) == 0
    perp = minutes["perp"].with_columns(funding_rate=pl.when(once).then(1e-4))
    settings = DataSettings(timeframe="1m", max_halt_hours=1)
    ledger = check_coverage(without(minutes["spot"], *range(100, 160)), perp, "BTC", settings)
    assert (ledger.bars, len(ledger.halted_ms), ledger.end_ms - ledger.start_ms) == (400, 60, 400 * 60_000)
    with pytest.raises(CoverageError, match=r"no bars for 1\.01667 hours"):
        check_coverage(without(minutes["spot"], *range(100, 161)), perp, "BTC", settings)


def test_a_folder_is_surveyed_with_the_gaps_recorded_there_and_written_as_json(tmp_path: Path) -> None:
    merge_leg(tmp_path, "spot", "BTC", without(SPOT, 20))
    merge_leg(tmp_path, "perp", "BTC", without(PERP, 20, 30))
    record_gaps(tmp_path, [KnownGap("BTC", leg, ms(20), ms(21), "offline") for leg in ("spot", "perp")])
    ledgers = survey_folder(tmp_path, DataSettings(tickers=("BTC",)))
    assert [(gap.leg, gap.reason) for gap in ledgers[0].gaps] == [("spot", "offline"), ("perp", "offline")]
    write_ledger(tmp_path / "coverage.json", ledgers)
    (written,) = json.loads((tmp_path / "coverage.json").read_text())
    assert (written["bars"], written["holes"][0]["start_ms"], written["timeframe"]) == (400, ms(30), "1h")
    assert (
        written["refusal"]
        == "BTC: the perpetual's bars are missing at 2025-01-02 06:00; fetch these hours again"
    )


def test_a_coin_with_one_leg_or_with_parts_only_is_named_and_not_passed_over(tmp_path: Path) -> None:
    append_part(tmp_path, "spot", "BTC", SPOT)
    append_part(tmp_path, "perp", "BTC", PERP)
    merge_leg(tmp_path, "perp", "ETH", MARKET["perp", "BTC"])
    assert recorded_tickers(tmp_path) == ("BTC", "ETH")
    whole, half = survey_folder(tmp_path, DataSettings(tickers=recorded_tickers(tmp_path)))
    assert whole.holes == ()
    assert half.refusal.startswith("ETH: the spot leg holds no rows from 2025-01-01 00:00")
    with pytest.raises(MarketDataError, match=r"spot_SOL\.parquet is not there"):
        survey_folder(tmp_path, DataSettings(tickers=("SOL",)))


def test_a_folder_of_other_bars_than_the_settings_name_is_refused(tmp_path: Path) -> None:
    write_source(tmp_path, Source("binance", "live", ms(0), "1d"))
    with pytest.raises(SettingsError, match=r"holds bars of 1d, and data\.timeframe is 1h.*--timeframe 1d"):
        survey_folder(tmp_path, DataSettings(tickers=("BTC",)))


@pytest.mark.real
@pytest.mark.parametrize(
    ("ticker", "halted", "settlements", "unpublished"), [("BTC", 36, 6179, 2499), ("SOL", 1, 3723, 29184)]
)
def test_recorded_hours_with_their_known_gaps_are_covered(
    real_data: Path, ticker: str, halted: int, settlements: int, unpublished: int
) -> None:
    spot, perp = (
        read_leg(real_data / "crypto", "spot", ticker),
        read_leg(real_data / "crypto", "perp", ticker),
    )
    coverage = check_coverage(spot, perp, ticker, SETTINGS)
    assert len(coverage.halted_ms) == halted
    assert coverage.settlements == settlements
    assert coverage.unpublished_marks == unpublished
