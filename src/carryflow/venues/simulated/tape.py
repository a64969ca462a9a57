"""The hours that the simulated exchange plays: recorded ones, or a synthetic market."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.market.coins import COINS, require_known
from carryflow.market.data import to_ms
from carryflow.market.schema import BAR_MS, LEGS, Leg
from carryflow.market.store import leg_path, read_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market


@dataclass(frozen=True, slots=True)
class Tape:
    """Hold the tables of a market and the name by which its hours are known.

    `end_ms` is the close of the last bar: the venue's clock stands there unless it is set otherwise. Every
    coin is priced in `quote`.
    """

    tape_id: str
    tables: Mapping[tuple[Leg, str], pl.DataFrame]
    end_ms: int
    quote: str = "USDT"

    @property
    def tickers(self) -> tuple[str, ...]:
        """Return the coins on the tape, in alphabetical order."""
        return tuple(sorted({ticker for _, ticker in self.tables}))


def load_tape(
    directory: Path,
    tickers: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Tape:
    """Load recorded hours, `spot_*.parquet` and `perp_*.parquet`, of a folder from start to before end.

    Without `tickers`: every coin that has both legs there.

    Raises:
        MarketDataError: there is no such folder, it holds no coin with both legs, or no rows in these hours.
        UnknownTickerError: a ticker that was asked for is not there.
    """
    if not directory.is_dir():
        raise MarketDataError(
            f"no tape at {directory}: no such folder; name one that holds spot_*.parquet, perp_*.parquet"
        )
    recorded = {p.stem.removeprefix("spot_") for p in directory.glob("spot_*.parquet")}
    recorded = {t for t in recorded if leg_path(directory, "perp", t).is_file()}
    if not recorded:
        raise MarketDataError(
            f"no tape at {directory}: no coin there has both spot_*.parquet and perp_*.parquet"
        )
    wanted = sorted(recorded) if tickers is None else list(tickers)
    require_known(wanted, recorded, f"the tape {directory}")
    edges = [None if moment is None else to_ms(moment) for moment in (start, end)]
    tables = {(leg, t): read_leg(directory, leg, t, *edges) for t in wanted for leg in LEGS}
    full = {t for t in wanted if all(len(tables[leg, t]) for leg in LEGS)}
    empty = sorted(set(wanted) - full)
    if not full or (tickers is not None and empty):
        raise MarketDataError(
            f"the tape {directory} holds no hours of {', '.join(empty)} between {start} and {end}"
        )
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]
    return _tape(f"recorded-{name}", {key: table for key, table in tables.items() if key[1] in full})


def synthetic_tape(settings: SyntheticSettings, tickers: Sequence[str] | None = None) -> Tape:
    """Draw the synthetic market; the tape's name changes with its settings, not with the coins asked for.

    Raises:
        UnknownTickerError: a ticker is not one of the synthetic coins.
    """
    name = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:8]
    return _tape(f"synthetic-{name}", synthetic_market(settings, tickers or tuple(COINS)))


def _tape(tape_id: str, tables: Mapping[tuple[Leg, str], pl.DataFrame]) -> Tape:
    last = max(int(table["timestamp"].dt.epoch("ms")[-1]) for table in tables.values())
    return Tape(tape_id, tables, last + BAR_MS)
