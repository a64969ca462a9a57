"""The size of the hedged pair: equal legs that both venues accept, or none.

A number that is not finite, a price that is not positive or an account without equity orders nothing.
"""

import math

import numpy as np

from carryflow.core.compiled import compiled

_LOT_GRAIN = 1e-9
"""Distance from a whole number of lots (lots) that is put down to floating point."""

_LOT_GRAIN_RELATIVE = 1e-15
"""The same for many lots (fraction of their number)."""

_MOST_LOTS = 1e15
"""From here on a float no longer tells one lot from the next."""


@compiled
def pair_quantity(
    fraction: float,
    equity_quote: float,
    spot_share: float,
    pair_cost_rate: float,
    spot_price: float,
    perp_price: float,
    lot_base: float,
    min_notional_quote: float,
) -> float:
    """Size the pair: spot is the result, the perpetual its exact negative (base coin).

    `fraction` = 1 puts the whole spot wallet, `spot_share` of equity, into the trade; the costs of opening
    are set aside first, so that neither wallet is overdrawn. Both legs are rounded toward zero to
    `lot_base`, the coarser lot of the two (0: continuous), hence equal; if either leg would fall below
    `min_notional_quote`, both are zero. So they are without equity, and if a number is not finite.

    Half of 10 000 at 100 is 50 coins; a lot of 3 makes it 48, and a minimum of 5000 makes it none:

    >>> pair_quantity(1.0, 10_000.0, 0.5, 0.0, 100.0, 100.0, 0.0, 10.0)
    50.0
    >>> pair_quantity(-1.0, 10_000.0, 0.5, 0.0, 100.0, 100.0, 3.0, 10.0)
    -48.0
    >>> pair_quantity(1.0, 10_000.0, 0.5, 0.0, 100.0, 100.0, 3.0, 5_000.0)
    0.0
    """
    # each comparison is put so that NaN fails it
    if not (equity_quote > 0.0 and 0.0 < spot_price < math.inf and 0.0 < perp_price < math.inf):
        return 0.0
    notional = fraction * spot_share * equity_quote / (1.0 + pair_cost_rate)
    qty = _round_to_lot(notional / spot_price, lot_base, False)
    if min_notional_quote <= abs(qty) * min(spot_price, perp_price) < math.inf:
        return qty
    return 0.0


@compiled
def pair_orders(
    spot_held: float,
    perp_held: float,
    target: float,
    spot_lot: float,
    perp_lot: float,
    base_fee_rate: float,
    spot_price: float,
    perp_price: float,
    min_notional_quote: float,
) -> tuple[float, float]:
    """Return the two orders that bring a linear pair to `target` coins, as venues accept them.

    A purchase whose fee is taken in coins is grossed up, and the perpetual is sized on the coins that will be
    held after that fee. Each order is 0, or on its lot and worth at least the minimum; a perpetual order that
    only reduces is exempt from the minimum, as venues exempt it. What the spot side cannot trade, the
    perpetual follows; but at a target of 0, once no more coins are left than the coarser lot, all of the
    perpetual is closed, and that residue stays. If after both fills the legs would differ by more than the
    coarser lot, nothing is traded.

    Two duties are left to who sends the orders. A venue's least quantity is not known here, and a size is a
    float: count its whole lots, and multiply those with the lot as `Decimal`. And a perpetual order past flat
    is one order here, where the exempt part would go as reduce-only and the rest as a second one.

    Args:
        spot_held: coins held (base, signed).
        perp_held: perpetual held (base, signed).
        target: coins to hold (base, signed), of which the perpetual is the negative.
        spot_lot: step of a spot order (base); 0: continuous.
        perp_lot: step of a perpetual order (base); 0: continuous.
        base_fee_rate: part of a spot purchase that the venue keeps as its fee, in coins (fraction).
        spot_price: price that the spot minimum is judged at (quote).
        perp_price: price that the perpetual's minimum is judged at (quote).
        min_notional_quote: smallest order (quote).

    Returns:
        Spot order and perpetual order (base, signed).

    For 5 coins at a fee of 0.1 % in coins one orders 5.005 and holds 4.999995:

    >>> pair_orders(0.0, 0.0, 5.0, 0.001, 0.001, 0.001, 100.0, 100.0, 10.0)
    (5.005, -5.0)

    """
    known = spot_held + perp_held + target + spot_lot + perp_lot + base_fee_rate + min_notional_quote
    if not (abs(known) < math.inf and 0.0 < spot_price < math.inf and 0.0 < perp_price < math.inf):
        return 0.0, 0.0
    spot_order, coins = _spot_order(
        spot_held, target, spot_lot, base_fee_rate, spot_price, min_notional_quote
    )
    tolerance = _tolerance(max(spot_lot, perp_lot), abs(coins) + abs(perp_held))
    if target == 0.0 and abs(coins) <= tolerance:
        return spot_order, 0.0 - perp_held
    perp_order = _hedge_order(-coins - perp_held, perp_held, perp_lot, perp_price, min_notional_quote)
    delta = coins + perp_held + perp_order
    return (spot_order, perp_order) if abs(delta) <= tolerance else (0.0, 0.0)


