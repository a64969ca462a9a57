"""The reward: named terms that add up, and whose unshaped part is the change of equity."""

from collections.abc import Callable

import numpy as np
import pytest

from carryflow.env.reward import REWARD_TERMS
from carryflow.env.settings import EnvSettings, RiskSettings
from carryflow.env.simulator import HedgedSimulator, StepResult
from carryflow.env.tape import MarketTape

TapeMaker = Callable[..., MarketTape]
PRICED = EnvSettings(risk=RiskSettings(lambda_vol=0.3, lambda_dd=0.2, lambda_to=0.1, vol_span_bars=5))


def play(tape: MarketTape, settings: EnvSettings) -> list[StepResult]:
    simulator = HedgedSimulator([tape], 4, settings)
    simulator.reset(range(4), 0, tape.first, [0.0, 1.0, -1.0, 0.4])
    rng = np.random.default_rng(3)
    steps = []
    while simulator.running.any():
        steps.append(simulator.step(rng.uniform(-1, 1, 4)))
    return steps


def test_without_its_prices_of_risk_the_reward_is_the_change_of_equity(make_tape: TapeMaker) -> None:
    for step in play(make_tape(n=300), PRICED):
        change, costs, *_ = step.terms_bp.T
        assert np.abs(change - costs - 1e4 * step.profit_quote / PRICED.capital_quote).max() < 1e4 * 1e-9
        funding, basis, fees, slippage, borrow, liquidation = step.parts_quote.T
        held = funding + basis + borrow + liquidation
        assert change == pytest.approx(1e4 * held / PRICED.capital_quote, abs=1e-5)
        assert costs == pytest.approx(-1e4 * (fees + slippage) / PRICED.capital_quote, abs=1e-5)
        assert (costs >= 0).all()


def test_the_reward_is_its_first_term_less_all_others(make_tape: TapeMaker) -> None:
    steps = play(make_tape(n=100), PRICED)
    for step in steps:
        assert step.terms_bp.shape == (4, len(REWARD_TERMS))
        assert step.reward == pytest.approx(step.terms_bp[:, 0] - step.terms_bp[:, 1:].sum(axis=1))
        assert (step.terms_bp[:, 2:] >= 0).all()
    told = np.array([step.terms_bp for step in steps])
    assert (told.max(axis=(0, 1)) > 0).all(), "each term has its say"


def test_each_penalty_is_its_price_times_what_its_name_says(make_tape: TapeMaker) -> None:
    tape = make_tape(n=60)
    simulator = HedgedSimulator([tape], 1, PRICED)
    simulator.reset(0, 0, tape.first)
    variance, peak = 0.0, PRICED.capital_quote
    for action in np.random.default_rng(0).uniform(-1, 1, 40):
        traded = simulator.turnover_quote[0]
        step = simulator.step([action])
        profit = 1e4 * step.profit_quote[0] / PRICED.capital_quote
        variance += 2 / 6 * (profit**2 - variance)
        peak = max(peak, simulator.equity[0])
        volatility, fallen, turned = step.terms_bp[0, 2:]
        assert volatility == pytest.approx(0.3 * np.sqrt(variance))
        assert fallen == pytest.approx(0.2 * 1e4 * (1 - simulator.equity[0] / peak), abs=1e-6)
        traded = simulator.turnover_quote[0] - traded
        assert turned == pytest.approx(0.1 * 1e4 * traded / PRICED.capital_quote)


def test_each_price_of_risk_takes_what_its_name_says(make_tape: TapeMaker, free: EnvSettings) -> None:
    tape = make_tape(seed=3)
    plain, profit = run(tape, free, (1.0, -1.0))
    peak = 10_000.0 + np.maximum(np.maximum.accumulate(profit.cumsum()), 0.0)
    fallen = 1e4 * (1 - (10_000.0 + profit.cumsum()) / peak)
    variance, alpha = [], 2 / 25
    for step in plain:
        variance.append((1 - alpha) * (variance[-1] if variance else 0.0) + alpha * step**2)
    for name, risk in {"lambda_vol": np.sqrt(variance), "lambda_dd": fallen}.items():
        priced = free.model_copy(update={"risk": free.risk.model_copy(update={name: 0.3})})
        reward, same = run(tape, priced, (1.0, -1.0))
        assert np.array_equal(same, profit), "risk is priced, not paid"
        assert reward == pytest.approx(plain - 0.3 * risk)
    turnover, _ = run(
        tape, free.model_copy(update={"risk": RiskSettings(lambda_vol=0, lambda_to=0.1)}), (1.0,)
    )
    once, _ = run(tape, free, (1.0,))
    assert once[0] - turnover[0] == pytest.approx(0.1 * 1e4 * 0.5 * (1 + tape.perp[2] / tape.spot[2]))
    assert once[1] == turnover[1]


def run(tape: MarketTape, settings: EnvSettings, actions: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    simulator = HedgedSimulator([tape], 1, settings)
    simulator.reset(0, 0, tape.first)
    steps = []
    while simulator.running[0]:
        steps.append(simulator.step([actions[len(steps) // 5 % len(actions)]]))
    return np.array([s.reward[0] for s in steps]), np.array([s.profit_quote[0] for s in steps])
