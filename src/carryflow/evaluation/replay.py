"""The replay: position series of many tickers, played through the full ledger at once.

A backtest asks a policy hour by hour what it wants. Where that is known beforehand, as a series of targets,
the same account lives the same hours a hundred times as fast: trades go through the environment's own step,
and the stretches between them are summed up (`env.replay.kernel`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from carryflow.core.account import FIRST_PART, N_PARTS, PARTS, Column
from carryflow.core.errors import ActionError, InvariantBroken, MarketDataError
from carryflow.core.funding import name_instants
from carryflow.env.action import NEARLY_ONE
from carryflow.env.layout import rules_of
from carryflow.env.replay.kernel import Notebook, Replayed, all_fractions, play, unfold
from carryflow.env.replay.panel import Panel, lay_out
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape, same_decisions
from carryflow.evaluation.backtest import lay_ledger

Floats = NDArray[np.float64]


class Replayer:
    """Keep what every replay of some tapes reads, so that many series can be played one after the other.

    Not at once: all replays of one `Replayer` work in the same room, so that each thread needs its own.
    """

    def __init__(self, tapes: Sequence[MarketTape], env: EnvSettings) -> None:
        """Lay out the tapes, from the first decision that each leaves room for a window on.

        Raises:
            MarketDataError: there is no tape, or their decisions differ.

        """
        self.tickers = tuple(tape.ticker for tape in tapes)
        self.decision_ms = same_decisions(tapes)
        self.env = env
        self.panel = lay_out(tapes, env)
        self.rules = rules_of(env)
        self._notebook = Notebook.of(self.panel)

    def replay(self, targets: ArrayLike, *, closes: bool = True) -> "Replay":
        """Let each ticker's account follow its targets from the first decision to the last.

        Args:
            targets: wanted fraction of capital in the hedged trade at each decision, traded at its prices (n,
                K). At the last decision nothing trades any more. Column by column in memory (Fortran order)
                no copy is made: leave the array as it is for as long as the result is read.
            closes: the last decision but one closes the position, whatever its target, so that a result
                never hides the cost of getting out.

        Raises:
            MarketDataError: there are not as many targets as decisions and tickers.
            ActionError: a target is no fraction in [−1, 1].

        """
        wanted = np.asarray(targets, dtype=np.float64)
        shape = (len(self.decision_ms), len(self.tickers))
        if wanted.shape != shape:
            raise MarketDataError(
                f"targets are {wanted.shape}, the tapes have {shape[0]} decisions of {shape[1]} tickers; "
                "give one row a decision and one column a ticker"
            )
        by_ticker = np.ascontiguousarray(wanted.T)
        if not all_fractions(by_ticker):
            by_ticker = self._clipped(by_ticker)
        course = play(self.panel, by_ticker, self.rules, self._notebook, closes=closes)
        return Replay(self.tickers, self.decision_ms, by_ticker.T, closes, course, self.panel, self.env)

    def _clipped(self, wanted: Floats) -> Floats:
        """Take what rounding has put beyond ±1 for ±1; raises as `replay` does for anything else."""
        wrong = ~(np.abs(wanted) <= NEARLY_ONE)
        if wrong.any():
            ticker, row = (int(index) for index in np.argwhere(wrong)[0])
            raise ActionError(
                f"{self.tickers[ticker]} at {name_instants(self.decision_ms[row : row + 1])}: a target must "
                f"be a fraction in [-1, 1], was {wanted[ticker, row]}; look at what made the series"
            )
        return np.clip(wanted, -1.0, 1.0)


def replay(
    tapes: Sequence[MarketTape], targets: ArrayLike, env: EnvSettings, *, closes: bool = True
) -> "Replay":
    """Play one position series of many tickers through the full ledger; see `Replayer`."""
    return Replayer(tapes, env).replay(targets, closes=closes)


@dataclass(frozen=True, eq=False)
class Replay:
    """Hold what became of K accounts over n decisions.

    Attributes:
        tickers: whose accounts they are.
        decision_ms: the decisions (UTC ms) (n,).
        targets: what was wanted at each (n, K).
        closes: whether the last decision but one closed every position.
        course: what became of the accounts.
        panel: the market that was played.
        env: the settings of the accounts.

    """

    tickers: tuple[str, ...]
    decision_ms: NDArray[np.int64]
    targets: Floats
    closes: bool
    course: Replayed
    panel: Panel
    env: EnvSettings

    @property
    def equity(self) -> Floats:
        """Give the equity on coming to each decision, before what is traded there (quote) (n, K)."""
        return self.course.worth.T

    @property
    def terminated(self) -> NDArray[np.bool_]:
        """Say who was liquidated or ruined, and rested from then on (K,)."""
        return self.course.terminated

    @property
    def parts(self) -> dict[str, Floats]:
        """Explain each account's profit, by part; costs are negative (quote) (K,)."""
        return {part: self.course.accounts[:, FIRST_PART + k] for k, part in enumerate(PARTS)}

    @property
    def position(self) -> Floats:
        """Give the fraction of capital in the hedged trade on coming to each decision (n, K)."""
        return self._unfolded[0].T

    @property
    def parts_by_hour(self) -> Floats:
        """Give what each part came to between a decision and the one before (quote) (n, K, 6)."""
        return np.diff(self._unfolded[1].transpose(1, 0, 2), axis=0, prepend=0.0)

    @property
    def trades(self) -> pl.DataFrame:
        """List the hours in which an account, or the venue for it, traded.

        Returns:
            ticker, timestamp (the end of the hour, which a trade begins), coins and contracts held from then
            on, traded (notional of both legs), fees, slippage, liquidation (quote).

        """
        kept = self.course.snapshots
        ticker = np.repeat(np.arange(len(self.tickers)), self.course.counts)
        first = np.diff(ticker, prepend=-1) != 0
        moved = {
            name: np.where(first, 0.0, np.diff(kept[:, column], prepend=0.0))
            for name, column in (
                ("traded", int(Column.TURNOVER)),
                *((part, FIRST_PART + PARTS.index(part)) for part in ("fees", "slippage", "liquidation")),
            )
        }
        return pl.DataFrame(
            {
                "ticker": np.array(self.tickers)[ticker[~first]],
                "timestamp": self.decision_ms[self.course.rows[~first]],
                "coins": kept[~first, Column.SPOT_QTY],
                "contracts": kept[~first, Column.PERP_QTY],
                **{name: values[~first] for name, values in moved.items()},
            }
        ).with_columns(pl.col("timestamp").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"))

    @property
    def ledger(self) -> pl.DataFrame:
        """Lay everything out as `evaluation.backtest.backtest` does.

        Raises:
            InvariantBroken: the parts do not explain an account's profit.

        """
        equity, parts = self.equity, self.parts_by_hour
        residual = np.diff(equity, axis=0, prepend=equity[:1]) - parts.sum(axis=2)
        if not (np.abs(residual.cumsum(axis=0)) <= 1e-9 * self.env.capital_quote).all():
            worst = self.tickers[int(np.abs(residual).max(axis=0).argmax())]
            raise InvariantBroken(
                f"{worst}: {np.abs(residual).max():g} quote of profit is explained by no part; report it"
            )
        hours = np.arange(len(equity))[:, None]
        rested = hours > self.course.ends
        actions = np.concatenate((np.full_like(equity[:1], np.nan), self.targets[:-1]))
        if self.closes:
            actions[-1] = 0.0
        traded = np.zeros_like(equity)
        trades = np.repeat(np.arange(len(self.tickers)), self.course.counts)
        turnover = np.diff(self.course.snapshots[:, Column.TURNOVER], prepend=0.0)
        turnover[np.diff(trades, prepend=-1) != 0] = 0.0
        traded[self.course.rows, trades] = turnover
        columns = {
            "action": actions,
            "position": self.position,
            "equity": equity,
            "traded": traded,
            **{name: parts[:, :, part] for part, name in enumerate(PARTS)},
            "residual": residual,
            "liquidated": self.terminated & (rested | (hours == self.course.ends)),
        }
        return lay_ledger(self.tickers, self.decision_ms, columns)

    @cached_property
    def _unfolded(self) -> tuple[Floats, Floats]:
        fraction = np.empty_like(self.course.worth)
        parts = np.empty((*fraction.shape, N_PARTS))
        course = self.course._replace(snapshots=self.course.snapshots.copy())
        unfold(self.panel, course, rules_of(self.env), fraction, parts)
        return fraction, parts
