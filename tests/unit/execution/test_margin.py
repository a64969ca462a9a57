from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryflow.core.account import LINEAR_KIND, Account, Column, open_account
from carryflow.core.ledger import fill_perp, mark_to_market, transfer
from carryflow.core.liquidation import is_liquidated
from carryflow.core.margin import bracket_table
from carryflow.execution.limits.margin import GOAL, distance, relief, surplus

BRACKETS = bracket_table([0.0], [0.005])
LEAST = 0.15


def short(coins: float, wallet: float, mark: float = 100.0, entry: float = 100.0) -> Account:
    account = np.zeros(len(Column))
    open_account(account, LINEAR_KIND, wallet, 0.0, entry, entry)
    fill_perp(account, -coins, entry, entry, 0.0)
    mark_to_market(account, mark, mark)
    return account


def test_the_distance_is_how_far_the_mark_may_rise() -> None:
    # 5 000 − 100 · (p − 100) = 0.5 % · 100 · p  →  p = 15 000 / 100.5
    assert distance(short(100.0, 5_000.0), BRACKETS) == pytest.approx(15_000 / 100.5 / 100 - 1)


def test_a_long_is_as_far_as_the_mark_may_fall() -> None:
    account = short(-100.0, 2_000.0)
    assert 0.15 < distance(account, BRACKETS) < 0.25


def test_without_a_position_nothing_is_near() -> None:
    assert distance(short(0.0, 10.0), BRACKETS) == float("inf")
    assert relief(short(0.0, 10.0), Decimal(5), LEAST, BRACKETS) is None


def test_what_is_far_enough_away_is_left_alone() -> None:
    assert relief(short(100.0, 5_000.0), Decimal(0), LEAST, BRACKETS) is None


@pytest.mark.pitfall("P13")
def test_cash_helps_first_and_brings_liquidation_as_far_away_as_is_aimed_at() -> None:
    account = short(100.0, 5_000.0, mark=140.0)
    helped = relief(account, Decimal(10_000), LEAST, BRACKETS)
    assert helped is not None
    assert helped.keep == 1.0
    transfer(account, float(helped.top_up_quote))
    assert distance(account, BRACKETS) == pytest.approx(GOAL * LEAST, abs=1e-3)


@pytest.mark.pitfall("P13")
def test_without_enough_cash_part_of_the_position_goes() -> None:
    account = short(100.0, 5_000.0, mark=140.0)
    helped = relief(account, Decimal(500), LEAST, BRACKETS)
    assert helped is not None
    assert helped.top_up_quote == 500
    assert 0.0 < helped.keep < 1.0
    transfer(account, 500.0)
    fill_perp(account, 100.0 * (1.0 - helped.keep), 140.0, 140.0, 0.0)
    assert distance(account, BRACKETS) >= GOAL * LEAST - 1e-9


@settings(deadline=None)
@given(st.floats(1, 1e4), st.floats(50, 1e5), st.floats(50, 400), st.floats(0, 1e6))
def test_whoever_is_helped_is_far_enough_away_afterwards(
    coins: float, wallet: float, mark: float, cash: float
) -> None:
    account = short(coins, wallet, mark)
    helped = relief(account, Decimal(repr(cash)), LEAST, BRACKETS)
    if helped is None:
        assert not is_liquidated(account, mark, BRACKETS)
        return
    assert 0 <= helped.top_up_quote <= Decimal(repr(cash))
    transfer(account, float(helped.top_up_quote))
    fill_perp(account, coins * (1.0 - helped.keep), mark, mark, 0.0)
    assert distance(account, BRACKETS) >= LEAST


def test_cash_of_a_flat_pair_is_divided_as_it_was_at_first() -> None:
    account = short(0.0, 400.0)
    assert surplus(account, Decimal("600.005"), 0.5) == Decimal("100.00")
    assert surplus(account, Decimal(200), 0.5) == Decimal("-100.00")
