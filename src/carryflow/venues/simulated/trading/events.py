"""What the venue tells an account of, as it happens."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from carryflow.core.leg import Leg
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.orders import ZERO, Trade, VenueOrder


class EventKind(StrEnum):
    """Name what happened; the first four in the words of Binance's execution types."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    BALANCE = "BALANCE"


class Reason(StrEnum):
    """Say why a balance or a position changed, in the words of Binance's ACCOUNT_UPDATE."""

    ORDER = "ORDER"
    FUNDING_FEE = "FUNDING_FEE"
    TRANSFER = "ASSET_TRANSFER"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """Tell of one thing; `account` and `order` are as they are at this moment, and change afterwards.

    Attributes:
        kind: what happened.
        account: whose it is.
        leg: which wallet and market.
        time_ms: when (UTC ms).
        order: the order, of all kinds but BALANCE.
        trade: the trade, of a TRADE.
        reason: why, of a BALANCE.
        assets: coins of which the balance changed, of a BALANCE.
        symbol: the market of which the position changed; empty where none did.
        amount: funding or transfer that came in (positive) or went out (quote), of a BALANCE.
    """

    kind: EventKind
    account: VenueAccount
    leg: Leg
    time_ms: int
    order: VenueOrder | None = None
    trade: Trade | None = None
    reason: Reason = Reason.ORDER
    assets: tuple[str, ...] = ()
    symbol: str = ""
    amount: Decimal = ZERO
