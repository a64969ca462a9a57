"""Our check of an environment finds what flatters a policy, and says which fault it is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from carryflow.core.account import Column
from carryflow.core.costs import Bracket, MarginSettings
from carryflow.core.errors import InvariantBroken
from carryflow.core.instrument import ContractType
from carryflow.env.check.play import Env
from carryflow.env.check.trading_env import check_trading_env
from carryflow.env.check.trial import MakeEnv
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.portfolio.env import CryptoPortfolioEnv
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.features.spec import FeatureSettings, FeatureSpec

Step = tuple[Any, Any, bool, bool, dict[str, Any]]
Maker = type[CryptoTradingEnv | CryptoPortfolioEnv]


def find(message: str, fault: MakeEnv, *, tickers: int = 1, seed: int = 0) -> None:
    """Expect the check to refuse a planted environment with a message."""
    with pytest.raises(InvariantBroken, match=message):
        check_trading_env(fault, tickers=tickers, seed=seed)


def told_of(change: Callable[[MarketTape], MarketTape], env: Maker = CryptoTradingEnv) -> MakeEnv:
    """Make an environment that plays another market than the one it is given."""
    return lambda tapes, settings: env([change(tape) for tape in tapes], settings)


def ruled_by(env: Maker = CryptoTradingEnv, **changes: Any) -> MakeEnv:
    """Make an environment that plays by other settings than those it is given."""
    return lambda tapes, settings: env(tapes, settings.model_copy(update=changes))


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize("action", ["fraction", "weights", "fraction_and_margin"])
def test_nothing_is_found_in_our_own_environment(action: str) -> None:
    for seed in range(3):
        check_trading_env(CryptoTradingEnv, settings=EnvSettings(action=action), seed=seed)


def test_nothing_is_found_with_an_inverse_contract() -> None:
    check_trading_env(CryptoTradingEnv, kind=ContractType.INVERSE)


def test_nothing_is_found_with_the_features_and_the_window_of_training() -> None:
    spec = FeatureSpec.of(FeatureSettings(lookback=24), sentiment=False)
    check_trading_env(CryptoTradingEnv, spec=spec, seed=1)


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize("tickers", [1, 3])
def test_nothing_is_found_in_our_own_portfolio(tickers: int) -> None:
    check_trading_env(CryptoPortfolioEnv, tickers=tickers)


# What is said of the future.


class SeesTomorrow(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        tape = self.tapes[0]
        told[0][0] = tape.features[min(int(self.simulator.row[0]) + 1, len(tape) - 1), 0]
        return told


class HintsAtTomorrow(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        row, spot = int(self.simulator.row[0]), self.tapes[0].spot
        told[0][0] += 1e-3 * np.sign(spot[min(row + 1, len(spot) - 1)] - spot[row])
        return told


class ForeseesTheVenue(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        taken = self.tapes[0].deleveraged
        told[4]["queue"] = 0.0 if taken is None else taken[int(self.simulator.row[0]) + 1 :].sum()
        return told


class ScalesByTheWholeTape(CryptoTradingEnv):
    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        seen, info = super().reset(**given)
        return seen - self.tapes[0].features.mean(), info


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize("fault", [SeesTomorrow, ForeseesTheVenue, ScalesByTheWholeTape])
def test_an_environment_that_knows_the_future_is_found(fault: MakeEnv) -> None:
    find(r"^look-ahead: .* at row \d+ changed when only rows after", fault)


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize("seed", range(8))
def test_a_single_bit_of_the_future_is_found_in_every_market(seed: int) -> None:
    find(r"^look-ahead: the observation at row", HintsAtTomorrow, seed=seed)


class EndsSoon(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        seen, reward, terminated, truncated, info = super().step(action)
        return seen, reward, terminated or bool(self.simulator.row[0] > 6), truncated, info


def test_an_episode_too_short_to_compare_is_not_passed_over() -> None:
    find(r"^look-ahead: the episode ended after \d rows of a calm market", EndsSoon)


# Funding.


def every_bar(tape: MarketTape) -> MarketTape:
    return replace(tape, settlement_cash=np.full(len(tape), tape.settlement_cash.mean()))


def by_the_hour_of_the_bar(tape: MarketTape) -> MarketTape:
    eighth = tape.decision_ms // 3_600_000 % 8 == 0
    return replace(tape, settlement_cash=np.where(eighth, tape.settlement_cash, 0.0))


def flipped(tape: MarketTape) -> MarketTape:
    return replace(tape, settlement_cash=-tape.settlement_cash)


def never(tape: MarketTape) -> MarketTape:
    return replace(tape, settlement_cash=np.zeros(len(tape)))


def a_row_late(tape: MarketTape) -> MarketTape:
    return replace(tape, settlement_cash=np.concatenate(([0.0], tape.settlement_cash[:-1])))


def a_row_early(tape: MarketTape) -> MarketTape:
    return replace(tape, settlement_cash=np.concatenate((tape.settlement_cash[1:], [0.0])))


def a_row_late_in_short_bars(tape: MarketTape) -> MarketTape:
    return a_row_late(tape) if tape.spec.bar_ms <= 6 * 3_600_000 else tape


def not_in_the_last_row(tape: MarketTape) -> MarketTape:
    return replace(tape, settlement_cash=np.concatenate((tape.settlement_cash[:-1], [0.0])))


def of_another_coin(tapes: Sequence[MarketTape], settings: EnvSettings) -> CryptoPortfolioEnv:
    pairs = zip(tapes, [*tapes[1:], tapes[0]], strict=True)
    return CryptoPortfolioEnv(
        [replace(tape, settlement_cash=other.settlement_cash) for tape, other in pairs], settings
    )


@pytest.mark.pitfall("P01")
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (every_bar, "a rate is booked per bar"),
        (by_the_hour_of_the_bar, "keyed to a bar's hour, or never booked"),
        (never, "never booked"),
        (a_row_late, "it is booked in a later row"),
        (a_row_late_in_short_bars, "it is booked in a later row"),
        (a_row_early, "a rate is booked per bar, or of another coin"),
        (not_in_the_last_row, "never booked"),
        pytest.param(flipped, "its sign is flipped", marks=pytest.mark.pitfall("P02")),
    ],
)
def test_funding_that_is_not_what_settled_since_the_row_before_is_found(
    fault: Callable[[MarketTape], MarketTape], cause: str
) -> None:
    find(rf"^funding: .* in bars of .*; likely .*{cause}", told_of(fault))


@pytest.mark.pitfall("P02")
@pytest.mark.parametrize("tickers", [1, 3])
def test_a_portfolio_that_pays_no_funding_or_the_wrong_way_is_found(tickers: int) -> None:
    find("^funding: .* never booked", told_of(never, CryptoPortfolioEnv), tickers=tickers)
    find("^funding: .* its sign is flipped", told_of(flipped, CryptoPortfolioEnv), tickers=tickers)


def test_a_portfolio_that_is_paid_the_funding_of_another_coin_is_found() -> None:
    find("^funding: .* of another coin", of_another_coin, tickers=3)


# Orders.


class BeginsByItself(CryptoTradingEnv):
    def __init__(self, tapes: Sequence[MarketTape], settings: EnvSettings) -> None:
        super().__init__(tapes, settings)
        self.reset()


class TakesNan(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        return super().step(np.clip(np.nan_to_num(action), -1.0, 1.0))


class LooksAtTheLastNumber(CryptoPortfolioEnv):
    def step(self, action: Any) -> Step:
        lax = np.array(action)
        lax[:-1] = np.clip(np.nan_to_num(lax[:-1]), -1.0, 1.0)
        return super().step(lax)


def always_open(tape: MarketTape) -> MarketTape:
    return replace(tape, tradable=np.ones(len(tape), dtype=np.bool_))


def halted_as_the_first(tapes: Sequence[MarketTape], settings: EnvSettings) -> CryptoPortfolioEnv:
    return CryptoPortfolioEnv([replace(tape, tradable=tapes[0].tradable) for tape in tapes], settings)


def test_an_environment_that_takes_what_is_no_action_is_found_whichever_number_it_is() -> None:
    find(r"^actions: nan was taken for number 0 of 1; likely it is clipped", TakesNan)
    find(r"^actions: nan was taken for number 0 of 3", LooksAtTheLastNumber, tickers=3)


def test_an_environment_that_trades_in_a_halted_market_is_found() -> None:
    find("^halts: .* likely `tradable` of the tape is not looked at", told_of(always_open))
    find("^halts: at row .* the last coin, which never trades", halted_as_the_first, tickers=3)


# Risk.


class LosesHalfItsHedge(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        account = self.simulator.ledger[0]
        gained = account[Column.MARK] - account[Column.PERP_ENTRY]
        account[Column.PERP_QTY] *= 0.5
        account[Column.PERP_WALLET] += account[Column.PERP_QTY] * gained
        return told


class CutsWhatIsLost(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        seen, reward, terminated, truncated, info = super().step(action)
        return seen, reward, False, terminated or truncated, info


def without_wicks(tape: MarketTape) -> MarketTape:
    return replace(tape, mark_high=tape.mark, mark_low=tape.mark)


NO_MAINTENANCE = MarginSettings(brackets=(Bracket(0.0, 1e-9),))


def with_a_mark_that_rests(tape: MarketTape) -> MarketTape:
    return replace(tape, mark=np.full(len(tape), tape.mark[0]), mark_high=None, mark_low=None)


def test_a_pair_without_its_hedge_is_found() -> None:
    find("^hedge: .* coins have none, .* the legs are sized or rounded apart", LosesHalfItsHedge)


def test_a_leg_that_does_not_move_with_the_price_is_found_whatever_is_told() -> None:
    find("^hedge: .* the equity moved .* a leg is left out", told_of(with_a_mark_that_rests))


@pytest.mark.pitfall("P13")
@pytest.mark.parametrize(("env", "tickers"), [(CryptoTradingEnv, 1), (CryptoPortfolioEnv, 3)])
def test_an_account_that_survives_a_squeeze_is_found(env: Maker, tickers: int) -> None:
    no_margin, no_wicks = ruled_by(env, margin=NO_MAINTENANCE), told_of(without_wicks, env)
    find("^margin: .* likely no maintenance margin is asked for", no_margin, tickers=tickers)
    find("^margin: .* likely the highest mark between two rows", no_wicks, tickers=tickers)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (CutsWhatIsLost, "a liquidation is told as a truncation"),
        (ruled_by(margin=MarginSettings(brackets=(Bracket(0.0, 0.2),))), "asked for more margin"),
    ],
)
def test_an_account_that_ends_otherwise_than_by_its_margin_is_found(fault: MakeEnv, cause: str) -> None:
    find(f"^margin: .* likely .*{cause}", fault)


# Books, costs, and what is told.


class TradesThePerpForNothing(CryptoTradingEnv):
    def __init__(self, tapes: Sequence[MarketTape], settings: EnvSettings) -> None:
        free = settings.costs.model_copy(update={"perp_taker_bp": 0.0})
        super().__init__(tapes, settings.model_copy(update={"costs": free}))


def fills_at_the_reference(tapes: Sequence[MarketTape], settings: EnvSettings) -> Env:
    costs = settings.costs.model_copy(update={"spot_slippage_bp": 0.0, "perp_slippage_bp": 0.0})
    return ruled_by(costs=costs)([replace(tape, liquidity=None) for tape in tapes], settings)


def without_bottom(tape: MarketTape) -> MarketTape:
    if tape.liquidity is None:
        return tape
    bottomless = np.full_like(tape.liquidity.depth_quote, np.inf)
    return replace(tape, liquidity=replace(tape.liquidity, depth_quote=bottomless))


def in_the_book_of_the_next_row(tape: MarketTape) -> MarketTape:
    if tape.liquidity is None:
        return tape
    spread = tape.liquidity.half_spread_bp
    later = np.concatenate((spread[1:], spread[-1:]))
    return replace(tape, liquidity=replace(tape.liquidity, half_spread_bp=later))


class HidesAFee(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        told[4]["fees"] *= 0.9
        return told


class ShapesInSilence(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        seen, reward, terminated, truncated, info = super().step(action)
        return seen, reward + 0.1, terminated, truncated, info


class CountsCostsTwice(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        told[4]["portfolio_change_bp"] -= told[4]["transaction_costs_bp"]
        return told


class RollsGlobalDice(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        told[0][0] += np.random.normal()  # noqa: NPY002 - the fault
        return told


class RollsDiceOfItsOwn(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        told[0][0] += np.random.default_rng().normal()
        return told


class RemembersOverReset(CryptoTradingEnv):
    steps = 0

    def step(self, action: Any) -> Step:
        self.steps += 1
        told = super().step(action)
        told[4]["steps"] = self.steps
        return told


class SaysNothing(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        return (*super().step(action)[:4], {})


class HidesItsPosition(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        del told[4]["position"]
        return told


class ShowsNan(CryptoTradingEnv):
    def step(self, action: Any) -> Step:
        told = super().step(action)
        told[0][-1] = np.nan
        return told


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (TradesThePerpForNothing, r"^fees: .* 50% of what was due; likely one leg's fee is dropped"),
        (fills_at_the_reference, r"^slippage: .* lost -?0\.0 quote, .* at its reference price or"),
        (told_of(in_the_book_of_the_next_row), r"^slippage: .* in the book of another row"),
        (told_of(without_bottom), r"^slippage: .* or the depth is left out"),
        (HidesAFee, r"^books: .* likely a fee or the slippage of a leg"),
        (ShapesInSilence, r"^reward: .* likely a term was added to the reward and not to the info"),
        (CountsCostsTwice, r"^reward: .* likely a cost is in both terms"),
        (RollsGlobalDice, r"^randomness: .* global generator"),
        (RollsDiceOfItsOwn, r"^randomness: the observation at step 1 differs in another environment"),
        (RemembersOverReset, r"^randomness: info\['steps'\] at step 1 differs in the same environment"),
        (BeginsByItself, r"^reset: a step was taken before the first reset"),
        (SaysNothing, r"^info: it lacks funding, basis"),
        (HidesItsPosition, r"^info: it lacks position or positions"),
        (ShowsNan, r"^observation: a number of it is NaN or infinite"),
    ],
)
def test_each_other_fault_is_found_by_its_name(fault: MakeEnv, message: str) -> None:
    find(message, fault)
