"""Contracts, base coins and quote value of the contracts that venues list, by hand."""

from dataclasses import replace
from decimal import Decimal

import pytest

from carryflow.core.errors import MarketDataError
from carryflow.core.instrument import ContractType, Instrument

D = Decimal

DERIBIT_INVERSE = Instrument(
    "deribit", "BTC/USD:BTC", "BTC", ContractType.INVERSE, "BTC", "USD", "BTC",
    contract_size=D(10), tick=D("0.5"), lot=D(1), min_qty=D(1), min_notional=D(0),
)  # fmt: skip
OKX_LINEAR = Instrument(
    "okx", "BTC/USDT:USDT", "BTC", ContractType.LINEAR, "BTC", "USDT", "USDT",
    contract_size=D("0.01"), tick=D("0.1"), lot=D("0.1"), min_qty=D("0.1"), min_notional=D(0),
)  # fmt: skip
BINANCE_SPOT = Instrument(
    "binance", "BTC/USDT", "BTC", ContractType.SPOT, "BTC", "USDT", "USDT",
    contract_size=D(1), tick=D("0.01"), lot=D("0.00001"), min_qty=D("0.00001"), min_notional=D(5),
)  # fmt: skip


@pytest.mark.pitfall("P07")
def test_a_linear_contract_is_base_coins_and_an_inverse_one_quote_value() -> None:
    price = D(50_000)
    assert OKX_LINEAR.base_qty(D(-30), price) == D("-0.3")
    assert OKX_LINEAR.notional_quote(D(-30), price) == D(-15_000)
    assert DERIBIT_INVERSE.base_qty(D(-1500), price) == D("-0.3")
    assert DERIBIT_INVERSE.notional_quote(D(-1500), price) == D(-15_000)
    assert BINANCE_SPOT.base_qty(D("0.3"), price) == D("0.3")
    assert BINANCE_SPOT.notional_quote(D("0.3"), price) == D(15_000)


@pytest.mark.pitfall("P07")
def test_a_hedge_is_rounded_toward_zero_to_the_lot() -> None:
    price = D("50_001.5")
    assert OKX_LINEAR.contracts_for(D("0.30099"), price) == D(30)
    assert OKX_LINEAR.contracts_for(D("-0.30199"), price) == D("-30.1")
    assert DERIBIT_INVERSE.contracts_for(D("-0.3"), price) == D(-1500)
    assert DERIBIT_INVERSE.contracts_for(D("0.0001"), price) == 0
    assert BINANCE_SPOT.contracts_for(D("0.299999"), price) == D("0.29999")


def test_an_order_must_be_on_the_lot_and_over_both_minima() -> None:
    price = D(50_000)
    assert BINANCE_SPOT.accepts(D("0.0001"), price)
    assert not BINANCE_SPOT.accepts(D("0.00009"), price), "4.5 of 5 USDT"
    assert not BINANCE_SPOT.accepts(D("0.000105"), price), "half a lot over"
    assert not OKX_LINEAR.accepts(D(0), price)
    assert OKX_LINEAR.accepts(D("-0.1"), price)


def test_prices_go_onto_the_tick_as_told() -> None:
    price = D("50000.26")
    assert DERIBIT_INVERSE.round_price(price) == D("50000.5")
    assert DERIBIT_INVERSE.round_price(price, "down") == D(50_000)
    assert DERIBIT_INVERSE.round_price(D("50000.01"), "up") == D("50000.5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lot": D(0)}, "lot is 0"),
        ({"tick": D("NaN")}, "tick is NaN"),
        ({"contract_size": D(-10)}, "contract_size is -10"),
        ({"min_notional": D(-1)}, "min_notional is -1"),
        ({"type": ContractType.SPOT}, "a spot market has contracts of 1, was 10"),
    ],
)
def test_terms_that_no_contract_can_have_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(MarketDataError, match=f"deribit BTC/USD:BTC: {words}"):
        replace(DERIBIT_INVERSE, **change)


@pytest.mark.parametrize("price", [D(0), D(-1), D("NaN"), D("Infinity")])
def test_a_price_that_is_none_is_refused(price: Decimal) -> None:
    with pytest.raises(MarketDataError, match="a price must be positive"):
        DERIBIT_INVERSE.base_qty(D(1), price)
