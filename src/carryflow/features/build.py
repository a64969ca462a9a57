"""From the market's files to the unified frame on disk, with a card that says what it was made of.

Each ticker is a partition: computed by one function that knows nothing of the others, on this machine or on
any that sees the same folders, and written beside them before the partitions are joined, one after the other.
Memory holds one ticker at a time, whatever their number.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError
from carryflow.core.instrument import ContractType
from carryflow.core.leg import LEGS
from carryflow.features.alignment import feature_bar_ms
from carryflow.features.frame import build_frame
from carryflow.features.sentiment import read_sentiment
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.contracts import ContractTerms, contract_at, read_contracts
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.gaps import read_gaps
from carryflow.market.parquet import write_table
from carryflow.market.store import market_version, read_leg

TABLE = "frame.parquet"
CARD = "frame.json"

ORDER_SIZES = ("SpotLot", "PerpLot", "MinNotional")
"""Columns of the frame that come from the venue's terms and not from its bars."""

Each = Callable[[Callable[[str], str], Sequence[str]], Iterable[str]]
"""Applies a function to each ticker, in order, wherever it likes: `map`, or one that asks a cluster."""


@dataclass(frozen=True, slots=True)
class UnifiedFrame:
    """Hold the unified frame of all tickers, its feature spec, and the hash of the market behind it."""

    table: pl.DataFrame
    spec: FeatureSpec
    market_version: str

    @property
    def bar_ms(self) -> int:
        """Give the length of a bar (milliseconds)."""
        length: int = self.table.select((pl.col("KnownAt") - pl.col("Date")).dt.total_milliseconds())[0, 0]
        return length


def build_features(
    data_dir: Path,
    processed_dir: Path,
    data: DataSettings,
    features: FeatureSettings,
    each: Each = map,
    version: str | None = None,
) -> Path:
    """Build the unified frame of every ticker and write it to `processed_dir/frame.parquet`.

    Args:
        data_dir: folder of the market's files, with bars of `data.timeframe`.
        processed_dir: folder of the frame; with a cluster, one that its machines share.
        data: which tickers and hours, and what may be missing.
        features: which features.
        each: applies the partition's function to the tickers; the frame is the same whoever does.
        version: version of the market that the frame is wanted of; None takes what is there.

    Returns:
        The path of the frame; `frame.json` beside it holds the spec and the market's version.

    Raises:
        MarketDataError: a leg is not there or cannot be used, and the ticker is named; the market is of
            another version, or became so meanwhile.
        CoverageError: bars, marks, settlements or sentiment are missing; the rows are named.
        SettingsError: the bars are longer than an hour, or sentiment is chosen and no series is given.

    """
    length_ms = feature_bar_ms(data.timeframe)
    spec = FeatureSpec.of(features, sentiment=data.sentiment is not None, timeframe=data.timeframe)
    read_version = partial(
        market_version,
        data_dir,
        data.tickers,
        data.sentiment and data.sentiment.absolute(),
        data.timeframe,
        to_ms(data.end) if data.end else None,
    )
    version = version or read_version()
    processed_dir.mkdir(parents=True, exist_ok=True)
    # Whoever computes a partition may stand in another folder.
    if data.sentiment is not None:
        data = data.model_copy(update={"sentiment": data.sentiment.absolute()})
    with TemporaryDirectory(prefix="partitions-", dir=processed_dir.absolute()) as folder:
        one = partial(
            build_partition, data_dir=data_dir.absolute(), out_dir=Path(folder), data=data, features=features
        )
        partitions = list(each(one, sorted(data.tickers)))
        if (found := read_version()) != version:
            raise MarketDataError(
                f"{data_dir} holds market {found}, and the frame is to be of {version}: rows were corrected "
                "in between; fetch and build again"
            )
        card = _card(spec, version, sorted(data.tickers), length_ms)
        return _publish(processed_dir, card, lambda path: pl.scan_parquet(partitions).sink_parquet(path))


