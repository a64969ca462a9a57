"""Parity: what a backtest of the same decisions would have made, and what the gap to what was made is.

The gap is taken apart by replays through the one ledger, each with one more fact in place of the model:

    backtest                    decisions at the close of their bar, the model's sizes, prices and fees
    + fills     quantities that were traded, at the same instants, at the slippage that they had
    + fees      fees that were paid, in the coin that they were paid in
    + funding   payments that came, in place of what the tape settled
    + latency   the instants and prices of the fills themselves: the ledger of the engine
    + unexplained               what the venue's own statement says beyond that ledger

so that they add up to what the venue says was made. The unexplained part is nobody's model: where it is not
0, a fill, a fee or a payment is missing in the journal, or the venue moved money that nobody told of.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import LINEAR_KIND, Account, Column, equity, open_account
from carryflow.core.costs import CostSettings
from carryflow.core.errors import CoverageError
from carryflow.core.funding import name_instants
from carryflow.core.ledger import fill_perp, fill_spot, mark_to_market, settle
from carryflow.core.leg import Leg
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.evaluation.replay import replay

TOLERANCE = 1e-6
"""Largest unexplained part that is put down to the rounding of what a venue prints (fraction of notional)."""

STEPS = ("fills", "fees", "funding", "latency")
"""What the gap between backtest and ledger is split into, in the order of the replays."""


@dataclass(frozen=True, slots=True)
class Executed:
    """Hold one fill with what it goes back to.

    Attributes:
        ts_ms: when (UTC ms).
        decided_ms: when it was decided (UTC ms); None where nobody of ours did.
        leg: which market.
        qty: base coins, signed.
        price: price of the fill (quote).
        reference: mid of its market when its order was priced (quote).
        fee_quote: fee paid in quote.
        fee_base: fee paid in coins.
    """

    ts_ms: int
    decided_ms: int | None
    leg: Leg
    qty: float
    price: float
    reference: float
    fee_quote: float
    fee_base: float


@dataclass(frozen=True, slots=True)
class Course:
    """Hold what one ticker's account went through, from its opening to the instant at which it is valued.

    Attributes:
        ticker: the coin.
        capital_quote: what it began with (quote).
        targets: decisions, each an instant (UTC ms) and a fraction of capital, in order.
        fills: every fill, in order.
        funding: every payment, each an instant (UTC ms) and an amount (quote), in order.
        end_ms: when it is valued (UTC ms).
        prices: spot, perpetual and mark at that instant (quote).
    """

    ticker: str
    capital_quote: float
    targets: tuple[tuple[int, float], ...]
    fills: tuple[Executed, ...]
    funding: tuple[tuple[int, float], ...]
    end_ms: int
    prices: tuple[float, float, float]

    @property
    def notional_quote(self) -> float:
        """Return the value traded in both legs (quote)."""
        return sum(abs(fill.qty) * fill.price for fill in self.fills)


@dataclass(frozen=True, slots=True)
class Chain:
    """Hold the way from a backtest's profit to what the venue says was made (all quote).

    Attributes:
        backtest: profit of the same decisions, backtested.
        fills: what other quantities and other slippage than the model's made of it.
        fees: what other fees than the model's did.
        funding: what other payments than the tape's did.
        latency: what the time between decision and fill did.
        unexplained: what none of these explains.
        notional: value traded in both legs.
    """

    backtest: float
    fills: float
    fees: float
    funding: float
    latency: float
    unexplained: float
    notional: float

    @property
    def actual(self) -> float:
        """Return what the venue says was made (quote)."""
        return self.backtest + self.gap + self.unexplained

    @property
    def gap(self) -> float:
        """Return what is explained of the difference to the backtest (quote)."""
        return self.fills + self.fees + self.funding + self.latency

    @property
    def explained(self) -> bool:
        """Say whether what is unexplained is as good as nothing."""
        return abs(self.unexplained) <= TOLERANCE * self.notional

    def plus(self, other: "Chain") -> "Chain":
        """Return both together."""
        return Chain(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Parity:
    """Hold the chain of each ticker, and that of all together.

    What is unexplained is known of all together only: a venue's wallet does not say which coin moved it.

    Attributes:
        start_ms: first decision (UTC ms).
        end_ms: instant of the valuation (UTC ms).
        tickers: chain by ticker.
        total: all together.
    """

    start_ms: int
    end_ms: int
    tickers: Mapping[str, Chain]
    total: Chain


def parity(
    courses: Sequence[Course], tapes: Sequence[MarketTape], env: EnvSettings, stated_profit: float
) -> Parity:
    """Take the gap between the backtest and the venue's statement apart.

    Args:
        courses: one a ticker, all valued at the same instant.
        tapes: the market in these hours, one a ticker, in the same order.
        env: the model: costs, margin, hysteresis; its capital is that of each course.
        stated_profit: what all of them made together by the venue's statement (quote).

    Raises:
        CoverageError: a tape does not reach from the first decision to the end.
    """
    chains = {course.ticker: chain_of(course, tape, env) for course, tape in zip(courses, tapes, strict=True)}
    total = Chain(*[0.0] * len(fields(Chain)))
    for chain in chains.values():
        total = total.plus(chain)
    total = replace(total, unexplained=stated_profit - total.actual)
    decided = [targets[0][0] for course in courses if (targets := course.targets)]
    end_ms = courses[0].end_ms
    return Parity(min(decided, default=end_ms), end_ms, chains, total)


def chain_of(course: Course, tape: MarketTape, env: EnvSettings) -> Chain:
    """Take one ticker's gap apart; raises as `parity` does."""
    came = [(at_ms, amount, True) for at_ms, amount in course.funding]
    actual = _play(course, course.fills, came)
    if not course.targets:  # nobody decided: there is nothing to backtest, and all that was made are fills
        return Chain(0.0, actual, 0.0, 0.0, 0.0, 0.0, course.notional_quote)
    hours = _hours(course, tape)
    paid = list(zip(hours.decision_ms.tolist(), hours.settlement_cash.tolist(), strict=True))
    settled = [(at_ms, cash, False) for at_ms, cash in paid if cash]
    moved = [_moved(fill, hours) for fill in course.fills]
    modelled = [_modelled(fill, env.costs) for fill in moved]
    profits = (
        _backtest(course, hours, env),
        _play(course, modelled, settled),
        _play(course, moved, settled),
        _play(course, moved, came),
        actual,
    )
    steps = dict(zip(STEPS, np.diff(profits).tolist(), strict=True))
    return Chain(profits[0], **steps, unexplained=0.0, notional=course.notional_quote)


