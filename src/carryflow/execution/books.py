"""Our books: what trades, funding and transfers have made of what each coin was given.

Profit is computed by `core.ledger` alone, on one account a coin. Beside it stand the quantities that a venue
counts exactly, and each trade holds the two together.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Self

from carryflow.core.account import PARTS, Column
from carryflow.core.errors import InvariantBroken
from carryflow.execution.journal.reading import JournalReader
from carryflow.execution.journal.records import BookedFill, Event, TransferRecord, Valuation
from carryflow.execution.orders import FundingPayment, Wallet
from carryflow.execution.pair_book import PairBook, Parts


class Books:
    """Keep the books of all coins.

    Events are to be applied in the order in which they happened at the venue: equity does not depend on it,
    but what of it is realised does. Where one came `late`, `fold` the journal anew.

    Attributes:
        pairs: the books of each coin.
        foreign_spot: cash in the spot wallet that is no pair's (quote, exact): `pool`, and what others moved.
        foreign_futures: the same of the futures wallet, with funding of coins that are not traded here.

    Args:
        quote: the quote coin.
        allotment: what each coin trades with, cash of the spot and of the futures wallet (quote).
        pool: cash of both wallets that no coin was given (quote).

    """

    def __init__(
        self,
        quote: str,
        allotment: Mapping[str, tuple[Decimal, Decimal]],
        pool: tuple[Decimal, Decimal] = (Decimal(0), Decimal(0)),
    ) -> None:
        self.pairs = {
            ticker: PairBook(ticker, quote, spot_cash, perp_wallet)
            for ticker, (spot_cash, perp_wallet) in allotment.items()
        }
        self.foreign_spot, self.foreign_futures = pool

    @classmethod
    def fold(cls, journal: JournalReader) -> Self:
        """Return the books that a journal comes to.

        Raises:
            InvariantBroken: the journal has no opening, or its books do not add up.
        """
        opening = journal.opening()
        if opening is None:
            raise InvariantBroken(
                f"{journal.path} has no opening, so that nothing can be booked; open it first"
            )
        books = cls(journal.identity.quote, opening.allotment)
        books.apply_all(journal.events(last_prices=True))
        return books

    def apply_all(self, events: Iterable[Event]) -> None:
        """Book events, the oldest first."""
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Book one event.

        Raises:
            InvariantBroken: it is a trade of a coin that has no books, or the books do not add up.
        """
        match event:
            case BookedFill(fill, reference):
                self._pair(fill.ticker).apply_fill(fill, reference)
            case FundingPayment():
                self._apply_funding(event)
            case TransferRecord():
                self._apply_transfer(event)
            case Valuation():
                self._pair(event.ticker).mark(float(event.spot), float(event.mark))

    @property
    def equity(self) -> float:
        """Return what all pairs are worth at their last prices (quote)."""
        return sum(pair.equity for pair in self.pairs.values())

    @property
    def late(self) -> bool:
        """Say whether the realised part is off, because a trade was booked after one that happened later."""
        return any(pair.late for pair in self.pairs.values())

    @property
    def opening_equity(self) -> float:
        """Return what all pairs were given (quote)."""
        return sum(float(pair.account[Column.OPENING]) for pair in self.pairs.values())

    @property
    def notional(self) -> float:
        """Return the value of all perpetuals at their last marks (quote, ≥ 0)."""
        return sum(pair.notional for pair in self.pairs.values())

    @property
    def margin(self) -> float:
        """Return the futures wallet with unrealised profit at the last marks (quote)."""
        return sum(pair.margin for pair in self.pairs.values()) + float(self.foreign_futures)

    @property
    def spot_cash(self) -> Decimal:
        """Return the cash in the spot wallet (quote, exact)."""
        return sum((pair.spot_cash for pair in self.pairs.values()), self.foreign_spot)

    @property
    def futures_wallet(self) -> float:
        """Return the futures wallet without unrealised profit (quote)."""
        pairs = sum(float(pair.account[Column.PERP_WALLET]) for pair in self.pairs.values())
        return pairs + float(self.foreign_futures)

    @property
    def parts(self) -> Parts:
        """Return the parts of profit by name, of all pairs together (quote)."""
        return {name: sum(pair.parts[name] for pair in self.pairs.values()) for name in PARTS}

    def _apply_funding(self, payment: FundingPayment) -> None:
        pair = self.pairs.get(payment.ticker)
        if pair is None:
            self.foreign_futures += payment.amount
        else:
            pair.apply_funding(payment)

    def _apply_transfer(self, moved: TransferRecord) -> None:
        if moved.arrived is None:
            return
        if moved.ticker is not None:
            self._pair(moved.ticker).apply_transfer(moved.arrived, moved.to)
            return
        to_futures = moved.arrived if moved.to is Wallet.FUTURES else -moved.arrived
        self.foreign_futures += to_futures
        self.foreign_spot -= to_futures

    def _pair(self, ticker: str) -> PairBook:
        if ticker not in self.pairs:
            raise InvariantBroken(
                f"{ticker} is not traded here ({', '.join(self.pairs)}) and has no books; leave it out"
            )
        return self.pairs[ticker]
