"""Our books: what trades, funding and transfers have made of what each coin was given.

Profit is computed by `core.ledger` alone, on one account a coin. Beside it stand the quantities that a venue
counts exactly, and each trade holds the two together.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Self

import numpy as np

from carryflow.core.account import (
    FIRST_PART,
    LINEAR_KIND,
    N_PARTS,
    PARTS,
    Account,
    Column,
    equity,
    margin_balance,
    open_account,
    perp_notional,
    residual,
)
from carryflow.core.errors import InvariantBroken
from carryflow.core.ledger import fill_perp, fill_spot, mark_to_market, settle, transfer
from carryflow.execution.orders import Fill, FundingPayment, Wallet
from carryflow.execution.reading import JournalReader
from carryflow.execution.records import BookedFill, Event, TransferRecord, Valuation

_ROUNDING = 1e-9
"""What may be unexplained, or differ from the exact count (fraction of what was ever given or traded)."""

Parts = dict[str, float]


class PairBook:
    """Keep the books of one coin.

    Attributes:
        ticker: the coin.
        spot_qty: coins held, fees in coins taken off (base, exact).
        spot_cash: cash in the spot wallet (quote, exact).
        perp_qty: perpetual held (base, signed, exact).
        account: the ledger's row.
        late: whether a trade of the perpetual was booked after one that happened later.
    """

    __slots__ = ("_last_ms", "_quote", "account", "late", "perp_qty", "spot_cash", "spot_qty", "ticker")

    def __init__(self, ticker: str, quote: str, spot_cash: Decimal, perp_wallet: Decimal) -> None:
        self.ticker = ticker
        self.spot_qty = Decimal(0)
        self.spot_cash = spot_cash
        self.perp_qty = Decimal(0)
        self.account: Account = np.zeros(len(Column))
        self.late = False
        self._last_ms = 0
        self._quote = quote
        open_account(self.account, LINEAR_KIND, float(spot_cash + perp_wallet), 0.0, 0.0, 0.0)
        self.account[Column.SPOT_CASH] = float(spot_cash)
        self.account[Column.PERP_WALLET] = float(perp_wallet)

    @property
    def delta_base(self) -> Decimal:
        """Return the coins that are not hedged (base, exact; positive: a rising price is a gain)."""
        return self.spot_qty + self.perp_qty

    @property
    def equity(self) -> float:
        """Return what the pair is worth at its last prices (quote)."""
        return equity(self.account)

    @property
    def margin(self) -> float:
        """Return its share of the futures wallet with unrealised profit at its last mark (quote)."""
        return margin_balance(self.account, self.account[Column.MARK])

    @property
    def notional(self) -> float:
        """Return the value of the perpetual at its last mark, whatever its side (quote, ≥ 0)."""
        return perp_notional(self.account, self.account[Column.MARK])

    @property
    def parts(self) -> Parts:
        """Return the parts of profit by name (quote)."""
        values = self.account[FIRST_PART : FIRST_PART + N_PARTS]
        return {name: float(value) for name, value in zip(PARTS, values, strict=True)}

    def mark(self, spot: float, mark: float) -> None:
        """Value both legs at a spot price and a mark (quote)."""
        mark_to_market(self.account, spot, mark)

    def apply_fill(self, fill: Fill, reference: Decimal) -> None:
        """Book a trade, ours or foreign.

        Args:
            fill: the trade.
            reference: price that its slippage is counted from (quote): the mid when its order was priced.

        Raises:
            InvariantBroken: its fee is neither in the quote coin nor in the coin bought, or the books do not
                add up.
        """
        qty = fill.side.sign * fill.qty
        if fill.leg == "spot":
            self._fill_spot(fill, qty, reference)
        else:
            self._fill_perp(fill, qty, reference)
        self._require_exact()

    def apply_funding(self, payment: FundingPayment) -> None:
        """Book funding that was paid or received.

        The venue says what it comes to; it may say so when the position that earned it is gone. So it is
        booked as what one coin receives.
        """
        held = self.account[Column.PERP_QTY]
        self.account[Column.PERP_QTY] = 1.0
        settle(self.account, float(payment.amount))
        self.account[Column.PERP_QTY] = held

    def apply_transfer(self, moved: Decimal, to: Wallet) -> None:
        """Book cash (quote, > 0) that moved from the other wallet to this one."""
        to_perp = moved if to is Wallet.FUTURES else -moved
        self.spot_cash -= to_perp
        transfer(self.account, float(to_perp))

    def _fill_spot(self, fill: Fill, qty: Decimal, reference: Decimal) -> None:
        fee_quote, fee_base = self._spot_fee(fill)
        self.spot_qty += qty - fee_base
        self.spot_cash -= qty * fill.price + fee_quote
        fill_spot(
            self.account,
            float(qty),
            float(reference),
            float(fill.price),
            float(fee_quote),
            float(fee_base),
        )

    def _spot_fee(self, fill: Fill) -> tuple[Decimal, Decimal]:
        zero = Decimal(0)
        if fill.fee_asset == self._quote or not fill.fee:
            return fill.fee, zero
        if fill.fee_asset == self.ticker:
            return zero, fill.fee
        raise self._strange_fee(fill)

    def _fill_perp(self, fill: Fill, qty: Decimal, reference: Decimal) -> None:
        if fill.fee and fill.fee_asset != self._quote:
            raise self._strange_fee(fill)
        if self.account[Column.MARK] == 0.0:  # nothing was ever valued: no price of before to gain against
            self.account[Column.MARK] = float(reference)
        self.late = self.late or fill.ts_ms < self._last_ms
        self._last_ms = max(self._last_ms, fill.ts_ms)
        self.perp_qty += qty
        fill_perp(self.account, float(qty), float(reference), float(fill.price), float(fill.fee))

    def _strange_fee(self, fill: Fill) -> InvariantBroken:
        return InvariantBroken(
            f"trade {fill.trade_id} of {self.ticker} {fill.leg} paid {fill.fee} {fill.fee_asset}, which is "
            f"neither {self._quote} nor the coin bought; switch off paying fees in another coin at the venue"
        )

    def _require_exact(self) -> None:
        """Hold the ledger to the exact count, and take the rounding out of it, so that flat is flat."""
        exact = {
            Column.SPOT_QTY: self.spot_qty,
            Column.SPOT_CASH: self.spot_cash,
            Column.PERP_QTY: self.perp_qty,
        }
        scale = 1.0 + self.account[Column.OPENING] + self.account[Column.TURNOVER]
        for column, count in exact.items():
            if abs(self.account[column] - float(count)) > _ROUNDING * scale:
                raise InvariantBroken(
                    f"{self.ticker}: the ledger says {column.name.lower()} {self.account[column]}, the "
                    f"trades come to {count}; stop, and keep the journal"
                )
            self.account[column] = float(count)
        unexplained = residual(self.account)
        if abs(unexplained) > _ROUNDING * scale:
            raise InvariantBroken(
                f"{self.ticker}: {unexplained} of profit is explained by nothing; stop, and keep the journal"
            )


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
        books.apply_all(journal.events())
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
