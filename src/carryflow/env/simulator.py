"""The hedged account on a tape: the one simulator behind the environments and the backtest."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carryflow.core.errors import ActionError, MarketDataError, SchemaMismatchError
from carryflow.env.accounts import Accounts
from carryflow.env.action import refusal
from carryflow.env.kernel import seat_accounts, show_all, step
from carryflow.env.layout import (
    ROW_WIDTH,
    SEAT_WIDTH,
    TOLD_WIDTH,
    Seat,
    Status,
    Told,
    aligned,
    market_rows,
    rules_of,
    terms_of,
)
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape, same_spec

__all__ = ["EnvSettings", "HedgedSimulator", "StepResult"]

Floats = NDArray[np.float64]

Arguments = tuple[Floats, Floats, NDArray[np.float32], Floats, int, int, Floats, NDArray[np.bool_]]
"""Of `kernel.step`: books, market, features, rules, window, per_bar, told and ends."""

_NOBODY_LOOKS = np.empty((0, 0), dtype=np.float32)
_FOREVER = 2**62


class StepResult(NamedTuple):
    """Tell what one step did to N accounts.

    Attributes:
        reward: profit on capital less the prices of risk (bp) (N,).
        profit_quote: change of equity (quote) (N,).
        parts_quote: the same by `core.account.PARTS`; costs are negative (quote) (N, 6).
        terms_bp: the reward by `reward.REWARD_TERMS`: the first less all others (bp) (N, 5).
        terminated: the account was liquidated or ruined (N,).
        truncated: the episode or the tape has ended (N,).

    """

    reward: Floats
    profit_quote: Floats
    parts_quote: Floats
    terms_bp: Floats
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class HedgedSimulator(Accounts):
    """Run N accounts over some tapes, all in one compiled loop.

    Each account plays one tape from one row on. An action is the fraction of capital to have in the hedged
    trade (positive: long spot, short perpetual); it is traded at the prices of the row on which it is
    decided. On an inverse tape a negative fraction is taken for 0 (`env.trade` says why). An account rests
    on the first decision of the first tape until it is `reset`.

    A liquidation ends an episode, but only once the account is flat: its coins are sold at the row that
    liquidated it or, if that market is halted, at the first that trades, and no action is heard until then.
    If the tape ends before, or the episode's bars do, it is truncated with the coins unsold.

    Attributes:
        decision_ms: the instants of all tapes, one after the other (UTC ms).
        told: what the last step told, by `layout.Told`; overwritten by the next (N, TOLD_WIDTH).
        ends: which episodes are terminated, which truncated; overwritten as well (2, N).

    """

    def __init__(self, tapes: Sequence[MarketTape], accounts: int, settings: EnvSettings) -> None:
        """Lay the tapes end to end.

        Raises:
            MarketDataError: there is no tape.
            SchemaMismatchError: the tapes were made for different feature specs.

        """
        self.spec = same_spec(tapes)
        self.tapes = tuple(tapes)
        self.settings = settings
        self._first = np.array([tape.first for tape in tapes])
        self._rows = np.array([len(tape) for tape in tapes])
        self._offset = np.cumsum(self._rows) - self._rows
        self.decision_ms = np.concatenate([tape.decision_ms for tape in tapes])
        self._terms = terms_of(self.tapes, settings)
        self._market = aligned(int(self._rows.sum()), ROW_WIDTH)
        np.concatenate([market_rows(tape, settings.costs) for tape in tapes], out=self._market)
        self._features = np.concatenate([tape.features.reshape(-1) for tape in tapes])
        self._rules = rules_of(settings)
        super().__init__(aligned(accounts, SEAT_WIDTH))
        self.books[:, Seat.PEAK] = 1.0
        self.books[:, Seat.STATUS] = Status.TRUNCATED
        self.books[:, Seat.CURSOR] = self._first[0]
        self.told = np.zeros((accounts, TOLD_WIDTH))
        self.ends = np.zeros((2, accounts), dtype=np.bool_)

    @property
    def arguments(self) -> Arguments:
        """Give what the compiled step works on, each its own array, beside the actions and observations."""
        window, per_bar = self.spec.window_size, len(self.spec.names)
        known = (self.books, self._market, self._features, self._rules)
        return (*known, window, per_bar, self.told, self.ends)

    @property
    def ground(self) -> tuple[Floats, Floats, Floats]:
        """Give what accounts are seated on: terms, market and rules, as `kernel.seat_accounts` takes them."""
        return self._terms, self._market, self._rules

    @property
    def observation_size(self) -> int:
        """Count the numbers of an observation: those of the spec and, where it is chosen, the margin left."""
        return self.spec.observation_size + (self.settings.action == "fraction_and_margin")

    def reset(
        self,
        account_indices: ArrayLike,
        tape_index: ArrayLike,
        start_index: ArrayLike,
        fraction: ArrayLike = 0.0,
        bars: int | None = None,
    ) -> None:
        """Open accounts anew (all arguments broadcast against `account_indices`).

        Args:
            account_indices: which accounts (k,).
            tape_index: the tape of each.
            start_index: the row of its tape on which each first decides; at least the tape's `first`.
            fraction: position that each inherits free of cost, in [−1, 1].
            bars: steps until the episode is cut; None plays to the end of the tape.

        Raises:
            MarketDataError: a start leaves no whole window before it or no step after it.
            ActionError: a fraction is out of range.

        """
        accounts = np.atleast_1d(np.asarray(account_indices, dtype=np.int64))
        tape, start = (
            np.broadcast_to(np.asarray(given, dtype=np.int64), accounts.shape)
            for given in (tape_index, start_index)
        )
        held = np.broadcast_to(np.asarray(fraction, dtype=np.float64), accounts.shape)
        early_or_late = (start < self._first[tape]) | (start >= self._rows[tape] - 1)
        if early_or_late.any():
            wrong = int(early_or_late.argmax())
            source = self.tapes[tape[wrong]]
            raise MarketDataError(
                f"{source.ticker}: an episode cannot start at row {start[wrong]}; choose one of "
                f"{source.first} to {len(source) - 2}"
            )
        if not (np.abs(held) <= 1).all():
            wrong = int((~(np.abs(held) <= 1)).argmax())
            raise ActionError(f"an inherited position must be a fraction in [-1, 1], was {held[wrong]}")
        self.seat(accounts, tape, start, held, bars, Status.RUNNING)

    def seat(
        self,
        accounts: NDArray[np.int64],
        tape: NDArray[np.int64],
        start: NDArray[np.int64],
        fraction: Floats,
        bars: int | None,
        status: Status,
    ) -> None:
        """Open accounts as `reset` does, without a look at whether they can be; all arrays are (k,).

        `Status.FRESH` lets the next step pass: it only shows the account where it begins.
        """
        self.told[accounts] = 0.0
        seat_accounts(
            self.books,
            accounts,
            np.ascontiguousarray(tape),
            np.ascontiguousarray(start),
            np.ascontiguousarray(fraction),
            _FOREVER if bars is None else bars,
            float(status),
            *self.ground,
        )

    def step(self, actions: ArrayLike, margin_ratio: ArrayLike | None = None) -> StepResult:
        """Trade towards `actions` (N,) or (N, 1), then live until the next row.

        An account whose episode has ended rests until it is reset: its reward is 0 and it stays ended.

        Args:
            actions: fraction of capital to have in the hedged trade, in [−1, 1].
            margin_ratio: margin over notional of a full position, in the range of the settings (N,) or one
                for all: a ratio r keeps 1 / (1 + r) of equity in the spot wallet. Cash is moved for it as
                soon as the market trades, with or without a trade. None keeps the settings' `spot_share`.

        Raises:
            ActionError: an action or a ratio is NaN, infinite or out of its range; no account has moved.

        """
        fraction = np.asarray(actions, dtype=np.float64).reshape(-1)
        if len(fraction) != self.accounts:
            raise ActionError(f"expected {self.accounts} actions, one for each account, got {len(fraction)}")
        wanted = np.empty((self.accounts, 1 if margin_ratio is None else 2))
        wanted[:, 0] = fraction
        if margin_ratio is not None:
            wanted[:, 1] = np.asarray(margin_ratio, dtype=np.float64).reshape(-1)
        self.play(wanted, _NOBODY_LOOKS)
        told = self.told.copy()
        return StepResult(
            told[:, Told.REWARD],
            told[:, Told.PROFIT],
            told[:, Told.PARTS : Told.TERMS],
            told[:, Told.TERMS :],
            self.ends[0].copy(),
            self.ends[1].copy(),
        )

    def play(self, actions: NDArray[np.floating], seen: NDArray[np.float32]) -> int:
        """Step, and write the observations into `seen`, in one compiled call and with nothing allocated.

        What happened is in `told` and `ends`, until the next step.

        Args:
            actions: C-contiguous, fractions, with margin ratios beside them or without (N, 1 or 2).
            seen: C-contiguous, filled with observations (N, observation_size); of no rows, nothing is.

        Returns:
            The number of accounts whose episodes have ended.

        Raises:
            ActionError: as of `step`.
            SchemaMismatchError: the observations do not fit into `seen`.

        """
        if actions.shape not in ((self.accounts, 1), (self.accounts, 2)):
            raise ActionError(f"expected actions ({self.accounts}, 1 or 2), got {actions.shape}")
        if len(seen):
            self._require_room(seen)
        ended: int = step(*self.arguments, actions, seen)
        if ended < 0:
            raise refusal(-1 - ended, actions[-1 - ended], self.settings)
        return ended

    def observe(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Write each account's observation into `out`, float32 (N, observation_size), and return it.

        Window first (oldest bar first), then `features.spec.POSITION_FEATURES`. Without `out`, a new array.

        Raises:
            SchemaMismatchError: the observations do not fit into `out`.

        """
        if out is None:
            out = np.empty((self.accounts, self.observation_size), dtype=np.float32)
        self._require_room(out)
        books, _, features, rules, window, per_bar, *_ = self.arguments
        show_all(books, features, rules, window, per_bar, out)
        return out

    def _require_room(self, seen: NDArray[np.float32]) -> None:
        """Refuse an array that the compiled loop would write beyond; wider rows keep what is behind."""
        size = self.observation_size
        fits = seen.ndim == 2 and len(seen) == self.accounts and seen.shape[1] >= size
        if not fits or seen.dtype != np.float32 or not seen.flags.carray:
            raise SchemaMismatchError(
                f"observations need a writable, C-contiguous float32 ({self.accounts}, {size}), this is "
                f"{seen.dtype} {seen.shape}; leave it out for a new one"
            )

    @property
    def now_ms(self) -> NDArray[np.int64]:
        """Give the instant at which each account stands (UTC ms) (N,)."""
        now: NDArray[np.int64] = self.decision_ms[self.books[:, Seat.CURSOR].astype(np.int64)]
        return now

    @property
    def row(self) -> NDArray[np.int64]:
        """Give the row of its tape on which each account stands (N,)."""
        row: NDArray[np.int64] = self.books[:, Seat.CURSOR].astype(np.int64) - self._offset[self.tape]
        return row
