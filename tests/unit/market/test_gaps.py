from pathlib import Path

import pytest

from carryflow.core.errors import MarketDataError
from carryflow.market.gaps import KnownGap, read_gaps, record_gaps

ASKED = "the venue was asked and has no bars"


def test_gaps_that_touch_or_overlap_for_one_reason_become_one(tmp_path: Path) -> None:
    assert read_gaps(tmp_path) == []
    record_gaps(tmp_path, [KnownGap("BTC", "spot", 10, 20, ASKED), KnownGap("BTC", "spot", 40, 50, ASKED)])
    record_gaps(tmp_path, [KnownGap("BTC", "spot", 20, 30, ASKED), KnownGap("BTC", "perp", 25, 30, ASKED)])
    record_gaps(tmp_path, [KnownGap("BTC", "spot", 28, 30, "halted"), KnownGap("BTC", "spot", 12, 15, ASKED)])
    assert read_gaps(tmp_path) == [
        KnownGap("BTC", "perp", 25, 30, ASKED),
        KnownGap("BTC", "spot", 10, 30, ASKED),
        KnownGap("BTC", "spot", 28, 30, "halted"),
        KnownGap("BTC", "spot", 40, 50, ASKED),
    ]


def test_recording_what_is_known_writes_nothing(tmp_path: Path) -> None:
    record_gaps(tmp_path, [KnownGap("BTC", "spot", 10, 20, ASKED)])
    before = (tmp_path / "gaps.json").stat().st_ino
    record_gaps(tmp_path, [KnownGap("BTC", "spot", 12, 18, ASKED)])
    assert (tmp_path / "gaps.json").stat().st_ino == before
    record_gaps(tmp_path, [])
    assert len(read_gaps(tmp_path)) == 1


def test_an_empty_gap_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match="must end after its start"):
        record_gaps(tmp_path, [KnownGap("BTC", "spot", 20, 20, ASKED)])
    assert not list(tmp_path.iterdir())
    for broken in ('[{"ticker": "BTC"}]', "[{"):
        (tmp_path / "gaps.json").write_text(broken)
        with pytest.raises(MarketDataError, match=r"gaps\.json cannot be read"):
            read_gaps(tmp_path)
