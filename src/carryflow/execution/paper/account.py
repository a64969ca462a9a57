"""The account of a venue that is only imagined: wallets, locks, margin, fees, refusals."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from carryflow.core.account import Column
from carryflow.core.costs import BINANCE_BTCUSDT, CostSettings
from carryflow.core.errors import RejectedError
from carryflow.core.instrument import Instrument
from carryflow.core.leg import Leg
from carryflow.core.margin import bracket_table, maintenance_margin
from carryflow.execution.books import Books
from carryflow.execution.journal.records import BookedFill, TransferRecord
from carryflow.execution.market import Mark
from carryflow.execution.orders import (
    Balances,
    Fill,
    FundingPayment,
    OrderRequest,
    Position,
    Side,
    TransferReport,
    Wallet,
)
from carryflow.execution.pair_book import PairBook

LEVERAGE = 20
"""Perpetual notional over the margin that opening it takes."""

LIQUIDATION_FEE_RATE = 0.0125
"""What a venue keeps of a position that it closes by force (fraction of notional)."""

_BRACKETS = bracket_table(*zip(*BINANCE_BTCUSDT, strict=True))
_UNIT = Decimal("1e-8")
"""Fees and wallets are kept to this."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Hold the four fees (fraction of notional), and which coin a spot purchase pays in."""

    spot_maker: Decimal
    spot_taker: Decimal
    perp_maker: Decimal
    perp_taker: Decimal
    in_base: bool

    @classmethod
    def of(cls, costs: CostSettings) -> "Rates":
        """Return what the cost settings come to for an order that rests wholly, or not at all."""
        maker, taker = (costs.model_copy(update={"maker_share": share}) for share in (1.0, 0.0))
        return cls(
            _rate(maker.spot_fee_rate),
            _rate(taker.spot_fee_rate),
            _rate(maker.perp_fee_rate),
            _rate(taker.perp_fee_rate),
            costs.fee_in_base,
        )

    def rate(self, leg: Leg, maker: bool) -> Decimal:
        """Return one of the four."""
        if leg == "spot":
            return self.spot_maker if maker else self.spot_taker
        return self.perp_maker if maker else self.perp_taker