def _hours(course: Course, tape: MarketTape) -> MarketTape:
    """Cut the tape from the first decision's bar on, and end it at the instant of the valuation.

    Raises:
        CoverageError: there are bars missing at its beginning or its end.
    """
    bar_ms = tape.spec.bar_ms
    begin_ms = course.targets[0][0] // bar_ms * bar_ms
    rows = np.flatnonzero((tape.decision_ms >= begin_ms) & (tape.decision_ms < course.end_ms))
    missing = np.setdiff1d(np.arange(begin_ms, course.end_ms, bar_ms), tape.decision_ms)
    if missing.size:
        raise CoverageError(
            f"{course.ticker}: the bars that close at {name_instants(missing)} are missing in what was "
            "fetched, so nothing can be backtested there; fetch these hours again"
        )
    last = np.flatnonzero(tape.decision_ms == course.end_ms)
    spot, perp, mark = course.prices

    def ended(values: NDArray[np.float64], end: float) -> NDArray[np.float64]:
        return np.append(values[rows], end)

    return MarketTape(
        ticker=tape.ticker,
        decision_ms=np.append(tape.decision_ms[rows], course.end_ms),
        spot=ended(tape.spot, spot),
        perp=ended(tape.perp, perp),
        mark=ended(tape.mark, mark),
        tradable=np.append(tape.tradable[rows], True),
        settlement_cash=ended(tape.settlement_cash, float(tape.settlement_cash[last].sum())),
        features=np.zeros((len(rows) + 1, len(tape.spec.names)), np.float32),
        spec=replace(tape.spec, lookback=1),
        kind=tape.kind,
        lots=tape.lots,
        liquidity=None if tape.liquidity is None else tape.liquidity.of(np.append(rows, rows[-1:])),
    )


