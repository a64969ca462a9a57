"""The scaler: features in like units, by what the training hours said and nothing later."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import MarketDataError, SchemaMismatchError

CLIP = 5.0
"""Bound of a scaled feature: a crash is told as five deviations, however deep it goes."""

WINSOR = (0.01, 0.99)
"""Quantiles at which values are held before they are averaged: SOL's funding of November 2022 alone would
otherwise set the scale of every quiet hour."""


@dataclass(frozen=True, slots=True)
class Scaler:
    """Centre and scale F features; every number held is exactly a float32.

    Attributes:
        center: per feature, the mean of the winsorised training values, in the feature's unit.
        scale: per feature, their standard deviation; 1 where the feature never moved.
        clip: bound of a scaled value, in deviations.

    """

    center: tuple[float, ...]
    scale: tuple[float, ...]
    clip: float = CLIP

    @classmethod
    def fit(cls, features: NDArray[np.floating[Any]], clip: float = CLIP) -> "Scaler":
        """Fit on the training rows (n, F).

        >>> Scaler.fit(np.array([[1.0, 7.0], [3.0, 7.0]]))
        Scaler(center=(2.0, 7.0), scale=(0.9800000190734863, 1.0), clip=5.0)

        Raises:
            MarketDataError: there are no rows, or a value is not finite.

        """
        if features.ndim != 2 or len(features) == 0:
            raise MarketDataError(f"a scaler needs rows (n, F) to fit on, got shape {features.shape}")
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            raise MarketDataError(f"{len(bad)} training rows are not finite, the first at {bad[:5].tolist()}")
        values = np.asarray(features, dtype=np.float64)
        held = np.clip(values, *np.quantile(values, WINSOR, axis=0))
        center = held.mean(axis=0).astype(np.float32)
        spread = held.std(axis=0).astype(np.float32)
        # A standard deviation below the float32 grain of the mean is rounding, not movement.
        still = spread <= np.abs(center) * 8 * np.finfo(np.float32).eps
        scale = np.where(still, np.float32(1.0), spread)
        return cls(tuple(map(float, center)), tuple(map(float, scale)), clip)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Scaler":
        """Read a scaler that `to_json` wrote; the numbers come back exactly."""
        return cls(tuple(stored["center"]), tuple(stored["scale"]), float(stored["clip"]))

    def to_json(self) -> dict[str, Any]:
        """Give the numbers by name; JSON keeps every digit of a float."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    def transform(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Scale features (..., F) to float32 (..., F) within ±clip.

        Each number depends on its own input alone, through float32 subtraction, division and clipping, so
        that training, backtest and server agree to the last bit whatever the batch.

        Raises:
            SchemaMismatchError: the last axis is not of F features.

        """
        if features.shape[-1] != len(self.center):
            raise SchemaMismatchError(
                f"the scaler knows {len(self.center)} features, the array {features.shape} has "
                f"{features.shape[-1]}; use the scaler that was stored with the dataset"
            )
        center = np.asarray(self.center, dtype=np.float32)
        scale = np.asarray(self.scale, dtype=np.float32)
        scaled: NDArray[np.float32] = (np.asarray(features, dtype=np.float32) - center) / scale
        np.clip(scaled, np.float32(-self.clip), np.float32(self.clip), out=scaled)
        return scaled
