"""What an order must be like before it is looked at: Binance's filters and their refusals."""

import re
from decimal import Decimal

from carryflow.core.leg import Leg
from carryflow.venues.simulated import refusals
from carryflow.venues.simulated.filters import FINER_THAN_TICK, MAX_QTY, PERP_BAND, SPOT_BAND
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderType, Side, TimeInForce
from carryflow.venues.simulated.trading.pit import Pit

_NAMES = re.compile(r"[a-zA-Z0-9\-_.:/]{0,36}")
_MOST_DECIMALS = 8


def check_entry(pit: Pit, entry: OrderEntry) -> None:
    """Refuse an order that the market does not take, whoever sends it.

    Raises:
        Refusal: it breaks one of the market's filters, or makes no sense.
    """
    leg = pit.market.leg
    if pit.closed:
        raise refusals.market_closed(leg)
    if not _NAMES.fullmatch(entry.client_id):
        raise refusals.illegal_client_id("newClientOrderId")
    _check_parameters(leg, entry)
    if leg == "spot":
        _check_spot(pit, entry)
    else:
        _check_perp(pit, entry)


def check_name(account: VenueAccount, leg: Leg, entry: OrderEntry) -> None:
    """Refuse a name that an open order of the same market has; the name of an ended order is free again.

    Raises:
        Refusal: an open order has this name.
    """
    namesake = account.named.get((leg, entry.symbol, entry.client_id))
    if namesake is not None and namesake.status.open:
        raise refusals.duplicate_order(leg)


def _check_parameters(leg: Leg, entry: OrderEntry) -> None:
    """Refuse what does not go together."""
    if entry.type is OrderType.MARKET:
        if entry.price is not None:
            raise refusals.not_required("price")
    elif entry.price is None:
        raise refusals.mandatory("price")
    if leg == "spot" and entry.reduce_only:
        raise refusals.not_required("reduceOnly")
    if leg == "spot" and entry.time_in_force is TimeInForce.GTX:
        raise refusals.invalid_choice("timeInForce")
    if leg == "perp" and entry.type is OrderType.LIMIT_MAKER:
        raise refusals.invalid_choice("type")


def _check_spot(pit: Pit, entry: OrderEntry) -> None:
    for what, value in (("quantity", entry.qty), ("price", entry.price)):
        if value is not None and not (value.is_finite() and value > 0):
            raise refusals.invalid_parameter(what)
        if value is not None and _decimals(value) > _MOST_DECIMALS:
            raise refusals.too_precise()
    if entry.price is not None and entry.price % pit.tick:
        raise refusals.filter_failure("PRICE_FILTER")
    if entry.qty % pit.lot or not pit.lot <= entry.qty <= MAX_QTY:
        raise refusals.filter_failure("LOT_SIZE")
    if entry.price is not None:
        low, high = (pit.last * Decimal(edge) for edge in SPOT_BAND)
        if not low <= entry.price <= high:
            raise refusals.filter_failure("PERCENT_PRICE_BY_SIDE")
    if entry.qty * (entry.price or pit.last) < pit.min_notional:
        raise refusals.filter_failure("NOTIONAL")


def _check_perp(pit: Pit, entry: OrderEntry) -> None:
    finest = (max(0, _decimals(pit.lot)), max(0, _decimals(pit.tick)) + FINER_THAN_TICK)
    for what, value, decimals in zip(("quantity", "price"), (entry.qty, entry.price), finest, strict=True):
        if value is not None and not (value.is_finite() and value > 0):
            raise refusals.not_positive(what)
        if value is not None and _decimals(value) > decimals:
            raise refusals.too_precise()
    if entry.price is not None and entry.price % pit.tick:
        raise refusals.off_tick()
    if entry.qty > MAX_QTY or entry.qty < pit.lot:
        raise refusals.quantity_refused(least=entry.qty < pit.lot)
    if entry.qty % pit.lot:
        raise refusals.too_precise()
    _check_band(pit, entry)
    if not entry.reduce_only and entry.qty * (entry.price or pit.mark) < pit.min_notional:
        raise refusals.notional_too_small(f"{pit.min_notional.normalize():f}")


def _check_band(pit: Pit, entry: OrderEntry) -> None:
    """Refuse to buy far over the mark, and to sell far below it."""
    buys = entry.side is Side.BUY
    bound = pit.mark * Decimal(PERP_BAND[1 if buys else 0])
    price = pit.touch(entry.side.opposite) if entry.price is None else entry.price
    if price is None or entry.side.sign * (price - bound) > 0:
        if entry.price is None:
            raise refusals.no_counterparty()
        raise refusals.price_too_far(buys, f"{bound.quantize(pit.tick):f}")


def _decimals(value: Decimal) -> int:
    """Return a number's decimals without trailing zeros; negative where it ends before the point."""
    exponent = value.normalize().as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
