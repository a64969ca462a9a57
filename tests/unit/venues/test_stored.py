"""What a fetch asks for, given what is on disk."""

from pathlib import Path

import polars as pl
import pytest

from carryflow.market.gaps import KnownGap, record_gaps
from carryflow.market.schema import BAR_MS
from carryflow.market.store import merge_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.venues.stored import NO_BARS, StoredTicker

PERP = synthetic_market(SyntheticSettings(hours=100), ("BTC",))["perp", "BTC"]
T0 = int(PERP["timestamp"].dt.epoch("ms")[0])


def at(hour: int) -> int:
    return T0 + hour * BAR_MS


WANTED = (at(0), at(100))


def stored(folder: Path, *unsettled_hours: int) -> StoredTicker:
    """A ticker whose perpetual is on disk, but for what settled at some hours."""
    gone = pl.int_range(pl.len()).is_in(unsettled_hours)
    rows = PERP.with_columns(funding_rate=pl.when(~gone).then("funding_rate"))
    merge_leg(folder, "perp", "BTC", rows)
    return StoredTicker(folder, "BTC", "1h", max_halt_hours=24)


@pytest.mark.pitfall("P05")
def test_settlements_missing_before_the_first_one_are_asked_for_again(tmp_path: Path) -> None:
    assert stored(tmp_path / "whole").unsettled(WANTED, []) == [(at(96) + 1, at(100))]
    headless = stored(tmp_path / "headless", 0, 8, 16)
    assert headless.unsettled(WANTED, []) == [(at(0), at(24)), (at(96) + 1, at(100))]


@pytest.mark.pitfall("P05")
def test_where_no_schedule_can_be_read_everything_is_asked_for_again(tmp_path: Path) -> None:
    every_other = stored(tmp_path, *range(8, 100, 16))
    assert every_other.unsettled(WANTED, []) == [WANTED]


def test_a_known_gap_is_asked_for_again_only_if_it_is_too_long_to_be_borne(tmp_path: Path) -> None:
    record_gaps(tmp_path, [KnownGap("BTC", "spot", at(a), at(b), NO_BARS) for a, b in ((10, 34), (50, 75))])
    empty = StoredTicker(tmp_path, "BTC", "1h", max_halt_hours=24)
    assert empty.missing("spot", WANTED) == [(at(0), at(10)), (at(34), at(100))]
