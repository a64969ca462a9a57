"""The newest window of each ticker, kept up bar by bar: what a feature store is to the served champion."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import MarketDataError, UnknownTickerError
from carryflow.core.leg import LEGS
from carryflow.features.frame import WARM_UP_HOURS, build_frame
from carryflow.features.sentiment import read_sentiment
from carryflow.features.spec import SENTIMENT_FEATURE, FeatureSettings, FeatureSpec
from carryflow.features.stream import FeatureStream
from carryflow.market.closed_bars import ClosedBar
from carryflow.market.data import DataSettings
from carryflow.market.gaps import read_gaps
from carryflow.market.store import read_leg
from carryflow.market.timeframe import HOUR_MS, bar_ms
from carryflow.store.online import OnlineWindow

SPARE_HOURS = 24
"""History fetched beyond what windows need, so that a halt at its beginning does no harm."""


def history_ms(spec: FeatureSpec, data: DataSettings) -> int:
    """Return how much history must be at hand before the first window is full (ms)."""
    return spec.lookback * bar_ms(data.timeframe) + (WARM_UP_HOURS + SPARE_HOURS) * HOUR_MS


@dataclass(slots=True)
class _Growing:
    """Hold one ticker's stream, the rows of its window, and when the newest of them was known."""

    stream: FeatureStream
    rows: deque[NDArray[np.float32]]
    known: dict[str, int | None]


class StreamedWindows:
    """Keep the window of each ticker, by the functions that make training's features.

    Begin with `prime`; then `push` every bar once and in order.
    """

    def __init__(self, spec: FeatureSpec, tickers: Sequence[str], data: DataSettings) -> None:
        """Begin without bars.

        Args:
            spec: the features that the policy reads.
            tickers: the coins.
            data: how long a bar is, what may be missing, and where the mood is read.

        Raises:
            SchemaMismatchError: these settings make other features than the policy reads.
            SettingsError: it reads the mood, and no series of it is given.
        """
        self.spec = spec
        self._data = data.model_copy(update={"start": None, "end": None})
        self._features = FeatureSettings(lookback=spec.lookback, names=spec.names)
        mood = data.sentiment if SENTIMENT_FEATURE in spec.names else None
        self._sentiment = None if mood is None else read_sentiment(mood)
        self._growing = {
            ticker: _Growing(
                FeatureStream(ticker, self._data, self._features, self._sentiment),
                deque(maxlen=spec.lookback),
                {},
            )
            for ticker in tickers
        }
        for growing in self._growing.values():
            spec.require(growing.stream.spec.hash, "what the stream makes")

    def prime(self, folder: Path, now_ms: int) -> int:
        """Take in the history that was fetched into a folder.

        Args:
            folder: where it is.
            now_ms: bars that close later are left out (UTC ms): a folder may know more than its venue tells.

        Returns:
            The open of the bar to be pushed next (UTC ms), the same for all tickers.

        Raises:
            CoverageError: bars, marks or settlements are missing; the rows are named.
            MarketDataError: a ticker's history ends earlier than another's, or is too short.
        """
        due = {ticker: self.prime_ticker(folder, ticker, now_ms) for ticker in self._growing}
        if len(set(due.values())) > 1:
            late = min(due, key=due.__getitem__)
            raise MarketDataError(
                f"the history of {late} ends before that of the other coins; wait until its venue trades "
                "again, or leave it out with --tickers"
            )
        return next(iter(due.values()))

    def prime_ticker(self, folder: Path, ticker: str, now_ms: int) -> int:
        """Take in one ticker's history; as `prime`."""
        growing, timeframe = self._growing[ticker], self._data.timeframe
        end_ms = now_ms // bar_ms(timeframe) * bar_ms(timeframe)
        spot, perp = (read_leg(folder, leg, ticker, None, end_ms, timeframe) for leg in LEGS)
        frame = build_frame(
            spot, perp, ticker, self._data, self._sentiment, self._features, gaps=read_gaps(folder)
        )
        if len(frame) < self.spec.lookback:
            raise MarketDataError(
                f"{ticker}: {len(frame)} bars of features, the policy looks back on {self.spec.lookback}; "
                "fetch more history"
            )
        due = growing.stream.prime(spot, perp)
        growing.rows.clear()
        self._append(growing, frame.tail(self.spec.lookback))
        return round(due.timestamp() * 1000)

    def push(self, ticker: str, bar: ClosedBar) -> None:
        """Take in the bar that has closed; raises as `FeatureStream.push` does."""
        growing = self._growing[ticker]
        row = growing.stream.push(bar.spot, bar.perp)
        if row is not None:
            self._append(growing, row)

    def read(self, ticker: str) -> OnlineWindow:
        """Give the newest window, however old.

        Raises:
            UnknownTickerError: the ticker is none of ours, or its window is not full yet.
        """
        growing = self._growing.get(ticker)
        if growing is None or len(growing.rows) < self.spec.lookback:
            raise UnknownTickerError(f"there is no window of {ticker} yet; prime it with its history")
        known = growing.known
        return OnlineWindow(
            ticker,
            np.stack(growing.rows),
            int(known["KnownAt"] or 0),
            self.spec,
            known.get("FundingKnownAt"),
            known.get("SentimentKnownAt"),
        )

    def _append(self, growing: _Growing, rows: pl.DataFrame) -> None:
        growing.rows.extend(rows.select(self.spec.published).to_numpy().astype(np.float32))
        for name in ("KnownAt", "FundingKnownAt", "SentimentKnownAt"):
            if name in rows.columns:
                growing.known[name] = rows[name].dt.epoch("ms")[-1]
