"""The terms of a contract change in time; each is kept with the time from which it is known."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from carryflow.core.errors import MarketDataError
from carryflow.core.instrument import ContractType, Instrument
from carryflow.market.contracts import ContractTerms, contract_at, read_contracts, record_contracts

D = Decimal
PERP = ContractTerms(
    Instrument(
        "binance", "SOL/USDT:USDT", "SOL", ContractType.LINEAR, "SOL", "USDT", "USDT",
        D(1), D("0.001"), D("0.01"), D("0.01"), D(5),
    ),
    maker_fee=D("0.0002"),
    taker_fee=D("0.0005"),
    funding_interval_hours=8.0,
    listed_ms=1_600_000_000_000,
    known_at_ms=100,
)  # fmt: skip
SPOT = replace(
    PERP,
    instrument=replace(PERP.instrument, symbol="SOL/USDT", type=ContractType.SPOT),
    funding_interval_hours=None,
    listed_ms=None,
)


def test_terms_come_back_exactly_and_only_changes_are_added(tmp_path: Path) -> None:
    assert read_contracts(tmp_path) == []
    record_contracts(tmp_path, [PERP, SPOT])
    assert read_contracts(tmp_path) == [SPOT, PERP]
    record_contracts(tmp_path, [replace(PERP, known_at_ms=200), replace(SPOT, known_at_ms=200)])
    assert read_contracts(tmp_path) == [SPOT, PERP]
    two_hours = replace(PERP, funding_interval_hours=2.0, known_at_ms=300)
    record_contracts(tmp_path, [two_hours])
    back = replace(PERP, known_at_ms=400)
    record_contracts(tmp_path, [back])
    assert read_contracts(tmp_path) == [SPOT, PERP, two_hours, back]


@pytest.mark.pitfall("P03")
def test_the_terms_at_an_instant_are_those_known_by_then() -> None:
    changed = replace(PERP, funding_interval_hours=2.0, known_at_ms=300)
    terms = [changed, SPOT, PERP]
    assert contract_at(terms, "perp", "SOL", 299) == PERP
    assert contract_at(terms, "perp", "SOL", 300) == changed
    assert contract_at(terms, "perp", "SOL", 5) == PERP, "the first answer stands in for the time before"
    assert contract_at(terms, "spot", "SOL", 300) == SPOT


def test_a_leg_without_terms_or_with_those_of_two_contracts_is_an_error() -> None:
    with pytest.raises(MarketDataError, match="no contract terms of BTC perp"):
        contract_at([PERP], "perp", "BTC", 0)
    inverse = replace(PERP.instrument, symbol="SOL/USD:SOL", type=ContractType.INVERSE, settle="SOL")
    with pytest.raises(MarketDataError, match="binance SOL/USD:SOL, binance SOL/USDT:USDT"):
        contract_at([PERP, replace(PERP, instrument=inverse)], "perp", "SOL", 0)


def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    record_contracts(tmp_path, [PERP])
    path = tmp_path / "contracts.json"
    for broken in (
        path.read_text().replace('"0.01"', '"a lot"'),
        path.read_text().replace("tick", "tack"),
        "{",
    ):
        path.write_text(broken)
        with pytest.raises(MarketDataError, match=r"contracts\.json cannot be read"):
            read_contracts(tmp_path)
