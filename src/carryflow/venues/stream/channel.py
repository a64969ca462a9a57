"""One market that is watched: what was last heard of it, and whether that may be used."""

import time
from typing import Any

from carryflow.core.errors import RetryableError
from carryflow.core.leg import Leg
from carryflow.venues.stream.health import StreamHealth, StreamKind, StreamState


class Channel:
    """Hold the newest of one market; nobody else changes it but the feed that keeps it.

    Attributes:
        kind: what is watched.
        leg: which market, or None.
        ticker: the coin.
        symbol: ccxt's name of it.
        state: whether `value` may be used.
        value: what was last heard, as ccxt or the feed made it; None while it may not be used.
        seen_ms: when that was true (the feed's clock, UTC ms).
        updates: messages taken.
        heard_at: when the last message came, or was begun to be waited for (monotonic seconds).
        heard_ms: the same by the feed's clock.
        silences: how often in a row it was asked for anew because nothing came.
        live_at: since when it is live (monotonic seconds).

    """

    def __init__(self, kind: StreamKind, leg: Leg | None, ticker: str, symbol: str) -> None:
        """Begin with nothing heard."""
        self.kind, self.leg, self.ticker, self.symbol = kind, leg, ticker, symbol
        self.state = StreamState.CONNECTING
        self.value: Any = None
        self.seen_ms: int | None = None
        self.updates = 0
        self.heard_at = self.live_at = time.monotonic()
        self.heard_ms = 0
        self.silences = 0
        self._lag_ms: int | None = None
        self._gaps = self._resyncs = self._reconnects = 0
        self._trouble = ""

    @property
    def name(self) -> str:
        """Name it in messages."""
        return " ".join(part for part in (self.ticker, self.leg, self.kind) if part)

    def begin(self, now_ms: int) -> None:
        """Wait for the first message from now on."""
        self.heard_at, self.heard_ms = time.monotonic(), now_ms

    def subscribe(self) -> None:
        """Be there before the first message: of what is told only when it happens, none may come for long."""
        if self.state not in {StreamState.LIVE, StreamState.CLOSED}:
            self.state, self.live_at = StreamState.LIVE, time.monotonic()

    def take(self, value: Any, made_ms: int | None, now_ms: int) -> None:
        """Take what has just come.

        It was true when the venue made it: a message that lay in a buffer for long is an old one, and must
        not look new.
        """
        self.heard_at, self.heard_ms = time.monotonic(), now_ms
        self.seen_ms = now_ms if made_ms is None else min(now_ms, made_ms)
        self._lag_ms = None if made_ms is None else now_ms - made_ms
        self.value = value
        self.updates += 1
        self.silences = 0
        if self.state is not StreamState.LIVE:
            self._resyncs += self.state is StreamState.RESYNCING
            self.state, self.live_at = StreamState.LIVE, self.heard_at

    def lose(self, state: StreamState, trouble: str) -> None:
        """Let nobody use what is known."""
        if state is StreamState.RESYNCING:
            self._gaps += 1
        elif state is StreamState.RECONNECTING:
            self._reconnects += 1
        if self.state is not StreamState.CONNECTING or state is StreamState.CLOSED:
            self.state = state
        self.value = None
        self._trouble = trouble or self._trouble

    def steady_for(self, seconds: float) -> bool:
        """Say whether it has been live for so long."""
        return self.state is StreamState.LIVE and time.monotonic() - self.live_at >= seconds

    def known(self) -> Any:
        """Return what was last heard.

        Raises:
            RetryableError: nothing is known at the moment.
        """
        if self.state is not StreamState.LIVE or self.value is None:
            why = f" ({self._trouble})" if self._trouble else ""
            raise RetryableError(
                f"the feed knows nothing of {self.name} at the moment: it is {self.state}{why}; ask again "
                "shortly"
            )
        return self.value

    def health(self) -> StreamHealth:
        """Tell how it is doing."""
        return StreamHealth(
            kind=self.kind,
            leg=self.leg,
            ticker=self.ticker,
            state=self.state,
            seen_ms=self.seen_ms,
            lag_ms=self._lag_ms,
            updates=self.updates,
            gaps=self._gaps,
            resyncs=self._resyncs,
            reconnects=self._reconnects,
            trouble=self._trouble,
        )
