"""The feature spec: which numbers a policy sees, in which order, and the hash that binds a bundle to them."""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from carryflow.core.errors import SchemaMismatchError
from carryflow.core.section import Section

SPEC_VERSION = 1
"""Raise this when a formula in `features.frame` changes: the same names would then mean other numbers."""

MODEL_FEATURES: tuple[str, ...] = (
    "spot_return",
    "basis_bp",
    "premium_8h_bp",
    "funding_last_apr",
    "carry_24h_apr",
    "carry_72h_apr",
    "carry_168h_apr",
    "hours_to_settlement",
    "vol_24h_apr",
    "vol_ratio",
    "volume_shock",
    "momentum_168h",
    "liquidity",
    "anomaly_score",
)
"""What every bar tells a policy, in the order in which it is told."""

SENTIMENT_FEATURE = "sentiment"
"""The feature appended when a sentiment series is given."""

POSITION_FEATURES: tuple[str, ...] = ("position", "drawdown")
"""What the observation says of the account, after the window: the fraction of capital in the hedged trade
(positive: long spot, short perp) and the drawdown from peak equity as a fraction."""


class FeatureSettings(Section):
    """Steer the features."""

    lookback: Annotated[
        int, Field(ge=2, le=720, description="Bars in the window that a policy sees at once (hours)")
    ] = 48


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Name the features of one bar, their order, and how many bars make a window.

    Two specs with equal hashes describe the same tensor; a bundle, a dataset and an online store that meet
    must carry the same hash.

    Attributes:
        names: features of one bar, in order.
        lookback: bars in a window; the oldest comes first.
        version: version of the formulas behind the names.

    >>> spec = FeatureSpec.of(FeatureSettings(lookback=48), sentiment=False)
    >>> (len(spec.names), spec.window_size, spec.observation_size)
    (14, 672, 674)

    """

    names: tuple[str, ...]
    lookback: int
    version: int = SPEC_VERSION

    def __post_init__(self) -> None:
        """Refuse a spec that cannot describe a tensor.

        Raises:
            SchemaMismatchError: there is no name, a name comes twice, or the lookback is not positive.

        """
        if not self.names or len(set(self.names)) != len(self.names):
            raise SchemaMismatchError(f"feature names must be distinct and some, were {list(self.names)}")
        if self.lookback < 1:
            raise SchemaMismatchError(f"a window needs at least one bar, lookback was {self.lookback}")

    @classmethod
    def of(cls, settings: FeatureSettings, *, sentiment: bool) -> "FeatureSpec":
        """Give the spec of the settings; `sentiment` says whether a sentiment series is at hand."""
        names = (*MODEL_FEATURES, SENTIMENT_FEATURE) if sentiment else MODEL_FEATURES
        return cls(names=names, lookback=settings.lookback)

    @classmethod
    def from_json(cls, text: str) -> "FeatureSpec":
        """Read a spec that `to_json` wrote.

        Raises:
            SchemaMismatchError: the text is not a spec, or was written for other position features.

        """
        try:
            stored = json.loads(text)
            position = tuple(stored["position"])
            spec = cls(tuple(stored["names"]), int(stored["lookback"]), int(stored["version"]))
        except (ValueError, KeyError, TypeError) as error:
            raise SchemaMismatchError(
                f"not a feature spec: {text[:99]!r}; build the dataset again"
            ) from error
        if position != POSITION_FEATURES:
            raise SchemaMismatchError(
                f"the spec was written for position features {list(position)}, this code has "
                f"{list(POSITION_FEATURES)}; build the dataset and train again"
            )
        return spec

    def to_json(self) -> str:
        """Write the spec as one line of JSON, equal for equal specs."""
        return json.dumps(
            {
                "names": list(self.names),
                "lookback": self.lookback,
                "position": list(POSITION_FEATURES),
                "version": self.version,
            },
            separators=(",", ":"),
            sort_keys=True,
        )

    @property
    def hash(self) -> str:
        """Identify the spec by 16 hexadecimal digits over all that it says."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def window_size(self) -> int:
        """Count the numbers in one flattened window (lookback × features)."""
        return self.lookback * len(self.names)

    @property
    def observation_size(self) -> int:
        """Count the numbers in one observation: the flattened window, then the position features."""
        return self.window_size + len(POSITION_FEATURES)

    def index(self, name: str) -> int:
        """Give a feature's place within a bar.

        Raises:
            SchemaMismatchError: the spec has no such feature.

        """
        if name not in self.names:
            raise SchemaMismatchError(f"the spec has no feature {name!r}; it has {', '.join(self.names)}")
        return self.names.index(name)

    def require(self, spec_hash: str, holder: str) -> None:
        """Refuse a holder (a bundle, a store, a dataset) that was made for another spec.

        Raises:
            SchemaMismatchError: the hashes differ.

        """
        if spec_hash != self.hash:
            raise SchemaMismatchError(
                f"{holder} was made for feature spec {spec_hash}, this is {self.hash}; "
                "build the features, train and publish with one spec"
            )
