"""Maintenance margin by bracket, as Binance's table has it, and the price at which it is gone."""

import numpy as np
import pytest
from pydantic import ValidationError

from carryflow.core.account import INVERSE_KIND, LINEAR_KIND, Column, open_account
from carryflow.core.costs import BINANCE_BTCUSDT, Bracket, MarginSettings
from carryflow.core.ledger import fill_perp
from carryflow.core.liquidation import is_liquidated
from carryflow.core.margin import (
    bracket_table,
    inverse_liquidation_price,
    liquidation_price,
    maintenance_margin,
)

BRACKETS = bracket_table(*zip(*BINANCE_BTCUSDT, strict=True))


def test_the_deductions_are_the_maintenance_amounts_of_the_venue() -> None:
    """The `cum` of Binance's leverage brackets of BTCUSDT, quote."""
    amounts = [0, 50, 950, 11_450, 131_450, 481_450, 2_981_450, 14_481_450, 26_481_450, 41_481_450]
    amounts += [121_481_450, 421_481_450]
    assert BRACKETS[:, 1] == pytest.approx(amounts)
    assert BRACKETS[:, 0].tolist() == [bracket.rate for bracket in BINANCE_BTCUSDT]


@pytest.mark.parametrize(
    ("notional", "margin"),
    [(0.0, 0.0), (5e4, 200.0), (1e5, 450.0), (6e5, 2_950.0), (5e6, 38_550.0), (2e9, 578_518_550.0)],
)
def test_the_maintenance_margin_is_the_bracket_of_the_notional(notional: float, margin: float) -> None:
    assert maintenance_margin(notional, BRACKETS) == pytest.approx(margin)


@pytest.mark.parametrize(
    ("wallet", "qty"), [(3_000.0, -50.0), (3_000.0, 60.0), (2e5, -20_000.0), (2e5, 20_000.0), (6e7, -2e6)]
)
def test_the_liquidation_price_is_where_liquidation_begins_in_any_bracket(wallet: float, qty: float) -> None:
    row = np.zeros(len(Column))
    open_account(row, LINEAR_KIND, wallet, 0.0, 100.0, 100.0)
    fill_perp(row, qty, 100.0, 100.0, 0.0)
    price = liquidation_price(wallet, qty, 100.0, BRACKETS)
    against = np.sign(qty)
    assert not is_liquidated(row, price + 1e-6 * against, BRACKETS)
    assert is_liquidated(row, price - 1e-6 * against, BRACKETS)


@pytest.mark.parametrize(("coins", "notional"), [(0.1, 2e4), (0.1, -2e4), (20.0, 5e6), (20.0, -5e6)])
def test_the_liquidation_price_of_an_inverse_contract_is_where_it_begins(
    coins: float, notional: float
) -> None:
    row = np.zeros(len(Column))
    open_account(row, INVERSE_KIND, 50_000.0 * coins, 0.0, 50_000.0, 50_000.0)
    fill_perp(row, notional, 50_000.0, 50_000.0, 0.0)
    price = inverse_liquidation_price(coins, notional, 50_000.0, BRACKETS)
    against = 1e-6 * np.sign(notional) * price
    assert not is_liquidated(row, price + against, BRACKETS)
    assert is_liquidated(row, price - against, BRACKETS)


def test_coins_that_cover_an_inverse_short_cannot_be_liquidated_and_a_debt_always_is() -> None:
    assert np.isnan(inverse_liquidation_price(0.4, -20_000.0, 50_000.0, BRACKETS))
    assert np.isnan(inverse_liquidation_price(0.5, -20_000.0, 50_000.0, BRACKETS))
    assert inverse_liquidation_price(-0.5, 20_000.0, 50_000.0, BRACKETS) == np.inf


def test_a_long_with_more_margin_than_value_cannot_be_liquidated() -> None:
    assert np.isnan(liquidation_price(10_000.0, 10.0, 100.0, BRACKETS))
    assert np.isnan(liquidation_price(10_000.0, 0.0, 100.0, BRACKETS))


def test_a_short_that_owes_more_than_it_sold_for_is_liquidated_at_any_price() -> None:
    assert liquidation_price(-2_000.0, -2.0, 500.0, BRACKETS) == 0.0
    row = np.zeros(len(Column))
    open_account(row, LINEAR_KIND, -2_000.0, 0.0, 500.0, 500.0)
    fill_perp(row, -2.0, 500.0, 500.0, 0.0)
    assert all(is_liquidated(row, price, BRACKETS) for price in (1e-6, 1.0, 500.0))


@pytest.mark.parametrize(
    ("brackets", "words"),
    [
        ([Bracket(1.0, 0.01)], "begin at 0"),
        ([Bracket(0.0, 0.01), Bracket(0.0, 0.02)], "begin at 0 and ascend"),
        ([Bracket(0.0, 0.02), Bracket(10.0, 0.01)], "rates must ascend"),
        ([Bracket(0.0, 0.0)], "rates must ascend between 0 and 1"),
        ([Bracket(0.0, 1.0)], "rates must ascend between 0 and 1"),
        ([Bracket(0.0, float("nan"))], "finite"),
        ([], "at least 1"),
    ],
)
def test_brackets_that_no_venue_can_have_are_refused(brackets: list[Bracket], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MarginSettings(brackets=brackets)
