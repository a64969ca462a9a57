"""The books of one coin: exact quantities beside one account of the ledger."""

from decimal import Decimal

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

        A fee in a third coin was paid from neither of the two wallets: it changes no books, and whoever keeps
        the pair tells of it.

        Args:
            fill: the trade.
            reference: price that its slippage is counted from (quote): the mid when its order was priced.

        Raises:
            InvariantBroken: the books do not add up.
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
        if fill.fee_asset == self.ticker:
            return zero, fill.fee
        return (fill.fee if fill.fee_asset == self._quote else zero), zero

    def _fill_perp(self, fill: Fill, qty: Decimal, reference: Decimal) -> None:
        fee = float(fill.fee) if fill.fee_asset == self._quote else 0.0
        if self.account[Column.MARK] == 0.0:  # nothing was ever valued: no price of before to gain against
            self.account[Column.MARK] = float(reference)
        self.late = self.late or fill.ts_ms < self._last_ms
        self._last_ms = max(self._last_ms, fill.ts_ms)
        self.perp_qty += qty
        fill_perp(self.account, float(qty), float(reference), float(fill.price), fee)

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
