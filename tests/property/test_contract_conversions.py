"""Contracts → base coins → contracts loses nothing, for every kind of contract that the venues list."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryflow.core.account import INVERSE_KIND, Column, delta_base, equity, margin_balance, open_account
from carryflow.core.hedge import inverse_orders
from carryflow.core.instrument import ContractType, Instrument
from carryflow.core.ledger import fill_perp, fill_spot, mark_to_market, transfer

INVERSE, LINEAR, SPOT = ContractType.INVERSE, ContractType.LINEAR, ContractType.SPOT


def contract(venue: str, kind: ContractType, size: str, tick: str, lot: str, least: str = "0") -> Instrument:
    """Describe one contract of a venue, from its public contract specifications."""
    quote = "USD" if kind is INVERSE else "USDC" if venue == "deribit" else "USDT"
    settle = "BTC" if kind is INVERSE else quote
    symbol = f"BTC/{quote}" if kind is SPOT else f"BTC/{quote}:{settle}"
    numbers = (Decimal(size), Decimal(tick), Decimal(lot), Decimal(lot), Decimal(least))
    return Instrument(venue, symbol, "BTC", kind, "BTC", quote, settle, *numbers)


CONTRACTS = {
    "Binance spot": contract("binance", SPOT, "1", "0.01", "0.00001", "5"),
    "Binance linear": contract("binance", LINEAR, "1", "0.1", "0.001", "100"),
    "Binance coin-margined BTC": contract("binance", INVERSE, "100", "0.1", "1"),
    "Binance coin-margined ETH": contract("binance", INVERSE, "10", "0.01", "1"),
    "Bybit linear": contract("bybit", LINEAR, "1", "0.1", "0.001", "5"),
    "Bybit inverse": contract("bybit", INVERSE, "1", "0.5", "1"),
    "OKX linear": contract("okx", LINEAR, "0.01", "0.1", "0.1"),
    "OKX inverse": contract("okx", INVERSE, "100", "0.1", "1"),
    "Deribit inverse": contract("deribit", INVERSE, "10", "0.5", "1"),
    "Deribit USDC linear": contract("deribit", LINEAR, "0.0001", "0.5", "1"),
}

lots = st.integers(-10_000_000, 10_000_000)
prices = st.decimals(Decimal("0.0001"), Decimal(1_000_000), places=6)
quantities = st.decimals(Decimal(-100_000), Decimal(100_000), places=12)
each_contract = pytest.mark.parametrize("name", CONTRACTS)


@pytest.mark.pitfall("P07")
@each_contract
@settings(max_examples=50)
@given(lots=lots, price=prices)
def test_contracts_come_back_from_base_coins_and_from_notional(name: str, lots: int, price: Decimal) -> None:
    own = CONTRACTS[name]
    contracts = lots * own.lot
    base = own.base_qty(contracts, price)
    notional = own.notional_quote(contracts, price)
    assert own.contracts_for(base, price) == contracts
    assert own.accepts(contracts, price) == (contracts != 0 and abs(notional) >= own.min_notional)
    with localcontext(prec=60):
        assert abs(base * price - notional) <= abs(notional) * Decimal("1e-50")


@pytest.mark.pitfall("P07")
@each_contract
@settings(max_examples=50)
@given(base=quantities, price=prices)
def test_a_hedge_never_exceeds_what_it_hedges_and_leaves_less_than_a_lot(
    name: str, base: Decimal, price: Decimal
) -> None:
    own = CONTRACTS[name]
    contracts = own.contracts_for(base, price)
    hedged = own.base_qty(contracts, price)
    assert contracts % own.lot == 0
    assert abs(hedged) <= abs(base) * (1 + Decimal("1e-25"))
    assert hedged * base >= 0, "the sign is kept"
    assert abs(base - hedged) < own.base_qty(own.lot, price) * (1 + Decimal("1e-25"))


@pytest.mark.pitfall("P07")
@given(
    base=st.decimals(Decimal("0.1"), Decimal(1000), places=5),
    entry=st.decimals(Decimal(20_000), Decimal(150_000), places=1),
    move=st.decimals(Decimal("-0.5"), Decimal("0.5"), places=6),
)
def test_an_inverse_hedge_stays_within_a_lot_of_the_coins_over_half_the_price_either_way(
    base: Decimal, entry: Decimal, move: Decimal
) -> None:
    """Sized anew, it is within a lot; left alone, coins and gain stay worth what they were at the entry."""
    own = CONTRACTS["Deribit inverse"]
    price = entry * (1 + move)
    assert abs(base + own.base_qty(own.contracts_for(-base, price), price)) < own.base_qty(own.lot, price)
    sold = own.contracts_for(-base, entry)
    gain = own.base_qty(sold, entry) - own.base_qty(sold, price)  # coins, settled in the base coin
    drift = (base + gain) * price - base * entry
    assert abs(drift) <= own.contract_size * own.lot * abs(move) + Decimal("1e-12")


@pytest.mark.pitfall("P07")
@given(
    target=st.floats(0.1, 100.0),
    entry=st.floats(20_000.0, 150_000.0),
    moves=st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=5),
)
def test_an_inverse_hedge_in_the_ledger_stays_flat_over_half_the_price_either_way(
    target: float, entry: float, moves: list[float]
) -> None:
    """Bought, moved to the margin wallet and sold short once, with its fees: within half a contract of 10."""
    contract, fee = 10.0, 0.0005
    account = np.zeros(len(Column))
    open_account(account, INVERSE_KIND, 2.0 * target * entry, 1.0, entry, entry)
    held = account[Column.SPOT_QTY] + margin_balance(account, entry)
    spot, perp = inverse_orders(held, 0.0, target, 0.0, contract, 0.001, fee, entry, entry, 10.0)
    fill_spot(account, spot, entry, entry, 0.0, 0.001 * spot)
    transfer(account, account[Column.SPOT_QTY])
    fill_perp(account, perp, entry, entry, fee * abs(perp) / entry)
    assert abs(delta_base(account)) * entry <= 0.51 * contract
    worth = equity(account)
    for move in moves:
        price = entry * (1.0 + move)
        mark_to_market(account, price, price)
        assert abs(delta_base(account)) * entry <= 0.51 * contract
        assert abs(equity(account) - worth) <= 0.51 * contract * abs(move) + 1e-12 * worth
