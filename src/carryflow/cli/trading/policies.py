"""Who decides: the champion, by the desk that serves it, or a reference that looks at nothing."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from carryflow.core.errors import CarryflowError, RegistryError, SettingsError
from carryflow.execution.intents import Decision

if TYPE_CHECKING:
    from carryflow.agents.bundle import Bundle
    from carryflow.cli.trading.windows import StreamedWindows
    from carryflow.execution.ports import Clock
    from carryflow.market.closed_bars import ClosedBar
    from carryflow.settings import Settings

CHAMPION, HEDGED, FLAT = "champion", "hedged", "flat"
POLICIES = (CHAMPION, HEDGED, FLAT)

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Say how one ticker's account stands.

    Attributes:
        position: fraction of capital in the hedged trade, positive for long spot and short perp.
        drawdown: fall from its peak equity (fraction).
    """

    position: float
    drawdown: float


@dataclass(frozen=True, slots=True)
class Held:
    """Say why there is no decision on a ticker, so that its position stays."""

    ticker: str
    reason: str


class Policy(Protocol):
    """Decide on each ticker when its bar has closed."""

    @property
    def about(self) -> str:
        """Name the policy as a person reads it."""
        ...

    def learn(self, ticker: str, bar: "ClosedBar") -> None:
        """Take in the bar that has closed; one that cannot be used makes the ticker be held."""
        ...

    def decide(self, ticker: str, standing: Standing, now_ms: int) -> Decision | Held:
        """Say what to have of a ticker at this instant (UTC ms)."""
        ...


def require_policy(name: str) -> None:
    """Do nothing if there is a policy of this name.

    Raises:
        SettingsError: there is none.
    """
    if name not in POLICIES:
        raise SettingsError(f"--policy {name} is none of {', '.join(POLICIES)}")


@dataclass(frozen=True, slots=True)
class Reference:
    """Want the same at every bar.

    Attributes:
        name: what it is called.
        fraction: fraction of capital to have in the hedged trade.
        valid_ms: how long a decision may be acted on (ms).
    """

    name: str
    fraction: float
    valid_ms: int

    @property
    def about(self) -> str:
        """Name the policy."""
        return f"{self.name}: {self.fraction:+.0%} of capital at every bar"

    def learn(self, ticker: str, bar: "ClosedBar") -> None:
        """Take in nothing."""

    def decide(self, ticker: str, standing: Standing, now_ms: int) -> Decision:
        """Want the one fraction."""
        name = hashlib.sha256(f"{self.name}/{ticker}/{now_ms}".encode()).hexdigest()[:16]
        return Decision(name, ticker, self.fraction, now_ms, now_ms + self.valid_ms, self.name)


class Champion:
    """Ask a bundle at the desk that answers over HTTP, too, on windows that are streamed.

    A ticker whose bars have a hole is held until it is primed anew (`mend`).
    """

    def __init__(
        self, bundle: "Bundle", windows: "StreamedWindows", clock: "Clock", max_feature_age_ms: int
    ) -> None:
        """Take the policy, its eyes, its clock, and the greatest age of what it sees (ms)."""
        from serving.decision import DecisionDesk

        self._bundle = bundle
        self._windows = windows
        self._desk = DecisionDesk(bundle, windows.read, clock.now_ms, max_feature_age_ms)
        self._blind: dict[str, str] = {}

    @property
    def about(self) -> str:
        """Name the policy."""
        return f"champion {self._bundle.hash}"

    @property
    def blind(self) -> Mapping[str, str]:
        """Say of which tickers the window has a hole, and why."""
        return dict(self._blind)

    def learn(self, ticker: str, bar: "ClosedBar") -> None:
        """Take in the bar that has closed."""
        if ticker in self._blind:
            return
        try:
            self._windows.push(ticker, bar)
        except CarryflowError as error:
            self._blind[ticker] = str(error)

    def miss(self, ticker: str, reason: str) -> None:
        """Note that a bar of this ticker did not come."""
        self._blind.setdefault(ticker, reason)

    def mend(self, ticker: str, folder: Path, now_ms: int) -> int:
        """Begin a ticker's window anew with history up to now (UTC ms); raises as `StreamedWindows.prime`.

        Returns:
            The open of the bar to be pushed next (UTC ms).
        """
        due_ms = self._windows.prime_ticker(folder, ticker, now_ms)
        self._blind.pop(ticker, None)
        return due_ms

    def decide(self, ticker: str, standing: Standing, now_ms: int) -> Decision | Held:
        """Ask the desk, which holds where a feature or the bundle is too old."""
        from serving.decision import POSITION_LIMIT, Outcome, Question

        if ticker in self._blind:
            return Held(ticker, self._blind[ticker])
        position = min(max(standing.position, -POSITION_LIMIT), POSITION_LIMIT)
        answer = self._desk.decide(Question(ticker, position, min(max(standing.drawdown, 0.0), 1.0)))
        if answer.outcome is not Outcome.ACT:
            return Held(ticker, answer.reason)
        return Decision(
            decision_id=answer.decision_id,
            ticker=ticker,
            fraction=answer.action,
            decided_ms=now_ms,
            expires_ms=answer.expires_at_ms,
            source=f"champion {answer.bundle_hash}",
            reason=_reason(answer.gate),
        )


def load_champion(settings: "Settings") -> "Bundle":
    """Load the home's champion.

    Raises:
        RegistryError: there is none.
        SchemaMismatchError: it is not whole, or was made for features that this code does not have.
    """
    from carryflow.agents.bundle import load_bundle
    from carryflow.promotion.registry import Alias, Registry

    registry = Registry(settings.home_dir / "registry")
    version = registry.resolve(Alias.CHAMPION)
    if version is None:
        raise RegistryError(
            f"{settings.home_dir} has no champion; `carryflow run` trains one, or trade a reference with "
            "--policy hedged"
        )
    return load_bundle(registry.bundle_dir(version))


def reference(name: str, bar_ms: int) -> Reference:
    """Give a reference policy, whose decisions are good until the bar after the next closes."""
    return Reference(name, 1.0 if name == HEDGED else 0.0, 2 * bar_ms)


def _reason(gate: Mapping[str, float]) -> str:
    weights = sorted(gate.items(), key=lambda one: -one[1])
    return "gate " + ", ".join(f"{name} {weight:.0%}" for name, weight in weights)
