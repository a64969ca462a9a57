"""What a venue has of an account, and what a journal tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from carryflow.core.account import Column
from carryflow.core.leg import Leg
from carryflow.execution.books import Books
from carryflow.execution.journal.reading import JournalReader
from carryflow.execution.journal.records import OrderRecord, Severity, TransferRecord
from carryflow.execution.orders import Fill, FundingPayment, Side, TransferReport, Wallet

OURS = "cf-"
"""What the names of our orders begin with."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Hold an order as the venue keeps it; quantities in base coins; `open`: more may be filled."""

    leg: Leg
    ticker: str
    order_id: str
    client_id: str
    side: Side
    qty: Decimal
    price: Decimal
    executed: Decimal
    open: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """Hold all that a venue has of one account.

    Attributes:
        deposited: what was in the wallets at first: coins of the spot wallet, and the futures wallet.
        coins: what is in the spot wallet now, locked or free, by coin.
        futures: wallet balance of the quote coin, without unrealised profit.
        positions: perpetual positions (base, signed), by ticker.
        cost: what the positions were entered at in sum (quote, signed like them).
        realised: profit that closed positions paid into the futures wallet (quote), ever.
        inserted: what the venue itself paid in, so that a wallet is not below zero (quote).
        orders: every order ever, ours or not.
        fills: every trade ever; `client_id` is None where the order is not ours.
        funding: every payment.
        transfers: every transfer between the two wallets.
    """

    deposited: tuple[Mapping[str, Decimal], Decimal]
    coins: Mapping[str, Decimal]
    futures: Decimal
    positions: Mapping[str, Decimal]
    cost: Decimal
    realised: Decimal
    inserted: Decimal
    orders: tuple[Placed, ...]
    fills: tuple[Fill, ...]
    funding: tuple[FundingPayment, ...]
    transfers: tuple[TransferReport, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """Hold all that a journal tells of the same account.

    Attributes:
        orders: orders as they were written down before they were sent.
        fills: trades.
        funding: payments.
        transfers: transfers that happened.
        unsettled: transfers of which it is not known whether they did.
        decisions: the decision behind each intent, by the intent's name; None where it is not there.
        states: each pair's state, by ticker.
        called: tickers for which a person was called.
        coins: what the ledger says of each ticker's coins.
        positions: what it says of each ticker's perpetual.
        spot_cash: what it says of the quote coin in the spot wallet.
        wallet: what it says of the futures wallet.
        cost: what it says that the positions were entered at in sum (quote, signed like them).
        paid_in: futures wallet less cost, added up from what the journal holds, exactly.
    """

    orders: tuple[OrderRecord, ...]
    fills: tuple[Fill, ...]
    funding: tuple[FundingPayment, ...]
    transfers: tuple[TransferReport, ...]
    unsettled: tuple[str, ...]
    decisions: Mapping[str, str | None]
    states: Mapping[str, str]
    called: frozenset[str]
    coins: Mapping[str, Decimal]
    positions: Mapping[str, Decimal]
    spot_cash: Decimal
    wallet: Decimal
    cost: Decimal
    paid_in: Decimal


def told_by(journal: JournalReader) -> Told:
    """Read what a journal tells, and what its books come to."""
    opening = journal.opening()
    if opening is None:
        raise AssertionError(f"{journal.path} has no opening")
    books = Books.fold(journal)
    quote = journal.identity.quote
    spare_spot = opening.balances.spot[quote] - sum(spot for spot, _ in opening.allotment.values())
    spare_futures = opening.balances.futures - sum(perp for _, perp in opening.allotment.values())
    transfers = journal.transfers()
    decisions = {decision.decision_id for decision in journal.decisions()}
    return Told(
        orders=tuple(journal.orders()),
        fills=tuple(journal.fills()),
        funding=tuple(journal.funding()),
        transfers=tuple(map(_happened, (t for t in transfers if t.transfer_id is not None))),
        unsettled=tuple(t.key for t in transfers if t.transfer_id is None and not t.lost),
        decisions={
            intent.intent_id: intent.decision_id if intent.decision_id in decisions else None
            for intent in journal.intents()
        },
        states={pair.ticker: pair.state for pair in journal.pairs()},
        called=frozenset(ticker for ticker in journal.identity.tickers if _was_called(journal, ticker)),
        coins={ticker: pair.spot_qty for ticker, pair in books.pairs.items()},
        positions={ticker: pair.perp_qty for ticker, pair in books.pairs.items()},
        spot_cash=books.spot_cash + spare_spot,
        wallet=Decimal(repr(books.futures_wallet)) + spare_futures,
        cost=Decimal(
            repr(
                sum(
                    float(pair.account[Column.PERP_QTY] * pair.account[Column.PERP_ENTRY])
                    for pair in books.pairs.values()
                )
            )
        ),
        paid_in=opening.balances.futures + _paid_in(journal),
    )


def _was_called(journal: JournalReader, ticker: str) -> bool:
    """Say whether a person was called for a coin after its last order had been sent, or for all coins."""
    sent = [order.journalled_ms for order in journal.orders() if order.request.ticker == ticker]
    return any(
        alert.severity is Severity.CRITICAL and alert.ticker in (ticker, None)
        for alert in journal.alerts(since_ms=max(sent, default=0))
    )


def _paid_in(journal: JournalReader) -> Decimal:
    """Add up what went into the futures wallet, what it paid for positions, and what it got for them."""
    total = sum((payment.amount for payment in journal.funding()), Decimal(0))
    for fill in journal.fills():
        if fill.leg == "perp":
            total -= fill.side.sign * fill.qty * fill.price + fill.fee
    for transfer in journal.transfers():
        if transfer.arrived is not None:
            total += transfer.arrived if transfer.to is Wallet.FUTURES else -transfer.arrived
    return total


def _happened(transfer: TransferRecord) -> TransferReport:
    if transfer.transfer_id is None or transfer.arrived is None or transfer.settled_ms is None:
        raise AssertionError(f"{transfer} did not happen")
    return TransferReport(transfer.transfer_id, transfer.arrived, transfer.to, transfer.settled_ms)
