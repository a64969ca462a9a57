"""What lies at the edges of a history, inside recorded gaps, and beyond the bars that are there."""

import polars as pl
import pytest

from carryflow.core.errors import CoverageError
from carryflow.market.coverage import check_coverage, survey
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

MARKET = synthetic_market(SyntheticSettings(hours=400), ["BTC"])
SPOT, PERP = MARKET["spot", "BTC"], MARKET["perp", "BTC"]
SETTINGS = DataSettings()


def without(table: pl.DataFrame, *rows: int) -> pl.DataFrame:
    return table.filter(~pl.int_range(pl.len()).is_in(list(rows)))


def settling_every(hours: int) -> pl.DataFrame:
    due = pl.int_range(pl.len()) % hours == 0
    return PERP.with_columns(funding_rate=pl.when(due).then(1e-4))


def ms(row: int) -> int:
    return int(PERP["timestamp"].dt.epoch("ms")[row])


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize(
    ("hours", "lost", "words"),
    [
        (2, [398], "between 2025-01-17 12:00 and 2025-01-17 16:00 (1); .*data.end to 2025-01-17 14:00"),
        (1, [398, 399], "between 2025-01-17 13:00 and 2025-01-17 16:00 (2)"),
        (2, [0, 2], "between 2025-01-01 00:00 and 2025-01-01 04:00 (1); .*data.start to 2025-01-01 02:00"),
        (8, [384, 392], "between 2025-01-16 16:00 and 2025-01-17 16:00 (2)"),
    ],
)
def test_a_settlement_lost_at_an_edge_is_measured_by_the_interval_in_force_there(
    hours: int, lost: list[int], words: str
) -> None:
    perp = settling_every(hours)
    gone = pl.int_range(pl.len()).is_in(lost)
    perp = perp.with_columns(funding_rate=pl.when(~gone).then("funding_rate"))
    pattern = "settlement is missing " + words.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(CoverageError, match=pattern):
        check_coverage(SPOT, perp, "BTC", SETTINGS)


@pytest.mark.parametrize("hours", [1, 2, 4, 8])
def test_a_history_may_begin_one_interval_before_its_first_settlement(hours: int) -> None:
    unpaid = settling_every(hours).with_columns(
        funding_rate=pl.when(pl.int_range(pl.len()) > 0).then("funding_rate")
    )
    assert check_coverage(SPOT, unpaid, "BTC", SETTINGS).settlements == 400 // hours - 1


@pytest.mark.pitfall("P05")
def test_what_would_have_settled_inside_a_recorded_gap_is_not_asked_for_again() -> None:
    gaps = [KnownGap("BTC", "perp", ms(199), ms(202), "offline")]
    with pytest.raises(
        CoverageError, match=r"settlement is missing .*: set data\.start or data\.end around it"
    ):
        check_coverage(SPOT, without(PERP, 199, 200, 201), "BTC", SETTINGS, gaps=gaps)


@pytest.mark.pitfall("P05")
def test_hours_that_were_asked_for_and_never_fetched_are_holes_unless_a_gap_is_recorded() -> None:
    wanted = DataSettings(start="2024-12-31T20:00:00Z", end="2025-01-17T18:00:00Z")
    ledger = survey(SPOT, PERP, "BTC", wanted)
    assert [(hole.count, hole.remedy) for hole in ledger.holes] == [
        (4, "fetch these hours, or set data.start to 2025-01-01 00:00"),
        (2, "fetch these hours, or set data.end to 2025-01-17 16:00"),
    ]
    gaps = [
        KnownGap("BTC", "spot", ms(0) - 3 * 3_600_000, ms(0), "not listed"),
        KnownGap("BTC", "perp", ms(399), ms(399) + 3 * 3_600_000, "offline"),
    ]
    told = survey(SPOT, PERP, "BTC", wanted, gaps=gaps)
    assert [(gap.count, gap.reason) for gap in told.gaps] == [(3, "not listed"), (2, "offline")]
    assert [(hole.start_ms, hole.count) for hole in told.holes] == [(ms(0) - 4 * 3_600_000, 1)]
    assert survey(SPOT, PERP, "BTC", SETTINGS).holes == ()


def test_hours_beyond_the_bars_that_both_legs_share_are_listed() -> None:
    wanted = DataSettings(start="2024-12-31T20:00:00Z", end="2025-01-17T18:00:00Z")
    ledger = check_coverage(SPOT, PERP, "BTC", wanted)
    assert [(gap.count, gap.reason) for gap in ledger.gaps] == [
        (4, "not listed yet, or not fetched"),
        (2, "not traded yet, or not fetched"),
    ]
