"""The hedged funding trade in a market that is still going on."""

from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import ActionError, CoverageError, MarketDataError
from carryflow.core.funding import name_instants
from carryflow.env.action import NEARLY_ONE, as_action
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.feed import Feed, FeedRow
from carryflow.env.layout import Seat, Status, market_rows
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import MarketTape

Floats = NDArray[np.float32]

FEWEST_ROWS = 64
"""Rows kept at least: the window is moved to the front once in so many, less its own length."""


class RollingSimulator(HedgedSimulator):
    """Run one account in a market whose rows come one by one; only those of its window are kept.

    It is the simulator of tapes on a tape that is written as it is played: what falls out of the window makes
    room for what comes.

    Attributes:
        taken: how many rows have come, since the beginning or the last `forget`.
        stray: the row that last came too early, because those before it are missing; None: there is no gap.
        over: the feed has said that its last row was the last.

    """

    def __init__(self, feed: Feed, settings: EnvSettings) -> None:
        """Make room for the window, and for rows to come."""
        super().__init__([_blank_tape(feed, max(2 * feed.spec.lookback, FEWEST_ROWS))], 1, settings)
        self._feed = feed
        self.over = False
        self.forget()

    def forget(self) -> None:
        """Begin the window anew with the row to come, which need not follow any; no episode outlives it."""
        self.books[0, Seat.STATUS] = Status.TRUNCATED
        self.books[0, Seat.CURSOR] = self.spec.lookback - 1
        self._market[:] = np.nan  # what has not come is no price to trade at
        self._newest = -1
        self._before: FeedRow | None = None
        self.taken = 0
        self.stray: FeedRow | None = None

    @property
    def waiting(self) -> bool:
        """Say whether the account stands on the newest row, so that it can live only once another comes."""
        return bool(self.running[0] and self.row[0] == self._newest)

    def take(self, row: FeedRow) -> None:
        """Take in the row that follows.

        Raises:
            CoverageError: it is not the next bar's, or lacks a price, a settlement or a feature.
            SchemaMismatchError: its features are not those of the spec.

        After an error everything is as it was, and the right row may come; or, of one that came too early,
        `stray` keeps it, and a window may begin with it.
        """
        self._require_due(row)
        rows = market_rows(self._tape_up_to(row), self.settings.costs)
        if self._newest + 1 == len(self._market):
            self._roll()
        self._newest += 1
        per_bar = len(self.spec.names)
        self._market[self._newest] = rows[-1]
        self._features[self._newest * per_bar : (self._newest + 1) * per_bar] = row.features
        self.decision_ms[self._newest] = row.decision_ms
        self._before, self.stray = row, None
        self.taken += 1
        self.over = row.final
        if row.final:
            self.books[0, Seat.LAST] = min(self.books[0, Seat.LAST], self._newest)

    def open(self, bars: int | None) -> None:
        """Open the account on the newest row, flat, for `bars` steps or as long as rows come."""
        if self._newest + 1 == len(self._market):
            self._roll()
        nobody, flat = np.zeros(1, np.int64), np.zeros(1)
        self.seat(nobody, nobody, np.array([self._newest]), flat, None, Status.RUNNING)
        self.books[0, Seat.LAST] = inf if bars is None else self._newest + bars

    def cut(self) -> None:
        """Truncate the episode where the account stands; nothing has happened since."""
        self.books[0, Seat.STATUS] = Status.TRUNCATED
        self.told[:] = 0.0

    def _roll(self) -> None:
        """Move the window to the front, the account with it."""
        kept, per_bar = self.spec.lookback, len(self.spec.names)
        moved = self._newest + 1 - kept
        for rows, each in ((self._market, 1), (self.decision_ms, 1), (self._features, per_bar)):
            rows[: kept * each] = rows[moved * each : (moved + kept) * each].copy()
        self.books[0, [Seat.CURSOR, Seat.LAST]] -= moved
        self._newest -= moved

    def _require_due(self, row: FeedRow) -> None:
        """Refuse a row that is not the next bar's, unless it speaks for those that are missing before it."""
        if self._before is None:
            return
        last_ms = self._before.decision_ms
        due_ms = last_ms + self._feed.spec.bar_ms
        if row.decision_ms == due_ms or (row.gap and row.decision_ms > last_ms):
            return
        came, wanted = (name_instants(np.array([at])) for at in (row.decision_ms, due_ms))
        told = f"{self._feed.ticker}: the row of {came} came when that of {wanted} was due; bring "
        if row.decision_ms < due_ms:
            raise CoverageError(told + "every row once and in order")
        self.stray = row
        raise CoverageError(told + "it first, or reset, and a new window begins with the row that came")

    def _tape_up_to(self, row: FeedRow) -> MarketTape:
        """Put a row behind the one before it as a tape of two, which refuses what cannot be played."""
        feed, before = self._feed, self._before
        if before is None:
            before = replace(row, decision_ms=row.decision_ms - feed.spec.bar_ms)

        def both(name: str) -> NDArray[np.float64]:
            return np.array([getattr(before, name), getattr(row, name)], dtype=np.float64)

        extremes = {
            name: np.array([before.mark, getattr(row, name)])
            for name in ("mark_high", "mark_low")
            if getattr(row, name) is not None
        }
        book = row.liquidity
        return MarketTape(
            ticker=feed.ticker,
            decision_ms=np.array([before.decision_ms, row.decision_ms]),
            spot=both("spot"),
            perp=both("perp"),
            mark=both("mark"),
            tradable=np.array([before.tradable, row.tradable]),
            settlement_cash=np.array([0.0, row.settlement_cash]),
            features=np.stack((row.features, row.features)),
            spec=replace(feed.spec, lookback=1),
            kind=feed.kind,
            lots=feed.lots,
            liquidity=None if book is None else book.of([0, 0]),
            deleveraged=None if row.deleveraged is None else np.array([0.0, row.deleveraged]),
            **extremes,
        )