def _backtest(course: Course, hours: MarketTape, env: EnvSettings) -> float:
    """Return the profit of the decisions as the backtester plays them; of two in a bar the later counts."""
    decided = np.array([at_ms for at_ms, _ in course.targets])
    wanted = np.array([target for _, target in course.targets])
    latest = np.searchsorted(decided // hours.spec.bar_ms * hours.spec.bar_ms, hours.decision_ms, "right")
    account = env.model_copy(update={"capital_quote": course.capital_quote, "action": "fraction"})
    played = replay([hours], wanted[latest - 1][:, np.newaxis], account, closes=False)
    return float(played.equity[-1, 0]) - course.capital_quote


def _play(course: Course, fills: Iterable[Executed], funding: Iterable[tuple[int, float, bool]]) -> float:
    """Return the profit of fills and payments, each payment cash per coin held, or so much money as it is."""
    spot, _, mark = course.prices
    account = np.zeros(len(Column))
    open_account(account, LINEAR_KIND, course.capital_quote, 0.5, spot, mark)
    events = [(at_ms, 0, (cash, whole)) for at_ms, cash, whole in funding]
    events += [(fill.ts_ms, 1, fill) for fill in fills]  # type: ignore[misc]
    for _, _, event in sorted(events, key=lambda one: one[:2]):
        if isinstance(event, Executed):
            _fill(account, event)
        else:
            _receive(account, *event)
    mark_to_market(account, spot, mark)
    return float(equity(account)) - course.capital_quote


def _fill(account: Account, fill: Executed) -> None:
    if fill.leg == "spot":
        fill_spot(account, fill.qty, fill.reference, fill.price, fill.fee_quote, fill.fee_base)
    else:
        fill_perp(account, fill.qty, fill.reference, fill.price, fill.fee_quote)


def _receive(account: Account, cash: float, whole: bool) -> None:
    """Settle by cash per coin; or receive a payment as it came, whatever is held in this replay."""
    held = account[Column.PERP_QTY]
    if whole:
        account[Column.PERP_QTY] = 1.0
    settle(account, cash)
    account[Column.PERP_QTY] = held


def _moved(fill: Executed, hours: MarketTape) -> Executed:
    """Put a fill at the close of the bar that it was decided on, at that price and its own slippage."""
    if fill.decided_ms is None:
        return fill
    row = int(np.searchsorted(hours.decision_ms, fill.decided_ms, "right")) - 1
    reference = float((hours.spot if fill.leg == "spot" else hours.perp)[row])
    scale = reference / fill.reference
    return replace(
        fill,
        ts_ms=int(hours.decision_ms[row]),
        price=fill.price * scale,
        reference=reference,
    )


def _modelled(fill: Executed, costs: CostSettings) -> Executed:
    """Charge a fill what the model charges."""
    notional = abs(fill.qty) * fill.price
    if fill.leg == "perp":
        return replace(fill, fee_quote=costs.perp_fee_rate * notional, fee_base=0.0)
    if costs.fee_in_base and fill.qty > 0:
        return replace(fill, fee_quote=0.0, fee_base=costs.spot_fee_rate * fill.qty)
    return replace(fill, fee_quote=costs.spot_fee_rate * notional, fee_base=0.0)
