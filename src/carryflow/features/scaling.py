"""The scaler: features in like units, by what the training hours said and nothing later."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.features.anomaly import AnomalyScore
from carryflow.features.spec import FITTED, FeatureSpec

CLIP = 5.0
"""Bound of a scaled feature: a crash is told as five deviations, however deep it goes."""

WINSOR = (0.01, 0.99)
"""Quantiles at which values are held before they are averaged: SOL's funding of November 2022 alone would
otherwise set the scale of every quiet hour."""

ANOMALY_FEATURE = "anomaly_score"


@dataclass(frozen=True, slots=True)
class Scaler:
    """Make of P raw features the F features that a policy sees; every number held is exactly a float32.

    Attributes:
        center: per feature (F), the mean of the winsorised training values, in the feature's unit; 0 for a
            fitted one.
        scale: per feature (F), their standard deviation; 1 where the feature never moved, and for a fitted
            one.
        clip: bound of a scaled value, in deviations.
        anomaly: the fitted anomaly score, None where no feature is fitted; then P = F, else P = F − 1.

    """

    center: tuple[float, ...]
    scale: tuple[float, ...]
    clip: float = CLIP
    anomaly: AnomalyScore | None = None

    @classmethod
    def fit(cls, raw: NDArray[np.floating[Any]], spec: FeatureSpec, clip: float = CLIP) -> "Scaler":
        """Fit on the raw features of the training rows (n, P), in the order of `spec.published`.

        >>> Scaler.fit(np.array([[1.0, 7.0], [3.0, 7.0]]), FeatureSpec(("a", "b"), 2)).scale
        (0.9800000190734863, 1.0)

        Raises:
            MarketDataError: there are no rows, or a value is not finite.
            SchemaMismatchError: the rows are not of the spec's raw features.

        """
        published = spec.published
        if raw.ndim != 2 or len(raw) == 0:
            raise MarketDataError(f"a scaler needs rows (n, P) to fit on, got shape {raw.shape}")
        if raw.shape[1] != len(published):
            raise SchemaMismatchError(
                f"the spec publishes {len(published)} features, the rows have {raw.shape[1]}; "
                "give the columns of spec.published"
            )
        bad = np.flatnonzero(~np.isfinite(raw).all(axis=1))
        if len(bad):
            raise MarketDataError(f"{len(bad)} training rows are not finite, the first at {bad[:5].tolist()}")
        # As transform sees them: the frame's float32.
        values = np.asarray(raw, dtype=np.float32).astype(np.float64)
        held = np.clip(values, *np.quantile(values, WINSOR, axis=0))
        center = held.mean(axis=0).astype(np.float32)
        spread = held.std(axis=0).astype(np.float32)
        # A standard deviation below the float32 grain of the mean is rounding, not movement.
        still = spread <= np.abs(center) * 8 * np.finfo(np.float32).eps
        scale = np.where(still, np.float32(1.0), spread)
        anomaly = None
        if ANOMALY_FEATURE in spec.names:
            place = spec.index(ANOMALY_FEATURE)
            inputs = tuple(published.index(name) for name in FITTED[ANOMALY_FEATURE])
            anomaly = AnomalyScore.fit(values, place, inputs, scale[list(inputs)], clip)
            center, scale = np.insert(center, place, 0.0), np.insert(scale, place, 1.0)
        return cls(tuple(map(float, center)), tuple(map(float, scale)), clip, anomaly)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Scaler":
        """Read a scaler that `to_json` wrote; the numbers come back exactly."""
        anomaly = stored["anomaly"]
        return cls(
            tuple(stored["center"]),
            tuple(stored["scale"]),
            float(stored["clip"]),
            None if anomaly is None else AnomalyScore.from_json(anomaly),
        )

    def to_json(self) -> dict[str, Any]:
        """Give the numbers by name; JSON keeps every digit of a float."""
        return {
            "center": list(self.center),
            "scale": list(self.scale),
            "clip": self.clip,
            "anomaly": None if self.anomaly is None else self.anomaly.to_json(),
        }

    @property
    def inputs(self) -> int:
        """Count the raw features P that `transform` takes."""
        return len(self.center) - (self.anomaly is not None)

    def transform(self, raw: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Make of raw features (..., P) the float32 features (..., F) that a policy sees, within ±clip.

        Each row depends on its own inputs alone, through subtraction, division, square root and clipping, so
        that training, backtest and server agree to the last bit whatever the batch.

        Raises:
            SchemaMismatchError: the last axis is not of P features.

        """
        if raw.shape[-1] != self.inputs:
            raise SchemaMismatchError(
                f"the scaler takes {self.inputs} raw features, the array {raw.shape} has {raw.shape[-1]}; "
                "use the scaler that was stored with the dataset and the spec's published features"
            )
        features = np.asarray(raw, dtype=np.float32)
        if self.anomaly is not None:
            place, score = self.anomaly.place, self.anomaly.of(features)
            features = np.concatenate(
                (features[..., :place], score[..., np.newaxis], features[..., place:]), axis=-1
            )
        center = np.asarray(self.center, dtype=np.float32)
        scale = np.asarray(self.scale, dtype=np.float32)
        scaled: NDArray[np.float32] = (features - center) / scale
        np.clip(scaled, np.float32(-self.clip), np.float32(self.clip), out=scaled)
        return scaled
