"""What the engine tells: what came of a decision, what a reconciliation found, how things stand."""

from dataclasses import dataclass
from decimal import Decimal

from carryflow.execution.intents import Action
from carryflow.execution.limits.kill import Level
from carryflow.execution.limits.risk import Breach
from carryflow.execution.pair.states import State


@dataclass(frozen=True, slots=True)
class Outcome:
    """Tell what came of a decision.

    Attributes:
        action: what was done to the pair; None: nothing.
        state: where the pair is now.
        delta_base: coins without a hedge (base, signed).
        acknowledged_seconds: from the decision's arrival until the venue had answered the last order sent
            for it; None: nothing was sent.
        words: what was done, or why not.
        breaches: the limits that were in the way.
    """

    action: Action | None
    state: State
    delta_base: Decimal
    acknowledged_seconds: float | None
    words: str
    breaches: tuple[Breach, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Name something of which the venue has more (or less) than our books say.

    Attributes:
        what: a coin's spot balance, a position, or one of the wallets.
        ticker: the coin; None: the wallets' cash.
        venue: what there is.
        books: what we thought.
    """

    what: str
    ticker: str | None
    venue: Decimal
    books: Decimal

    @property
    def key(self) -> str:
        """Name it, however much there is by now: the same difference is told once."""
        return f"{self.what} {self.venue - self.books:.2f}"

    @property
    def words(self) -> str:
        """Say it to a person."""
        return f"{self.what}: the venue has {self.venue}, our books {self.books}"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Tell what a reconciliation found.

    Attributes:
        at_ms: when it began (the engine's clock, UTC ms).
        complete: the venue told everything, and no pair was at work; else nothing was compared.
        fills: trades that were not known before.
        funding: payments that were not known before.
        unknown: orders of which it is not known what became.
        differences: what no trade, payment or transfer explains.
        strangers: open orders that are not ours, or that we thought to have ended.
        words: why it is not complete.
    """

    at_ms: int
    complete: bool
    fills: int = 0
    funding: int = 0
    unknown: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    strangers: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class PairStatus:
    """Tell where one pair stands (base coins and quote)."""

    ticker: str
    state: State
    blocked: str | None
    spot_qty: Decimal
    perp_qty: Decimal
    delta_base: Decimal
    notional_quote: float
    equity_quote: float
    margin_distance: float


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Tell how things stand.

    Attributes:
        at_ms: when (the engine's clock, UTC ms).
        level: what the kill switch says.
        equity_quote: what the books are worth.
        day_equity_quote: what they were worth when the day began, at 00:00 UTC.
        reconciled_ms: when the venue and the books were last compared; None: not yet.
        skew_ms: the venue's clock less ours, as last measured.
        pairs: each coin.
    """

    at_ms: int
    level: Level
    equity_quote: float
    day_equity_quote: float
    reconciled_ms: int | None
    skew_ms: int
    pairs: tuple[PairStatus, ...]
