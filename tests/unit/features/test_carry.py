from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import CoverageError
from carryflow.features.carry import (
    INTERVALS_H,
    find_settlements,
    fraction_to_settlement,
    last_funding_apr,
    trailing_carry_apr,
)

PER_HOUR = 1.25e-5


def grid(hours: int) -> pl.Series:
    start = datetime(2022, 11, 1, tzinfo=UTC)
    return pl.datetime_range(start, start + timedelta(hours=hours - 1), "1h", time_unit="ms", eager=True)


def rates(hours: int, switches: dict[int, int]) -> pl.Series:
    """Settle at the same rate an hour, every `switches[h]` hours from hour h on."""
    out: list[float | None] = [None] * hours
    at, interval = 0, switches[0]
    while at < hours:
        out[at] = PER_HOUR * interval
        interval = switches.get(at, interval)
        at += interval
        if at < hours:
            out[at] = PER_HOUR * interval
    return pl.Series(out, dtype=pl.Float64)


@pytest.mark.pitfall("P03")
@pytest.mark.parametrize("width", [24, 72, 168])
def test_carry_stays_level_when_the_interval_goes_from_8_to_2_to_1_to_4_hours(width: int):
    funding = rates(900, {0: 8, 304: 2, 400: 1, 500: 4})
    settled = find_settlements(grid(900), funding, "SOL")
    assert set(np.unique(settled.hours[~np.isnan(settled.hours)])) == set(map(float, INTERVALS_H))
    np.testing.assert_allclose(trailing_carry_apr(settled, width)[180:], PER_HOUR * 8760, rtol=1e-12)
    np.testing.assert_allclose(last_funding_apr(settled)[180:], PER_HOUR * 8760, rtol=1e-12)


@pytest.mark.pitfall("P03")
def test_an_interval_that_no_venue_publishes_is_refused_by_name():
    funding = rates(100, {0: 8}).to_list()
    funding[40], funding[43] = None, 1e-4
    with pytest.raises(CoverageError, match=r"SOL: \[5, 11\] hours since .* 2022-11-02 19:00"):
        find_settlements(grid(100), pl.Series(funding), "SOL")


@pytest.mark.pitfall("P05")
def test_a_missing_settlement_is_an_error_and_not_a_zero():
    funding = rates(100, {0: 8}).to_list()
    funding[40] = None
    with pytest.raises(CoverageError, match=r"\[16\] hours since"):
        find_settlements(grid(100), pl.Series(funding), "BTC")


def test_the_wait_for_the_next_settlement_starts_anew_at_the_instant_of_one():
    settled = find_settlements(grid(40), rates(40, {0: 8}), "BTC")
    wait = fraction_to_settlement(settled)[8:17]
    # Bar 8 opens at a settlement and is decided on an hour later; bar 15 closes at the next one.
    np.testing.assert_allclose(wait, [7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 1.0, 7 / 8])
