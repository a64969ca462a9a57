"""The newest window of a ticker, read online for a decision, and how old what is in it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import (
    MarketDataError,
    SchemaMismatchError,
    StaleFeaturesError,
    UnknownTickerError,
)
from carryflow.features.spec import FeatureSpec
from carryflow.store.connection import open_store
from carryflow.store.freshness import FeatureAge, bounds_of, feature_ages, words_on_stale
from carryflow.store.history import CLOCKS
from carryflow.store.published import published_specs, published_versions, read_card
from feature_repo import position_view, version_service, window_view


@dataclass(frozen=True, slots=True)
class OnlineWindow:
    """Hold the newest window of a ticker.

    Attributes:
        ticker: the coin.
        window: features as published, not scaled, float32 (lookback, P), the oldest bar first.
        known_at_ms: when the window was known (close of its last bar, UTC milliseconds). Feast serves old
            values without a word: compare this with the clock.
        spec: names, order and lookback of the window.
        funding_known_at_ms: when its newest settlement was known, None where it was not published.
        sentiment_known_at_ms: when its newest mood was known, None where there is none.
        ages: age of each feature when it was read, empty where no time was given.

    """

    ticker: str
    window: NDArray[np.float32]
    known_at_ms: int
    spec: FeatureSpec
    funding_known_at_ms: int | None = None
    sentiment_known_at_ms: int | None = None
    ages: tuple[FeatureAge, ...] = ()

    @property
    def spec_hash(self) -> str:
        """Give the hash that a bundle must carry to decide on this window."""
        return self.spec.hash

    @property
    def clocks(self) -> dict[str, int | None]:
        """Give when the newest value by each clock was known (UTC, milliseconds)."""
        return {
            "bar": self.known_at_ms,
            "funding": self.funding_known_at_ms,
            "sentiment": self.sentiment_known_at_ms,
        }


class OnlineFeatures:
    """Read the newest windows online, from one open store, through the service of one model version.

    Raises:
        MarketDataError: nothing was published in this home yet, or not for this version, or the store's
            registry was cut short.
    """

    def __init__(self, home: Path, version: str | None = None, config: Path | None = None) -> None:
        """Open the store of a home.

        Args:
            home: the folder whose store is read.
            version: model version whose own service is read; None reads the one spec that is published.
            config: Feast configuration, the embedded one by default.
        """
        self.spec = _spec_read(home, version)
        card = read_card(home, self.spec.hash)
        if card is None:
            raise MarketDataError(
                f"spec {self.spec.hash} was not published in {home}; build the features that it names and "
                "publish them"
            )
        self.venue, self.tickers = card.venue, card.tickers
        self._home = home
        self._store = open_store(home, config)
        self._features = self._references(home, version)
        self._bounds = bounds_of(self.spec)

    def latest_window(self, ticker: str, now_ms: int) -> OnlineWindow:
        """Read a ticker's newest window, with the age of each feature at `now_ms` (UTC, milliseconds).

        Raises:
            StaleFeaturesError: a feature is older than it may be; the features and their ages are named.
            UnknownTickerError: nothing was published for the ticker.
            SchemaMismatchError: what was published contradicts its own spec.

        """
        window = self.unaged_window(ticker)
        ages = feature_ages(self._bounds, window.clocks, now_ms)
        if stale := words_on_stale(ages):
            raise StaleFeaturesError(f"{ticker}: {stale}; publish newer features, or hold")
        return replace(window, ages=ages)

    def unaged_window(self, ticker: str) -> OnlineWindow:
        """Read a ticker's newest window however old it is: for whoever compares it with a clock of its own.

        Raises:
            UnknownTickerError: nothing was published for the ticker.
            SchemaMismatchError: what was published contradicts its own spec.

        """
        row = self._read({"ticker": ticker, "venue": self.venue}, self._features)
        if row["window"] is None:
            raise UnknownTickerError(
                f"the feature store has no window of {ticker!r} at {self.venue}; fetch it and publish its "
                "features first"
            )
        spec = FeatureSpec.from_json(row["spec"])
        spec.require(row["spec_hash"], f"the online window of {ticker}")
        self.spec.require(spec.hash, f"the online window of {ticker}")
        if len(row["window"]) != spec.published_window_size:
            raise SchemaMismatchError(
                f"the online window of {ticker} has {len(row['window'])} numbers, its spec "
                f"{spec.published_window_size}; publish the features again"
            )
        shaped = np.asarray(row["window"], dtype=np.float32).reshape(spec.lookback, len(spec.published))
        return OnlineWindow(ticker, shaped, spec=spec, **{name: row[name] for _, name in CLOCKS.values()})

    def position_carry_apr(self, ticker: str, position: float, spot_share: float) -> float:
        """Ask what a position earns in a year by the last day's funding, as a fraction of capital.

        Args:
            ticker: the coin.
            position: fraction of capital in the hedged trade, positive for long spot and short perp.
            spot_share: as in `features.carry.position_carry_apr`.

        Raises:
            UnknownTickerError: nothing was published for the ticker.
        """
        asked = {"ticker": ticker, "venue": self.venue, "position": position, "spot_share": spot_share}
        row = self._read(asked, [f"{position_view(self.spec.hash)}:position_carry_apr"])
        if row["position_carry_apr"] is None:
            raise UnknownTickerError(
                f"the feature store has no carry of {ticker!r} at {self.venue}; publish it first"
            )
        return float(row["position_carry_apr"])

    def _read(self, asked: Mapping[str, Any], features: Any) -> dict[str, Any]:
        from feast.errors import FeastObjectNotFoundException

        try:
            answer = self._store.get_online_features(features=features, entity_rows=[dict(asked)]).to_dict()
        except FeastObjectNotFoundException as error:
            raise MarketDataError(
                f"the feature store of {self._home} does not define what was published ({error}); publish "
                "the features again (`carryflow feast publish`)"
            ) from None
        return {name: values[0] for name, values in answer.items()}

    def _references(self, home: Path, version: str | None) -> Any:
        if version is None:
            view = window_view(self.spec.hash)
            return [
                f"{view}:{name}"
                for name in (*(name for _, name in CLOCKS.values()), "window", "spec", "spec_hash")
            ]
        from feast.errors import FeatureServiceNotFoundException

        try:
            return self._store.get_feature_service(version_service(version))
        except FeatureServiceNotFoundException:
            raise MarketDataError(
                f"the feature store of {home} has no service of version {version}; publish its features again"
            ) from None


def _spec_read(home: Path, version: str | None) -> FeatureSpec:
    if version is not None:
        versions = published_versions(home)
        if version not in versions:
            raise MarketDataError(
                f"no features are served to version {version} in {home}; run the promotion step, which says "
                "what the version reads"
            )
        return versions[version]
    specs = published_specs(home)
    if not specs:
        raise MarketDataError(
            f"no features were published in {home}; `carryflow run` fetches, builds and publishes them"
        )
    if len(specs) > 1:
        raise MarketDataError(
            f"{home} has published the specs {', '.join(spec.hash for spec in specs)}; name the model "
            "version whose features are meant"
        )
    return specs[0]