def build_partition(
    ticker: str, *, data_dir: Path, out_dir: Path, data: DataSettings, features: FeatureSettings
) -> str:
    """Build the unified frame of one ticker, write it to `out_dir/{ticker}.parquet`, and give that path.

    Raises:
        MarketDataError, CoverageError, SettingsError: as `build_features` does.

    """
    start_ms = to_ms(data.start) if data.start else None
    end_ms = to_ms(data.end) if data.end else None
    spot = read_leg(data_dir, "spot", ticker, start_ms, end_ms, data.timeframe)
    perp = read_leg(data_dir, "perp", ticker, start_ms, end_ms, data.timeframe)
    sentiment = read_sentiment(data.sentiment) if data.sentiment else None
    path = out_dir / f"{ticker}.parquet"
    frame = build_frame(spot, perp, ticker, data, sentiment, features, gaps=read_gaps(data_dir))
    write_table(with_order_sizes(frame, read_contracts(data_dir), ticker), path)
    return str(path)


def with_order_sizes(frame: pl.DataFrame, terms: Sequence[ContractTerms], ticker: str) -> pl.DataFrame:
    """Put beside each row how finely one may order: SpotLot, PerpLot (base coin) and MinNotional (quote).

    They are the terms in force at KnownAt (`market.contracts.contract_at`), null where none were recorded.

    Raises:
        MarketDataError: several linear contracts serve one leg.

    """
    terms = [
        entry
        for entry in terms
        if entry.instrument.ticker == ticker and entry.instrument.type is not ContractType.INVERSE
    ]
    if {entry.leg for entry in terms} != set(LEGS):
        return frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ORDER_SIZES)
    stamps = sorted({entry.known_at_ms for entry in terms})
    sizes = [_order_sizes(terms, ticker, at_ms) for at_ms in stamps]
    # what was said first stands in for the time before
    since = pl.Series("KnownAt", [0, *stamps[1:]]).cast(pl.Datetime("ms", "UTC"))
    table = pl.DataFrame(sizes, schema=ORDER_SIZES, orient="row").with_columns(
        since.cast(frame.schema["KnownAt"]).set_sorted()
    )
    return frame.join_asof(table, on="KnownAt")


def _order_sizes(terms: Sequence[ContractTerms], ticker: str, at_ms: int) -> tuple[float, float, float]:
    spot, perp = (contract_at(terms, leg, ticker, at_ms).instrument for leg in LEGS)
    return (
        float(spot.lot),
        float(perp.lot * perp.contract_size),
        float(max(spot.min_notional, perp.min_notional)),
    )


def write_frame(frame: UnifiedFrame, processed_dir: Path) -> Path:
    """Write table and card so that a reader sees both or none, and give the table's path."""
    processed_dir.mkdir(parents=True, exist_ok=True)
    tickers = frame.table["Ticker"].unique().sort().to_list()
    card = _card(frame.spec, frame.market_version, tickers, frame.bar_ms)
    return _publish(processed_dir, card, frame.table.write_parquet)


def read_frame(processed_dir: Path) -> UnifiedFrame:
    """Read what `write_frame` wrote.

    Raises:
        MarketDataError: there is no frame, or its writing was cut short.
        SchemaMismatchError: the card names a spec whose hash is not the one stored.

    """
    spec = read_spec(processed_dir)
    card = json.loads((processed_dir / CARD).read_text())
    return UnifiedFrame(pl.read_parquet(processed_dir / TABLE), spec, card["market_version"])


def read_spec(processed_dir: Path) -> FeatureSpec:
    """Read only the feature spec of a frame; raises as `read_frame` does."""
    path = processed_dir / CARD
    if not path.is_file():
        raise MarketDataError(f"no unified frame in {processed_dir}: {CARD} is not there; build the features")
    card = json.loads(path.read_text())
    spec = FeatureSpec.from_json(json.dumps(card["spec"]))
    spec.require(card["spec_hash"], str(path))
    return spec


def _card(spec: FeatureSpec, version: str, tickers: list[str], length_ms: int) -> dict[str, Any]:
    return {
        "spec": json.loads(spec.to_json()),
        "spec_hash": spec.hash,
        "market_version": version,
        "tickers": tickers,
        "bar_ms": length_ms,
    }


def _publish(processed_dir: Path, card: dict[str, Any], write: Callable[[Path], None]) -> Path:
    """Let `write` make the table, and put the card beside it once it is there."""
    path = processed_dir / TABLE
    with write_atomically(path) as temporary:
        write(temporary)
        # A card never stands beside a table that it does not describe: it goes first and comes last.
        (processed_dir / CARD).unlink(missing_ok=True)
    with write_atomically(processed_dir / CARD) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")
    return path
