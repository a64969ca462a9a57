"""The anomaly score: how far an hour lies from what the training hours were like."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAD_TO_DEVIATION = 1.4826
"""The median absolute deviation of a normal variable times this is its standard deviation (1 / Φ⁻¹(3/4))."""


@dataclass(frozen=True, slots=True)
class AnomalyScore:
    """Score rows of raw features against the training rows; every number held is exactly a float32.

    r = √(mean of zᵢ²) over the inputs, each zᵢ = (xᵢ − medianᵢ) / deviationᵢ, and the score is
    r / (1 + r / bound): about 0.8 in a usual hour, near r while r is small, never reaching the bound. Medians
    are used because half of the training rows would have to be outliers before one could be moved at will:
    Hampel, "The Influence Curve and its Role in Robust Estimation", Journal of the American Statistical
    Association 69 (1974), 383–393.

    Only additions, products, quotients and square roots take part, which IEEE 754 rounds in one way, each
    element by itself: a row has the same score alone and in any batch.

    Attributes:
        place: the score's column among all features.
        inputs: the inputs' columns among the raw features.
        median: per input, the median of the training rows, in the input's unit.
        deviation: per input, the median absolute deviation times 1.4826, in the input's unit.
        bound: what no score reaches.

    """

    place: int
    inputs: tuple[int, ...]
    median: tuple[float, ...]
    deviation: tuple[float, ...]
    bound: float

    @classmethod
    def fit(
        cls,
        raw: NDArray[np.float64],
        place: int,
        inputs: tuple[int, ...],
        fallback: NDArray[np.float32],
        bound: float,
    ) -> "AnomalyScore":
        """Fit on training rows (n, P).

        Args:
            raw: raw features of the training rows.
            place: the score's column among all features.
            inputs: the inputs' columns in `raw`.
            fallback: per input, the deviation where the median absolute deviation is 0, as in a coin whose
                price stands still in most bars.
            bound: what no score reaches.

        """
        values = raw[:, list(inputs)]
        median = np.median(values, axis=0)
        deviation = (np.median(np.abs(values - median), axis=0) * MAD_TO_DEVIATION).astype(np.float32)
        deviation = np.where(deviation > 0, deviation, fallback)
        return cls(
            place, inputs, tuple(map(float, median.astype(np.float32))), tuple(map(float, deviation)), bound
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "AnomalyScore":
        """Read what `to_json` wrote; the numbers come back exactly."""
        return cls(
            int(stored["place"]),
            tuple(map(int, stored["inputs"])),
            tuple(map(float, stored["median"])),
            tuple(map(float, stored["deviation"])),
            float(stored["bound"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Give the numbers by name."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    def of(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score raw features (..., P), giving (...), in [0, bound]; 0 is the median hour.

        Two inputs at 3 and 4 deviations from the median, with a bound of 5:

        >>> score = AnomalyScore(2, (0, 1), (0.0, 10.0), (1.0, 2.0), 5.0)
        >>> score.of(np.array([[3.0, 18.0], [0.0, 10.0]], dtype=np.float32)).round(4)  # r = √12.5
        array([2.0711, 0.    ], dtype=float32)
        """
        squares = np.zeros(raw.shape[:-1])
        for column, median, deviation in zip(self.inputs, self.median, self.deviation, strict=True):
            z = (raw[..., column].astype(np.float64) - median) / deviation
            squares = squares + z * z
        r = np.sqrt(squares / len(self.inputs))
        score: NDArray[np.float32] = np.asarray(r / (1 + r / self.bound)).astype(np.float32)
        return score
