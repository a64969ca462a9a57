"""The flash crash of the stress library beside the recorded hours that it was fitted to (SOL, 2022-11)."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.env.settings import EnvSettings
from carryflow.env.stress.choice import choose
from carryflow.env.stress.flash_crash import FlashCrash
from carryflow.env.stress.ground import Ground
from carryflow.evaluation.baselines import FLAT, THRESHOLD_CARRY
from carryflow.evaluation.evidence import EvaluationSettings
from carryflow.evaluation.stress.play import HEDGED_1X, HEDGED_5X, reference_players
from carryflow.evaluation.stress.run import Outcome, stress
from carryflow.evaluation.stress.verdict import Verdict
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.store import read_leg

SHOCK = datetime(2022, 11, 8, 17, tzinfo=UTC)
SPEC = FeatureSpec.of(FeatureSettings(), sentiment=False)

pytestmark = pytest.mark.real


def play(ground: Ground, scenario: str, *parameters: str) -> Outcome:
    scaler = ground.scaler(SPEC, DataSettings())
    players = list(reference_players(SPEC, scaler, EnvSettings(), EvaluationSettings()))
    (outcome,) = stress(choose([scenario], parameters), players, ground, DataSettings())
    return outcome


@pytest.fixture(scope="module")
def recorded(real_data: Path) -> Outcome:
    """The hours themselves, with nothing added."""
    return play(Ground.recorded(real_data / "crypto", "SOL", to_ms(SHOCK)), "unstressed")


@pytest.fixture(scope="module")
def scenario() -> Outcome:
    return play(Ground.synthetic("SOL"), "flash_crash")


def verdict(outcome: Outcome, policy: str) -> Verdict:
    return next(verdict for verdict in outcome.verdicts if verdict.policy == policy)


def test_depth_and_duration_are_those_of_the_recorded_hours(recorded: Outcome, scenario: Outcome) -> None:
    for outcome in (recorded, scenario):
        after = outcome.market.filter(pl.col("hour").is_between(0, 72))
        deepest = after.row(int(after["basis_bp"].arg_min()), named=True)  # type: ignore[arg-type]
        assert deepest["basis_bp"] == pytest.approx(-2391, abs=10)
        assert deepest["hour"] == 28
        assert (after["basis_bp"] < -1000).sum() == pytest.approx(19, abs=1)
        assert after["spot"].min() / after["spot"][0] == pytest.approx(0.43, abs=0.06)  # type: ignore[operator]
        settled = outcome.market.filter(pl.col("hour") > 60)["basis_bp"].mean()
        assert settled == pytest.approx(-15, abs=10)


def test_the_fitted_shape_leaves_what_its_source_says(real_data: Path) -> None:
    spot, perp = (read_leg(real_data / "crypto", leg, "SOL") for leg in ("spot", "perp"))
    closes = perp.join(spot, on="timestamp", suffix="_spot").with_columns(
        hour=(pl.col("timestamp").dt.epoch("ms") - to_ms(SHOCK)) / 3_600_000 + 1
    )
    after = closes.filter(pl.col("hour").is_between(0, 52))
    hours, crash = after["hour"].to_numpy(), FlashCrash(spot_noise=0)
    basis = (after["close"] / after["close_spot"] - 1).to_numpy()
    assert np.sqrt(np.mean((basis - crash.basis(hours)) ** 2)) == pytest.approx(0.0251, abs=1e-3)
    fallen = after["close_spot"].to_numpy() / after["close_spot"][0]
    left = np.log(fallen / crash.spot(hours))
    assert left.std() == pytest.approx(FlashCrash().spot_noise, abs=2e-3)
    assert (left[1:] * left[:-1]).sum() / (left**2).sum() == pytest.approx(
        FlashCrash().spot_noise_kept, abs=0.02
    )


@pytest.mark.pitfall("P03")
def test_the_same_is_settled_in_as_many_settlements(recorded: Outcome, scenario: Outcome) -> None:
    paid = {}
    for outcome in (recorded, scenario):
        trace = outcome.traces[HEDGED_1X].filter(pl.col("hour").is_between(1, 231))
        settled = trace.filter(pl.col("funding") != 0)
        rate = settled["funding"] / -settled["perp_qty"] / _marks(outcome, settled)
        paid[outcome] = rate
        assert rate.min() == pytest.approx(-0.02, rel=0.01)
    real, struck = paid.values()
    assert len(real) == pytest.approx(len(struck), abs=2)
    assert real.sum() == pytest.approx(struck.sum(), rel=0.1)
    assert real.sum() == pytest.approx(-0.32, abs=0.02)


def test_policies_come_out_of_the_scenario_as_out_of_the_recorded_hours(
    recorded: Outcome, scenario: Outcome
) -> None:
    real, struck = (verdict(outcome, HEDGED_1X) for outcome in (recorded, scenario))
    assert (real.liquidated, struck.liquidated) == (False, False)
    assert real.worst_drawdown == pytest.approx(0.2331, abs=0.002)
    assert struck.worst_drawdown == pytest.approx(real.worst_drawdown, abs=0.03)
    assert real.parts["funding"] == pytest.approx(-13_800, abs=300)
    assert struck.parts["funding"] == pytest.approx(real.parts["funding"], rel=0.05)
    assert real.parts["basis"] < 0 > struck.parts["basis"]
    for outcome in (recorded, scenario):
        fifth = verdict(outcome, HEDGED_5X)
        assert fifth.liquidated, "by the rebound, not by the fall"
        assert fifth.hours_to_flat == pytest.approx(34, abs=2)
        assert fifth.margin_ratio_at_shock == pytest.approx(0.2, rel=0.01)
        assert verdict(outcome, THRESHOLD_CARRY).worst_drawdown < 0.005
        assert verdict(outcome, FLAT).worst_drawdown == 0
    assert verdict(recorded, THRESHOLD_CARRY).hours_to_flat == 0, "funding had been negative for a day"


def test_a_scenario_strikes_recorded_hours_too(real_data: Path) -> None:
    quiet = Ground.recorded(real_data / "crypto", "BTC", to_ms(datetime(2024, 8, 20, 9, tzinfo=UTC)))
    taken = verdict(play(quiet, "squeeze"), HEDGED_5X)
    assert taken.liquidated_at_ms == to_ms(datetime(2024, 8, 20, 10, tzinfo=UTC))
    gone = verdict(play(quiet, "depth_gone", "depth_gone.move=0"), HEDGED_1X)
    held = verdict(play(quiet, "unstressed"), HEDGED_1X)
    assert gone.dearest_exit > 1.5 * held.dearest_exit, "of a book that nobody recorded"
    assert gone.gained == held.gained


def test_no_account_is_dead_before_the_shock_whatever_came_before_it(real_data: Path) -> None:
    for day in (8, 10):
        hours = Ground.recorded(real_data / "crypto", "SOL", to_ms(datetime(2022, 11, day, tzinfo=UTC)))
        outcome = play(hours, "unstressed")
        fifth, now = verdict(outcome, HEDGED_5X), outcome.market.filter(pl.col("hour") == 0)
        assert fifth.equity_at_shock == pytest.approx(EnvSettings().capital_quote)
        assert fifth.margin_ratio_at_shock is not None
        on_coins = fifth.margin_ratio_at_shock * now["mark"].item() / now["spot"].item()
        assert on_coins == pytest.approx(0.2), "a fifth of what the coins are worth"
        assert fifth.hours_to_flat is None or fifth.hours_to_flat > 1


def _marks(outcome: Outcome, settled: pl.DataFrame) -> pl.Series:
    """Mark at the settlements; SOL has none recorded, so the perpetual's price there stands in."""
    marks = dict(zip(outcome.market["hour"], outcome.market["mark"], strict=True))
    return pl.Series([marks[hour] for hour in settled["hour"]])
