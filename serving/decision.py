"""What to do with one ticker's position: the policy's word, or HOLD and why.

The desk is what training and serving must agree on: it turns raw features into the observation that the
policy was trained on, and it refuses to let the policy speak on features or a bundle that are too old.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from carryflow.agents.bundle import Bundle
from carryflow.features.scaling import Scaler
from carryflow.store.freshness import FeatureAge, bounds_of, feature_ages, words_on_stale
from carryflow.store.online import OnlineWindow

CLOCK_TOLERANCE_MS = 60_000
"""Features from further ahead than this mean that one of two clocks is wrong."""

POSITION_LIMIT = 2.0
"""Bound of a stated position: a hedge drifts past 1 as prices move, but not to twice the capital."""


class Outcome(StrEnum):
    """Name what came of a question; all but ACT are a HOLD."""

    ACT = "act"
    STALE = "stale"
    EXPIRED = "expired"
    CLOCK = "clock"
    SPEC = "spec"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class Question:
    """Ask what to do with a position.

    Attributes:
        ticker: the coin.
        position: fraction of capital in the hedged trade now, positive for long spot and short perp.
        drawdown: the account's fall from its peak equity, as a fraction in [0, 1].
    """

    ticker: str
    position: float = 0.0
    drawdown: float = 0.0

    @classmethod
    def parse(cls, instance: Any) -> "Question":
        """Read a question as a client sent it.

        Raises:
            ValueError: it is not a mapping of these fields, or a number is out of its range.
        """
        if not isinstance(instance, Mapping):
            raise ValueError(  # noqa: TRY004 - a client's mistake, like the ones below
                f'an instance must be like {{"ticker": "BTC", "position": 0.0}}, was {instance!r}'
            )
        if unknown := sorted(set(instance) - {"ticker", "position", "drawdown"}):
            raise ValueError(f"unknown field {unknown[0]!r}; an instance has ticker, position and drawdown")
        ticker = instance.get("ticker")
        if not isinstance(ticker, str) or not ticker:
            raise ValueError(f"ticker must be a coin such as 'BTC', was {ticker!r}")
        position = _number(instance, "position", -POSITION_LIMIT, POSITION_LIMIT)
        return cls(ticker, position, _number(instance, "drawdown", 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Decision:
    """Answer a question.

    Attributes:
        decision_id: 16 hexadecimal digits; the same question on the same features and bundle has the same id.
        ticker: the coin.
        action: fraction of capital to have in the hedged trade; on HOLD the position that was stated.
        outcome: ACT, or why the position is held.
        reason: the outcome in words.
        gate: each expert's weight; empty on HOLD.
        votes: each expert's own action; empty on HOLD.
        feature_known_at_ms: when the latest bar of the window was known (UTC, milliseconds).
        feature_age_s: age of that bar (s).
        feature_ages_s: age of each feature by its own clock (s): of the bar, the newest settlement, the mood;
            and of the window, which is its last bar's.
        bundle_hash: which bundle decided.
        expires_at_ms: from when on the answer must not be acted on (UTC, milliseconds).
    """

    decision_id: str
    ticker: str
    action: float
    outcome: Outcome
    reason: str
    feature_known_at_ms: int
    feature_age_s: float
    bundle_hash: str
    expires_at_ms: int
    gate: Mapping[str, float] = field(default_factory=dict)
    votes: Mapping[str, float] = field(default_factory=dict)
    feature_ages_s: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the answer as a client reads it; instants are ISO 8601 in UTC."""
        return {
            "decision_id": self.decision_id,
            "ticker": self.ticker,
            "action": self.action,
            "hold": self.outcome is not Outcome.ACT,
            "reason": self.reason,
            "gate": dict(self.gate),
            "votes": dict(self.votes),
            "feature_known_at": _iso(self.feature_known_at_ms),
            "feature_age_s": self.feature_age_s,
            "feature_ages_s": dict(self.feature_ages_s),
            "bundle_hash": self.bundle_hash,
            "expires_at": _iso(self.expires_at_ms),
        }


