"""How well a feed is doing, market by market."""

from dataclasses import dataclass
from enum import StrEnum

from carryflow.core.leg import Leg


class StreamKind(StrEnum):
    """Say what is watched."""

    BOOK = "book"
    MARK = "mark"
    ORDERS = "orders"
    QUOTE = "quote"


class StreamState(StrEnum):
    """Say whether what was last heard of a market may be used."""

    CONNECTING = "connecting"  # nothing was heard yet
    LIVE = "live"
    RESYNCING = "resyncing"  # messages are missing, so a new snapshot is asked for
    RECONNECTING = "reconnecting"  # the connection is gone, or silent
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """Tell of one market.

    Attributes:
        kind: what is watched.
        leg: which market; None where it is of both, or of none.
        ticker: the coin; of an account's orders and of the quote coin's price, a name for them.
        state: whether it is there.
        seen_ms: when it was last heard of (the feed's clock, UTC ms); None: never.
        lag_ms: how long the last message took since the venue made it (ms); None where it does not say when.
        updates: messages taken.
        gaps: how often messages were missing.
        resyncs: how often it was there again after a gap.
        reconnects: how often the connection was lost, silent, or refused.
        trouble: what was wrong last, in the venue's words; empty: nothing ever was.

    """

    kind: StreamKind
    leg: Leg | None
    ticker: str
    state: StreamState
    seen_ms: int | None
    lag_ms: int | None
    updates: int
    gaps: int
    resyncs: int
    reconnects: int
    trouble: str


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """Tell of all markets of a feed."""

    streams: tuple[StreamHealth, ...]

    @property
    def live(self) -> bool:
        """Say whether all are there."""
        return all(one.state is StreamState.LIVE for one in self.streams)

    @property
    def oldest_ms(self) -> int | None:
        """Return when the market that was heard of least lately was; None where one never was."""
        heard = [one.seen_ms for one in self.streams if one.kind is not StreamKind.ORDERS]
        known = [ms for ms in heard if ms is not None]
        return min(known) if known and len(known) == len(heard) else None

    @property
    def updates(self) -> int:
        """Return how many messages were taken."""
        return sum(one.updates for one in self.streams)
