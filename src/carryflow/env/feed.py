"""Market rows one at a time, as they become known: from a recorded tape, or from bars as they close."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError
from carryflow.core.funding import name_instants, settlement_cash_per_base
from carryflow.core.instrument import ContractType
from carryflow.env.liquidity import Liquidity, PairLots, liquidity_of
from carryflow.env.tape import MarketTape
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSpec
from carryflow.features.stream import FeatureStream
from carryflow.market.closed_bars import ClosedBar, Settlement


@dataclass(frozen=True, slots=True, eq=False)
class FeedRow:
    """Hold what became known at one decision: a row of `MarketTape`, with the same names and units.

    Attributes:
        decision_ms: instant of the decision, the close of its bar (UTC ms).
        spot: spot reference price (quote).
        perp: reference price of the perpetual (quote).
        mark: mark price (quote).
        tradable: False where the spot market is halted.
        settlement_cash: what settlements after the decision before, up to this one, pay a long (see
            `MarketTape`).
        features: scaled features of the bar, float32 (F,).
        liquidity: what trading costs, arrays of one row (1, 2); None as in `MarketTape`.
        mark_high: highest mark since the decision before; None: of the two known ones.
        mark_low: lowest mark since then; None: of the two known ones.
        deleveraged: fraction of a short perpetual that the venue took away since then; None: 0.
        gap: True where rows are missing before this one, but nothing of what happened meanwhile: settlements
            are summed, and the extremes are those of the whole time. An account lives through it at once.
        final: True where it is known that no row follows, so that an episode ends on this one.

    """

    decision_ms: int
    spot: float
    perp: float
    mark: float
    tradable: bool
    settlement_cash: float
    features: NDArray[np.float32]
    liquidity: Liquidity | None = None
    mark_high: float | None = None
    mark_low: float | None = None
    deleveraged: float | None = None
    gap: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Bring the rows of one market, and say what they are rows of.

    Attributes:
        ticker: the coin.
        spec: names and order of the features, the lookback and the length of a bar.
        rows: yields a row a bar, and may leave bars out only where it says so by `FeedRow.gap`; asking for
            the next may take until the next bar closes. An iterator that raises must be able to go on with
            the row after.
        kind: whether the perpetual is linear or inverse.
        lots: how finely the legs may be ordered.

    """

    ticker: str
    spec: FeatureSpec
    rows: Iterator[FeedRow]
    kind: ContractType = ContractType.LINEAR
    lots: PairLots = field(default_factory=PairLots)


def tape_feed(tape: MarketTape) -> Feed:
    """Replay a recorded tape, history first; its last row is final, and its gaps are told as such."""
    return Feed(tape.ticker, tape.spec, _Replay(tape), tape.kind, tape.lots)


class _Replay(Iterator[FeedRow]):
    """Bring the rows of a tape; unlike a generator, it can be copied."""

    def __init__(self, tape: MarketTape) -> None:
        self._tape = tape
        self._next = 0

    def __next__(self) -> FeedRow:
        tape, row = self._tape, self._next
        if row == len(tape):
            raise StopIteration
        self._next += 1

        def of(values: NDArray[np.float64] | None) -> float | None:
            return None if values is None else float(values[row])

        gap = row > 0 and int(tape.decision_ms[row] - tape.decision_ms[row - 1]) != tape.spec.bar_ms
        return FeedRow(
            decision_ms=int(tape.decision_ms[row]),
            spot=float(tape.spot[row]),
            perp=float(tape.perp[row]),
            mark=float(tape.mark[row]),
            tradable=bool(tape.tradable[row]),
            settlement_cash=float(tape.settlement_cash[row]),
            features=tape.features[row],
            liquidity=None if tape.liquidity is None else tape.liquidity.of([row]),
            mark_high=of(tape.mark_high),
            mark_low=of(tape.mark_low),
            deleveraged=of(tape.deleveraged),
            gap=gap,
            final=row == len(tape) - 1,
        )


def stream_feed(
    stream: FeatureStream, bars: Iterable[ClosedBar], scaler: Scaler, lots: PairLots | None = None
) -> Feed:
    """Turn bars, as they close, into rows whose features are those of training to the last bit.

    Args:
        stream: makes the features; primed with history, or to be warmed up by the first bars.
        bars: asked for the next bar once a row; may block until it closes. Where the stream refuses a bar,
            the next is expected to take its place; past one that never comes, only a stream that is primed
            anew, and another feed of it, go on.
        scaler: the one that was stored with the dataset, or the bundle.
        lots: how finely the legs may be ordered.

    """
    rows = _StreamedRows(stream, iter(bars), scaler)
    return Feed(stream.ticker, stream.spec, rows, lots=lots or PairLots())


class _StreamedRows(Iterator[FeedRow]):
    """Make rows of bars; unlike a generator, go on after an error."""

    def __init__(self, stream: FeatureStream, bars: Iterator[ClosedBar], scaler: Scaler) -> None:
        self._stream, self._bars, self._scaler = stream, bars, scaler
        self._last_ms: int | None = None
        self._paid: float | None = None

    def __next__(self) -> FeedRow:
        while True:
            bar = next(self._bars)
            self._require_paid(bar)
            row = self._stream.push(bar.spot, bar.perp)
            if row is not None:
                return self._feed_row(row, bar)

    def _require_paid(self, bar: ClosedBar) -> None:
        """Refuse a bar whose row says another settlement than what was paid at its open."""
        told = bar.perp.get("funding_rate")
        if self._last_ms is not None and told != self._paid:
            opened = name_instants(np.array([self._last_ms]))
            raise CoverageError(
                f"{self._stream.ticker}: the bar that opened at {opened} says that {told} settled there, but "
                f"{self._paid} was paid; give each settlement with the bar that closes at its instant"
            )

    def _feed_row(self, row: pl.DataFrame, bar: ClosedBar) -> FeedRow:
        spec, now_ms = self._stream.spec, int(row["KnownAt"].dt.epoch("ms")[0])
        raw = row.select(spec.published).to_numpy()
        fed = FeedRow(
            decision_ms=now_ms,
            spot=row["SpotPrice"][0],
            perp=row["PerpPrice"][0],
            mark=row["MarkPrice"][0],
            tradable=row["Tradable"][0],
            settlement_cash=self._settled(now_ms, bar.settlement),
            features=self._scaler.transform(raw)[0],
            liquidity=liquidity_of(row),
            final=bar.final,
        )
        self._last_ms = now_ms
        self._paid = None if bar.settlement is None else bar.settlement.rate
        return fed

    def _settled(self, now_ms: int, settlement: Settlement | None) -> float:
        """Give what the settlement at this instant pays a long; 0 on the first row: nobody has decided."""
        if settlement is None or self._last_ms is None:
            return 0.0
        decisions, at = np.array([self._last_ms, now_ms]), np.array([now_ms])
        rate, mark = np.array([settlement.rate]), np.array([settlement.mark])
        return float(settlement_cash_per_base(decisions, at, rate, mark)[1])
