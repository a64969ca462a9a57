"""Blocks are appended whole and folded in once; a process that dies anywhere loses and doubles nothing."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.market.leg_files import leg_path, part_folder, pending_parts
from carryflow.market.parts import append_part, compact
from carryflow.market.schema import BOOK_COLUMNS
from carryflow.market.store import merge_leg, read_leg, stored_runs
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

SPOT = synthetic_market(SyntheticSettings(hours=60), ["BTC"])["spot", "BTC"]
HOUR_MS = 3_600_000

DYING_WRITER = """
import os, signal, sys
from pathlib import Path
from carryflow.market.parquet import read_table
from carryflow.market.parts import append_part, compact

root, left = Path(sys.argv[1]), 0

def count(event, arguments):
    global left
    if event in ("os.rename", "os.remove"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
for point in range(1, 100):
    if not (child := os.fork()):
        data, blocks = root / str(point), read_table(root / "blocks.parquet")
        data.mkdir()
        left = point
        for first, last in ((20, 40), (35, 60), (0, 20)):
            append_part(data, "spot", "BTC", blocks[first:last])
            with open(data / "appended", "a") as log:
                log.write(f"{first} {last}\\n")
            if last != 40:
                compact(data, "spot", "BTC")
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of writers that were killed just before each file was moved or removed; the last one lived."""
    root = tmp_path_factory.mktemp("killed")
    SPOT.write_parquet(root / "blocks.parquet")
    subprocess.run([sys.executable, "-c", DYING_WRITER, str(root)], check=True, timeout=60)
    return sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: int(path.name))


def test_a_writer_killed_at_any_point_loses_nothing_and_doubles_nothing(killed: list[Path]) -> None:
    assert len(killed) > 12
    for data in killed:
        log = data / "appended"
        blocks = [line.split() for line in log.read_text().splitlines()] if log.is_file() else []
        due = {row for first, last in blocks for row in range(int(first), int(last))}
        if due:
            there = read_leg(data, "spot", "BTC")
            assert len(there) >= len(due), data.name
            assert there["timestamp"].is_unique().all()
            assert there.join(SPOT, on=SPOT.columns, how="anti", nulls_equal=True).is_empty()
            assert SPOT[sorted(due)].join(there, on="timestamp", how="anti").is_empty()
        for first, last in ((20, 40), (35, 60), (0, 20)):
            append_part(data, "spot", "BTC", SPOT[first:last])
        compact(data, "spot", "BTC")
        assert read_leg(data, "spot", "BTC").equals(SPOT)
        log.unlink(missing_ok=True)
        assert sorted(path.name for path in data.iterdir()) == ["parts", "spot_BTC.parquet"]
        assert not list(part_folder(data, "spot", "BTC").iterdir()), "nothing unfinished stays"


def test_appended_rows_are_read_before_they_are_folded_in(tmp_path: Path) -> None:
    assert compact(tmp_path, "spot", "BTC") == 0
    merge_leg(tmp_path, "spot", "BTC", SPOT[:20])
    append_part(tmp_path, "spot", "BTC", SPOT[20:40])
    append_part(tmp_path, "spot", "BTC", SPOT[38:60])
    append_part(tmp_path, "spot", "BTC", SPOT[:0])
    assert len(pending_parts(tmp_path, "spot", "BTC")) == 2
    assert read_leg(tmp_path, "spot", "BTC").equals(SPOT)
    before = leg_path(tmp_path, "spot", "BTC").read_bytes()
    assert compact(tmp_path, "spot", "BTC") == 40
    assert leg_path(tmp_path, "spot", "BTC").read_bytes() != before
    assert read_leg(tmp_path, "spot", "BTC").equals(SPOT)
    assert compact(tmp_path, "spot", "BTC") == 0


def test_of_two_parts_the_one_written_later_wins_and_a_recorded_book_stays(tmp_path: Path) -> None:
    append_part(tmp_path, "spot", "BTC", SPOT[10:30])
    later = SPOT[5:20].with_columns(volume=pl.col("volume") + 1).drop(BOOK_COLUMNS)
    append_part(tmp_path, "spot", "BTC", later)
    expected = SPOT[5:30].with_columns(
        volume=pl.col("volume") + (pl.int_range(pl.len()) < 15).cast(pl.Float64)
    )
    unwatched = pl.int_range(pl.len()) < 5
    expected = expected.with_columns(pl.when(~unwatched).then(c).alias(c) for c in BOOK_COLUMNS)
    assert read_leg(tmp_path, "spot", "BTC").equals(expected)
    append_part(tmp_path, "spot", "BTC", SPOT[10:30].drop(BOOK_COLUMNS))  # the first part once more
    assert read_leg(tmp_path, "spot", "BTC")["bid"].equals(expected["bid"])


def test_merging_folds_the_parts_in_first_so_that_the_newest_rows_win(tmp_path: Path) -> None:
    append_part(tmp_path, "spot", "BTC", SPOT[:30].with_columns(volume=pl.lit(1.0)))
    assert merge_leg(tmp_path, "spot", "BTC", SPOT[20:40]) == 10
    assert pending_parts(tmp_path, "spot", "BTC") == []
    assert read_leg(tmp_path, "spot", "BTC")[20:].equals(SPOT[20:40])


def test_parts_that_outlived_their_folding_do_not_win_over_newer_rows(tmp_path: Path) -> None:
    append_part(tmp_path, "spot", "BTC", SPOT[:30].with_columns(volume=pl.lit(1.0)))
    (part,) = pending_parts(tmp_path, "spot", "BTC")
    left_over = part.read_bytes()
    merge_leg(tmp_path, "spot", "BTC", SPOT[:40])
    part.write_bytes(left_over)  # as if the merge had died before it removed the part
    assert read_leg(tmp_path, "spot", "BTC").equals(SPOT[:40])
    append_part(tmp_path, "spot", "BTC", SPOT[20:60].with_columns(volume=pl.lit(2.0)))
    assert len(list(part.parent.iterdir())) == 2
    assert read_leg(tmp_path, "spot", "BTC")["volume"].to_list() == [*SPOT["volume"][:20], *[2.0] * 40]
    assert compact(tmp_path, "spot", "BTC") == 20
    part.write_bytes(left_over)
    assert read_leg(tmp_path, "spot", "BTC")["volume"].to_list() == [*SPOT["volume"][:20], *[2.0] * 40]
    assert compact(tmp_path, "spot", "BTC") == 0
    assert list(part.parent.iterdir()) == []


def test_the_runs_of_what_is_stored_name_the_first_and_the_last_bar_of_each(tmp_path: Path) -> None:
    assert stored_runs(tmp_path, "spot", "BTC") == []
    merge_leg(tmp_path, "spot", "BTC", pl.concat([SPOT[:10], SPOT[12:13], SPOT[20:30]]))
    append_part(tmp_path, "spot", "BTC", SPOT[30:35])
    first = int(SPOT["timestamp"].dt.epoch("ms")[0])
    runs = [((a - first) // HOUR_MS, (b - first) // HOUR_MS) for a, b in stored_runs(tmp_path, "spot", "BTC")]
    assert runs == [(0, 9), (12, 12), (20, 34)]


def test_a_part_that_is_broken_is_an_error_that_names_it(tmp_path: Path) -> None:
    append_part(tmp_path, "spot", "BTC", SPOT)
    (part,) = pending_parts(tmp_path, "spot", "BTC")
    part.write_bytes(part.read_bytes()[:-100])
    for read in (lambda: read_leg(tmp_path, "spot", "BTC"), lambda: compact(tmp_path, "spot", "BTC")):
        with pytest.raises(MarketDataError, match=rf"{part}.* put it back, or remove it"):
            read()
