"""The market of one ticker as the environment plays it: one row per decision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError, MarketDataError, SchemaMismatchError
from carryflow.core.funding import name_instants, settlement_cash_per_base
from carryflow.core.instrument import ContractType
from carryflow.env.liquidity import WIDEST_BP, Liquidity, PairLots, liquidity_of, lots_of, require_array
from carryflow.features.dataset import Dataset, read_dataset
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSpec

__all__ = [
    "Liquidity",
    "MarketTape",
    "PairLots",
    "load_tapes",
    "same_decisions",
    "same_spec",
    "tape_of",
    "tape_of_rows",
]

Floats = NDArray[np.float64]

_TYPES: dict[str, type[np.generic]] = {"decision_ms": np.int64, "tradable": np.bool_}
"""Of what the arrays of a tape are that are not float64."""


@dataclass(frozen=True, slots=True, eq=False)
class MarketTape:
    """Hold n decisions of one ticker. Row i is known, and traded at its prices, at `decision_ms[i]`.

    Attributes:
        ticker: the coin.
        decision_ms: instants of decision, the closes of the bars (UTC ms), strictly increasing (n,).
        spot: spot reference price (quote) (n,).
        perp: reference price of the perpetual (quote) (n,).
        mark: mark price, on which margin and value stand (quote) (n,).
        tradable: False where the spot market was halted: positions are held, nothing trades (n,).
        settlement_cash: cash that a long of one coin receives by settlements in (decision_ms[i−1],
            decision_ms[i]] (quote); of an inverse contract, what a long of one quote of notional receives
            (base coin) (n,).
        features: scaled features as a policy sees them, float32 (n, F).
        spec: names and order of the features, and the lookback.
        kind: whether the perpetual is linear, or inverse and margined in the coin.
        lots: how finely the legs may be ordered.
        liquidity: what trading cost; None: a market without bottom, at the half-spread of the settings.
        mark_high: highest mark in (decision_ms[i−1], decision_ms[i]] (n,); None: of the two known ones.
        mark_low: lowest mark there (n,); None: of the two known ones.
        deleveraged: fraction of a short perpetual that the venue takes away there, in [0, 1] (n,); None: 0.

    """

    ticker: str
    decision_ms: NDArray[np.int64]
    spot: NDArray[np.float64]
    perp: NDArray[np.float64]
    mark: NDArray[np.float64]
    tradable: NDArray[np.bool_]
    settlement_cash: NDArray[np.float64]
    features: NDArray[np.float32]
    spec: FeatureSpec
    kind: ContractType = ContractType.LINEAR
    lots: PairLots = field(default_factory=PairLots)
    liquidity: Liquidity | None = None
    mark_high: Floats | None = None
    mark_low: Floats | None = None
    deleveraged: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse rows that cannot be traded on.

        Raises:
            CoverageError: a price, a settlement or a feature is missing or cannot be; the rows are named.
            SchemaMismatchError: the features are not those of the spec.
            MarketDataError: types or lengths differ, instants do not increase, or there are too few rows.

        """
        n = np.size(self.decision_ms)
        for name, rows in self._rows():
            if name != "features":
                require_array(f"{self.ticker}: {name}", rows, _TYPES.get(name, np.float64), (n,))
        if self.liquidity is not None and len(self.liquidity.depth_quote) != n:
            raise MarketDataError(
                f"{self.ticker}: {len(self.liquidity.depth_quote)} rows of liquidity, expected {n}"
            )
        if self.kind is ContractType.SPOT:
            raise MarketDataError(
                f"{self.ticker}: the second leg is a perpetual, linear or inverse, was spot"
            )
        features = np.asarray(self.features)
        if features.shape != (n, len(self.spec.names)) or features.dtype != np.float32:
            raise SchemaMismatchError(
                f"{self.ticker}: features are {features.dtype} {features.shape}, the spec wants "
                f"float32 ({n}, {len(self.spec.names)}); build the dataset again"
            )
        if (np.diff(self.decision_ms) <= 0).any():
            raise MarketDataError(f"{self.ticker}: decisions do not increase in time; sort the rows")
        self._refuse_prices()
        if self.deleveraged is not None:
            self._refuse(~((self.deleveraged >= 0) & (self.deleveraged <= 1)), "no deleveraged fraction")
        if self.liquidity is not None:
            for each in fields(self.liquidity):
                negative = np.logical_or(*(getattr(self.liquidity, each.name) < 0).T)
                self._refuse(negative, f"a {each.name} below 0, hence no liquidity,")
            too_wide = np.logical_or(*(self.liquidity.half_spread_bp >= WIDEST_BP).T)
            self._refuse(too_wide, f"a half_spread_bp of {WIDEST_BP:g} or more, hence no price,")
        finite = np.asarray(np.isfinite(self.features).all(axis=1))
        self._refuse(~finite, "no finite feature")
        if n < self.first + 2:
            raise MarketDataError(
                f"{self.ticker}: {n} rows leave no step after a window of {self.spec.lookback}; "
                "take more hours"
            )

    def _refuse_prices(self) -> None:
        """Refuse prices, marks and settlements that are missing or cannot be."""
        for name in ("spot", "perp", "mark"):
            price = getattr(self, name)
            self._refuse(~(np.isfinite(price) & (price > 0)), f"no {name} price")
        self._refuse(~np.isfinite(self.settlement_cash), "no settlement cash")
        if self.mark_high is not None:
            self._refuse(~(np.isfinite(self.mark_high) & (self.mark_high >= self.mark)), "no highest mark")
        if self.mark_low is not None:
            self._refuse(~((self.mark_low > 0) & (self.mark_low <= self.mark)), "no lowest mark")
        low, high = self.mark_range
        # what a settlement of 100 % would take from a long: no venue's rate comes near
        most = high if self.kind is ContractType.LINEAR else 1.0 / low
        self._refuse(np.abs(self.settlement_cash) >= most, "a settlement of all that a position is worth")

    @property
    def mark_range(self) -> tuple[Floats, Floats]:
        """Give the lowest and the highest mark in (decision_ms[i−1], decision_ms[i]] (quote) (n,)."""
        before = np.concatenate((self.mark[:1], self.mark[:-1]))
        low = np.minimum(before, self.mark) if self.mark_low is None else self.mark_low
        high = np.maximum(before, self.mark) if self.mark_high is None else self.mark_high
        return low, high

    @property
    def first(self) -> int:
        """Give the first row on which one may decide; the rows before are history for its window."""
        return self.spec.lookback - 1

    def __len__(self) -> int:
        """Count the rows, history included."""
        return len(self.decision_ms)

    def slice(self, start_ms: int, end_ms: int) -> "MarketTape":
        """Cut the decisions in [start_ms, end_ms); the window before the first comes along as history.

        Raises:
            MarketDataError: fewer than two decisions are left.

        """
        start, end = (int(row) for row in np.searchsorted(self.decision_ms, (start_ms, end_ms), side="left"))
        start = max(start, self.first)
        if end - start < 2:
            raise MarketDataError(
                f"{self.ticker}: {max(end - start, 0)} decisions between "
                f"{name_instants(np.array([start_ms, end_ms]))}, need 2; the tape's first and last are "
                f"{name_instants(self.decision_ms[[self.first, -1]])}"
            )
        history = start - (self.spec.lookback - 1)
        rows = slice(history, end)
        cut: dict[str, Any] = {name: values[rows] for name, values in self._rows()}
        if self.liquidity is not None:
            cut["liquidity"] = self.liquidity.of(rows)
        return replace(self, **cut)

    def _rows(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield what has a row per decision, by name."""
        for name in (
            "decision_ms",
            "spot",
            "perp",
            "mark",
            "tradable",
            "settlement_cash",
            "features",
            "mark_high",
            "mark_low",
            "deleveraged",
        ):
            if getattr(self, name) is not None:
                yield name, getattr(self, name)

    def _refuse(self, holes: NDArray[np.bool_], what: str) -> None:
        if holes.any():
            raise CoverageError(
                f"{self.ticker}: {what} in {int(holes.sum())} of {len(self)} rows, at "
                f"{name_instants(self.decision_ms[holes])}; fetch those hours again"
            )


def tape_of(dataset: Dataset, ticker: str, scaler: Scaler | None = None) -> MarketTape:
    """Give one ticker of a dataset as a tape, its features scaled by the dataset's scaler or by another.

    Raises:
        MarketDataError: the dataset lacks the ticker, or its rows cannot be traded on.

    """
    if scaler is None or scaler == dataset.scaler:
        features = dataset.scaled(ticker)
    else:
        features = scaler.transform(dataset.raw(ticker))
    return tape_of_rows(dataset.rows(ticker), ticker, features, dataset.spec)


def tape_of_rows(
    rows: pl.DataFrame, ticker: str, features: NDArray[np.float32], spec: FeatureSpec
) -> MarketTape:
    """Give one ticker's rows of a dataset, or of the unified frame with its order sizes, as a tape.

    Args:
        rows: one row per bar, by Date: `features.dataset.MARKET_COLUMNS` and `EXECUTION_COLUMNS`.
        ticker: the coin.
        features: what a policy sees, scaled, float32 (n, F).
        spec: names and order of the features.

    Raises:
        MarketDataError: the rows cannot be traded on.

    """
    decision_ms = rows["KnownAt"].dt.epoch("ms").to_numpy().astype(np.int64)
    settled = rows.filter(pl.col("FundingRate").is_not_null())
    return MarketTape(
        ticker=ticker,
        decision_ms=decision_ms,
        spot=rows["SpotPrice"].cast(float).to_numpy(),
        perp=rows["PerpPrice"].cast(float).to_numpy(),
        mark=rows["MarkPrice"].cast(float).to_numpy(),
        tradable=rows["Tradable"].to_numpy().astype(np.bool_),
        settlement_cash=settlement_cash_per_base(
            decision_ms,
            settled["Date"].dt.epoch("ms").to_numpy().astype(np.int64),
            settled["FundingRate"].cast(float).to_numpy(),
            settled["SettleMark"].cast(float).to_numpy(),
        ),
        features=features,
        spec=spec,
        lots=lots_of(rows),
        liquidity=liquidity_of(rows),
    )


def same_spec(tapes: Sequence[MarketTape]) -> FeatureSpec:
    """Give the feature spec that all tapes share.

    Raises:
        MarketDataError: there is no tape.
        SchemaMismatchError: the tapes were made for different feature specs.

    """
    if not tapes:
        raise MarketDataError("a market needs at least one tape, got none; name a ticker")
    if len({tape.spec for tape in tapes}) > 1:
        raise SchemaMismatchError("the tapes differ in their feature specs; build them from one dataset")
    return tapes[0].spec


def same_decisions(tapes: Sequence[MarketTape]) -> NDArray[np.int64]:
    """Give the decision times that all tapes share.

    Raises:
        MarketDataError: there is no tape, or their decisions differ.

    """
    if not tapes:
        raise MarketDataError("decisions of no tape; name a ticker")
    decisions = [tape.decision_ms[tape.first :] for tape in tapes]
    for tape, own in zip(tapes, decisions, strict=True):
        if not np.array_equal(own, decisions[0]):
            raise MarketDataError(
                f"{tape.ticker} has {len(own)} decisions, {tapes[0].ticker} has {len(decisions[0])} or other "
                "ones; fetch both to the same end, or leave one out"
            )
    return decisions[0]


def load_tapes(dataset_dir: Path) -> dict[str, MarketTape]:
    """Read every ticker of a dataset folder, sorted by ticker.

    Raises:
        MarketDataError: there is no dataset, or its rows cannot be traded on.
        SchemaMismatchError: the dataset and its spec do not belong together.

    """
    dataset = read_dataset(dataset_dir)
    return {ticker: tape_of(dataset, ticker) for ticker in dataset.tickers}
