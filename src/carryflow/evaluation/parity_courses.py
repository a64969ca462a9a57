"""Courses out of a journal: who decided what, what was filled and paid, and what the venue says there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import LEGS, Leg
from carryflow.evaluation.parity import Course, Executed
from carryflow.execution.journal.reading import JournalReader
from carryflow.execution.journal.records import BookedFill, Statement, Valuation
from carryflow.execution.orders import Balances, Fill, Position

Prices = Mapping[str, Valuation]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Name a leg of which the venue holds another quantity than the journal's fills come to (base coins)."""

    ticker: str
    leg: Leg
    stated: Decimal
    booked: Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """Hold what a journal tells about the account that it was kept of.

    Attributes:
        courses: one a ticker, in the order of the journal's identity.
        stated_profit: what the venue's last statement holds beyond the opening one (quote).
        mismatches: legs of which the venue holds something else than was filled.
    """

    courses: tuple[Course, ...]
    stated_profit: float
    mismatches: tuple[Mismatch, ...]


def read_account(journal: JournalReader) -> Account:
    """Read what happened up to the venue's last statement.

    Raises:
        MarketDataError: nothing was opened or stated yet, no prices were written down with it, or a fee was
            paid in a third coin, of which no ledger knows the price.
    """
    opening, statement = journal.opening(), journal.last_statement()
    if opening is None or statement is None:
        raise MarketDataError(
            f"{journal.path} holds no statement of the venue yet; let the engine run until its first "
            "reconciliation"
        )
    identity = journal.identity
    prices = _prices(journal, identity.tickers, statement.ts_ms)
    booked = [
        event
        for event in journal.events()
        if isinstance(event, BookedFill) and event.fill.ts_ms <= statement.ts_ms
    ]
    decided = _decided(journal)
    courses = tuple(
        Course(
            ticker=ticker,
            capital_quote=float(sum(opening.allotment[ticker])),
            targets=tuple(
                (one.decided_ms, one.fraction)
                for one in journal.decisions()
                if one.ticker == ticker and one.decided_ms < statement.ts_ms
            ),
            fills=tuple(
                _executed(one, decided, identity.quote) for one in booked if one.fill.ticker == ticker
            ),
            funding=tuple(
                (one.ts_ms, float(one.amount))
                for one in journal.funding()
                if one.ticker == ticker and one.ts_ms <= statement.ts_ms
            ),
            end_ms=statement.ts_ms,
            prices=(float(prices[ticker].spot), float(prices[ticker].perp), float(prices[ticker].mark)),
        )
        for ticker in identity.tickers
    )
    before = _worth(opening.balances, (), prices, identity.quote)
    after = _worth(statement.balances, statement.positions, prices, identity.quote)
    return Account(
        courses,
        float(after - before),
        tuple(_mismatches(opening.balances, statement, booked, identity.tickers)),
    )


def _prices(journal: JournalReader, tickers: Sequence[str], at_ms: int) -> Prices:
    """Return the newest prices of each ticker up to an instant."""
    prices = {one.ticker: one for one in journal.valuations() if one.ts_ms <= at_ms}
    missing = [ticker for ticker in tickers if ticker not in prices]
    if missing:
        raise MarketDataError(
            f"{journal.path} holds no prices of {', '.join(missing)} to value the venue's statement at; let "
            "the engine run until its next reconciliation"
        )
    return prices


def _decided(journal: JournalReader) -> dict[str, int]:
    """Return when each order of ours was decided (UTC ms), by its name."""
    decisions = {one.decision_id: one.decided_ms for one in journal.decisions()}
    intents = {one.intent_id: decisions.get(one.decision_id) for one in journal.intents()}
    orders = {one.request.client_id: intents.get(one.intent_id) for one in journal.orders()}
    return {name: at_ms for name, at_ms in orders.items() if at_ms is not None}


def _executed(booked: BookedFill, decided: Mapping[str, int], quote: str) -> Executed:
    fill = booked.fill
    if fill.fee_asset not in (quote, fill.ticker) and fill.fee:
        raise MarketDataError(
            f"trade {fill.trade_id} of {fill.ticker} paid its fee in {fill.fee_asset}, of which the journal "
            f"has no price; have the venue take fees in {quote} or in the coin bought"
        )
    in_base = fill.fee_asset == fill.ticker
    return Executed(
        ts_ms=fill.ts_ms,
        decided_ms=None if fill.client_id is None else decided.get(fill.client_id),
        leg=fill.leg,
        qty=fill.side.sign * float(fill.qty),
        price=float(fill.price),
        reference=float(booked.reference),
        fee_quote=0.0 if in_base else float(fill.fee),
        fee_base=float(fill.fee) if in_base else 0.0,
    )


def _worth(balances: Balances, positions: Sequence[Position], prices: Prices, quote: str) -> Decimal:
    """Return what the wallets are worth at these prices (quote)."""
    worth = balances.spot.get(quote, Decimal(0)) + balances.futures
    for ticker, price in prices.items():
        worth += balances.spot.get(ticker, Decimal(0)) * price.spot
    for position in positions:
        if position.ticker in prices:
            worth += position.qty * (prices[position.ticker].mark - position.entry_price)
    return worth


def _mismatches(
    before: Balances, statement: Statement, booked: Sequence[BookedFill], tickers: Sequence[str]
) -> list[Mismatch]:
    held = {one.ticker: one.qty for one in statement.positions}
    found = []
    for ticker in tickers:
        nothing = Decimal(0)
        coins = statement.balances.spot.get(ticker, nothing) - before.spot.get(ticker, nothing)
        stated: dict[Leg, Decimal] = {"spot": coins, "perp": held.get(ticker, nothing)}
        for leg in LEGS:
            ours = sum(
                (_received(one.fill) for one in booked if (one.fill.ticker, one.fill.leg) == (ticker, leg)),
                nothing,
            )
            if ours != stated[leg]:
                found.append(Mismatch(ticker, leg, stated[leg], ours))
    return found


def _received(fill: Fill) -> Decimal:
    """Return what a fill changed of its leg, a fee in coins taken off (base coins, signed)."""
    fee = fill.fee if fill.leg == "spot" and fill.fee_asset == fill.ticker else Decimal(0)
    return fill.side.sign * fill.qty - fee
