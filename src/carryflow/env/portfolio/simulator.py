"""Portfolios over one market of K coins, and how they are opened and stepped: all in one compiled loop."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carryflow.core.account import residual
from carryflow.core.compiled import machine_code
from carryflow.core.errors import (
    ActionError,
    InvariantBroken,
    MarketDataError,
    SettingsError,
)
from carryflow.core.instrument import ContractType
from carryflow.env.action import as_action
from carryflow.env.layout import (
    SEAT_WIDTH,
    TOLD_WIDTH,
    Floats,
    Seat,
    Status,
    market_rows,
    rules_of,
    terms_of,
)
from carryflow.env.portfolio.kernel import begin_portfolio, first_refused, step_portfolios
from carryflow.env.portfolio.limits import equal_part, grant
from carryflow.env.portfolio.report import BY_COIN, SUMMARY
from carryflow.env.settings import EnvSettings
from carryflow.env.starts import FLAT_SHARE
from carryflow.env.tape import MarketTape, same_decisions, same_spec

_BOUND = ("_held", "_filled", "_first_refused", "_step")


class PortfolioSimulator:
    """Run N portfolios over the same K tapes; a portfolio must be `reset` before its first step.

    Attributes:
        tapes: the coins' markets, with the same decisions.
        actions_shape: (N, K).
        books: K rows of the ledger for each portfolio, then its pool's (N, K + 1, SEAT_WIDTH).
        told: what the last step did to each portfolio, by `layout.Told` (N, TOLD_WIDTH).
        ends: which portfolios are terminated, and which truncated (2, N).
        summary: what each portfolio is and did, by `report.SUMMARY` (N, len(SUMMARY)).
        by_coin: what each of its coins is and did, by `report.BY_COIN` (N, K, len(BY_COIN)).

    """

    def __init__(self, tapes: Sequence[MarketTape], portfolios: int, settings: EnvSettings) -> None:
        """Lay the tapes side by side.

        Raises:
            MarketDataError: there is no tape, two are of one coin, one is inverse, or their decisions differ.
            SchemaMismatchError: the tapes were made for different feature specs.
            SettingsError: the action is not the fractions alone.

        """
        same_decisions(tapes)
        names = [tape.ticker for tape in tapes]
        if len(set(names)) < len(names):
            raise MarketDataError(f"a portfolio holds each coin once, got {', '.join(names)}; leave one out")
        inverse = [tape.ticker for tape in tapes if tape.kind is not ContractType.LINEAR]
        if inverse:
            raise MarketDataError(
                f"a portfolio shares one margin wallet in quote, and {', '.join(inverse)} is margined in its "
                "own coin; take its linear contract, or play it alone in CryptoTradingEnv"
            )
        if settings.action != "fraction":
            raise SettingsError(
                f'a portfolio takes fractions of capital, env.action was "{settings.action}"; set it to '
                '"fraction"'
            )
        self.tapes = tuple(tapes)
        self.spec = same_spec(tapes)
        self.settings = settings
        self._market = np.stack([market_rows(tape, settings.costs) for tape in tapes], axis=1)
        self._features = np.stack([tape.features.reshape(-1) for tape in tapes])
        self._terms = terms_of(self.tapes, settings)
        self._rules = rules_of(settings)
        limits = (settings.portfolio.ticker_limit, settings.portfolio.total_limit)
        band = settings.portfolio.hysteresis * equal_part(len(tapes), *limits)
        self._limits = np.array([*limits, band])
        self.books = np.zeros((portfolios, len(tapes) + 1, SEAT_WIDTH))
        self.books[:, -1, Seat.STATUS] = Status.TRUNCATED
        self.told = np.zeros((portfolios, TOLD_WIDTH))
        self.ends = np.zeros((2, portfolios), dtype=np.bool_)
        self.summary = np.zeros((portfolios, len(SUMMARY)))
        self.by_coin = np.zeros((portfolios, len(tapes), len(BY_COIN)))
        self.actions_shape = (portfolios, len(tapes))
        self._seen_shape = (portfolios, self.observation_size)
        self._bind()

    def _bind(self) -> None:
        """Take hold of the compiled step and of what it works on: to look them up would cost as much."""
        self._held = (self.books, self._market, self._features, self._rules, self._limits)
        self._filled = (self.told, self.ends, self.summary, self.by_coin)
        actions, seen = np.zeros(self.actions_shape), np.zeros(self._seen_shape, dtype=np.float32)
        self._first_refused = machine_code(first_refused, actions)
        self._step = machine_code(
            step_portfolios, *self._held, actions, len(self.spec.names), *self._filled, seen
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is bound, for machine code cannot be copied, and a copy has arrays of its own."""
        return {name: value for name, value in vars(self).items() if name not in _BOUND}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bind the copy's own arrays."""
        vars(self).update(state)
        self._bind()

    @property
    def observation_size(self) -> int:
        """Count the numbers of one portfolio's observation."""
        return len(self.tapes) * (self.spec.window_size + 1) + 2

    def reset(self, portfolio: int, row: int, fractions: ArrayLike, bars: int) -> None:
        """Open a portfolio anew; the next step only shows it, and its action is ignored.

        Args:
            portfolio: which one.
            row: row of the tapes on which it first decides.
            fractions: positions that it inherits free of cost, in [−1, 1] each (K,).
            bars: steps until the episode is cut.

        Raises:
            MarketDataError: the start leaves no whole window before it or no step after it.

        """
        tape = self.tapes[0]
        if not tape.first <= row < len(tape) - 1:
            raise MarketDataError(
                f"{tape.ticker}: an episode cannot start at row {row}; choose one of {tape.first} to "
                f"{len(tape) - 2}"
            )
        begin_portfolio(
            self.books[portfolio],
            np.broadcast_to(np.asarray(fractions, dtype=np.float64), (len(self.tapes),)).copy(),
            row,
            min(row + bars, len(tape) - 1),
            self._terms,
            self._market,
            self._rules,
        )

    def step(self, actions: ArrayLike) -> NDArray[np.float32]:
        """Trade towards `actions` (N, K), live until the next row, and give new observations (N, D).

        What it did stands in `told`, `ends` and `summary`, until the next step.

        Raises:
            ActionError: the actions' shape is not (N, K), or one is NaN, infinite or beyond ±1; nothing has
                moved.

        """
        wanted = as_action(actions, self.actions_shape)
        self.check_range(wanted)
        return self.play(wanted)

    def check_range(self, wanted: Floats) -> None:
        """Look at actions as `as_action` gives them (N, K).

        Raises:
            ActionError: one is NaN, infinite or beyond ±1.

        """
        wrong = self._first_refused(wanted)
        if wrong >= 0:
            raise ActionError(
                f"{self.tapes[wrong % len(self.tapes)].ticker}: an action must be a fraction in [-1, 1], was "
                f"{wanted.flat[wrong]}; look at the policy that gave it"
            )

    def play(self, wanted: Floats) -> NDArray[np.float32]:
        """Step as `step` does, with actions that are known to be in range (N, K)."""
        seen = np.empty(self._seen_shape, dtype=np.float32)
        self._step(*self._held, wanted, len(self.spec.names), *self._filled, seen)
        return seen

    def random_start(self, rng: np.random.Generator) -> tuple[int, Floats]:
        """Draw a row, any being as likely, and the positions to inherit there, half of the time none."""
        tape, limits = self.tapes[0], self.settings.portfolio
        row, held = int(rng.integers(tape.first, len(tape) - 1)), np.zeros(len(self.tapes))
        if rng.random() >= FLAT_SHARE:
            wanted, nothing, open_ = (
                rng.uniform(-1.0, 1.0, len(held)),
                np.zeros_like(held),
                np.ones_like(held),
            )
            grant(wanted, nothing, open_, limits.ticker_limit, limits.total_limit, 0.0, held)
        return row, held

    def check_books(self, tolerance: float = 1e-9) -> None:
        """Prove that in every row the parts explain the profit to `tolerance` of the capital.

        Raises:
            InvariantBroken: they do not.

        """
        off = np.array([[residual(coin) for coin in rows[:-1]] for rows in self.books])
        if not (np.abs(off) <= tolerance * self.settings.capital_quote).all():
            portfolio, coin = np.unravel_index(int(np.nanargmax(np.abs(off))), off.shape)
            raise InvariantBroken(
                f"portfolio {portfolio}, {self.tapes[coin].ticker}: {off[portfolio, coin]} quote of profit "
                "is explained by no part; report it"
            )
