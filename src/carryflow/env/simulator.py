"""The hedged account on a tape: the one simulator behind the environments and the backtest."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carryflow.core.errors import ActionError, InvariantBroken, MarketDataError, SchemaMismatchError
from carryflow.core.ledger import FIRST_PART, N_PARTS, PARTS, Column, equity, residual
from carryflow.env.kernel import advance, begin, observe
from carryflow.env.layout import Episode, Risk, Status, market_rows, rules_of
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape

__all__ = ["EnvSettings", "HedgedSimulator", "StepResult"]


class StepResult(NamedTuple):
    """Tell what one step did to N accounts.

    Attributes:
        reward: profit on capital less the prices of risk (bp) (N,).
        profit_quote: change of equity (quote) (N,).
        parts_quote: the same by `core.ledger.PARTS`; costs are negative (quote) (N, 6).
        terminated: the account was liquidated or ruined (N,).
        truncated: the episode or the tape has ended (N,).

    """

    reward: NDArray[np.float64]
    profit_quote: NDArray[np.float64]
    parts_quote: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class HedgedSimulator:
    """Run N accounts over some tapes, all in one compiled loop.

    Each account plays one tape from one row on. An action is the fraction of capital to have in the hedged
    trade (positive: long spot, short perpetual); it is traded at the prices of the row on which it is
    decided. Every account must be `reset` before its first step.
    """

    def __init__(self, tapes: Sequence[MarketTape], accounts: int, settings: EnvSettings) -> None:
        """Lay the tapes end to end.

        Raises:
            MarketDataError: there is no tape.
            SchemaMismatchError: the tapes were made for different feature specs.

        """
        if not tapes:
            raise MarketDataError("a simulator needs at least one tape, got none; name a ticker")
        if len({tape.spec for tape in tapes}) > 1:
            raise SchemaMismatchError("the tapes differ in their feature specs; build them from one dataset")
        self.tapes = tuple(tapes)
        self.spec = tapes[0].spec
        self.settings = settings
        lengths = np.array([len(tape) for tape in tapes])
        self._offset = np.concatenate(([0], np.cumsum(lengths)))
        self._market = np.concatenate([market_rows(tape) for tape in tapes])
        self._features = np.concatenate([tape.features.reshape(-1) for tape in tapes])
        self._rules = rules_of(settings)
        self.ledger = np.zeros((accounts, len(Column)))
        self._risk = np.ones((accounts, len(Risk)))
        self._episode = np.zeros((accounts, len(Episode)), dtype=np.int64)
        self._episode[:, Episode.STATUS] = Status.TRUNCATED
        self._tape = np.zeros(accounts, dtype=np.int64)

    @property
    def accounts(self) -> int:
        """Count the accounts (N)."""
        return len(self.ledger)

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
        indices = np.atleast_1d(np.asarray(account_indices, dtype=np.int64))
        shape = indices.shape
        for account, tape, start, held in zip(
            indices,
            np.broadcast_to(tape_index, shape),
            np.broadcast_to(start_index, shape),
            np.broadcast_to(fraction, shape),
            strict=True,
        ):
            source = self.tapes[tape]
            if not source.first <= start < len(source) - 1:
                raise MarketDataError(
                    f"{source.ticker}: an episode cannot start at row {start}; choose one of "
                    f"{source.first} to {len(source) - 2}"
                )
            if not abs(held) <= 1:
                raise ActionError(f"an inherited position must be a fraction in [-1, 1], was {held}")
            last = len(source) - 1 if bars is None else min(start + bars, len(source) - 1)
            offset = int(self._offset[tape])
            self._tape[account] = tape
            begin(
                self.ledger[account],
                self._risk[account],
                self._episode[account],
                offset + int(start),
                offset + int(last),
                float(held),
                max(source.lots.spot_base, source.lots.perp),
                self._market[offset + int(start)],
                self._rules,
            )

    def step(self, actions: ArrayLike) -> StepResult:
        """Trade towards `actions` (N,) or (N, 1), then live until the next row.

        An account whose episode has ended rests until it is reset: its reward is 0 and it stays ended.

        Raises:
            ActionError: an action is NaN, infinite or beyond ±1; no account has moved.

        """
        wanted = np.ascontiguousarray(actions, dtype=np.float64).reshape(-1)
        n = self.accounts
        if len(wanted) != n:
            raise ActionError(f"expected {n} actions, one for each account, got {len(wanted)}")
        reward, profit, parts = np.empty(n), np.empty(n), np.empty((n, N_PARTS))
        wrong = advance(
            self.ledger,
            self._risk,
            self._episode,
            self._market,
            self._rules,
            wanted,
            reward,
            profit,
            parts,
        )
        if wrong >= 0:
            raise ActionError(
                f"account {wrong}: an action must be a fraction in [-1, 1], was {wanted[wrong]}; "
                "look at the policy that gave it"
            )
        status = self._episode[:, Episode.STATUS]
        return StepResult(reward, profit, parts, status == Status.TERMINATED, status == Status.TRUNCATED)

    def observe(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Write each account's observation into `out`, float32 (N, spec.observation_size), and return it.

        Window first (oldest bar first), then `features.spec.POSITION_FEATURES`. Without `out`, a new array.
        """
        if out is None:
            out = np.empty((self.accounts, self.spec.observation_size), dtype=np.float32)
        observe(
            self.ledger,
            self._risk,
            self._episode,
            self._features,
            self._rules,
            len(self.spec.names),
            self.spec.window_size,
            out,
        )
        return out

    @property
    def equity(self) -> NDArray[np.float64]:
        """Value each account at its last marks (quote) (N,)."""
        return np.array([equity(account) for account in self.ledger])

    @property
    def fraction(self) -> NDArray[np.float64]:
        """Give the fraction of capital that each account has in the hedged trade (N,)."""
        held = self.ledger[:, Column.SPOT_QTY] * self.ledger[:, Column.SPOT_PRICE]
        return np.divide(
            held, self.settings.spot_share * self.equity, out=np.zeros_like(held), where=held != 0
        )

    @property
    def drawdown(self) -> NDArray[np.float64]:
        """Give how far each account lies below its peak (fraction) (N,)."""
        return 1.0 - self.equity / self._risk[:, Risk.PEAK]

    @property
    def turnover_quote(self) -> NDArray[np.float64]:
        """Sum what each account has traded in both legs since its reset (quote) (N,)."""
        return self.ledger[:, Column.TURNOVER].copy()

    @property
    def attribution(self) -> dict[str, NDArray[np.float64]]:
        """Explain each account's profit since its reset, by part; costs are negative (quote) (N,)."""
        return {part: self.ledger[:, FIRST_PART + k].copy() for k, part in enumerate(PARTS)}

    @property
    def now_ms(self) -> NDArray[np.int64]:
        """Give the instant at which each account stands (UTC ms) (N,)."""
        return np.array(
            [self.tapes[tape].decision_ms[row] for tape, row in zip(self._tape, self.row, strict=True)]
        )

    @property
    def row(self) -> NDArray[np.int64]:
        """Give the row of its tape on which each account stands (N,)."""
        return self._episode[:, Episode.CURSOR] - self._offset[self._tape]

    @property
    def running(self) -> NDArray[np.bool_]:
        """Say which accounts have not ended (N,)."""
        return np.equal(self._episode[:, Episode.STATUS], Status.RUNNING)

    def check_books(self, tolerance: float = 1e-9) -> None:
        """Prove that the parts explain every account's profit to `tolerance` of its capital.

        Raises:
            InvariantBroken: they do not.

        """
        off = np.array([residual(account) for account in self.ledger])
        if not (np.abs(off) <= tolerance * self.settings.capital_quote).all():
            worst = int(np.nanargmax(np.abs(off)))
            raise InvariantBroken(
                f"account {worst}: {off[worst]} quote of profit is explained by no part; report it"
            )
