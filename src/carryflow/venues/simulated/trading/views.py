"""What the venue tells an account that asks for its margin and its positions."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class PositionView:
    """Value a position at the mark; all money is quote.

    Attributes:
        symbol: the venue's name of the market.
        qty: base coins, signed.
        entry_price: mean price of what is held.
        mark: mark price.
        unrealized: profit at the mark.
        notional: value at the mark, signed like `qty`.
        initial_margin: what the leverage asks for.
        maintenance: margin below which it is liquidated.
        liquidation_price: mark at which it is liquidated if the others stay; 0 where no price does it.
        leverage: notional over initial margin.
        update_ms: when it last changed (UTC ms).
    """

    symbol: str
    qty: Decimal
    entry_price: Decimal
    mark: Decimal
    unrealized: Decimal
    notional: Decimal
    initial_margin: Decimal
    maintenance: Decimal
    liquidation_price: Decimal
    leverage: int
    update_ms: int


@dataclass(frozen=True, slots=True)
class MarginView:
    """Sum up the futures wallet; all money is quote.

    Attributes:
        wallet: balance without unrealised profit.
        unrealized: profit of all positions at their marks.
        position_initial: initial margin of the positions.
        order_initial: what the open orders ask for on top.
        maintenance: margin below which everything is liquidated.
    """

    wallet: Decimal
    unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal

    @property
    def balance(self) -> Decimal:
        """Return the margin balance: wallet with unrealised profit."""
        return self.wallet + self.unrealized

    @property
    def available(self) -> Decimal:
        """Return what new positions may be opened on (≥ 0)."""
        return max(Decimal(0), self.balance - self.position_initial - self.order_initial)

    @property
    def transferable(self) -> Decimal:
        """Return what may leave the wallet (≥ 0): unrealised profit may not."""
        return max(Decimal(0), min(self.wallet, self.available))
