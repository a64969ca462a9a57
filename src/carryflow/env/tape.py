"""The market of one ticker as the environment plays it: one row per decision."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError, MarketDataError, SchemaMismatchError
from carryflow.core.funding import name_instants, settlement_cash_per_base
from carryflow.features.dataset import Dataset, read_dataset
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSpec


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
            decision_ms[i]] (quote) (n,).
        features: scaled features as a policy sees them, float32 (n, F).
        spec: names and order of the features, and the lookback.
        lot_base: the coarser lot of the two legs (base coin); 0 trades any quantity.

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
    lot_base: float = 0.0

    def __post_init__(self) -> None:
        """Refuse rows that cannot be traded on.

        Raises:
            CoverageError: a price, a settlement or a feature is missing; the rows are named.
            SchemaMismatchError: the features are not those of the spec.
            MarketDataError: lengths differ, instants do not increase, or there are too few rows.

        """
        n = len(self.decision_ms)
        for name in ("spot", "perp", "mark", "tradable", "settlement_cash", "features"):
            if len(getattr(self, name)) != n:
                raise MarketDataError(
                    f"{self.ticker}: {len(getattr(self, name))} rows of {name}, expected {n}"
                )
        if self.features.shape != (n, len(self.spec.names)) or self.features.dtype != np.float32:
            raise SchemaMismatchError(
                f"{self.ticker}: features are {self.features.dtype} {self.features.shape}, the spec wants "
                f"float32 ({n}, {len(self.spec.names)}); build the dataset again"
            )
        if (np.diff(self.decision_ms) <= 0).any():
            raise MarketDataError(f"{self.ticker}: decisions do not increase in time; sort the rows")
        for name in ("spot", "perp", "mark"):
            price = getattr(self, name)
            self._refuse(~(np.isfinite(price) & (price > 0)), f"no {name} price")
        self._refuse(~np.isfinite(self.settlement_cash), "no settlement cash")
        finite = np.asarray(np.isfinite(self.features).all(axis=1))
        self._refuse(~finite, "no finite feature")
        if n < self.first + 2:
            raise MarketDataError(
                f"{self.ticker}: {n} rows leave no step after a window of {self.spec.lookback}; "
                "take more hours"
            )

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
        return replace(
            self,
            decision_ms=self.decision_ms[rows],
            spot=self.spot[rows],
            perp=self.perp[rows],
            mark=self.mark[rows],
            tradable=self.tradable[rows],
            settlement_cash=self.settlement_cash[rows],
            features=self.features[rows],
        )

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
    rows = dataset.rows(ticker)
    decision_ms = dataset.known_at_ms(ticker).astype(np.int64)
    settled = rows["FundingRate"].is_not_null().to_numpy()
    settle_ms = rows["Date"].dt.epoch("ms").to_numpy()[settled].astype(np.int64)
    rate = rows["FundingRate"].cast(float).to_numpy()[settled]
    mark = rows["SettleMark"].cast(float).to_numpy()[settled]
    if scaler is None or scaler == dataset.scaler:
        features = dataset.scaled(ticker)
    else:
        features = scaler.transform(dataset.raw(ticker))
    return MarketTape(
        ticker=ticker,
        decision_ms=decision_ms,
        spot=rows["SpotPrice"].cast(float).to_numpy(),
        perp=rows["PerpPrice"].cast(float).to_numpy(),
        mark=rows["MarkPrice"].cast(float).to_numpy(),
        tradable=rows["Tradable"].to_numpy().astype(np.bool_),
        settlement_cash=settlement_cash_per_base(decision_ms, settle_ms, rate, mark),
        features=features,
        spec=dataset.spec,
    )


def load_tapes(dataset_dir: Path) -> dict[str, MarketTape]:
    """Read every ticker of a dataset folder, sorted by ticker.

    Raises:
        MarketDataError: there is no dataset, or its rows cannot be traded on.
        SchemaMismatchError: the dataset and its spec do not belong together.

    """
    dataset = read_dataset(dataset_dir)
    return {ticker: tape_of(dataset, ticker) for ticker in dataset.tickers}