@compiled
def inverse_orders(
    coins_held: float,
    perp_held: float,
    target: float,
    spot_lot: float,
    perp_lot_quote: float,
    base_fee_rate: float,
    perp_fee_rate: float,
    spot_price: float,
    perp_price: float,
    min_notional_quote: float,
) -> tuple[float, float]:
    """Return the two orders that bring an inverse pair to `target` coins, as venues accept them.

    As `pair_orders`; but the coins in the perpetual's own wallet are hedged with the others, the perpetual is
    a quote value, and its fee comes out of the coins that it hedges. At a target of 0 there are none left to
    pay it from: who closes a pair sets it aside first.

    Args:
        coins_held: spot coins and the perpetual's margin balance at `perp_price` together (base).
        perp_held: perpetual held (quote, signed).
        target: coins to hold in both wallets (base).
        spot_lot: step of a spot order (base); 0: continuous.
        perp_lot_quote: step of a perpetual order (quote), its contract size; 0: continuous.
        base_fee_rate: part of a spot purchase that the venue keeps as its fee, in coins (fraction).
        perp_fee_rate: fee of the perpetual (fraction of its coins).
        spot_price: price that the spot minimum is judged at (quote).
        perp_price: price at which the perpetual is worth coins (quote).
        min_notional_quote: smallest order (quote).

    Returns:
        Spot order (base, signed) and perpetual order (quote, signed).

    Two coins at 50 000, contracts of 10:

    >>> inverse_orders(0.0, 0.0, 2.0, 0.001, 10.0, 0.0, 0.0, 50_000.0, 50_000.0, 10.0)
    (2.0, -100000.0)

    """
    known = coins_held + perp_held + target + spot_lot + perp_lot_quote + base_fee_rate + perp_fee_rate
    known += min_notional_quote
    if not (abs(known) < math.inf and 0.0 < spot_price < math.inf and 0.0 < perp_price < math.inf):
        return 0.0, 0.0
    spot_order, coins = _spot_order(
        coins_held, target, spot_lot, base_fee_rate, spot_price, min_notional_quote
    )
    size = abs(coins) + abs(perp_held) / perp_price
    tolerance = _tolerance(max(spot_lot, perp_lot_quote / perp_price), size)
    if target == 0.0 and abs(coins) <= tolerance:
        return spot_order, 0.0 - perp_held
    wanted = -coins * perp_price - perp_held
    wanted /= 1.0 - math.copysign(perp_fee_rate, wanted)
    perp_order = _hedge_order(wanted, perp_held, perp_lot_quote, 1.0, min_notional_quote)
    delta = coins + (perp_held + perp_order - perp_fee_rate * abs(perp_order)) / perp_price
    return (spot_order, perp_order) if abs(delta) <= tolerance else (0.0, 0.0)


@compiled
def _spot_order(
    held: float, target: float, lot: float, base_fee_rate: float, price: float, min_notional_quote: float
) -> tuple[float, float]:
    """Return the order, rounded toward zero, and the coins held after its fill."""
    wanted = target - held
    if wanted > 0.0:
        wanted /= 1.0 - base_fee_rate
    order = _round_to_lot(wanted, lot, False)
    if not abs(order) * price >= min_notional_quote:
        order = 0.0
    net = order - base_fee_rate * order if order > 0.0 else order
    return order, held + net


@compiled
def _hedge_order(
    wanted: float, held: float, lot: float, unit_price: float, min_notional_quote: float
) -> float:
    """Return the perpetual's order, rounded to the nearest lot; 0 if the venue would refuse it."""
    order = _round_to_lot(wanted, lot, True)
    reduces = held * order < 0.0 and abs(order) <= abs(held)
    return order if reduces or abs(order) * unit_price >= min_notional_quote else 0.0


@compiled
def _round_to_lot(qty: float, lot: float, nearest: bool) -> float:
    """Round toward zero to the lot, or to the nearest; what lies on it stays as it is, dust becomes 0."""
    if lot <= 0.0:
        return qty
    lots = abs(qty) / lot
    if not lots < _MOST_LOTS:
        return 0.0
    whole = np.floor(lots + 0.5)  # math's would turn it into an integer and back
    if whole > 0.0 and abs(lots - whole) <= _LOT_GRAIN + _LOT_GRAIN_RELATIVE * lots:
        return qty  # float division says 2.9999999999999996 for 0.3 / 0.1
    if not nearest:
        whole = np.floor(lots)
    return math.copysign(whole * lot, qty) if whole > 0.0 else 0.0


@compiled
def _tolerance(lot: float, size: float) -> float:
    """Return the difference of the legs that is put up with: a lot, and rounding (base)."""
    return lot * (1.0 + _LOT_GRAIN) + 1e-12 * size


@compiled
def hedged_fraction(spot_qty_base: float, spot_price: float, spot_share: float, equity_quote: float) -> float:
    """Return the fraction of capital in the hedged trade (1: the whole spot wallet; short spot: negative).

    >>> hedged_fraction(25.0, 100.0, 0.5, 10_000.0)
    0.5
    """
    return spot_qty_base * spot_price / (spot_share * equity_quote)


@compiled
def should_resize(target: float, current: float, hysteresis: float) -> bool:
    """Say whether the legs are worth trading: the target is further off than `hysteresis`, or is flat.

    >>> should_resize(0.5, 0.4, 0.25), should_resize(0.0, 0.1, 0.25), should_resize(1.0, 1.3, 0.25)
    (False, True, True)
    """
    return abs(target - current) > hysteresis or (target == 0.0 and current != 0.0)
