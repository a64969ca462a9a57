"""Hours that a venue was asked for and has nothing in: known, with a reason, and not asked for again."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError
from carryflow.core.leg import Leg


@dataclass(frozen=True, slots=True, order=True)
class KnownGap:
    """Name the range [start_ms, end_ms) of one leg in which the venue has no bars, and why."""

    ticker: str
    leg: Leg
    start_ms: int
    end_ms: int
    reason: str


def read_gaps(data_dir: Path) -> list[KnownGap]:
    """Return the known gaps of a folder, in order; none for a folder in which nothing was recorded.

    Raises:
        MarketDataError: the file is not as `record_gaps` writes it.
    """
    path = data_dir / "gaps.json"
    if not path.is_file():
        return []
    try:
        return [KnownGap(**gap) for gap in json.loads(path.read_text())]
    except (ValueError, TypeError) as problem:
        raise MarketDataError(f"{path} cannot be read ({problem}); remove it and fetch again") from None


def record_gaps(data_dir: Path, gaps: Iterable[KnownGap]) -> None:
    """Add gaps to those known, atomically; ranges that touch or overlap for the same reason become one.

    Raises:
        MarketDataError: a gap is empty.
    """
    known, fresh = read_gaps(data_dir), list(gaps)
    for gap in fresh:
        if gap.start_ms >= gap.end_ms:
            raise MarketDataError(f"a gap must end after its start, was {gap}")
    joined = _join([*known, *fresh])
    if joined != known:
        with write_atomically(data_dir / "gaps.json") as temporary:
            temporary.write_text(json.dumps([asdict(gap) for gap in joined], indent=1) + "\n")


def _join(gaps: list[KnownGap]) -> list[KnownGap]:
    joined: list[KnownGap] = []
    for (ticker, leg, reason), group in groupby(
        sorted(gaps, key=lambda gap: (gap.ticker, gap.leg, gap.reason, gap.start_ms)),
        key=lambda gap: (gap.ticker, gap.leg, gap.reason),
    ):
        start, end = 0, -1
        for gap in group:
            if end < 0:
                start, end = gap.start_ms, gap.end_ms
            elif gap.start_ms <= end:
                end = max(end, gap.end_ms)
            else:
                joined.append(KnownGap(ticker, leg, start, end, reason))
                start, end = gap.start_ms, gap.end_ms
        joined.append(KnownGap(ticker, leg, start, end, reason))
    return sorted(joined)
