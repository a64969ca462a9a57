"""What the journal remembers: orders with their fate, transfers, pairs, statements, alerts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from carryflow.execution.orders import (
    Balances,
    Fill,
    FundingPayment,
    OrderRequest,
    OrderStatus,
    Position,
    TransferReport,
    Wallet,
)


class Mode(StrEnum):
    """Say what the money of a journal is."""

    PAPER = "paper"
    SANDBOX = "sandbox"
    LIVE = "live"


class Purpose(StrEnum):
    """Say what an order is for."""

    LEAD = "lead"
    HEDGE = "hedge"
    UNWIND = "unwind"
    CLOSE = "close"


class Severity(StrEnum):
    """Say who should look, and when."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"  # a person, now


@dataclass(frozen=True, slots=True)
class Identity:
    """Name whose books a journal keeps; a journal of other money is never written to.

    Attributes:
        mode: paper, sandbox or live.
        venue: where.
        quote: the quote coin.
        tickers: the coins that are traded.
        capital_quote: equity to trade with (quote).
        spot_share: part of it in the spot wallet (fraction).
        opened_ms: when the journal was begun (UTC ms); not part of who it is.
    """

    mode: Mode
    venue: str
    quote: str
    tickers: tuple[str, ...]
    capital_quote: Decimal
    spot_share: float
    opened_ms: int


@dataclass(frozen=True, slots=True)
class Opening:
    """Hold what there was before the first order.

    Attributes:
        balances: both wallets, as the venue told them.
        allotment: of these, what each ticker trades with, by coin: cash of the spot wallet and cash of the
            futures wallet (quote).
    """

    balances: Balances
    allotment: Mapping[str, tuple[Decimal, Decimal]]


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """Hold one order and what is known of its fate.

    Attributes:
        request: what is asked of the venue.
        intent_id: the intent that it serves.
        attempt: the how many-th order of that intent's leg, from 0.
        purpose: what it is for.
        reference: mid of its market when it was priced (quote); slippage is counted from it.
        valid_until_ms: the venue must not accept it after this instant (the venue's clock, UTC ms).
        journalled_ms: when it was written down, before it was sent (UTC ms).
        venue_order_id: the venue's name for it; None: not known to have arrived.
        status: where the venue has it; None: not known to have arrived.
        lost: proved never to have arrived.
        filled: base coins that are known to be filled (≥ 0).
        ended_ms: when it was known that nothing more can be filled (UTC ms).
        booked: of `filled`, the base coins whose trades are journalled.
    """

    request: OrderRequest
    intent_id: str
    attempt: int
    purpose: Purpose
    reference: Decimal
    valid_until_ms: int
    journalled_ms: int
    venue_order_id: str | None = None
    status: OrderStatus | None = None
    lost: bool = False
    filled: Decimal = Decimal(0)
    ended_ms: int | None = None
    booked: Decimal = Decimal(0)

    @property
    def finished(self) -> bool:
        """Say whether nothing more can come of it: it has ended, or never arrived."""
        return self.lost or (self.status is not None and self.status.final)


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """Hold one transfer between the two wallets.

    Attributes:
        key: our name for it.
        ticker: the coin whose share moves; None: a person moved money of the whole account.
        amount: what is asked for (quote, > 0).
        to: the wallet that receives it.
        journalled_ms: when it was written down, before it was asked for (UTC ms).
        transfer_id: the venue's name for it; None: not known to have happened.
        lost: proved never to have happened.
        arrived: what moved (quote); None: not known to have happened.
        settled_ms: when it did (the venue's clock, UTC ms).
    """

    key: str
    ticker: str | None
    amount: Decimal
    to: Wallet
    journalled_ms: int
    transfer_id: str | None = None
    lost: bool = False
    arrived: Decimal | None = None
    settled_ms: int | None = None

    def settled(self, report: TransferReport) -> "TransferRecord":
        """Return it as it happened."""
        return TransferRecord(
            self.key,
            self.ticker,
            self.amount,
            self.to,
            self.journalled_ms,
            report.transfer_id,
            arrived=report.amount,
            settled_ms=report.ts_ms,
        )


@dataclass(frozen=True, slots=True)
class PairRecord:
    """Hold where the pair of one ticker is.

    Attributes:
        ticker: the coin.
        state: name of the state.
        intent_id: the intent at work, or the last one.
        blocked: why no risk may be added; None: it may.
        astray: it is halted because the venue held what no trade explained.
    """

    ticker: str
    state: str
    intent_id: str | None = None
    blocked: str | None = None
    astray: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """Hold what the venue said there is, and what our books made of it.

    Attributes:
        ts_ms: when (UTC ms).
        balances: both wallets; of coins, those that are traded and the quote coin.
        positions: the perpetuals of these coins.
        equity_quote: what our books were worth (quote).
        agreed_ms: when venue and books last agreed on everything (UTC ms); None: never yet.
    """

    ts_ms: int
    balances: Balances
    positions: Sequence[Position]
    equity_quote: Decimal
    agreed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Valuation:
    """Hold the prices of one coin at one instant: both mids and the mark (quote)."""

    ts_ms: int
    ticker: str
    spot: Decimal
    perp: Decimal
    mark: Decimal


@dataclass(frozen=True, slots=True)
class Alert:
    """Tell a person something, of one coin or (None) of all."""

    ts_ms: int
    severity: Severity
    ticker: str | None
    words: str


@dataclass(frozen=True, slots=True)
class BookedFill:
    """Hold a trade with the price that its slippage is counted from (quote).

    That is the mid when its order was priced; a trade that we did not order has none but its own.
    """

    fill: Fill
    reference: Decimal


Event = BookedFill | FundingPayment | TransferRecord | Valuation
"""What changes the books."""
