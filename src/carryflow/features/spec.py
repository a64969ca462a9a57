"""The feature spec: which numbers a policy sees, in which order, and the hash that binds a bundle to them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, field_validator

from carryflow.core.errors import SchemaMismatchError, SettingsError
from carryflow.core.section import Section
from carryflow.market.timeframe import HOUR_MS, Timeframe, bar_ms

SPEC_VERSION = 2
"""Raise this when a formula in `features.catalogue` changes: the same names would then mean other numbers."""

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
"""What every bar tells a policy unless settings say otherwise, in the order in which it is told."""

FITTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"anomaly_score": ("spot_return", "basis_bp", "volume_shock")}
)
"""Features that the scaler computes, for they need what the training rows said, and the raw features that
each is made of."""

SENTIMENT_FEATURE = "sentiment"
"""The feature appended when a sentiment series is given and the settings do not place it themselves."""

POSITION_FEATURES: tuple[str, ...] = ("position", "drawdown")
"""What the observation says of the account, after the window: the fraction of capital in the hedged trade
(positive: long spot, short perp) and the drawdown from peak equity as a fraction."""


class FeatureSettings(Section):
    """Steer the features."""

    lookback: Annotated[
        int, Field(ge=2, le=720, description="Bars in the window that a policy sees at once (hours)")
    ] = 48
    names: Annotated[
        tuple[str, ...],
        Field(min_length=1, description="Features of the catalogue that a policy sees, in this order"),
    ] = MODEL_FEATURES

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # The catalogue brings tables and kernels along, which a server that only reads a spec does without.
        from carryflow.features.catalogue import CATALOGUE

        for name in names:
            if name not in CATALOGUE:
                near = get_close_matches(name, CATALOGUE, n=1)
                meant = f"did you mean {near[0]!r}? " if near else ""
                raise SettingsError(
                    f"features.names has {name!r}, which is no feature; {meant}"
                    "`carryflow features list` shows all"
                )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"features.names has {twice} more than once; name each feature once")
        _require_inputs(names)
        return names


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Name the features of one bar, their order, and how many bars make a window.

    Two specs with equal hashes describe the same tensor; a bundle, a dataset and an online store that meet
    must carry the same hash.

    Attributes:
        names: features of one bar as a policy sees them, in order.
        lookback: bars in a window; the oldest comes first.
        version: version of the formulas behind the names.
        bar_ms: length of a bar (milliseconds): a window of minutes is not one of hours.

    >>> spec = FeatureSpec.of(FeatureSettings(lookback=48), sentiment=False)
    >>> (len(spec.names), spec.window_size, spec.observation_size)
    (14, 672, 674)
    >>> (len(spec.published), spec.published_window_size)
    (13, 624)

    """

    names: tuple[str, ...]
    lookback: int
    version: int = SPEC_VERSION
    bar_ms: int = HOUR_MS

    def __post_init__(self) -> None:
        """Refuse a spec that cannot describe a tensor.

        Raises:
            SchemaMismatchError: there is no name, a name comes twice, or the lookback is not positive.
            SettingsError: a fitted feature comes without the raw features that it is made of.

        """
        if not self.names or len(set(self.names)) != len(self.names):
            raise SchemaMismatchError(f"feature names must be distinct and some, were {list(self.names)}")
        if self.lookback < 1:
            raise SchemaMismatchError(f"a window needs at least one bar, lookback was {self.lookback}")
        _require_inputs(self.names)

    @classmethod
    def of(cls, settings: FeatureSettings, *, sentiment: bool, timeframe: Timeframe = "1h") -> "FeatureSpec":
        """Give the spec of the settings; `sentiment` says whether a sentiment series is at hand.

        Raises:
            SettingsError: the settings choose sentiment and there is no series.

        """
        names = settings.names
        if SENTIMENT_FEATURE in names and not sentiment:
            raise SettingsError(
                f"features.names has {SENTIMENT_FEATURE!r} and no series is given; set data.sentiment to a "
                "Parquet or CSV file, or leave the feature out"
            )
        if sentiment and SENTIMENT_FEATURE not in names:
            names = (*names, SENTIMENT_FEATURE)
        return cls(names=names, lookback=settings.lookback, bar_ms=bar_ms(timeframe))

    @classmethod
    def from_json(cls, text: str) -> "FeatureSpec":
        """Read a spec that `to_json` wrote.

        Raises:
            SchemaMismatchError: the text is not a spec, or was written for other position features.

        """
        try:
            stored = json.loads(text)
            position = tuple(stored["position"])
            names, numbers = tuple(stored["names"]), ("lookback", "version", "bar_ms")
            spec = cls(names, *(int(stored[name]) for name in numbers))
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
                "bar_ms": self.bar_ms,
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
    def published(self) -> tuple[str, ...]:
        """Name the raw features of one bar, in order: what frame and store hold and a scaler takes in."""
        return tuple(name for name in self.names if name not in FITTED)

    @property
    def published_window_size(self) -> int:
        """Count the numbers in one flattened window of raw features (lookback × published)."""
        return self.lookback * len(self.published)

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


def _require_inputs(names: tuple[str, ...]) -> None:
    for name in names:
        lacking = [needed for needed in FITTED.get(name, ()) if needed not in names]
        if lacking:
            raise SettingsError(
                f"{name} is made of {', '.join(FITTED[name])}; add {', '.join(lacking)} to features.names "
                f"or leave {name} out"
            )
