"""From the market's files to the unified frame on disk, with a card that says what it was made of."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError
from carryflow.features.frame import build_frame
from carryflow.features.sentiment import read_sentiment
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.store import market_version, read_leg

TABLE = "frame.parquet"
CARD = "frame.json"


@dataclass(frozen=True, slots=True)
class UnifiedFrame:
    """Hold the unified frame of all tickers, its feature spec, and the hash of the market behind it."""

    table: pl.DataFrame
    spec: FeatureSpec
    market_version: str


def build_features(
    data_dir: Path, processed_dir: Path, data: DataSettings, features: FeatureSettings
) -> Path:
    """Build the unified frame of every ticker and write it to `processed_dir/frame.parquet`.

    Returns:
        The path of the frame; `frame.json` beside it holds the spec and the market's version.

    Raises:
        MarketDataError: a leg is not there or cannot be used.
        CoverageError: bars, marks, settlements or sentiment are missing; the rows are named.

    """
    sentiment = read_sentiment(data.sentiment) if data.sentiment else None
    spec = FeatureSpec.of(features, sentiment=sentiment is not None)
    start_ms = to_ms(data.start) if data.start else None
    end_ms = to_ms(data.end) if data.end else None
    frames = []
    for ticker in data.tickers:
        spot = read_leg(data_dir, "spot", ticker, start_ms, end_ms)
        perp = read_leg(data_dir, "perp", ticker, start_ms, end_ms)
        frames.append(build_frame(spot, perp, ticker, data, sentiment))
    table = pl.concat(frames).sort("Ticker", "Date")
    frame = UnifiedFrame(table, spec, market_version(data_dir, data.tickers, data.sentiment))
    return write_frame(frame, processed_dir)


def write_frame(frame: UnifiedFrame, processed_dir: Path) -> Path:
    """Write table and card so that a reader sees both or none, and give the table's path."""
    processed_dir.mkdir(parents=True, exist_ok=True)
    path = processed_dir / TABLE
    card = {
        "spec": json.loads(frame.spec.to_json()),
        "spec_hash": frame.spec.hash,
        "market_version": frame.market_version,
        "tickers": frame.table["Ticker"].unique().sort().to_list(),
    }
    (processed_dir / CARD).unlink(missing_ok=True)
    with write_atomically(path) as temporary:
        frame.table.write_parquet(temporary)
    with write_atomically(processed_dir / CARD) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")
    return path


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
