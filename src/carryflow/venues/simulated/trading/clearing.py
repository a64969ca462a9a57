"""What a trade, a payment and a transfer do to an account: exact, to the last unit.

Commissions are rounded down to 8 decimals, funding and the cost of what is left of a position to the nearest,
half to even; nothing else is rounded, so that whatever came in is either still there or was paid to somebody.
All of it is to be called by functions that are `exactly`.
"""

from collections.abc import Callable
from decimal import Decimal
from itertools import count

from carryflow.core.leg import Leg
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.trading.accounts import (
    Income,
    IncomeKind,
    PerpPosition,
    VenueAccount,
    VenueTransfer,
    WalletName,
)
from carryflow.venues.simulated.trading.events import AccountEvent, EventKind, Reason
from carryflow.venues.simulated.trading.exact import charged, paid
from carryflow.venues.simulated.trading.orders import (
    ZERO,
    OrderStatus,
    Side,
    Trade,
    VenueOrder,
)
from carryflow.venues.simulated.trading.pit import Pit
from carryflow.venues.simulated.trading.settings import TradingSettings

_BP = Decimal("1e-4")


class Clearing:
    """Book what happens to the accounts, and tell whoever listens.

    Attributes:
        listeners: told of every event, at once and in order.
        order_ids: the next order's number.
        moved: whether any account was ever traded on or paid.
    """

    def __init__(self, venue: SimulatedVenue, settings: TradingSettings) -> None:
        self.listeners: list[Callable[[AccountEvent], None]] = []
        self.order_ids = count(1)
        self.moved = False
        self._venue = venue
        self._fee_in_base = settings.fee_in_base
        self._rates: dict[tuple[Leg, bool], Decimal] = {
            ("spot", True): _rate(settings.spot_maker_bp),
            ("spot", False): _rate(settings.spot_taker_bp),
            ("perp", True): _rate(settings.perp_maker_bp),
            ("perp", False): _rate(settings.perp_taker_bp),
        }
        self._trade_ids = count(1)
        self._income_ids = count(1)
        self._transfer_ids = count(1)

    @property
    def now_ms(self) -> int:
        """Return the venue's clock (UTC ms)."""
        return self._venue.now_ms

    def quote_per_base(self, price: Decimal) -> Decimal:
        """Return what a coin bought on spot at this price may cost at most, fee included (quote)."""
        if self._fee_in_base:
            return price
        dearer = max(self._rates["spot", True], self._rates["spot", False])
        return price * (1 + dearer)

    def open_order(self, account: VenueAccount, order: VenueOrder, lock: Decimal) -> None:
        """Take an order, and lock what it needs of the account's coins."""
        self.moved = True
        account.orders[order.order_id] = account.open[order.order_id] = order
        account.named[order.leg, order.symbol, order.client_id] = order
        if lock:
            purse = account.purse(_locked_asset(account, order))
            purse.free -= lock
            purse.locked += lock
            order.locked = lock
        self._tell(EventKind.NEW, account, order)

    def end_order(self, account: VenueAccount, order: VenueOrder, status: OrderStatus) -> None:
        """Let nothing more of an order be filled, and free what it locks."""
        order.status = status
        order.update_ms = self._venue.now_ms
        self._close(account, order)
        kind = EventKind.CANCELED if status is OrderStatus.CANCELED else EventKind.EXPIRED
        self._tell(kind, account, order)

    def fill(
        self,
        account: VenueAccount,
        pit: Pit,
        order: VenueOrder,
        price: Decimal,
        qty: Decimal,
        *,
        maker: bool,
        commission: Decimal | None = None,
    ) -> Trade:
        """Book a trade of an order; without a commission the one of the fee schedule is taken."""
        self.moved = True
        rate = self._rates[order.leg, maker]
        if order.leg == "spot":
            fee, asset = self._fill_spot(account, pit, order, price, qty, rate)
            realized = ZERO
        else:
            realized = self._move_position(account, order, price, qty)
            fee, asset = charged(price * qty * rate) if commission is None else commission, account.quote
            account.futures += realized - fee
        trade = Trade(
            id=next(self._trade_ids),
            order_id=order.order_id,
            leg=order.leg,
            symbol=order.symbol,
            side=order.entry.side,
            price=price,
            qty=qty,
            commission=fee,
            commission_asset=asset,
            realized_pnl=realized,
            maker=maker,
            time_ms=self._venue.now_ms,
        )
        if order.leg == "perp":
            self._record(account, IncomeKind.REALIZED_PNL, order.symbol, realized, trade.id)
            self._record(account, IncomeKind.COMMISSION, order.symbol, -fee, trade.id)
        account.trades[order.leg].append(trade)
        order.trades.append(trade)
        order.executed += qty
        order.quote_executed += trade.quote_qty
        order.update_ms = trade.time_ms
        filled = order.executed == order.entry.qty
        order.status = OrderStatus.FILLED if filled else OrderStatus.PARTIALLY_FILLED
        if filled:
            self._close(account, order)
        self._tell(EventKind.TRADE, account, order, trade)
        return trade

    def tell_balance(self, account: VenueAccount, pit: Pit) -> None:
        """Tell of the coins, or the position, that an order changed."""
        if pit.market.leg == "spot":
            self._tell_balance(account, "spot", Reason.ORDER, (pit.market.ticker, account.quote))
        else:
            self._tell_balance(account, "perp", Reason.ORDER, (account.quote,), pit.market.symbol)

    def pay_funding(self, account: VenueAccount, symbol: str, rate: Decimal, mark: Decimal) -> None:
        """Settle funding on a position: a positive rate debits longs and credits shorts."""
        amount = paid(-account.position_qty(symbol) * mark * rate)
        account.futures += amount
        self._record(account, IncomeKind.FUNDING_FEE, symbol, amount)
        self._tell_balance(account, "perp", Reason.FUNDING_FEE, (account.quote,), symbol, amount)

    def insure(self, account: VenueAccount) -> None:
        """Make up a futures wallet that a liquidation left below zero, as the insurance fund does.

        No trade is behind this credit. A client sees the wallet at zero, an ACCOUNT_UPDATE whose reason is
        INSURANCE_CLEAR and that names no position, and a row of the income history with neither symbol nor
        trade: whoever adds up fills, funding and transfers alone finds so much more than is explained.
        """
        if account.futures < 0:
            lacking = -account.futures
            account.futures = ZERO
            self._record(account, IncomeKind.INSURANCE_CLEAR, "", lacking)
            reason = Reason.INSURANCE_CLEAR
            self._tell_balance(account, "perp", reason, (account.quote,), amount=lacking)

    def transfer(self, account: VenueAccount, amount: Decimal, to: WalletName) -> VenueTransfer:
        """Move quote coins that are there into a wallet from the other one."""
        self.moved = True
        arrives = amount if to == "futures" else -amount
        account.purse(account.quote).free -= arrives
        account.futures += arrives
        moved = VenueTransfer(next(self._transfer_ids), account.quote, amount, to, self._venue.now_ms)
        account.transfers.append(moved)
        self._record(account, IncomeKind.TRANSFER, "", arrives)
        self._tell_balance(account, "spot", Reason.TRANSFER, (account.quote,), amount=-arrives)
        self._tell_balance(account, "perp", Reason.TRANSFER, (account.quote,), amount=arrives)
        return moved

    def _fill_spot(
        self, account: VenueAccount, pit: Pit, order: VenueOrder, price: Decimal, qty: Decimal, rate: Decimal
    ) -> tuple[Decimal, str]:
        """Exchange coins, out of what the order locks if it locks any; return fee and its coin."""
        base, quote = account.purse(pit.market.ticker), account.purse(account.quote)
        value = price * qty
        if order.entry.side is Side.SELL:
            self._release(account, order, qty)
            base.free -= qty
            fee = charged(value * rate)
            quote.free += value - fee
            return fee, account.quote
        limit = order.entry.price
        if limit is not None:
            self._release(account, order, self.quote_per_base(limit) * qty)
        if self._fee_in_base:
            fee = charged(qty * rate)
            quote.free -= value
            base.free += qty - fee
            return fee, pit.market.ticker
        fee = charged(value * rate)
        quote.free -= value + fee
        base.free += qty
        return fee, account.quote

    def _move_position(
        self, account: VenueAccount, order: VenueOrder, price: Decimal, qty: Decimal
    ) -> Decimal:
        """Move the position by a trade, and return what the closed part of it gained (quote)."""
        signed, now = order.entry.side.sign * qty, self._venue.now_ms
        held = account.positions.get(order.symbol)
        if held is None:
            account.positions[order.symbol] = PerpPosition(signed, price, price * signed, now)
            return ZERO
        held.update_ms = now
        if (held.qty > 0) == (signed > 0):
            entered = held.entry_price * held.qty + price * signed
            held.qty += signed
            held.cost += price * signed
            held.entry_price = entered / held.qty
            return ZERO
        if qty >= abs(held.qty):
            realized = price * held.qty - held.cost
            rest = held.qty + signed
            del account.positions[order.symbol]
            if rest:
                account.positions[order.symbol] = PerpPosition(rest, price, price * rest, now)
            return realized
        held.qty += signed
        # what stays is rounded, not what leaves, lest a thousand small closes add up a thousand roundings
        before, held.cost = held.cost, paid(held.entry_price * held.qty)
        return price * -signed - (before - held.cost)

    def _release(self, account: VenueAccount, order: VenueOrder, amount: Decimal) -> None:
        """Free a part of what an order locks."""
        purse = account.purse(_locked_asset(account, order))
        order.locked -= amount
        purse.locked -= amount
        purse.free += amount

    def _close(self, account: VenueAccount, order: VenueOrder) -> None:
        account.open.pop(order.order_id, None)
        if order.locked:
            self._release(account, order, order.locked)

    def _record(
        self,
        account: VenueAccount,
        kind: IncomeKind,
        symbol: str,
        amount: Decimal,
        trade_id: int | None = None,
    ) -> None:
        if amount:
            income = Income(
                next(self._income_ids), kind, symbol, account.quote, amount, self._venue.now_ms, trade_id
            )
            account.incomes.append(income)

    def _tell(
        self, kind: EventKind, account: VenueAccount, order: VenueOrder, trade: Trade | None = None
    ) -> None:
        event = AccountEvent(kind, account, order.leg, self._venue.now_ms, order, trade)
        for listener in self.listeners:
            listener(event)

    def _tell_balance(
        self,
        account: VenueAccount,
        leg: Leg,
        reason: Reason,
        assets: tuple[str, ...],
        symbol: str = "",
        amount: Decimal = ZERO,
    ) -> None:
        event = AccountEvent(
            EventKind.BALANCE,
            account,
            leg,
            self._venue.now_ms,
            reason=reason,
            assets=assets,
            symbol=symbol,
            amount=amount,
        )
        for listener in self.listeners:
            listener(event)


def _locked_asset(account: VenueAccount, order: VenueOrder) -> str:
    """Return the coin that a spot order locks."""
    if order.entry.side is Side.BUY:
        return account.quote
    return order.symbol.removesuffix(account.quote)


def _rate(bp: float) -> Decimal:
    return Decimal(str(bp)) * _BP
