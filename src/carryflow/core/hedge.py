"""The size of the hedged pair: equal legs that both venues accept, or none."""

import math

from carryflow.core.compiled import compiled


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
    `min_notional_quote`, both are zero.

    Half of 10 000 at 100 is 50 coins; a lot of 3 makes it 48, and a minimum of 5000 makes it none:

    >>> pair_quantity(1.0, 10_000.0, 0.5, 0.0, 100.0, 100.0, 0.0, 10.0)
    50.0
    >>> pair_quantity(-1.0, 10_000.0, 0.5, 0.0, 100.0, 100.0, 3.0, 10.0)
    -48.0
    >>> pair_quantity(1.0, 10_000.0, 0.5, 0.0, 100.0, 100.0, 3.0, 5_000.0)
    0.0
    """
    notional = fraction * spot_share * equity_quote / (1.0 + pair_cost_rate)
    qty = notional / spot_price
    if lot_base > 0.0:
        # the tolerance keeps 0.3 / 0.1 at three lots, where float division says 2.9999999999999996
        qty = math.copysign(math.floor(abs(qty) / lot_base + 1e-9) * lot_base, qty)
    if abs(qty) * min(spot_price, perp_price) < min_notional_quote:
        return 0.0
    return qty


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
