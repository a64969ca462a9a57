"""What the engine needs of the world, and what it may expect of it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from carryflow.core.instrument import Instrument
from carryflow.core.leg import Leg
from carryflow.execution.market import Book, Mark
from carryflow.execution.orders import (
    Balances,
    Fill,
    FundingPayment,
    KeyPermissions,
    OrderReport,
    OrderRequest,
    Position,
    TransferReport,
    Wallet,
)


class Clock(Protocol):
    """Tell the time that a venue lives in, and wait in it."""

    def now_ms(self) -> int:
        """Return UTC milliseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when so many seconds of this clock have passed."""
        ...


class MarketView(Protocol):
    """Show the market as it was last seen; whoever asks looks at `seen_ms`."""

    async def book(self, leg: Leg, ticker: str) -> Book:
        """Return the order book.

        Raises:
            RetryableError: nothing is known of it at the moment.
            MarketDataError: a side is empty.
        """
        ...

    async def mark(self, ticker: str) -> Mark:
        """Return mark and funding.

        Raises:
            RetryableError: nothing is known of it at the moment.
        """
        ...

    async def quote_price(self) -> Decimal | None:
        """Return what the quote coin is worth in dollars; None where the venue has no market that tells."""
        ...


class TradingVenue(Protocol):
    """Trade at one venue on one account.

    Every method may raise `RetryableError` (nothing happened; ask again), and `RejectedError` (refused; it
    changes nothing to ask again). Those that change something there may raise `AmbiguousError`: it may have
    happened. All instants are the venue's clock, UTC ms.
    """

    @property
    def quote(self) -> str:
        """Name the quote coin."""
        ...

    def instrument(self, leg: Leg, ticker: str) -> Instrument:
        """Return the contract, with lot, tick and minima."""
        ...

    async def submit(self, order: OrderRequest, valid_until_ms: int) -> OrderReport:
        """Send an order that the venue must not accept after `valid_until_ms`.

        Raises:
            AmbiguousError: no answer came, or one that does not tell; ask with `find`. Once the venue's clock
                is past `valid_until_ms`, an order that it does not find never came and never will.
            RejectedError: it was refused, and nothing of it exists.
        """
        ...

    async def find(self, leg: Leg, ticker: str, client_id: str) -> OrderReport | None:
        """Return an order by our name for it; None if the venue says that there is none."""
        ...

    async def cancel(self, leg: Leg, ticker: str, client_id: str) -> OrderReport | None:
        """Cancel an order, and return what became of it; None if the venue says that there is none.

        An order that had ended before is returned as it ended.
        """
        ...

    async def cancel_all(self, leg: Leg, ticker: str) -> None:
        """Cancel every open order of a market, whoever sent it."""
        ...

    async def open_orders(self) -> Sequence[OrderReport]:
        """Return every open order of the account, in both markets, foreign ones, too."""
        ...

    async def fills(self, leg: Leg, ticker: str, since_ms: int) -> Sequence[Fill]:
        """Return all trades of the account in one market since an instant, the oldest first."""
        ...

    async def positions(self) -> Sequence[Position]:
        """Return the perpetual positions that are not flat."""
        ...

    async def balances(self) -> Balances:
        """Return what is in the wallets."""
        ...

    async def funding_payments(self, since_ms: int) -> Sequence[FundingPayment]:
        """Return funding paid and received since an instant, the oldest first."""
        ...

    async def transfer(self, amount: Decimal, to: Wallet) -> TransferReport:
        """Move so much (> 0) of the quote coin from the other wallet to this one."""
        ...

    async def transfers(self, since_ms: int) -> Sequence[TransferReport]:
        """Return transfers between the two wallets since an instant, the oldest first."""
        ...

    async def now_ms(self) -> int:
        """Return the venue's clock."""
        ...

    async def permissions(self) -> KeyPermissions | None:
        """Return what our key may do; None where the venue does not tell."""
        ...

    async def arm_dead_man(self, ticker: str, seconds: float) -> bool:
        """Let the venue cancel the ticker's perpetual orders unless this is called again; False: it cannot.

        Zero seconds disarm it.
        """
        ...
