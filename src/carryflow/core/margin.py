"""The margin of a linear perpetual in its own wallet: when the venue takes the position away."""

from carryflow.core.compiled import compiled


@compiled
def margin_balance(wallet: float, qty_base: float, entry_price: float, mark: float) -> float:
    """Return the wallet and the unrealised profit on the mark price (quote).

    >>> margin_balance(1000.0, -2.0, 500.0, 600.0)
    800.0
    """
    return wallet + qty_base * (mark - entry_price)


@compiled
def is_liquidated(
    wallet: float, qty_base: float, entry_price: float, mark: float, maintenance_rate: float
) -> bool:
    """Say whether the margin balance has sunk to the maintenance margin, both on the mark price.

    >>> is_liquidated(1000.0, -2.0, 500.0, 994.0, 0.005), is_liquidated(1000.0, -2.0, 500.0, 996.0, 0.005)
    (False, True)
    """
    if qty_base == 0.0:
        return False
    return margin_balance(wallet, qty_base, entry_price, mark) <= maintenance_rate * abs(qty_base) * mark


@compiled
def liquidation_price(wallet: float, qty_base: float, entry_price: float, maintenance_rate: float) -> float:
    """Return the mark price at which the position is liquidated (quote); NaN if no price does it.

    Solves `wallet + qty · (mark − entry) = maintenance_rate · |qty| · mark` for the mark
    (https://www.binance.com/en/support/faq/b3c689c1f50a44cabb3a84e663b81d93, isolated, one bracket).

    A short of 2 entered at 500 on 1000 of margin, 0.5 % maintenance: (1000 + 2 · 500) / (2 · 1.005):

    >>> round(liquidation_price(1000.0, -2.0, 500.0, 0.005), 2)
    995.02
    """
    slope = qty_base - maintenance_rate * abs(qty_base)
    if slope == 0.0:
        return float("nan")
    price = (qty_base * entry_price - wallet) / slope
    return price if price > 0.0 else float("nan")
