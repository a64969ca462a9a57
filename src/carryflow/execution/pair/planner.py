"""From a decision to orders: how large the pair, which leg first, at what price at worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from functools import cache

from carryflow.core.costs import CostSettings
from carryflow.core.errors import MarketDataError
from carryflow.core.hedge import hedged_fraction, pair_quantity, should_resize
from carryflow.core.instrument import Instrument
from carryflow.core.leg import Leg
from carryflow.execution.intents import Action, Intent
from carryflow.execution.market import Book, Level, Mark
from carryflow.execution.orders import Side
from carryflow.execution.pair.sizing import Holding, LegOrder, PairMarkets, Prices, on_lot, pair_legs
from carryflow.execution.settings import ExecutionSettings

_BP = Decimal("1e-4")

ENDLESS = Decimal("Infinity")
"""Cost of a fill for which a book has too few coins."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Hold what both markets of a coin looked like at one look.

    Attributes:
        spot: order book of the spot market.
        perp: order book of the perpetual.
        mark: what the perpetual is valued at; None: not known at the moment.
    """

    spot: Book
    perp: Book
    mark: Mark | None

    def book(self, leg: Leg) -> Book:
        """Return one of the books."""
        return self.spot if leg == "spot" else self.perp

    def anchor(self, leg: Leg) -> Decimal:
        """Return the price around which the band of limit prices lies (quote).

        That is the mark for the perpetual. A perpetual may trade far from spot, so for spot it is the index,
        or the mid of its own book where the venue names none.
        """
        if leg == "perp":
            return self.perp.mid if self.mark is None else self.mark.price
        index = None if self.mark is None else self.mark.index
        return self.spot.mid if index is None else index

    @property
    def prices(self) -> Prices:
        """Return both mids."""
        return Prices(self.spot.mid, self.perp.mid)


@dataclass(frozen=True, slots=True)
class Means:
    """Hold what a ticker trades with.

    Attributes:
        equity_quote: what its share of the account is worth (quote).
        cash_quote: its cash in the spot wallet (quote).
        base_fee_rate: part of a spot purchase that the venue keeps as its fee, in coins (fraction).
    """

    equity_quote: float
    cash_quote: Decimal
    base_fee_rate: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Say which leg is sent first, and which follows what the first has filled.

    Attributes:
        lead: the leg that costs more to fill.
        hedge: the other, as large as it is if the first is filled wholly; None: it has nothing to trade.
        limits: the worst price of each leg's order (quote).
    """

    lead: LegOrder
    hedge: LegOrder | None
    limits: Mapping[Leg, Decimal]

    @property
    def orders(self) -> tuple[LegOrder, ...]:
        """Return the orders, the first one first."""
        return (self.lead,) if self.hedge is None else (self.lead, self.hedge)


def target_base(
    fraction: float,
    holding: Holding,
    means: Means,
    markets: PairMarkets,
    seen: Seen,
    settings: ExecutionSettings,
    costs: CostSettings,
) -> Decimal | None:
    """Return the coins to hold for a decision; None: the position is near enough to it.

    What it costs to get there is set aside first, and no more coins are bought than the wallet can pay for at
    the worst price that the order allows.

    Args:
        fraction: fraction of capital to have in the hedged trade, −1 to 1.
        holding: what there is.
        means: what the ticker trades with.
        markets: both markets.
        seen: their books.
        settings: how the engine trades.
        costs: fees that are expected.
    """
    prices = seen.prices
    spot_mid, held = float(prices.spot), float(holding.spot)
    if means.equity_quote > 0.0:
        current = hedged_fraction(held, spot_mid, settings.spot_share, means.equity_quote)
        if markets.is_flat(holding):
            current = 0.0  # a residue that no order can sell is no position
        if not should_resize(fraction, current, settings.hysteresis):
            return None
    traded = Decimal(repr(abs(fraction * settings.spot_share * means.equity_quote - held * spot_mid)))
    spot_fee_rate = costs.spot_fee_rate
    rate = spot_fee_rate / (1.0 - means.base_fee_rate) + costs.perp_fee_rate
    bound = settings.slippage_bound_bp * 1e-4
    grows = abs(fraction) * settings.spot_share * means.equity_quote > abs(held) * spot_mid
    for book, side in ((seen.spot, Side.BUY), (seen.perp, Side.SELL)) if grows else ():
        rate += min(float(fill_cost(book, side, traded / book.mid)), bound)
    qty = pair_quantity(
        fraction,
        means.equity_quote,
        settings.spot_share,
        rate,
        spot_mid,
        float(prices.perp),
        float(markets.coarser_lot),
        float(max(markets.spot.min_notional, markets.perp.min_notional)),
    )
    coins = on_lot(Decimal(repr(qty)), markets.coarser_lot, ROUND_HALF_UP)
    dearest = prices.spot * _worse(Side.BUY, settings.slippage_bound_bp)
    payable = max(means.cash_quote, Decimal(0)) / (dearest * (1 + Decimal(repr(spot_fee_rate))))
    most = max(holding.spot, Decimal(0)) + payable * (1 - Decimal(repr(means.base_fee_rate)))
    return min(coins, on_lot(most, markets.coarser_lot, ROUND_DOWN))