class PaperAccount:
    """Keep what the account of a venue holds; its own books do the arithmetic.

    Attributes:
        books: the books, with all cash in the pool.
        rates: the fees.
    """

    def __init__(self, books: Books, quote: str, rates: Rates) -> None:
        self.books = books
        self.rates = rates
        self._quote = quote

    def fill(
        self, order: OrderRequest, trade_id: str, price: Decimal, qty: Decimal, maker: bool, now_ms: int
    ) -> Fill:
        """Book a trade of an order, and return it."""
        rate = self.rates.rate(order.leg, maker)
        in_base = order.leg == "spot" and order.side is Side.BUY and self.rates.in_base
        fee = rate * qty if in_base else rate * qty * price
        fill = Fill(
            trade_id,
            order.client_id,
            f"paper-{order.client_id}",
            order.leg,
            order.ticker,
            order.side,
            qty,
            price,
            fee.quantize(_UNIT),
            order.ticker if in_base else self._quote,
            maker,
            now_ms,
        )
        self.books.apply(BookedFill(fill, price))
        return fill

    def require(self, order: OrderRequest, instrument: Instrument, resting: Iterable[OrderRequest]) -> None:
        """Refuse what a venue would refuse.

        Raises:
            RejectedError: off the lot or the tick, too small, not paid for, or reduce-only and opening.
        """
        contracts = order.qty / instrument.contract_size
        closes = order.leg == "perp" and order.reduce_only
        if contracts % instrument.lot or contracts < instrument.min_qty or order.qty <= 0:
            raise _refused(order, f"a size on the lot {instrument.lot}, at least {instrument.min_qty}")
        if order.price <= 0 or order.price % instrument.tick:
            raise _refused(order, f"a price on the tick {instrument.tick}")
        if not closes and order.qty * order.price < instrument.min_notional:
            raise _refused(order, f"a value of at least {instrument.min_notional}")
        if closes:
            self._require_closing(order)
        elif order.leg == "perp":
            self._require_margin(order)
        else:
            self._require_paid(order, resting)

    def maintenance(self) -> float:
        """Return the margin below which positions are liquidated (quote)."""
        return sum(maintenance_margin(pair.notional, _BRACKETS) for pair in self.books.pairs.values())

    def balances(self, resting: Iterable[OrderRequest], now_ms: int) -> Balances:
        """Return what is in the wallets."""
        coins = {ticker: pair.spot_qty for ticker, pair in self.books.pairs.items() if pair.spot_qty}
        spot = {self._quote: self.books.spot_cash, **coins}
        free = dict(spot)
        for order in resting:
            coin, locked = self._lock(order)
            free[coin] = free.get(coin, Decimal(0)) - locked
        return Balances(
            spot,
            free,
            _exact(self.books.futures_wallet),
            _exact(self.maintenance()),
            _exact(self.books.margin),
            now_ms,
        )

    def positions(self) -> list[Position]:
        """Return the perpetuals that are held."""
        return [
            Position(ticker, pair.perp_qty, _exact(float(pair.account[Column.PERP_ENTRY])))
            for ticker, pair in self.books.pairs.items()
            if pair.perp_qty
        ]

    def move(self, report: TransferReport, resting: Iterable[OrderRequest]) -> None:
        """Move cash between the wallets.

        Raises:
            RejectedError: there is not so much to move.
        """
        if report.to is Wallet.FUTURES:
            available = self.balances(resting, report.ts_ms).spot_free[self._quote]
        else:
            bound = self.books.notional / LEVERAGE
            available = _exact(min(self.books.futures_wallet, self.books.margin) - bound)
        if not 0 < report.amount <= available:
            raise RejectedError(
                f"paper: {report.amount} {self._quote} cannot be moved to {report.to}, {available} can; ask "
                "for less"
            )
        moved = TransferRecord(report.transfer_id, None, report.amount, report.to, report.ts_ms)
        self.books.apply(moved.settled(report))

    def value(self, mark: Mark) -> None:
        """Value a position at its mark."""
        pair = self.books.pairs[mark.ticker]
        pair.mark(float(pair.account[Column.SPOT_PRICE]), float(mark.price))

    def fund(self, told: Mark, price: Decimal, settled_ms: int) -> FundingPayment | None:
        """Settle funding of what is held at a rate that was told before; None: there is nothing to settle."""
        qty = self.books.pairs[told.ticker].perp_qty
        if told.funding_rate is None or not qty:
            return None
        amount = (-qty * price * told.funding_rate).quantize(_UNIT)
        payment = FundingPayment(f"{told.ticker}-{settled_ms}", told.ticker, amount, settled_ms)
        self.books.apply(payment)
        return payment

    def liquidate(self, now_ms: int) -> list[Fill]:
        """Close every perpetual at its mark if the margin is gone, and return the trades.

        The fee is no more than what is left; where less than nothing is, the venue's fund bears it, which
        stands as a negative fee.
        """
        total, margin = self.books.notional, self.books.margin
        if total <= 0.0 or margin > self.maintenance():
            return []
        rate = min(LIQUIDATION_FEE_RATE * total, margin) / total
        held = [pair for pair in self.books.pairs.values() if pair.perp_qty]
        return [self._close_by_force(pair, rate, now_ms) for pair in held]

    def _close_by_force(self, pair: PairBook, rate: float, now_ms: int) -> Fill:
        name = f"autoclose-{pair.ticker}-{now_ms}"
        mark = Decimal(repr(float(pair.account[Column.MARK])))
        side = Side.SELL if pair.perp_qty > 0 else Side.BUY
        fee = _exact(rate * pair.notional)
        fill = Fill(
            name,
            None,
            name,
            "perp",
            pair.ticker,
            side,
            abs(pair.perp_qty),
            mark,
            fee,
            self._quote,
            False,
            now_ms,
        )
        self.books.apply(BookedFill(fill, mark))
        return fill

    def _require_closing(self, order: OrderRequest) -> None:
        held = self.books.pairs[order.ticker].perp_qty
        if order.side.sign * held >= 0:
            raise _refused(order, f"an order that makes the position of {held} smaller")

    def _require_margin(self, order: OrderRequest) -> None:
        pair = self.books.pairs[order.ticker]
        wanted = abs(pair.perp_qty + order.side.sign * order.qty)
        if wanted <= abs(pair.perp_qty):
            return
        others = self.books.notional - pair.notional
        needed = (others + float(wanted * order.price)) / LEVERAGE
        if needed > self.books.margin:
            raise _refused(order, f"a margin of {needed:.2f} {self._quote}, there is {self.books.margin:.2f}")

    def _require_paid(self, order: OrderRequest, resting: Iterable[OrderRequest]) -> None:
        coin, needed = self._lock(order)
        free = self.balances(resting, 0).spot_free.get(coin, Decimal(0))
        if needed > free:
            raise _refused(order, f"{needed} {coin}, there is {free}")

    def _lock(self, order: OrderRequest) -> tuple[str, Decimal]:
        """Return what a resting order holds back, by coin; one of the perpetual holds back nothing."""
        if order.leg == "perp":
            return self._quote, Decimal(0)
        if order.side is Side.SELL:
            return order.ticker, order.qty
        fee = Decimal(0) if self.rates.in_base else max(self.rates.spot_taker, self.rates.spot_maker)
        return self._quote, order.qty * order.price * (1 + fee)


def opening_books(quote: str, tickers: Iterable[str], wallets: tuple[Decimal, Decimal]) -> Books:
    """Return the books of an account whose cash, spot and futures (quote), is no pair's."""
    none: Mapping[str, tuple[Decimal, Decimal]] = {ticker: (Decimal(0), Decimal(0)) for ticker in tickers}
    return Books(quote, none, wallets)


def _rate(fraction: float) -> Decimal:
    """Return a rate without the last digits of a float: 10 bp is 0.001."""
    return Decimal(repr(round(fraction, 12)))


def _exact(amount: float) -> Decimal:
    return Decimal(repr(amount)).quantize(_UNIT)


def _refused(order: OrderRequest, needed: str) -> RejectedError:
    return RejectedError(
        f"paper: {order.side} {order.qty} {order.ticker} {order.leg} at {order.price} needs {needed}; "
        "size it anew"
    )
