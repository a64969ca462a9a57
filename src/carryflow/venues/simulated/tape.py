"""The hours that the simulated exchange plays: recorded ones, or a synthetic market."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.coins import COINS, require_known
from carryflow.market.data import to_ms
from carryflow.market.leg_files import recorded_legs
from carryflow.market.store import read_leg, read_source
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.market.timeframe import HOUR_MS, bar_ms, holds_settlements


@dataclass(frozen=True, slots=True)
class Tape:
    """Hold the tables of a market and the name by which its hours are known.

    `end_ms` is the close of the last bar: the venue's clock stands there unless it is set otherwise. Every
    coin is priced in `quote`, and every bar is `bar_ms` long, an hour at most.
    """

    tape_id: str
    tables: Mapping[tuple[Leg, str], pl.DataFrame]
    end_ms: int
    quote: str = "USDT"
    bar_ms: int = HOUR_MS

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

    Without `tickers`: every coin that has both legs there. Bars are as long as the folder's `source.json`
    says, an hour where there is none.

    Raises:
        MarketDataError: there is no such folder, it holds no coin with both legs, a leg that is wanted is
            broken, its bars are longer than an hour, or there are no rows in these hours.
        UnknownTickerError: a ticker that was asked for is not there.
    """
    if not directory.is_dir():
        raise MarketDataError(
            f"no tape at {directory}: no such folder; name one that holds spot_*.parquet, perp_*.parquet"
        )
    legs = recorded_legs(directory)
    recorded = {ticker for ticker, there in legs.items() if there == LEGS}
    if not recorded:
        raise MarketDataError(
            f"no tape at {directory}: no coin there has both spot_*.parquet and perp_*.parquet"
        )
    wanted = sorted(recorded) if tickers is None else list(tickers)
    for ticker in sorted(set(wanted) & legs.keys() - recorded):
        raise MarketDataError(
            f"the tape {directory} holds only the {legs[ticker][0]} leg of {ticker}, and a tape plays both; "
            "fetch the other one too, or leave the coin out"
        )
    require_known(wanted, recorded, f"the tape {directory}")
    source = read_source(directory)
    timeframe = "1h" if source is None else source.timeframe
    if not holds_settlements(timeframe):
        raise MarketDataError(
            f"the tape {directory} holds bars of {timeframe}; the exchange plays bars of an hour at most"
        )
    start_ms, end_ms = (None if moment is None else to_ms(moment) for moment in (start, end))
    tables = {
        (leg, t): read_leg(directory, leg, t, start_ms, end_ms, timeframe) for t in wanted for leg in LEGS
    }
    full = {t for t in wanted if all(len(tables[leg, t]) for leg in LEGS)}
    empty = sorted(set(wanted) - full)
    if not full or (tickers is not None and empty):
        raise MarketDataError(
            f"the tape {directory} holds no hours of {', '.join(empty)} between {start} and {end}"
        )
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]
    played = {key: table for key, table in tables.items() if key[1] in full}
    return _tape(f"recorded-{name}", played, bar_ms(timeframe))


def synthetic_tape(settings: SyntheticSettings, tickers: Sequence[str] | None = None) -> Tape:
    """Draw the synthetic market; the tape's name changes with its settings, not with the coins asked for.

    Raises:
        UnknownTickerError: a ticker is not one of the synthetic coins.
    """
    name = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:8]
    return _tape(f"synthetic-{name}", synthetic_market(settings, tickers or tuple(COINS)))


def _tape(tape_id: str, tables: Mapping[tuple[Leg, str], pl.DataFrame], length_ms: int = HOUR_MS) -> Tape:
    last = max(int(table["timestamp"].dt.epoch("ms")[-1]) for table in tables.values())
    return Tape(tape_id, tables, last + length_ms, bar_ms=length_ms)