def action_of(holding: Holding, target: Decimal, markets: PairMarkets) -> Action:
    """Say what it does to the pair to bring it to `target` coins."""
    if markets.is_flat(holding):
        return Action.OPEN
    return Action.CLOSE if target == 0 else Action.RESIZE


def plan(
    intent: Intent,
    holding: Holding,
    markets: PairMarkets,
    base_fee_rate: float,
    seen: Seen,
    settings: ExecutionSettings,
) -> Plan | None:
    """Return the orders of an intent; None: there is nothing that both markets would take.

    The leg that costs more to fill leads, so that what cannot be had is known before the other is touched.

    Raises:
        MarketDataError: an order has no limit that lies on a tick.
    """
    orders = pair_legs(holding, intent.target_base, markets, base_fee_rate, seen.prices)
    if not orders:
        return None
    ranked = sorted(
        orders, key=lambda order: fill_cost(seen.book(order.leg), order.side, abs(order.qty)), reverse=True
    )
    limits = {
        order.leg: worst_price(
            markets.instrument(order.leg),
            order.side,
            seen.book(order.leg).mid,
            settings.slippage_bound_bp,
            seen.anchor(order.leg),
            settings.limits.price_band_bp,
        )
        for order in orders
    }
    return Plan(ranked[0], ranked[1] if len(ranked) > 1 else None, limits)


def fill_cost(book: Book, side: Side, qty: Decimal) -> Decimal:
    """Return how far from the mid an order is filled on average (fraction, ≥ 0); infinite: never wholly.

    >>> levels = ((Decimal(101), Decimal(1)), (Decimal(103), Decimal(1)))
    >>> book = Book("spot", "BTC", ((Decimal(99), Decimal(1)),), levels, 0)
    >>> fill_cost(book, Side.BUY, Decimal(2)), fill_cost(book, Side.SELL, Decimal(2))
    (Decimal('0.02'), Decimal('Infinity'))
    """
    if qty == 0:
        return Decimal(0)
    levels: Sequence[Level] = book.asks if side is Side.BUY else book.bids
    left, value = qty, Decimal(0)
    for price, resting in levels:
        taken = min(left, resting)
        value += taken * price
        left -= taken
        if left == 0:
            return abs(value / qty / book.mid - 1)
    return ENDLESS


def worst_price(
    instrument: Instrument, side: Side, mid: Decimal, bound_bp: float, anchor: Decimal, band_bp: float
) -> Decimal:
    """Return an order's limit, on the tick: within the bound around the mid and the band around the anchor.

    Raises:
        MarketDataError: no tick lies within.
    """
    price, limit = mid * _worse(side, bound_bp), anchor * _worse(side, band_bp)
    price = min(price, limit) if side is Side.BUY else max(price, limit)
    rounded = instrument.round_price(price, "down" if side is Side.BUY else "up")
    if rounded <= 0:
        raise MarketDataError(
            f"{instrument.symbol}: no price within {bound_bp} bp of {mid} lies on its tick of "
            f"{instrument.tick}; widen execution.slippage_bound_bp"
        )
    return rounded


def resting_price(instrument: Instrument, side: Side, book: Book, anchor: Decimal, band_bp: float) -> Decimal:
    """Return the best price at which an order rests: with the touch on its own side, within the band."""
    limit = anchor * _worse(side, band_bp)
    touch = min(book.bids[0][0], limit) if side is Side.BUY else max(book.asks[0][0], limit)
    return instrument.round_price(touch, "down" if side is Side.BUY else "up")


@cache
def _worse(side: Side, bp: float) -> Decimal:
    """Return the multiple of a price that is so much worse for a side; the settings name few."""
    return 1 + side.sign * Decimal(repr(bp)) * _BP
