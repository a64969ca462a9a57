"""Holding through many rows at once is holding through each of them: the closed form against the ledger."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryflow.core.account import (
    INVERSE_KIND,
    LINEAR_KIND,
    PARTS,
    Account,
    Column,
    delta_base,
    equity,
    open_account,
    residual,
)
from carryflow.core.hedge import hedged_fraction, should_resize
from carryflow.core.holding import Sums, hold, is_safe, sum_market, value_held
from carryflow.core.ledger import accrue_borrow, fill_perp, fill_spot, mark_to_market, settle
from carryflow.core.liquidation import is_liquidated
from carryflow.core.margin import bracket_table

CAPITAL, APR = 100_000.0, 0.4
BRACKETS = bracket_table([0.0, 50_000.0, 600_000.0], [0.004, 0.05, 0.1])
BOTH_KINDS = pytest.mark.parametrize("kind", [LINEAR_KIND, INVERSE_KIND], ids=["linear", "inverse"])

seeds = st.integers(0, 2**32 - 1)
Floats = np.ndarray


def market(seed: int, kind: float, rows: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Draw spot, mark, settlements per contract (few, at any distance) and years between the rows."""
    generator = np.random.default_rng(seed)
    spot = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 0.02, rows)))
    mark = spot * (1.0 + generator.normal(0.0, 0.01, rows))
    rate = np.where(generator.random(rows) < 0.2, generator.normal(0.0, 1e-3, rows), 0.0)
    cash = -rate * mark if kind == LINEAR_KIND else -rate / mark
    return spot, mark, cash, generator.uniform(0.5, 8.0, rows) / 8760


def opened(kind: float, coins: float, contracts: float, spot: float, mark: float) -> Account:
    """Give an account with both legs at prices other than the market's."""
    account = np.zeros(len(Column))
    open_account(account, kind, CAPITAL, 0.5, spot, mark)
    fill_spot(account, coins, spot, 1.001 * spot, 3.0, 0.0)
    fill_perp(account, contracts if kind == LINEAR_KIND else 100.0 * contracts, spot, 0.998 * spot, 0.02)
    return account


@BOTH_KINDS
@given(seed=seeds, coins=st.floats(-400.0, 400.0), contracts=st.floats(-400.0, 400.0))
def test_many_rows_at_once_leave_the_account_that_one_after_the_other_does(
    kind: float, seed: int, coins: float, contracts: float
) -> None:
    spot, mark, cash, years = market(seed, kind, 50)
    sums = sum_market(spot, cash, years, linear=kind == LINEAR_KIND)
    stepped = opened(kind, coins, contracts, spot[0], mark[0])
    at_once = stepped.copy()
    for row in range(1, 50):
        settle(stepped, cash[row])
        accrue_borrow(stepped, APR * years[row])
        mark_to_market(stepped, spot[row], mark[row])
    settled, funded, lent = sums[:, -1] - sums[:, 0]
    hold(at_once, settled, funded, lent, APR, spot[-1], mark[-1])
    for part in (*PARTS, "spot_cash", "perp_wallet"):
        column = Column[part.upper()]
        assert at_once[column] == pytest.approx(stepped[column], abs=1e-9 * CAPITAL), part
    assert equity(at_once) == pytest.approx(equity(stepped), abs=1e-9 * CAPITAL)
    assert abs(residual(at_once)) < 1e-9 * CAPITAL


@given(
    seed=seeds,
    coins=st.floats(-400.0, 400.0),
    naked=st.sampled_from([0.0, 0.0, 1.0, 15.0, 18.0, 50.0]),
    target=st.sampled_from([-1.0, -0.5, 0.0, 0.3, 1.0, None]),
    begin=st.integers(1, 40),
)
def test_held_rows_are_worth_what_the_ledger_says_up_to_the_first_at_which_it_would_act(
    seed: int, coins: float, naked: float, target: float | None, begin: int
) -> None:
    share, hysteresis, tolerance, rows = 0.5, 0.25, 0.02, 100
    spot, mark, cash, years = market(seed, LINEAR_KIND, rows)
    sums = sum_market(spot, cash, years, linear=True)
    account = opened(LINEAR_KIND, coins, naked - coins, spot[0], mark[0])
    if target is None:  # the position as it is, so that only something else than the target can be the reason
        target = float(np.clip(hedged_fraction(coins, spot[0], share, equity(account)), -1.0, 1.0))
    worth = np.full(rows, np.nan)
    first = value_held(
        account,
        spot,
        mark,
        mark + sums[Sums.SETTLED],
        sums[Sums.LENT],
        0.0,
        0.0,
        APR,
        np.full(rows, target),
        share,
        hysteresis,
        tolerance,
        begin,
        rows,
        worth,
    )
    assert np.isnan(worth[:begin]).all(), "what was valued before is left alone"
    for row in range(1, first + 1):
        if row == rows:
            break
        settle(account, cash[row])
        accrue_borrow(account, APR * years[row])
        mark_to_market(account, spot[row], mark[row])
        value = equity(account)
        current = hedged_fraction(account[Column.SPOT_QTY], spot[row], share, value)
        acts = should_resize(target, current, hysteresis) or value <= 0.0
        acts = acts or abs(delta_base(account)) * mark[row] > tolerance * value
        if row >= begin:
            assert acts == (row == first)
            assert row == first or worth[row] == pytest.approx(value, abs=1e-9 * CAPITAL)


@BOTH_KINDS
@settings(max_examples=300)
@given(seed=seeds, contracts=st.floats(-400.0, 400.0), margin=st.floats(0.0, 40_000.0))
def test_what_is_called_safe_is_never_liquidated(
    kind: float, seed: int, contracts: float, margin: float
) -> None:
    """And it is said often enough to be of use: of an account with all its capital as margin, always."""
    spot, mark, cash, _ = market(seed, kind, 30)
    account = opened(kind, 0.0, contracts, spot[0], mark[0])
    account[Column.PERP_WALLET] = margin if kind == LINEAR_KIND else margin / spot[0]
    settled = np.cumsum(cash)
    before = account.copy()
    safe = is_safe(account, settled.min(), settled.max(), mark.min(), mark.max(), BRACKETS)
    assert np.array_equal(account, before)
    liquidated = False
    for row in range(30):
        settle(account, cash[row])
        liquidated = liquidated or is_liquidated(account, mark[row], BRACKETS)
    assert not (safe and liquidated)
    rich = opened(kind, 0.0, contracts / 10.0, spot[0], mark[0])
    assert is_safe(rich, settled.min(), settled.max(), 0.7 * mark[0], 1.4 * mark[0], BRACKETS)
