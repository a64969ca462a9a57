"""Exact sizes: what each leg must trade, in lots that its market takes.

A perpetual order either only reduces the position, and then says so, or only adds to it: what would do both
is cut to what it closes, and the rest is another order.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, Decimal

from carryflow.core.errors import SettingsError
from carryflow.core.hedge import pair_orders
from carryflow.core.instrument import ContractType, Instrument
from carryflow.core.leg import LEGS, Leg
from carryflow.execution.orders import Side

_DETOUR_MARGIN = Decimal("1.2")
"""A purchase that makes a sale large enough must still do so after its fee and a move of the price."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Hold what there is of one coin, both legs in base coins, signed."""

    spot: Decimal
    perp: Decimal

    @property
    def delta(self) -> Decimal:
        """Return the coins that have no hedge (base, signed)."""
        return self.spot + self.perp


@dataclass(frozen=True, slots=True)
class LegOrder:
    """Say what one leg trades.

    Attributes:
        leg: which market.
        qty: base coins, signed, on the lot; never 0.
        reduce_only: it only makes a perpetual position smaller.
    """

    leg: Leg
    qty: Decimal
    reduce_only: bool = False

    @property
    def side(self) -> Side:
        """Say whether it buys or sells."""
        return Side.BUY if self.qty > 0 else Side.SELL


@dataclass(frozen=True, slots=True)
class Prices:
    """Hold both mids (quote)."""

    spot: Decimal
    perp: Decimal


class PairMarkets:
    """Know both markets of a coin, in base coins.

    Attributes:
        spot: the spot market.
        perp: the linear perpetual.
        coarser_lot: the larger step of the two (base); legs that differ by no more count as equal.

    Raises:
        SettingsError: the perpetual is not linear.

    """

    def __init__(self, spot: Instrument, perp: Instrument) -> None:
        if perp.type is not ContractType.LINEAR:
            raise SettingsError(
                f"{perp.venue} {perp.symbol} is {perp.type}; only linear perpetuals are traded, name a "
                "ticker that has one"
            )
        self.spot = spot
        self.perp = perp
        self._lots: dict[Leg, Decimal] = {
            leg: self.instrument(leg).lot * self.instrument(leg).contract_size for leg in LEGS
        }
        self.coarser_lot = max(self._lots.values())

    def instrument(self, leg: Leg) -> Instrument:
        """Return one of the markets."""
        return self.spot if leg == "spot" else self.perp

    def lot(self, leg: Leg) -> Decimal:
        """Return the step of an order's size (base)."""
        return self._lots[leg]

    def takes(self, order: LegOrder, price: Decimal) -> bool:
        """Say whether the market takes an order: on the lot, over its minima; who reduces may be small."""
        instrument = self.instrument(order.leg)
        contracts = abs(order.qty) / instrument.contract_size
        if order.reduce_only:
            return contracts >= instrument.min_qty and contracts % instrument.lot == 0
        return instrument.accepts(contracts, price)

    def is_hedged(self, holding: Holding) -> bool:
        """Say whether the legs differ by no more than the coarser lot."""
        return abs(holding.delta) <= self.coarser_lot

    def is_flat(self, holding: Holding) -> bool:
        """Say whether nothing is left but a residue of coins that is no lot."""
        return holding.perp == 0 and abs(holding.spot) <= self.coarser_lot


def pair_legs(
    holding: Holding, target: Decimal, markets: PairMarkets, base_fee_rate: float, prices: Prices
) -> tuple[LegOrder, ...]:
    """Return the orders that bring a hedged pair to `target` coins: both legs legal, or none.

    What would change sides is closed first: the orders to a target beyond 0 are those to 0. One order comes
    back where the other leg has nothing to trade.
    """
    spot_lot, perp_lot = markets.lot("spot"), markets.lot("perp")
    if holding.spot * target < 0:
        target = Decimal(0)
    grows = abs(target) > abs(holding.spot)
    minima = [markets.spot.min_notional] + ([markets.perp.min_notional] if grows else [])
    sizes = pair_orders(
        float(holding.spot),
        float(holding.perp),
        float(target),
        float(spot_lot),
        float(perp_lot),
        base_fee_rate,
        float(prices.spot),
        float(prices.perp),
        float(max(minima)),
    )
    spot = on_lot(Decimal(sizes[0]), spot_lot, ROUND_HALF_UP)
    if spot < 0 < holding.spot:
        spot = max(spot, -on_lot(holding.spot, spot_lot, ROUND_DOWN))
    perp = perp_order(on_lot(Decimal(sizes[1]), perp_lot, ROUND_HALF_UP), holding.perp)
    orders = [order for order in (LegOrder("spot", spot) if spot else None, perp) if order is not None]
    legal = all(markets.takes(order, prices.spot if order.leg == "spot" else prices.perp) for order in orders)
    return tuple(orders) if legal else ()


