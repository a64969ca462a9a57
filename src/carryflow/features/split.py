"""The split: which decisions a policy may learn from, and which later ones it is judged on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from carryflow.core.errors import MarketDataError
from carryflow.core.section import Section

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class SplitSettings(Section):
    """Steer where the training hours end and the test hours begin."""

    test_days: Annotated[
        float, Field(gt=0, description="Length of the test part, the newest hours (days)")
    ] = 45.0
    embargo_hours: Annotated[
        int,
        Field(
            ge=0,
            description="Hours left out between the parts; at least the lookback, so no window spans both",
        ),
    ] = 48
    min_train_days: Annotated[
        float, Field(gt=0, description="Shortest training part worth learning from (days)")
    ] = 30.0


@dataclass(frozen=True, slots=True)
class Split:
    """Hold two half-open ranges of decision times (a row's KnownAt, UTC milliseconds).

    A row belongs to the training part if `train_start_ms <= KnownAt < train_end_ms`, and so for the test
    part. Between the parts lies the embargo, whose rows belong to neither.
    """

    train_start_ms: int
    train_end_ms: int
    test_start_ms: int
    test_end_ms: int

    @classmethod
    def before(cls, end_ms: int, start_ms: int, settings: SplitSettings) -> "Split":
        """Cut the decisions in [start_ms, end_ms) into training, embargo and test, the test last.

        >>> split = Split.before(100 * DAY_MS, 0, SplitSettings(test_days=45, embargo_hours=48))
        >>> (split.train_end_ms // DAY_MS, split.test_start_ms // DAY_MS, split.test_end_ms // DAY_MS)
        (53, 55, 100)

        Raises:
            MarketDataError: fewer than `min_train_days` are left to learn from.

        """
        test_start_ms = end_ms - round(settings.test_days * DAY_MS)
        train_end_ms = test_start_ms - settings.embargo_hours * HOUR_MS
        left_days = (train_end_ms - start_ms) / DAY_MS
        if left_days < settings.min_train_days:
            raise MarketDataError(
                f"{(end_ms - start_ms) / DAY_MS:.1f} days of features leave {max(left_days, 0):.1f} to learn "
                f"from, beside {settings.test_days:g} test days and {settings.embargo_hours} embargo hours; "
                f"{settings.min_train_days:g} are needed: fetch a longer history or lower split.test_days"
            )
        return cls(start_ms, train_end_ms, test_start_ms, end_ms)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Split":
        """Read a split that `to_json` wrote."""
        return cls(**{name: int(stored[name]) for name in cls.__slots__})

    def to_json(self) -> dict[str, int]:
        """Give the four edges by name."""
        return asdict(self)

    def in_train(self, known_at_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the decisions (n,) of the training part."""
        return (known_at_ms >= self.train_start_ms) & (known_at_ms < self.train_end_ms)

    def in_test(self, known_at_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the decisions (n,) of the test part."""
        return (known_at_ms >= self.test_start_ms) & (known_at_ms < self.test_end_ms)
