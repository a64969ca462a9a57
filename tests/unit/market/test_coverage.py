from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError
from carryflow.market.coverage import check_coverage
from carryflow.market.data import DataSettings
from carryflow.market.store import read_leg
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
    with pytest.raises(CoverageError, match=r"95 more.*data\.mark=perp"):
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
