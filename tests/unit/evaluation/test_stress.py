"""Under stress, reference policies come out as a practitioner expects."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.agents.bundle import load_bundle
from carryflow.core.account import PARTS
from carryflow.core.costs import CostSettings
from carryflow.core.errors import MarketDataError, SettingsError
from carryflow.env.liquidity import PairLots
from carryflow.env.settings import EnvSettings
from carryflow.env.stress.choice import choose
from carryflow.env.stress.ground import Ground
from carryflow.env.stress.market import StressMarket
from carryflow.evaluation.baselines import FLAT, THRESHOLD_CARRY, PlainChoice, Policy, stay_hedged
from carryflow.evaluation.evidence import EvaluationSettings
from carryflow.evaluation.stress.play import (
    HEDGED_1X,
    HEDGED_5X,
    Player,
    bundle_player,
    play,
    reference_players,
)
from carryflow.evaluation.stress.report import write_json, write_report
from carryflow.evaluation.stress.run import Outcome, stress
from carryflow.evaluation.stress.verdict import Verdict
from carryflow.features.dataset import read_dataset
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.data import DataSettings

SPEC = FeatureSpec.of(FeatureSettings(lookback=8), sentiment=False)
DATA = DataSettings()
CAPITAL = EnvSettings().capital_quote
EVERYONE = {HEDGED_1X, HEDGED_5X, THRESHOLD_CARRY, FLAT}
BundleMaker = Callable[..., str]
Played = dict[str, Outcome]


@pytest.fixture(scope="module")
def ground() -> Ground:
    return Ground.synthetic("SOL")


@pytest.fixture(scope="module")
def players(ground: Ground) -> dict[str, Player]:
    scaler = ground.scaler(SPEC, DATA)
    return {
        player.name: player for player in reference_players(SPEC, scaler, EnvSettings(), EvaluationSettings())
    }


@pytest.fixture(scope="module")
def played(ground: Ground, players: dict[str, Player]) -> Played:
    outcomes = stress(choose(), list(players.values()), ground, DATA)
    return {outcome.scenario.name: outcome for outcome in outcomes}


def verdict(outcome: Outcome, policy: str) -> Verdict:
    return next(verdict for verdict in outcome.verdicts if verdict.policy == policy)


def at(outcome: Outcome, policy: str, since: float, column: str) -> float:
    return float(outcome.traces[policy].filter(pl.col("hour") == since)[column].item())


def play_one(ground: Ground, player: Player, name: str, *parameters: str) -> Outcome:
    (outcome,) = stress(choose([name], [f"{name}.{text}" for text in parameters]), [player], ground, DATA)
    return outcome


@pytest.mark.pitfall("P13")
def test_with_margin_as_large_as_the_notional_the_hedge_survives_everything(played: Played) -> None:
    for outcome in played.values():
        assert not verdict(outcome, HEDGED_1X).liquidated, outcome.scenario.name
        assert not verdict(outcome, THRESHOLD_CARRY).liquidated, outcome.scenario.name
        assert not verdict(outcome, FLAT).liquidated, outcome.scenario.name


@pytest.mark.pitfall("P13")
def test_with_a_fifth_of_it_a_squeeze_takes_the_short_and_leaves_the_coins_alone(played: Played) -> None:
    squeezed = verdict(played["squeeze"], HEDGED_5X)
    assert squeezed.liquidated_at_ms == played["squeeze"].shock_ms + 3_600_000
    assert squeezed.hours_to_flat == 1
    assert squeezed.largest_unhedged_base == at(played["squeeze"], HEDGED_5X, 0, "spot_qty")
    # the coins were sold at what is left of the leap; the margin, about a sixth of equity, is gone
    left = played["squeeze"].market.filter(pl.col("hour").is_between(0, 1))["spot"].to_numpy()
    assert squeezed.largest_unhedged == pytest.approx(squeezed.largest_unhedged_base * left[1] / CAPITAL)
    lost = squeezed.largest_unhedged_base * (left[1] - left[0]) - squeezed.gained
    assert 0.12 < lost / squeezed.equity_at_shock < 0.22
    assert verdict(played["flash_crash"], HEDGED_5X).liquidated, "the rebound of November 2022"
    for name in set(played) - {"squeeze", "flash_crash", "depth_gone"}:
        assert not verdict(played[name], HEDGED_5X).liquidated, name


@pytest.mark.pitfall("P13")
def test_what_the_hours_before_the_shock_would_have_cost_is_no_work_of_the_shock(
    ground: Ground, players: dict[str, Player]
) -> None:
    (leap,) = choose(["squeeze"], ["squeeze.size=0.6", "squeeze.kept=1"])

    def wild(seed: int, before: int) -> StressMarket:
        calm = ground.market(seed, before)
        early = leap.strike(replace(calm, shock_ms=calm.shock_ms - 60 * 3_600_000))
        return StressMarket.calm("SOL", early.spot, early.perp, calm.shock_ms)

    outcomes = stress(
        choose(["unstressed"]), list(players.values()), Ground("SOL", ground.history, wild), DATA
    )
    for policy, margin in ((HEDGED_1X, 1.0), (HEDGED_5X, 0.2), (FLAT, None)):
        came_out = verdict(outcomes[0], policy)
        assert not came_out.liquidated
        assert came_out.equity_at_shock == pytest.approx(CAPITAL, rel=1e-12)
        assert came_out.margin_ratio_at_shock == (margin and pytest.approx(margin, rel=2e-3))
    assert outcomes[0].traces[HEDGED_5X]["hour"][0] == 0
    assert outcomes[0].market["hour"][0] == -97, "what was seen before stays to be looked at"


@pytest.mark.pitfall("P15")
def test_an_exit_of_ones_own_that_leaves_dust_is_no_liquidation(
    ground: Ground, players: dict[str, Player]
) -> None:
    lots = PairLots(spot_base=0.01, perp=0.01)
    coarse = Ground("SOL", ground.history, lambda *given: replace(ground.market(*given), lots=lots))
    costs = CostSettings(fee_in_base=True)
    env = players[HEDGED_1X].env.model_copy(update={"costs": costs, "hysteresis": 0.1})
    turn = iter([1.0] * 98 + [0.5, 1.0] + [0.0] * 999)  # hedged, less and more of it, and out in hour 3
    leaver = replace(players[HEDGED_1X], env=env, policy=lambda _: PlainChoice(np.array([next(turn)])))
    came_out = play_one(coarse, leaver, "unstressed")
    assert 0 < at(came_out, HEDGED_1X, 300, "spot_qty") < 0.01
    assert at(came_out, HEDGED_1X, 300, "perp_qty") == 0
    assert not verdict(came_out, HEDGED_1X).liquidated
    assert verdict(came_out, HEDGED_1X).hours_to_flat == 3


def test_coins_that_cannot_be_sold_before_the_tape_ends_stay_those_of_a_liquidation(
    ground: Ground, players: dict[str, Player]
) -> None:
    market = choose(["venue_halt"], ["venue_halt.perp_move=0.3"])[0].strike(ground.market(7, 297))
    player = players[HEDGED_5X]
    tape = market.tape(player.spec, player.scaler, DATA, player.env.costs)
    halted = tape.slice(market.shock_ms - 97 * 3_600_000, market.shock_ms + 4 * 3_600_000)
    trace = play(halted, player, market.shock_ms, np.ones(len(halted)))
    assert trace["liquidated"].to_list() == [False, False, True, True]
    assert trace["spot_qty"][-1] > 0


@pytest.mark.pitfall("P06")
def test_the_mark_liquidates_and_the_last_price_does_not(ground: Ground, players: dict[str, Player]) -> None:
    wick = play_one(ground, players[HEDGED_5X], "squeeze", "size=0.1", "last_size=2.0")
    assert not verdict(wick, HEDGED_5X).liquidated
    marked = play_one(ground, players[HEDGED_5X], "squeeze", "size=0.3", "last_size=0.1", "kept=0")
    assert verdict(marked, HEDGED_5X).liquidated


def test_a_negative_spike_costs_the_hedge_the_settlements_and_no_more(played: Played) -> None:
    outcome = played["funding_spike_down"]
    lost = verdict(outcome, HEDGED_1X).gained - verdict(played["unstressed"], HEDGED_1X).gained
    mark = outcome.market.filter(pl.col("hour").is_between(0, 72))["mark"].mean()
    short = -at(outcome, HEDGED_1X, 0, "perp_qty")
    # nine settlements of −18 bp in place of nine of 1 bp
    assert lost == pytest.approx(9 * (-0.0018 - 0.0001) * short * mark, rel=0.01)  # type: ignore[operator]
    assert verdict(outcome, HEDGED_1X).hours_to_flat is None


def test_threshold_carry_leaves_a_lasting_negative_spike_and_is_slow_to_come_back(played: Played) -> None:
    for name, over in (("funding_spike_down", 72), ("flash_crash", 231)):
        came_out = verdict(played[name], THRESHOLD_CARRY)
        assert came_out.hours_to_flat is not None
        assert came_out.hours_to_flat <= 24
        assert came_out.hours_to_return is not None
        assert came_out.hours_to_return >= over + 48, "its trailing carry remembers three days"
        assert came_out.gained > verdict(played[name], HEDGED_1X).gained


def test_who_is_flat_is_untouched_but_for_the_quote_coin(played: Played) -> None:
    for name, outcome in played.items():
        flat = verdict(outcome, FLAT)
        assert (flat.final_equity, flat.worst_drawdown, flat.hours_to_flat) == (CAPITAL, 0.0, 0.0)
        assert flat.final_equity_usd == pytest.approx(CAPITAL * (0.97 if name == "quote_depeg" else 1.0))


def test_a_depeg_costs_a_hedged_account_all_of_it_in_dollars_and_nothing_in_quote(played: Played) -> None:
    for policy in EVERYONE:
        pegged = verdict(played["quote_depeg"], policy)
        assert pegged.worst_drawdown < 1e-3, "coins gain what their short loses"
        assert pegged.worst_drawdown_usd == pytest.approx(0.03, abs=1e-3)
        assert pegged.final_equity_usd == pytest.approx(0.97 * pegged.final_equity)


def test_in_a_halt_nobody_trades_and_nothing_stands_unhedged(
    ground: Ground, players: dict[str, Player], played: Played
) -> None:
    restless = replace(players[HEDGED_1X], policy=_alternating(), name="restless")
    for outcome, policy in (
        (played["venue_halt"], HEDGED_1X),
        (played["venue_halt"], HEDGED_5X),
        (play_one(ground, restless, "venue_halt"), "restless"),
    ):
        during = outcome.traces[policy].filter(pl.col("hour").is_between(1, 4))
        # what was decided at the shock still traded; from the first halted close on nothing does
        assert during["spot_qty"].n_unique() == 1, policy
        assert during.slice(1)["fees"].to_list() == [0.0] * 3
        assert verdict(outcome, policy).largest_unhedged < 1e-9
    lost = play_one(ground, players[HEDGED_5X], "venue_halt", "perp_move=0.3", "hours=3", "stays=0")
    alone = lost.traces[HEDGED_5X].filter(pl.col("hour").is_between(3, 4))
    assert alone["liquidated"].to_list() == [True, True]
    assert alone["spot_qty"][0] > 0, "coins that cannot be sold before spot trades again"
    assert alone["spot_qty"][1] == 0
    assert alone["unhedged"][0] == alone["spot_qty"][0]


def test_in_an_empty_book_a_resize_is_dear_and_holding_is_free(
    ground: Ground, players: dict[str, Player], played: Played
) -> None:
    gone, quiet = play_one(ground, players[HEDGED_1X], "depth_gone", "move=0"), played["unstressed"]
    held, calm = verdict(gone, HEDGED_1X), verdict(quiet, HEDGED_1X)
    assert held.gained == calm.gained
    assert held.dearest_exit > 1.5 * calm.dearest_exit

    # who leaves in the dearest hour pays what an exit was said to cost there
    dearest = int(gone.traces[HEDGED_1X]["exit_cost"].arg_max())  # type: ignore[arg-type]
    leaver = replace(players[HEDGED_1X], name="leaver", policy=_until(97 + dearest))
    left = verdict(play_one(ground, leaver, "depth_gone", "move=0"), "leaver")
    assert left.hours_to_flat == dearest
    spent = -(left.parts["fees"] + left.parts["slippage"])
    assert held.dearest_exit == pytest.approx(spent / left.equity_at_shock, rel=1e-12)
    leaver = replace(leaver, policy=_until(97 + dearest))
    early = verdict(play_one(ground, leaver, "unstressed"), "leaver")
    assert left.parts["slippage"] < 10 * early.parts["slippage"] < 0


def test_a_leap_in_an_empty_book_makes_everybody_pay_who_is_hedged(
    ground: Ground, players: dict[str, Player], played: Played
) -> None:
    whole = ["depth_left=1", "spread_times=1"]
    for policy in (HEDGED_1X, HEDGED_5X):
        dear, cheap = (
            verdict(outcome, policy).parts["slippage"]
            for outcome in (played["depth_gone"], play_one(ground, players[policy], "depth_gone", *whole))
        )
        assert dear < 10 * cheap < 0
    assert verdict(played["depth_gone"], HEDGED_5X).liquidated


@pytest.mark.pitfall("P03")
def test_through_a_change_of_interval_total_funding_is_the_sum_of_the_settlements(
    ground: Ground, played: Played
) -> None:
    for name in ("interval_change", "flash_crash"):
        outcome = played[name]
        market = outcome.scenario.strike(ground.market(outcome.scenario.seed, 297))
        paid = _settlements(market)
        trace = outcome.traces[HEDGED_1X].filter(pl.col("hour") > 0)
        short = dict(zip(trace["hour"], -trace["perp_qty"], strict=True))
        # the position at the row of a settlement is the one that was held into it
        total = sum(rate * mark * short[hour] for hour, rate, mark in paid.rows())
        assert len(paid) > 100, name
        assert verdict(outcome, HEDGED_1X).parts["funding"] == pytest.approx(total, rel=1e-9)


def test_auto_deleveraging_leaves_the_part_unhedged_until_the_next_decision(played: Played) -> None:
    outcome = played["auto_deleveraging"]
    for policy in (HEDGED_1X, HEDGED_5X, THRESHOLD_CARRY):
        coins = at(outcome, policy, 1, "spot_qty")
        assert at(outcome, policy, 1, "unhedged") == pytest.approx(0.0, abs=1e-9)
        assert at(outcome, policy, 2, "unhedged") == pytest.approx(0.5 * coins)
        assert at(outcome, policy, 3, "unhedged") == pytest.approx(0.0, abs=1e-9)
        assert verdict(outcome, policy).largest_unhedged_base == pytest.approx(0.5 * coins)
        assert verdict(outcome, policy).deleveraged
        # the venue took it at the mark of hour 1: what prices did in the hour after is lost on those coins
        prices = outcome.market.filter(pl.col("hour").is_between(1, 2))["spot"].to_numpy()
        lost = 0.5 * coins * (prices[1] - prices[0])
        assert at(outcome, policy, 2, "basis") == pytest.approx(lost, rel=2e-3)
    assert not verdict(outcome, FLAT).deleveraged


def test_a_short_that_is_deleveraged_whole_is_not_liquidated(
    ground: Ground, players: dict[str, Player]
) -> None:
    came_out = verdict(play_one(ground, players[HEDGED_1X], "auto_deleveraging", "fraction=1"), HEDGED_1X)
    assert (came_out.liquidated, came_out.deleveraged, came_out.hours_to_flat) == (False, True, None)
    loaded = play_one(ground, players[FLAT], "auto_deleveraging", "fraction=1")
    assert not verdict(loaded, FLAT).deleveraged


def test_the_parts_add_up_to_what_was_gained(played: Played) -> None:
    for outcome in played.values():
        for each in outcome.verdicts:
            assert sum(each.parts.values()) == pytest.approx(each.gained, abs=1e-9 * CAPITAL)
            assert set(each.parts) == set(PARTS)


def test_a_bundle_plays_with_its_own_eyes(
    ground: Ground, dataset_dir: Path, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    make_bundle(tmp_path, read_dataset(dataset_dir))
    bundle = load_bundle(tmp_path)
    player = bundle_player("bundle", bundle, EnvSettings())
    assert (player.spec.lookback, SPEC.lookback) == (24, 8)
    outcome = play_one(ground, player, "flash_crash")
    actions = outcome.traces["bundle"]["action"].drop_nulls()
    assert actions.abs().max() > 0
    assert outcome.traces["bundle"]["hour"][0] == 0


def test_the_shock_must_leave_room_to_live_before_it(ground: Ground, players: dict[str, Player]) -> None:
    late = Ground("SOL", ground.history, lambda seed, before: ground.market(seed, before - 96))
    with pytest.raises(MarketDataError, match="can first decide 17 h before it"):
        stress(choose(["squeeze"]), [players[FLAT]], late, DATA)


def test_the_hours_must_last_until_the_scenario_has_shown_what_it_does(
    ground: Ground, players: dict[str, Player]
) -> None:
    def short(seed: int, before: int) -> StressMarket:
        calm = ground.market(seed, before)
        legs = (leg.head(before + 100) for leg in (calm.spot, calm.perp))
        return StressMarket.calm("SOL", *legs, calm.shock_ms)

    early = Ground("SOL", ground.history, short)
    with pytest.raises(MarketDataError, match=r"takes 336 h .* end 100 h after the shock; choose an earlier"):
        stress(choose(["flash_crash"]), [players[FLAT]], early, DATA)
    assert verdict(play_one(early, players[FLAT], "squeeze"), FLAT).hours_lived == 100


@pytest.mark.parametrize("action", ["weights", "fraction_and_margin"])
def test_an_account_that_wants_more_than_a_fraction_is_refused(
    players: dict[str, Player], action: str
) -> None:
    with pytest.raises(SettingsError, match=f"env.action is {action}"):
        replace(players[FLAT], env=players[FLAT].env.model_copy(update={"action": action}))


def test_the_page_stands_alone_and_the_json_holds_every_verdict(played: Played, tmp_path: Path) -> None:
    outcomes = [played["squeeze"], played["quote_depeg"]]
    written = json.loads(write_json(tmp_path / "stress.json", outcomes, "calm").read_text())["outcomes"]
    assert [entry["scenario"] for entry in written] == ["squeeze", "quote_depeg"]
    assert written[0]["parameters"]["size"] == 0.3
    assert {each["policy"] for each in written[0]["verdicts"]} == EVERYONE
    assert [each["liquidated"] for each in written[0]["verdicts"]] == [False, True, False, False]
    page = write_report(tmp_path / "stress.html", outcomes, "A calm market").read_text()
    assert "Quote depeg" in page
    assert "trades for 336 hours" in page
    assert written[0]["verdicts"][1]["margin_ratio_at_shock"] == pytest.approx(0.2, rel=2e-3)
    assert page.count('class="plot"') == 2
    assert "<script src" not in page
    assert "default-src 'none'" in page


def _settlements(market: StressMarket) -> pl.DataFrame:
    """Settlements after the shock: hour, rate, mark."""
    settled = market.perp.with_columns(hour=pl.Series(market.since())).filter(
        (pl.col("hour") > 0) & pl.col("funding_rate").is_not_null()
    )
    return settled.select("hour", "funding_rate", "mark_open")


def _alternating() -> Policy:
    """Want in and out in turn, at every decision."""
    turn = iter(range(10**6))

    def decide(observations: np.ndarray) -> object:
        choice = stay_hedged(observations)
        choice.action[:] = float(next(turn) % 2)
        return choice

    return decide  # type: ignore[return-value]


def _until(last: int) -> Policy:
    """Be hedged for so many decisions, and then never again."""
    turn = iter(range(10**6))

    def decide(observations: np.ndarray) -> object:
        choice = stay_hedged(observations)
        choice.action[:] = float(next(turn) < last)
        return choice

    return decide  # type: ignore[return-value]