def _blank_tape(feed: Feed, rows: int) -> MarketTape:
    """Give a tape on which nothing stands yet."""
    nothing = np.ones(rows)
    return MarketTape(
        ticker=feed.ticker,
        decision_ms=feed.spec.bar_ms * np.arange(rows, dtype=np.int64),
        spot=nothing,
        perp=nothing,
        mark=nothing,
        tradable=np.zeros(rows, np.bool_),
        settlement_cash=np.zeros(rows),
        features=np.zeros((rows, len(feed.spec.names)), np.float32),
        spec=feed.spec,
        kind=feed.kind,
        lots=feed.lots,
    )


class StreamingCryptoEnv(CryptoTradingEnv):
    """Trade spot against its perpetual as the market goes on, one row of a feed a step.

    Observations, actions, rewards, infos and the ledger are those of `CryptoTradingEnv`, to the last bit
    where the feed is a recorded tape (`env.feed.tape_feed`), in constant memory however long it runs. What
    differs is time, which does not come back:

    - `reset` opens a new account, flat, on the newest row; the first waits until a window of rows has come.
    - `step` trades at the newest row's prices, then waits for the feed to give the next.
    - A row that does not follow, or lacks a price or a feature, is an error that leaves account and window as
      they were; the next `step` asks the feed for another. Where the feed speaks for what is missing
      (`FeedRow.gap`), as a recorded tape does, the account lives through the gap as it would on the tape.
    - Where rows are missing for good, every `step` is such an error: what the account has lived through is
      not known. `reset` then drops the window, and waits until a new one of rows after the gap has come.
    - The episode is truncated after `bars`, on a row that the feed calls final or, without a reward, where
      the feed ends.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name

    simulator: RollingSimulator

    def __init__(self, feed: Feed, settings: EnvSettings, bars: int | None = None) -> None:
        """Take the feed to play.

        Args:
            feed: the market; asked for nothing before `reset`.
            settings: the account. Its `episode_bars` and `random_start` are for tapes, and not heard.
            bars: steps until an episode is cut; None: as long as rows come.

        """
        simulator = RollingSimulator(feed, settings)
        super().__init__(simulator.tapes, settings)
        self.simulator = simulator
        self._feed = feed
        self._bars = bars

    def _place(self) -> None:
        simulator, lookback = self.simulator, self.feature_spec.lookback
        if (stray := simulator.stray) is not None:
            simulator.forget()
            simulator.take(stray)
        while simulator.taken < lookback and not simulator.over:
            if not self._take():
                break
        if simulator.taken < lookback or simulator.over:
            raise MarketDataError(
                f"{self._feed.ticker}: the feed has ended after {simulator.taken} rows, and an episode "
                f"needs a window of {lookback} and a row to live for; make an environment with another feed"
            )
        simulator.open(self._bars)

    def _advance(self, action: NDArray[np.floating]) -> tuple[float, bool, bool]:
        self._refuse_before_waiting(action)
        if self.simulator.waiting and not self._take():
            self.simulator.cut()
            return 0.0, False, True
        return super()._advance(action)

    def _take(self) -> bool:
        """Wait for the next row and take it in; say False where the feed has ended."""
        row = next(self._feed.rows, None)
        if row is None:
            self.simulator.over = True
            return False
        self.simulator.take(row)
        return True

    def _refuse_before_waiting(self, action: Any) -> None:
        """Raise an ActionError at once, for the next row may be an hour away."""
        numbers = as_action(action, self._shape)
        if not (np.abs(numbers) <= NEARLY_ONE).all():
            raise ActionError(
                f"an action must be {self._shape} numbers in [-1, 1], was {action}; look at the policy that "
                "gave it"
            )
