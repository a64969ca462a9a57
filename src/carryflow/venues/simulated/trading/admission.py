"""Whether an order is taken: the market's rules, then its name, then what the account can pay for."""

from decimal import Decimal

from carryflow.venues.simulated import refusals
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.clearing import Clearing
from carryflow.venues.simulated.trading.dollar import DOLLAR
from carryflow.venues.simulated.trading.margin import Margin
from carryflow.venues.simulated.trading.matching import Matching, reduces
from carryflow.venues.simulated.trading.orders import ZERO, OrderEntry, Side
from carryflow.venues.simulated.trading.pit import Pit
from carryflow.venues.simulated.trading.rules import check_entry, check_name


class Admission:
    """Take orders or refuse them in Binance's words."""

    def __init__(self, clearing: Clearing, matching: Matching, margin: Margin) -> None:
        self._clearing = clearing
        self._matching = matching
        self._margin = margin

    def check(self, account: VenueAccount, pit: Pit, entry: OrderEntry, *, late: bool) -> Decimal:
        """Return what the order locks of the spot wallet: quote of a purchase, base of a sale.

        Raises:
            Refusal: the order is not taken.
        """
        leg = pit.market.leg
        if pit.market.ticker == DOLLAR:
            raise refusals.not_permitted()
        check_entry(pit, entry)
        check_name(account, leg, entry)
        if entry.post_only and not late and self._matching.would_match(pit, entry):
            raise refusals.would_match(leg)
        if leg == "spot":
            return self._check_balance(account, pit, entry)
        self._check_margin(account, pit, entry)
        return ZERO

    def _check_balance(self, account: VenueAccount, pit: Pit, entry: OrderEntry) -> Decimal:
        if entry.side is Side.SELL:
            needed, free = entry.qty, account.purse(pit.market.ticker).free
        else:
            needed, free = self._cost(pit, entry), account.purse(account.quote).free
        if needed > free:
            raise refusals.insufficient_balance()
        return ZERO if entry.price is None and entry.side is Side.BUY else needed

    def _cost(self, pit: Pit, entry: OrderEntry) -> Decimal:
        """Return what a spot purchase costs at most, fee included (quote)."""
        if entry.price is not None:
            return self._clearing.quote_per_base(entry.price) * entry.qty
        pieces = pit.book.reach(Side.BUY, pit.lots(entry.qty), None, pit.slot)
        return sum((self._clearing.quote_per_base(p.price) * p.lots * pit.lot for p in pieces), ZERO)

    def _check_margin(self, account: VenueAccount, pit: Pit, entry: OrderEntry) -> None:
        if entry.reduce_only:
            if not reduces(account, entry):
                raise refusals.reduce_only_rejected()
            return
        touch = pit.touch(entry.side.opposite) or pit.mark
        price = touch if entry.price is None else entry.price
        if entry.side is Side.SELL:
            price = max(price, touch)
        added = (entry.symbol, entry.side, price * entry.qty)
        if not self._margin.carries(account, added):
            raise refusals.position_too_large()
        if not self._margin.affords(account, added):
            raise refusals.insufficient_margin()
