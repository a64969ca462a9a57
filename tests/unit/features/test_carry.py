from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import CoverageError
from carryflow.features.alignment import AlignedHours
from carryflow.features.carry import (
    fraction_to_settlement,
    last_funding_apr,
    position_carry_apr,
    predicted_funding_apr,
    trailing_carry_apr,
)
from carryflow.market.timeframe import HOUR_MS

PER_HOUR = 1.25e-5
START = datetime(2022, 11, 1, tzinfo=UTC)
PREMIUM_BP = 15.0


def rates(hours: int, switches: dict[int, int]) -> list[float | None]:
    """Settle at the same rate an hour, every `switches[h]` hours from hour h on."""
    out: list[float | None] = [None] * hours
    at, interval = 0, switches[0]
    while at < hours:
        out[at] = PER_HOUR * interval
        interval = switches.get(at, interval)
        at += interval
        if at < hours:
            out[at] = PER_HOUR * interval
    return out


def bars(funding: list[float | None], minutes: int = 60, ticker: str = "SOL") -> AlignedHours:
    """Bars with that funding an hour and a steady premium."""
    per_hour = 60 // minutes
    spread = [rate if part == 0 else None for rate in funding for part in range(per_hour)]
    n = len(spread)
    dates = [START + timedelta(minutes=minutes * row) for row in range(n)]
    table = pl.DataFrame(
        {"Date": dates, "FundingRate": spread, "basis_bp": [PREMIUM_BP] * n},
        schema_overrides={"FundingRate": pl.Float64},
    )
    length_ms = minutes * 60_000
    return AlignedHours(ticker, table, length_ms, int(START.timestamp() * 1000) // length_ms)


@pytest.mark.pitfall("P03")
@pytest.mark.parametrize("minutes", [60, 15])
@pytest.mark.parametrize("width", [24, 72, 168])
def test_carry_stays_level_when_the_interval_goes_from_8_to_2_to_1_to_4_hours(width: int, minutes: int):
    hours = bars(rates(900, {0: 8, 304: 2, 400: 1, 500: 4}), minutes)
    assert set(np.unique(hours.settled.hours[~np.isnan(hours.settled.hours)])) == {1.0, 2.0, 4.0, 8.0}
    warm = slice(180 * 60 // minutes, None)
    np.testing.assert_allclose(trailing_carry_apr(hours, width)[warm], PER_HOUR * 8760, rtol=1e-12)
    np.testing.assert_allclose(last_funding_apr(hours)[warm], PER_HOUR * 8760, rtol=1e-12)


@pytest.mark.pitfall("P01")
@pytest.mark.parametrize("minutes", [1, 5, 30])
def test_funding_says_the_same_on_the_hour_whatever_the_bars(minutes: int):
    generator, funding = np.random.default_rng(4), rates(300, {0: 8, 152: 2})
    funding = [None if rate is None else rate + generator.normal(0, 1e-4) for rate in funding]
    hourly, finer = bars(funding), bars(funding, minutes)
    per_hour = 60 // minutes
    for feature in (
        last_funding_apr,
        fraction_to_settlement,
        partial(trailing_carry_apr, width_hours=24),
        partial(trailing_carry_apr, width_hours=168),
    ):
        on_the_hour = feature(finer)[per_hour - 1 :: per_hour]
        np.testing.assert_allclose(on_the_hour[8:], feature(hourly)[8:], rtol=1e-9)


@pytest.mark.pitfall("P03")
def test_a_steady_premium_predicts_a_steady_yearly_rate_whatever_the_interval():
    hours = bars(rates(900, {0: 8, 304: 2, 400: 1, 500: 4}))
    expected = (PREMIUM_BP - 5) * 1e-4 / 8 * 8760
    np.testing.assert_allclose(predicted_funding_apr(hours)[8:], expected, rtol=1e-12)


@pytest.mark.pitfall("P04")
def test_the_predicted_rate_knows_nothing_of_the_rate_that_then_settled():
    told, retold = rates(100, {0: 8}), rates(100, {0: 8})
    retold[40] = 0.0123
    np.testing.assert_array_equal(predicted_funding_apr(bars(told)), predicted_funding_apr(bars(retold)))
    assert last_funding_apr(bars(told))[40] != last_funding_apr(bars(retold))[40]


def test_a_prediction_is_held_within_the_venue_s_bounds():
    hours = bars(rates(40, {0: 8}))
    mad = AlignedHours("SOL", hours.table.with_columns(basis_bp=pl.lit(-3000.0)), HOUR_MS, hours.first_bar)
    np.testing.assert_allclose(predicted_funding_apr(mad)[8:], -0.02 / 8 * 8760)


@pytest.mark.pitfall("P03")
@pytest.mark.pitfall("P05")
def test_a_settlement_off_the_interval_is_refused_by_name():
    funding = rates(100, {0: 8})
    funding[40] = None
    with pytest.raises(CoverageError, match=r"SOL: .*2022-11-02T08:00Z and 2022-11-03T00:00Z"):
        trailing_carry_apr(bars(funding), 24)


@pytest.mark.pitfall("P03")
def test_an_interval_that_no_venue_publishes_is_refused_by_name():
    with pytest.raises(CoverageError, match=r"SOL: .* 5 hours after the one before; venues settle every"):
        last_funding_apr(bars(rates(100, {0: 5})))


@pytest.mark.parametrize("minutes", [60, 5])
def test_the_wait_for_the_next_settlement_starts_anew_at_the_instant_of_one(minutes: int):
    per_hour = 60 // minutes
    wait = fraction_to_settlement(bars(rates(40, {0: 8}), minutes))[
        9 * per_hour - 1 : 16 * per_hour : per_hour
    ]
    # An hour into the interval, two, ...; the last bar before a settlement closes at its very instant.
    np.testing.assert_allclose(wait, [7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 1.0])


@pytest.mark.pitfall("P02")
def test_a_hedged_long_is_paid_where_funding_is_positive_and_pays_where_it_is_not():
    position, carry, share = np.array([1.0, 1.0, -0.5, 0.0]), np.array([0.1, -0.1, 0.1, 0.1]), np.full(4, 0.5)
    np.testing.assert_allclose(position_carry_apr(position, carry, share), [0.05, -0.05, -0.025, 0.0])