class DecisionDesk:
    """Decide with one bundle, on the features that a store holds, by a clock that is given."""

    def __init__(
        self,
        bundle: Bundle,
        read_window: Callable[[str], OnlineWindow],
        clock: Callable[[], int],
        max_feature_age_ms: int,
    ) -> None:
        """Take the desk's parts.

        Args:
            bundle: the policy.
            read_window: gives a ticker's newest window, however old.
            clock: gives UTC milliseconds.
            max_feature_age_ms: oldest that what the bar dates may be; what funding or sentiment dates is
                bound by the catalogue.
        """
        self.bundle = bundle
        self._scaler = Scaler.from_json(bundle.scaler)
        self._read_window = read_window
        self._clock = clock
        self._bounds = bounds_of(bundle.spec, max_feature_age_ms)
        self._max_age_ms = max_feature_age_ms

    def decide(self, question: Question) -> Decision:
        """Answer one question.

        Raises:
            UnknownTickerError: the store has no features of the ticker.
        """
        latest = self._read_window(question.ticker)
        now_ms = self._clock()
        alike = latest.spec_hash == self.bundle.spec.hash
        ages = feature_ages(self._bounds, latest.clocks, now_ms) if alike else ()
        outcome, reason = self._judge(latest, ages, now_ms)
        action, gate, votes = question.position, {}, {}
        if outcome is Outcome.ACT:
            decided = self.bundle.decide(self.observe(latest.window, question))
            action = float(decided.action[0])
            gate = dict(zip(self.bundle.experts, decided.gate[0].tolist(), strict=True))
            votes = dict(zip(self.bundle.experts, decided.votes[0].tolist(), strict=True))
        return Decision(
            decision_id=_identify(self.bundle.hash, latest.known_at_ms, question, outcome),
            ticker=question.ticker,
            action=action,
            outcome=outcome,
            reason=reason,
            gate=gate,
            votes=votes,
            feature_known_at_ms=latest.known_at_ms,
            feature_age_s=(now_ms - latest.known_at_ms) / 1000,
            feature_ages_s={age.bound.name: age.age_ms / 1000 for age in ages},
            bundle_hash=self.bundle.hash,
            expires_at_ms=min(
                self.bundle.metadata.expires_at_ms,
                latest.known_at_ms + self._max_age_ms,  # also where the spec is another, and no age is known
                *(now_ms + age.bound.limit_ms - age.age_ms for age in ages),
            ),
        )

    def observe(self, window: npt.NDArray[np.float32], question: Question) -> npt.NDArray[np.float32]:
        """Build the observation (1, D) float32 of a raw window (lookback, P), as the environment does."""
        scaled = self._scaler.transform(window)
        account = np.array([question.position, question.drawdown], dtype=np.float32)
        return np.concatenate([scaled.ravel(), account])[np.newaxis]

    def _judge(self, latest: OnlineWindow, ages: tuple[FeatureAge, ...], now_ms: int) -> tuple[Outcome, str]:
        """Say whether the policy may speak, and if not, why."""
        age_ms, spec_hash = now_ms - latest.known_at_ms, self.bundle.spec.hash
        if latest.spec_hash != spec_hash:
            return (
                Outcome.SPEC,
                f"the store holds features of spec {latest.spec_hash}, the bundle reads {spec_hash}",
            )
        if not np.isfinite(latest.window).all():
            return Outcome.BLIND, "a feature in the window is missing"
        if now_ms >= self.bundle.metadata.expires_at_ms:
            return Outcome.EXPIRED, f"the bundle expired at {_iso(self.bundle.metadata.expires_at_ms)}"
        if stale := words_on_stale(ages):
            return Outcome.STALE, stale
        if age_ms < -CLOCK_TOLERANCE_MS:
            return (
                Outcome.CLOCK,
                f"features are {-age_ms / 1000:.0f} s ahead of the clock; one of the two is wrong",
            )
        return Outcome.ACT, "the policy's decision on fresh features"


def _identify(bundle_hash: str, known_at_ms: int, question: Question, outcome: Outcome) -> str:
    asked = (bundle_hash, known_at_ms, question.ticker, question.position, question.drawdown, outcome.value)
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:16]


def _number(instance: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = instance.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, was {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in [{low:g}, {high:g}], was {value!r}")
    return float(value)


def _iso(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
