"""The backtest: hand-worked statements, an oracle that must win, a shuffled one that must not."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from carryflow.core.costs import CostSettings
from carryflow.core.errors import ActionError, MarketDataError
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.evaluation.backtest import backtest
from carryflow.evaluation.baselines import Floats, PlainChoice, stay_flat, stay_hedged
from carryflow.evaluation.ledgers import pool, score
from carryflow.evaluation.metrics import PARTS

TapeMaker = Callable[..., MarketTape]

FREE = EnvSettings(
    costs=CostSettings(spot_taker_bp=0, perp_taker_bp=0, spot_slippage_bp=0, perp_slippage_bp=0, borrow_apr=0)
)
PAID = EnvSettings()
FOREVER = (0, 2**62)


def follow_feature(observations: Floats) -> PlainChoice:
    """Hold what the latest feature says."""
    return PlainChoice(np.clip(observations[:, 0], -1.0, 1.0))


def regimes(days: int, seed: int) -> np.ndarray:
    """Give settled rates of ±4 bp in spells of five days."""
    spells = np.random.default_rng(seed).choice([-4e-4, 4e-4], size=days // 5 + 1)
    return np.repeat(spells, 15)[: 3 * days]


def test_always_hedged_earns_each_settlement_that_it_stands_through(make_tape: TapeMaker) -> None:
    # Half of 100 000 buys 500 coins at 100; each settlement of 1 bp pays 500 · 100 · 0.0001 = 5.
    # Ten days have 30 settlements; the position is closed by the last decision, before the thirtieth.
    ledger = backtest([make_tape([1e-4] * 30)], stay_hedged, FREE, *FOREVER)
    assert ledger["funding"].sum() == pytest.approx(29 * 5.0)
    assert ledger["equity"][-1] == pytest.approx(100_000.0 + 145.0)
    assert ledger["position"][-1] == 0.0
    assert ledger["traded"].sum() == pytest.approx(4 * 50_000.0)


def test_getting_in_and_out_costs_what_the_venue_takes(make_tape: TapeMaker) -> None:
    # Two legs, two ways, 10 and 5 bp of about half the capital: close to 150 quote, with the way out.
    costs = CostSettings(spot_taker_bp=10, perp_taker_bp=5, spot_slippage_bp=0, perp_slippage_bp=0)
    ledger = backtest([make_tape([0.0] * 30)], stay_hedged, EnvSettings(costs=costs), *FOREVER)
    assert -ledger["fees"].sum() == pytest.approx(150.0, rel=2e-3)
    assert ledger["equity"][-1] == pytest.approx(100_000.0 + ledger["fees"].sum())


def test_flat_neither_earns_nor_pays(make_tape: TapeMaker) -> None:
    ledger = backtest([make_tape([1e-3] * 9)], stay_flat, PAID, *FOREVER)
    assert set(ledger["equity"]) == {100_000.0}
    metrics = score(ledger).portfolio
    assert (metrics.time_in_market, metrics.turnover_per_year, metrics.sharpe_daily) == (0.0, 0.0, None)


def test_the_parts_of_every_hour_add_up_to_the_change_of_equity(make_tape: TapeMaker) -> None:
    rng = np.random.default_rng(3)
    price = 100.0 * np.exp(rng.normal(0, 0.002, 481).cumsum())
    tape = make_tape(regimes(20, 1), rng.uniform(-1, 1, 481), price=price, basis=rng.normal(0, 3e-4, 481))
    ledger = backtest([tape], follow_feature, PAID, *FOREVER)
    explained = ledger.select(pl.sum_horizontal(PARTS)).to_series().to_numpy()[1:]
    assert np.abs(np.diff(ledger["equity"].to_numpy()) - explained).max() < 1e-9 * 100_000.0
    assert np.abs(ledger["residual"].to_numpy()).max() < 1e-9 * 100_000.0
    for part in ("funding", "basis", "fees", "slippage", "borrow"):
        assert ledger[part].abs().sum() > 0.0, part


@pytest.mark.pitfall("P17")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_oracle_wins_after_costs_and_a_shuffled_one_does_not(make_tape: TapeMaker, seed: int) -> None:
    rates = regimes(60, seed)
    coming = np.append(np.repeat(np.sign(rates), 8), 0.0)  # the sign of the next settlement, told in advance
    shuffled = np.random.default_rng(seed + 100).permutation(coming)
    oracle = score(backtest([make_tape(rates, coming)], follow_feature, PAID, *FOREVER)).portfolio
    blind = score(backtest([make_tape(rates, shuffled)], follow_feature, PAID, *FOREVER)).portfolio
    hedged = score(backtest([make_tape(rates)], stay_hedged, PAID, *FOREVER)).portfolio
    assert oracle.return_total > 0.0
    assert oracle.return_total > hedged.return_total
    assert oracle.sharpe_weekly is not None
    assert oracle.sharpe_weekly.ratio > 2.0
    assert blind.return_total < 0.0


@pytest.mark.pitfall("P16")
def test_what_happens_later_does_not_change_what_was_done_before(make_tape: TapeMaker) -> None:
    rng = np.random.default_rng(4)
    rates, feature = regimes(20, 4), rng.uniform(-1, 1, 481)
    price = 100.0 * np.exp(rng.normal(0, 0.003, 481).cumsum())
    now = 240
    changed_rates, changed_feature, changed_price = rates.copy(), feature.copy(), price.copy()
    changed_rates[now // 8 :] *= -3.0
    changed_feature[now + 1 :] = rng.uniform(-1, 1, 481 - now - 1)
    changed_price[now + 1 :] *= rng.uniform(0.9, 1.1, 481 - now - 1)
    true = backtest([make_tape(rates, feature, price=price)], follow_feature, PAID, *FOREVER)
    other = backtest(
        [make_tape(changed_rates, changed_feature, price=changed_price)], follow_feature, PAID, *FOREVER
    )
    assert_frame_equal(true[: now + 1], other[: now + 1], check_exact=True)
    assert not true[now + 2 :].equals(other[now + 2 :])


def test_the_range_is_half_open_and_begins_with_an_opening_of_nothing_but_capital(
    make_tape: TapeMaker,
) -> None:
    tape = make_tape([1e-4] * 30)
    start_ms, end_ms = int(tape.decision_ms[10]), int(tape.decision_ms[20])
    ledger = backtest([tape], stay_hedged, PAID, start_ms, end_ms)
    stamps = ledger["timestamp"].dt.epoch("ms")
    assert (stamps[0], stamps[-1], len(ledger)) == (start_ms, end_ms - 3_600_000, 10)
    opening = ledger.row(0, named=True)
    assert opening["action"] is None
    assert opening["equity"] == 100_000.0
    assert all(opening[part] == 0.0 for part in PARTS)


def test_tickers_pool_into_one_account_of_equal_shares(make_tape: TapeMaker) -> None:
    tapes = [make_tape([1e-4] * 30, ticker="BTC"), make_tape([-1e-4] * 30, ticker="ETH")]
    ledger = backtest(tapes, stay_hedged, FREE, *FOREVER)
    pooled = pool(ledger)
    assert pooled["equity"].to_list() == pytest.approx([200_000.0] * 241)
    result = score(ledger)
    assert result.tickers["BTC"].pnl_quote == pytest.approx(145.0)
    assert result.tickers["ETH"].pnl_quote == pytest.approx(-145.0)
    assert result.portfolio.capital_quote == 200_000.0


def test_an_account_that_is_liquidated_is_counted_and_rests(make_tape: TapeMaker) -> None:
    price = np.full(241, 100.0)
    price[100:] = 199.5  # the short leg's margin is all but gone, the fee takes the rest
    ledger = backtest([make_tape([1e-4] * 30, price=price)], stay_hedged, PAID, *FOREVER)
    metrics = score(ledger).portfolio
    assert metrics.liquidations == 1
    assert metrics.split.liquidation < 0.0
    assert set(ledger["position"][100:]) == {0.0}
    assert ledger["equity"][100:].n_unique() == 1


def test_tickers_whose_hours_differ_are_refused_by_name(make_tape: TapeMaker) -> None:
    with pytest.raises(MarketDataError, match="ETH has 193 decisions"):
        backtest([make_tape([0.0] * 30), make_tape([0.0] * 24, ticker="ETH")], stay_flat, PAID, *FOREVER)


def test_a_policy_that_answers_nan_is_stopped(make_tape: TapeMaker) -> None:
    with pytest.raises(ActionError):
        backtest(
            [make_tape([0.0] * 3)],
            lambda seen: PlainChoice(np.full(len(seen), np.nan, dtype=np.float32)),
            PAID,
            *FOREVER,
        )
