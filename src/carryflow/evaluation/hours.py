"""Recorded hours as tapes, for a backtest outside of the weekly loop: from a folder's files to a market."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.core.funding import name_instants
from carryflow.env.tape import MarketTape, tape_of_rows
from carryflow.evaluation.baselines import CARRY_FEATURE
from carryflow.features.alignment import align_legs
from carryflow.features.build import with_order_sizes
from carryflow.features.frame import DAY_HOURS, WARM_UP_HOURS, build_frame
from carryflow.features.scaling import Scaler
from carryflow.features.sentiment import read_sentiment
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.contracts import read_contracts
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.gaps import read_gaps
from carryflow.market.leg_files import recorded_tickers
from carryflow.market.store import read_leg
from carryflow.market.timeframe import HOUR_MS, bar_ms

PRICES = FeatureSpec(names=("spot_return",), lookback=1)
"""What a policy sees that looks at nothing: one number a bar, always 0."""

CARRY = FeatureSpec(names=(CARRY_FEATURE,), lookback=1)
"""What the threshold policy needs: the trailing carry, as it is."""

AS_IT_IS = Scaler(center=(0.0,), scale=(1.0,), clip=1e9)
"""Leaves a single feature in its own unit."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """Say what a policy sees: which features, and what they are scaled with; None: nothing but prices."""

    spec: FeatureSpec
    scaler: Scaler | None


class Hours(NamedTuple):
    """Hold tapes that share their decisions, one a ticker, and whose recording bounds them."""

    tapes: list[MarketTape]
    last_to_begin: str
    first_to_end: str


def read_hours(folder: Path, data: DataSettings, eyes: Eyes) -> Hours:
    """Read the hours of some tickers as tapes that share their decisions.

    Hours before `data.start` are read too where they are recorded: they feed the features of the first
    decisions, and nothing is decided there. Where there are none, the first decision comes when the features
    are full; a policy that sees nothing begins with the first bar.

    Args:
        folder: folder of spot_SOL.parquet, perp_SOL.parquet and the like.
        data: which tickers and hours; `start` is the first decision wanted, `end` lies after the last.
        eyes: what the policy sees.

    Returns:
        The tapes, cut to the decisions that all of them have in [start, end).

    Raises:
        MarketDataError: there is no such folder, ticker or hour, or the tickers have no hours in common.
        CoverageError: bars, marks, settlements or sentiment are missing; the rows are named.

    """
    recorded = recorded_tickers(folder)
    for ticker in data.tickers:
        if ticker not in recorded:
            meant = f"did you mean {ticker.upper()}?" if ticker.upper() in recorded else "choose one of them"
            raise MarketDataError(
                f"{folder} holds no hours of {ticker}; it holds {', '.join(recorded)}: {meant}"
            )
    tapes = [_read_tape(folder, ticker, data, eyes) for ticker in data.tickers]
    begins = {tape.ticker: int(tape.decision_ms[tape.first]) for tape in tapes}
    ends = {tape.ticker: int(tape.decision_ms[-1]) for tape in tapes}
    last_to_begin, first_to_end = max(begins, key=begins.__getitem__), min(ends, key=ends.__getitem__)
    start_ms = max(0 if data.start is None else to_ms(data.start), begins[last_to_begin])
    end_ms = ends[first_to_end]
    if end_ms <= start_ms:
        start, end = (name_instants(np.array([instant])) for instant in (start_ms, end_ms))
        raise MarketDataError(
            f"{last_to_begin} can be traded from {start} on, {first_to_end} until {end}: a backtest needs "
            "hours that all coins have; choose other --since and --until, or leave a coin out"
        )
    tapes = [tape.slice(start_ms, end_ms + 1) for tape in tapes]
    return Hours(tapes, last_to_begin, first_to_end)


def _read_tape(folder: Path, ticker: str, data: DataSettings, eyes: Eyes) -> MarketTape:
    """Read one ticker's hours up to the end, with the history that its features need."""
    start_ms = end_ms = None
    if data.start is not None:
        history = eyes.spec.lookback * bar_ms(data.timeframe) + WARM_UP_HOURS * HOUR_MS
        start_ms = to_ms(data.start) - history
    if data.end is not None:  # a decision is known at its bar's close
        end_ms = to_ms(data.end) - bar_ms(data.timeframe)
    spot = read_leg(folder, "spot", ticker, start_ms, end_ms, data.timeframe)
    perp = read_leg(folder, "perp", ticker, start_ms, end_ms, data.timeframe)
    if min(len(spot), len(perp)) < 2:
        raise MarketDataError(
            f"{ticker}: {folder} holds {min(len(spot), len(perp))} bars of these hours, a backtest needs "
            "some more; see `carryflow data check` for what is there, and choose other --since and --until"
        )
    all_hours = data.model_copy(update={"start": None, "end": None})
    gaps = read_gaps(folder)
    if eyes.scaler is None:
        hours = align_legs(spot, perp, ticker, all_hours, gaps=gaps)
        rows = hours.table.with_columns(
            pl.Series(f"{leg}Turnover", hours.mean(hours[column], DAY_HOURS) * hours.bars(1))
            for leg, column in (("Spot", "spot_quote_volume"), ("Perp", "perp_quote_volume"))
        )
        features = np.zeros((len(rows), 1), np.float32)
    else:
        sentiment = read_sentiment(data.sentiment) if data.sentiment else None
        chosen = FeatureSettings(lookback=max(eyes.spec.lookback, 2), names=eyes.spec.names)
        rows = build_frame(spot, perp, ticker, all_hours, sentiment, chosen, gaps=gaps)
        features = eyes.scaler.transform(rows.select(eyes.spec.published).to_numpy(order="c"))
    return tape_of_rows(with_order_sizes(rows, read_contracts(folder), ticker), ticker, features, eyes.spec)
