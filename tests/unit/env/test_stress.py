"""The stress library: what each scenario does to a market, and what it leaves alone."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from carryflow.core.costs import CostSettings
from carryflow.core.errors import MarketDataError, SettingsError
from carryflow.env.stress.choice import choose
from carryflow.env.stress.course import Course
from carryflow.env.stress.ground import SHOCK, calm_market, ordinary_legs
from carryflow.env.stress.library import SCENARIOS
from carryflow.env.stress.market import StressMarket
from carryflow.env.tape import MarketTape
from carryflow.features.alignment import align_legs
from carryflow.features.frame import WARM_UP_HOURS, build_frame
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.premium import average_premium, settled_rate
from carryflow.market.schedule import read_schedule

BEFORE_HOURS = 249
FEATURES = FeatureSettings(lookback=8)
SPEC = FeatureSpec.of(FEATURES, sentiment=False)
DATA = DataSettings()


@pytest.fixture(scope="module")
def calm() -> StressMarket:
    return calm_market("SOL", 7, BEFORE_HOURS)


@pytest.fixture(scope="module")
def scaler(calm: StressMarket) -> Scaler:
    rows = build_frame(calm.spot, calm.perp, "SOL", DATA, features=FEATURES)
    return Scaler.fit(rows.select(SPEC.published).to_numpy(), SPEC)


def struck(calm: StressMarket, name: str, *parameters: str) -> StressMarket:
    (scenario,) = choose([name], [f"{name}.{text}" for text in parameters])
    return scenario.strike(calm)


def taped(market: StressMarket, scaler: Scaler) -> MarketTape:
    return market.tape(SPEC, scaler, DATA, CostSettings())


def hour(tape: MarketTape, since: float) -> int:
    """Row of the tape so many hours after the shock."""
    return int(np.searchsorted(tape.decision_ms, to_ms(SHOCK) + round(since * 3_600_000)))


def settlements(market: StressMarket) -> pl.DataFrame:
    """Settlements after the shock: hour, rate."""
    return (
        market.perp.with_columns(hour=pl.Series(market.since()))
        .filter((pl.col("hour") > 0) & pl.col("funding_rate").is_not_null())
        .select("hour", rate="funding_rate")
    )


def interval_hours(market: StressMarket) -> list[float]:
    paid = market.perp.filter(pl.col("funding_rate").is_not_null())
    schedule = read_schedule(paid["timestamp"].dt.epoch("ms").to_numpy(), paid["funding_rate"].to_numpy())
    return [segment.interval_hours for segment in schedule.segments]


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_was_seen_before_the_shock_stays_as_it_was_to_the_last_bit(
    name: str, calm: StressMarket, scaler: Scaler
) -> None:
    quiet, tape = taped(calm, scaler), taped(struck(calm, name), scaler)
    until = hour(tape, 0) + 1
    assert until == BEFORE_HOURS - WARM_UP_HOURS
    for column in ("spot", "perp", "mark", "settlement_cash", "features", "mark_high", "deleveraged"):
        assert np.array_equal(getattr(tape, column)[:until], getattr(quiet, column)[:until]), column
    again = taped(struck(calm, name), scaler)
    assert np.array_equal(tape.features, again.features), "the same parameters and seed, the same market"
    moved = [
        column
        for column in ("spot", "perp", "settlement_cash", "tradable", "deleveraged")
        if not np.array_equal(getattr(tape, column), getattr(quiet, column))
    ]
    assert moved or name in {"unstressed", "depth_gone"}


@pytest.mark.pitfall("P06")
def test_a_squeeze_tops_on_the_mark_within_the_hour_and_the_last_price_may_top_elsewhere(
    calm: StressMarket, scaler: Scaler
) -> None:
    quiet = taped(calm, scaler)
    tape = taped(struck(calm, "squeeze", "size=0.3", "last_size=0.6", "kept=0.5"), scaler)
    assert tape.mark_high is not None
    now, before = hour(tape, 1), hour(tape, 0)
    assert tape.mark_high[now] == pytest.approx(1.3 * quiet.mark[before], rel=1e-3)
    # ten minutes up, then an hour down to half of it: 50 minutes of that hour have passed
    assert tape.mark[now] / quiet.mark[now] == pytest.approx(1.3 - 0.15 * 50 / 60)
    bar = struck(calm, "squeeze", "last_size=0.6").perp.filter(pl.col("timestamp") == SHOCK)
    assert 1.6 <= bar["high"][0] / bar["open"][0] < 1.7, "the bar's own wick stays on top"
    spot = tape.spot[now] / quiet.spot[now]
    assert spot == pytest.approx(1.27 - 0.12 * 50 / 60), "nine tenths of the leap, and all of what is left"
    together = hour(tape, 2)
    assert tape.mark[together] / tape.spot[together] == pytest.approx(
        quiet.mark[together] / quiet.spot[together]
    )
    assert tape.mark[hour(tape, 30)] == pytest.approx(quiet.mark[hour(tape, 30)])
    slow = taped(struck(calm, "squeeze", "minutes=180"), scaler)
    assert slow.mark[hour(slow, 3)] / quiet.mark[hour(slow, 3)] == pytest.approx(1.3)


def test_a_squeeze_that_takes_hours_is_settled_by_the_venues_formula(calm: StressMarket) -> None:
    market = struck(calm, "squeeze", "minutes=360", "spot_follows=0.8")
    row = int(np.flatnonzero(market.since() == 7)[0])  # the first settlement after the shock
    rate = float(settled_rate(market.premium[row - 8 : row]))
    assert market.perp["funding_rate"][row] == pytest.approx(rate)
    assert rate > 5 * calm.perp["funding_rate"][row]


def test_the_formula_pays_interest_for_the_hours_of_its_interval(calm: StressMarket) -> None:
    assert calm.formula(-0.02, 0.02)(200, 8) == pytest.approx(1e-4)
    assert calm.formula(-0.02, 0.02)(200, 2) == pytest.approx(0.25e-4)


def test_shocks_of_the_mark_multiply_within_the_hour_whatever_their_order(
    calm: StressMarket, scaler: Scaler
) -> None:
    up = Course((0.0, 0.25, 1.0), (1.0, 1.2, 1.1))
    down = Course((0.0, 0.5, 1.0), (1.0, 0.9, 0.8))
    quiet, now = taped(calm, scaler), hour(taped(calm, scaler), 1)
    for first, second in ((up, down), (down, up)):
        tape = taped(calm.price("perp", first).price("perp", second), scaler)
        assert tape.mark_high is not None
        assert tape.mark_high[now] == pytest.approx(1.2 * 0.95 * quiet.mark[now - 1], rel=1e-3)
        assert tape.mark[now] == pytest.approx(1.1 * 0.8 * quiet.mark[now])
    marked = calm.price("perp", up).price("perp", up, mark=Course((0.0,), (1.0,)))
    assert taped(marked, scaler).mark[now] == pytest.approx(1.1 * quiet.mark[now])


def test_the_quotes_move_with_the_price(calm: StressMarket) -> None:
    market, now = struck(calm, "depth_gone", "spread_times=1"), pl.col("timestamp") == SHOCK
    for leg in ("spot", "perp"):
        before, after = (getattr(each, leg).filter(now) for each in (calm, market))
        for quote in ("bid", "ask"):
            assert after[quote][0] == pytest.approx(1.3 * before[quote][0])


@pytest.mark.pitfall("P03")
def test_a_flash_crash_has_the_depth_the_floor_and_the_intervals_of_its_parameters(
    calm: StressMarket,
) -> None:
    market = struck(calm, "flash_crash", "spot_noise=0")
    since, premium = market.since() + 1, market.premium
    assert premium.min() == pytest.approx(-0.239, abs=5e-4)
    assert since[premium.argmin()] == 28
    assert ((premium < -0.10) & (since > 0)).sum() in {19, 20}, "19 in November 2022"
    fallen = market.spot["close"].to_numpy() / calm.spot["close"].to_numpy()
    assert fallen[since == 30] == pytest.approx(1 - 0.5715)
    assert fallen[-1] == pytest.approx(0.591)
    assert interval_hours(market) == [8, 4, 2, 8]
    paid = settlements(market)
    assert paid["rate"].min() == -0.02
    assert (paid.filter(pl.col("hour") < 22)["rate"] >= -0.0075).all()
    assert paid.filter(pl.col("hour") > 240)["rate"].to_list() == pytest.approx([1e-4] * 12)


def test_in_a_flash_crash_people_trade_and_a_policy_sees_it(calm: StressMarket, scaler: Scaler) -> None:
    market = struck(calm, "flash_crash", "spot_volume_times=3", "perp_volume_times=4", "spot_noise=0")
    during = (market.since() >= 0) & (market.since() < 52)
    for leg, times in (("spot", 3), ("perp", 4)):
        traded = getattr(market, leg)["volume"].to_numpy() / getattr(calm, leg)["volume"].to_numpy()
        assert traded[during] == pytest.approx(times)
        assert traded[~during] == pytest.approx(1.0)
    shock = SPEC.index("volume_shock")
    quiet, tape = taped(calm, scaler), taped(market, scaler)
    assert tape.features[hour(tape, 1), shock] > quiet.features[hour(tape, 1), shock]


@pytest.mark.pitfall("P03")
@pytest.mark.parametrize(
    ("parameters", "seen"),
    [
        ([], [8, 2, 1, 8]),  # the last hour ends an hour after a settlement, so the next pays for seven
        (["hours=167"], [8, 2, 1, 8]),  # an hour has passed at the shock, so the first pays for two
        (["hours=167", "interval_hours=2"], [8, 2, 8]),
        (["hours=167", "interval_hours=4"], [8, 4, 8]),
    ],
)
def test_shorter_intervals_pay_the_same_and_their_carry_is_no_other(
    calm: StressMarket, parameters: list[str], seen: list[int]
) -> None:
    market = struck(calm, "interval_change", *parameters)
    assert interval_hours(market) == seen
    assert settlements(market)["rate"].sum() == pytest.approx(settlements(calm)["rate"].sum(), rel=1e-12)
    assert np.ptp(calm.perp["funding_rate"].drop_nulls().to_numpy()) == 0
    carry = build_frame(market.spot, market.perp, "SOL", DATA, features=FEATURES)["carry_24h_apr"]
    assert carry.to_numpy() == pytest.approx(0.1095, rel=1e-6)


@pytest.mark.pitfall("P03")
def test_the_rate_in_force_is_spread_over_the_hours_that_it_paid_for(calm: StressMarket) -> None:
    opens = pl.col("timestamp").dt.epoch("ms")
    rate = pl.when(opens % (4 * 3_600_000) == 0).then(0.5e-4)
    every_four = replace(calm, perp=calm.perp.with_columns(funding_rate=rate))
    total = settlements(struck(every_four, "interval_change"))["rate"].sum()
    assert total == pytest.approx(settlements(every_four)["rate"].sum(), rel=1e-12)


def test_a_spike_pays_its_rate_at_the_premium_that_the_formula_wants(calm: StressMarket) -> None:
    assert struck(calm, "funding_spike_down", "hours=1").premium.min() < -0.002, "the shortest one"
    market = struck(calm, "funding_spike_down", "rate=-0.002", "hours=48")
    paid = settlements(market)
    assert paid.filter(pl.col("hour") <= 48)["rate"].to_list() == [-0.002] * 6
    assert paid.filter(pl.col("hour") > 48)["rate"].to_list() == [1e-4] * len(
        paid.filter(pl.col("hour") > 48)
    )
    since = market.since() + 1
    assert market.premium[since == 24] - calm.premium[since == 24] == pytest.approx(-0.0025, rel=1e-3)
    # the venue's own formula comes to the rate, but for the premium that was there without the spike
    row = int(np.flatnonzero(since == 31)[0]) + 1
    own = float(average_premium(calm.premium[row - 8 : row]))
    assert market.formula(-0.02, 0.02)(row, 8) == pytest.approx(-0.002 + own, abs=5e-6)


def test_a_halt_takes_the_spot_bars_and_the_perpetual_moves_on(calm: StressMarket, scaler: Scaler) -> None:
    quiet, tape = taped(calm, scaler), taped(struck(calm, "venue_halt", "hours=5", "perp_move=0.1"), scaler)
    halted = np.flatnonzero(~tape.tradable)
    assert halted.tolist() == [hour(tape, since) for since in range(1, 6)]
    assert np.unique(tape.spot[halted]).tolist() == [quiet.spot[hour(tape, 0)]]
    last, after = hour(tape, 5), hour(tape, 6)
    assert tape.perp[last] / quiet.perp[last] == pytest.approx(1.1)
    assert tape.spot[after] / quiet.spot[after] == pytest.approx(1.1)


@pytest.mark.parametrize("recorded", [True, False])
def test_gone_depth_is_gone_whether_or_not_anybody_recorded_a_book(
    calm: StressMarket, scaler: Scaler, recorded: bool
) -> None:
    if not recorded:
        books = pl.lit(None, pl.Float64)
        blind = {"bid": books, "ask": books, "bid_depth": books, "ask_depth": books}
        calm = replace(calm, spot=calm.spot.with_columns(**blind), perp=calm.perp.with_columns(**blind))
    quiet = taped(calm, scaler).liquidity
    tape = taped(struck(calm, "depth_gone", "depth_left=0.1", "spread_times=5", "move=0"), scaler)
    thin = tape.liquidity
    assert quiet is not None
    assert thin is not None
    gone = slice(hour(tape, 1), hour(tape, 6) + 1)
    rest = np.r_[0 : gone.start, gone.stop : len(tape)]
    assert np.array_equal(thin.depth_quote[rest], quiet.depth_quote[rest], equal_nan=True)
    costs = CostSettings()
    share = np.array([costs.spot_depth_share, costs.perp_depth_share])
    spread = np.array([costs.spot_slippage_bp, costs.perp_slippage_bp])
    depth = quiet.depth_quote[gone] if recorded else share * quiet.turnover_quote[gone]
    wide = quiet.half_spread_bp[gone] if recorded else np.broadcast_to(spread, (6, 2))
    assert thin.depth_quote[gone] == pytest.approx(0.1 * depth)
    assert thin.half_spread_bp[gone] == pytest.approx(5 * wide)


def test_in_a_depeg_prices_rise_by_what_the_quote_coin_loses(calm: StressMarket) -> None:
    market = struck(calm, "quote_depeg", "level=0.9", "recovers_to=1.0", "hours=10")
    since = market.since() + 1
    lost = (since >= 2) & (since <= 12)
    assert market.quote_usd[lost] == pytest.approx(0.9)
    for leg in ("spot", "perp"):
        dear, cheap = (getattr(each, leg)["close"].to_numpy() for each in (market, calm))
        assert dear * market.quote_usd == pytest.approx(cheap)
    assert market.quote_usd[since == 36] == 1.0


def test_the_venue_takes_its_part_of_the_short_in_the_hour_after_the_fall(
    calm: StressMarket, scaler: Scaler
) -> None:
    tape = taped(struck(calm, "auto_deleveraging", "fraction=0.4"), scaler)
    assert tape.deleveraged is not None
    assert np.flatnonzero(tape.deleveraged).tolist() == [hour(tape, 2)]
    assert tape.deleveraged[hour(tape, 2)] == 0.4


def test_a_policy_sees_the_stress_in_its_features(calm: StressMarket, scaler: Scaler) -> None:
    quiet, crash = taped(calm, scaler), taped(struck(calm, "flash_crash"), scaler)
    basis, now = SPEC.index("basis_bp"), hour(crash, 10)
    assert crash.features[now, basis] == -scaler.clip < quiet.features[now, basis] - 2


def test_the_calm_market_is_one_in_which_nothing_happens(calm: StressMarket) -> None:
    wild, _ = ordinary_legs("SOL", 7)
    moves = [float(np.diff(np.log(legs["close"].to_numpy())).std()) for legs in (calm.spot, wild)]
    assert moves[0] < 0.4 * moves[1]
    assert calm.perp["funding_rate"].drop_nulls().unique().to_list() == [1e-4], "the interest, and no more"
    assert np.abs(calm.premium).max() < 10e-4


def test_a_shock_needs_an_hour_with_hours_on_both_sides(calm: StressMarket) -> None:
    for shock_ms, words in ((to_ms(SHOCK) + 1, "on the hour"), (0, "both sides")):
        with pytest.raises(MarketDataError, match=words):
            StressMarket.calm("SOL", calm.spot, calm.perp, shock_ms)


def test_recorded_halts_stay_what_they_were(calm: StressMarket) -> None:
    holed = replace(calm, spot=calm.spot.filter(pl.int_range(pl.len()) != 200))
    market = struck(holed, "flash_crash")
    assert len(market.premium) == len(market.perp)
    assert (~align_legs(market.spot, market.perp, "SOL", DATA).table["Tradable"]).sum() == 1


@pytest.mark.parametrize(
    ("names", "parameters", "words"),
    [
        (["sqeeze"], [], "unknown scenario 'sqeeze'; the nearest is 'squeeze'"),
        ([], ["squeeze.sise=1"], "unknown parameter of squeeze 'sise'; the nearest is 'size'"),
        ([], ["squeze.size=1"], "the nearest is 'squeeze'"),
        ([], ["size=1"], "not of the form scenario.parameter=value"),
        (["squeeze"], ["venue_halt.hours=2"], "add --scenario venue_halt"),
        ([], ["venue_halt.hours=30"], "venue_halt.hours = 30: input should be less than or equal to 24"),
        ([], ["squeeze.size=big"], "squeeze.size = 'big'"),
        ([], ["squeeze.size=.nan"], "finite number"),
        ([], ["squeeze.size=true"], "squeeze.size = True: input should be a valid number"),
        ([], ["interval_change.interval_hours=3"], "input should be 1, 2 or 4"),
        ([], ["funding_spike_up.hours=0.5"], "greater than or equal to 1"),
        ([], ["flash_crash.four_hourly_after=40"], "four_hourly_after < two_hourly_after"),
        ([], ["flash_crash.lasting_hours=30", "flash_crash.two_hourly_after=60"], "every 2 h after hour 60"),
    ],
)
def test_a_wrong_choice_is_named_with_the_way_out(
    names: list[str], parameters: list[str], words: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        choose(names, parameters)
    assert words in str(refused.value)


def test_a_number_may_be_written_as_people_write_numbers() -> None:
    (squeeze,) = choose(["squeeze"], ["squeeze.size=3e-1", "squeeze.minutes=5", "squeeze.last_size=null"])
    assert squeeze.model_dump() == SCENARIOS["squeeze"]().model_dump() | {"minutes": 5.0}


def test_the_hours_of_a_course_increase() -> None:
    for hours in ((0.0, 2.0, 1.0), (0.0, 1.0, 1.0)):
        with pytest.raises(SettingsError, match="must increase"):
            Course(hours, (1.0, 2.0, 3.0))


def test_every_scenario_says_what_it_is_where_it_comes_from_and_in_which_units() -> None:
    assert len(SCENARIOS) == 10
    for name, scenario in zip(SCENARIOS, choose(), strict=True):
        assert scenario.name == name
        assert scenario.about.endswith(".")
        assert scenario.source
        assert all(meaning for _, _, meaning in scenario.parameters)