def hedge_order(
    leg: Leg, holding: Holding, markets: PairMarkets, base_fee_rate: float, price: Decimal, closing: bool
) -> LegOrder | None:
    """Return the order of one leg that follows what the other has filled; None: nothing that it would take.

    Args:
        leg: the leg that follows.
        holding: what there really is, fees in coins taken off.
        markets: both markets.
        base_fee_rate: part of a spot purchase that the venue keeps (fraction).
        price: mid of the leg's market (quote).
        closing: the target is no coins: with no more than a residue of them left, all of the perpetual goes.
    """
    if leg == "perp":
        all_of_it = closing and abs(holding.spot) <= markets.coarser_lot
        wanted = -holding.perp if all_of_it else -holding.delta
        order = perp_order(on_lot(wanted, markets.lot("perp"), ROUND_HALF_UP), holding.perp)
    else:
        order = _spot_order(-holding.delta, holding, markets, base_fee_rate)
    return order if order is not None and markets.takes(order, price) else None


def unwinding_orders(
    holding: Holding, markets: PairMarkets, base_fee_rate: float, prices: Prices, may_open: bool
) -> list[LegOrder]:
    """Return the orders each of which would bring the legs together, the best first.

    First the leg that holds too much gives it back. If the other leg may add to its position, that is second.
    Coins too few to be sold are last: some more are bought, so that all of them can be.
    """
    delta = holding.delta
    sizes: dict[Leg, Decimal] = {"spot": delta * holding.spot, "perp": delta * holding.perp}
    legs = sorted(sizes, key=lambda leg: sizes[leg], reverse=True)  # who holds most of the excess comes first
    orders = []
    for leg in legs:
        if sizes[leg] <= 0 and not may_open:
            continue
        price = prices.spot if leg == "spot" else prices.perp
        order = hedge_order(leg, holding, markets, base_fee_rate, price, closing=False)
        if order is not None:
            orders.append(order)
    if not orders and holding.spot > markets.coarser_lot and delta > 0:
        orders.append(_detour(markets, prices.spot))
    return orders


def perp_order(qty: Decimal, held: Decimal) -> LegOrder | None:
    """Return a perpetual order that never turns a position round: it reduces, or it adds.

    >>> perp_order(Decimal(5), Decimal(-3))
    LegOrder(leg='perp', qty=Decimal('3'), reduce_only=True)
    """
    if qty == 0:
        return None
    if qty * held >= 0:
        return LegOrder("perp", qty)
    return LegOrder("perp", qty if abs(qty) <= abs(held) else -held, reduce_only=True)


def _spot_order(
    wanted: Decimal, holding: Holding, markets: PairMarkets, base_fee_rate: float
) -> LegOrder | None:
    lot = markets.lot("spot")
    if wanted > 0:
        qty = on_lot(wanted / (1 - Decimal(repr(base_fee_rate))), lot, ROUND_HALF_UP)
    else:
        sold = min(-wanted, holding.spot) if holding.spot > 0 else -wanted
        qty = -on_lot(sold, lot, ROUND_DOWN)
    return LegOrder("spot", qty) if qty else None


def _detour(markets: PairMarkets, price: Decimal) -> LegOrder:
    """Return a small purchase after which what there is can be sold."""
    least = max(markets.spot.min_qty, markets.spot.min_notional * _DETOUR_MARGIN / price)
    return LegOrder("spot", on_lot(least, markets.lot("spot"), ROUND_CEILING))


def on_lot(qty: Decimal, lot: Decimal, rounding: str) -> Decimal:
    """Return the quantity as a whole number of lots, rounded in one of the ways of `decimal`."""
    return (qty / lot).to_integral_value(rounding) * lot
