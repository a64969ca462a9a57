"""The flash crash of SOL in November 2022, as shapes that were fitted to its recorded hours."""

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from carryflow.env.stress.course import Course
from carryflow.env.stress.market import StressMarket, Within
from carryflow.env.stress.scenario import Hours, Scenario
from carryflow.market.premium import CAP, Floats


class FlashCrash(Scenario):
    """Spot falls by half and the perpetual far under it; funding sinks to its floor, ever more often."""

    name = "flash_crash"
    shown_hours = 336.0
    source = (
        "SOL, Binance, hourly closes of 2022-11-08 17:00 to 2022-11-10 21:00 UTC, shapes by least squares; "
        "settlements to 2022-11-18 08:00"
    )
    caution = (
        "spot's noise is one draw of many. What a liquidated hedge gets for its coins is chance, and another "
        "seed gives another gain."
    )
    seed: int = Field(
        5, ge=0, description="seed of the noise and of the calm market, if struck: a median one"
    )
    depth: float = Field(0.239, gt=0, lt=0.9, description="deepest perpetual under spot (fraction of spot)")
    onset_hours: Hours = Field(28, description="from the shock to there (hours)")
    onset_power: float = Field(1.63, gt=0, le=5, description="shape of the way down: (t / onset)^power")
    recovery_hours: Hours = Field(24, description="from there back to spot (hours)")
    recovery_power: float = Field(2.15, gt=0, le=5, description="shape of the way back: (1 - t / back)^power")
    lasting_depth: float = Field(0.00165, ge=0, lt=0.9, description="what stays of it (fraction of spot)")
    lasting_hours: Hours = Field(231, description="from the shock until that is gone, too (hours)")
    spot_fall: float = Field(0.5715, ge=0, lt=0.95, description="how far spot falls (fraction)")
    spot_fall_hours: Hours = Field(30, description="from the shock to its low (hours)")
    spot_fall_power: float = Field(0.762, gt=0, le=5, description="shape of its fall: (t / fall)^power")
    spot_recovery_hours: Hours = Field(18, description="from its low to where it stays (hours)")
    spot_end: float = Field(0.591, gt=0, le=2, description="where spot stays (fraction of before)")
    spot_noise: float = Field(0.07, ge=0, le=0.3, description="deviation of ln(spot) from that shape")
    spot_noise_kept: float = Field(0.68, ge=0, lt=1, description="autocorrelation of that, hour to hour")
    first_floor: float = Field(-0.0075, ge=-0.03, le=0, description="lowest rate at first (fraction)")
    floor: float = Field(-0.02, ge=-0.03, le=0, description="lowest rate of shorter intervals (fraction)")
    four_hourly_after: Hours = Field(22, description="settlements every 4 h from then on (hours)")
    two_hourly_after: Hours = Field(35, description="settlements every 2 h from then on (hours)")
    spot_volume_times: float = Field(5.2, gt=0, le=100, description="coins traded (multiple of before)")
    perp_volume_times: float = Field(9.3, gt=0, le=100, description="the same of the perpetual (multiple)")

    @model_validator(mode="after")
    def _take_turns(self) -> Self:
        change, again, last = self.four_hourly_after, self.two_hourly_after, self.last_hours
        if not change < again < last:
            raise ValueError(
                f"settlements come every 4 h after hour {change:g}, every 2 h after hour {again:g} and as "
                f"before after hour {last:g}; let four_hourly_after < two_hourly_after < {last:g}"
            )
        return self

    @property
    def last_hours(self) -> float:
        """Give the hours from the shock until nothing of it is left but prices."""
        return max(self.end_hours, self.lasting_hours)

    @property
    def end_hours(self) -> float:
        """Give the hours from the shock until prices have found their place."""
        return max(self.onset_hours + self.recovery_hours, self.spot_fall_hours + self.spot_recovery_hours)

    def basis(self, hours: Floats) -> Floats:
        """Give how far the perpetual lies from spot (fraction of spot) some hours after the shock."""
        onset = np.clip(hours / self.onset_hours, 0.0, 1.0) ** self.onset_power
        back = np.clip(1.0 - (hours - self.onset_hours) / self.recovery_hours, 0.0, 1.0)
        left = np.where(hours < self.lasting_hours, self.lasting_depth, 0.0)
        back = np.maximum(self.depth * back**self.recovery_power, left)
        return np.asarray(-np.where(hours <= self.onset_hours, self.depth * onset, back))

    def spot(self, hours: Floats) -> Floats:
        """Give where spot stands (fraction of before) at hours 0, 1, 2, … after the shock."""
        fallen = np.clip(hours / self.spot_fall_hours, 0.0, 1.0) ** self.spot_fall_power
        back = np.clip((hours - self.spot_fall_hours) / self.spot_recovery_hours, 0.0, 1.0)
        shape = 1.0 - self.spot_fall * fallen + (self.spot_end - 1.0 + self.spot_fall) * back
        shocks = np.random.default_rng(self.seed).standard_normal(len(hours))
        noise, kept = np.zeros(len(hours)), self.spot_noise_kept
        for i in range(1, len(hours)):
            noise[i] = kept * noise[i - 1] + np.sqrt(1.0 - kept**2) * shocks[i]
        calmed = np.clip((self.end_hours - hours) / 6.0, 0.0, 1.0)
        return np.asarray(shape * np.exp(self.spot_noise * calmed * noise))

    def strike(self, market: StressMarket) -> StressMarket:
        """Bend spot and basis, let funding follow them by the venue's formula, and let people trade."""
        change, again = self.four_hourly_after, self.two_hourly_after
        last = self.last_hours
        hours = np.arange(0.0, last + 2.0).tolist()
        spot = Course.of(self.spot, hours)
        basis = Course.of(lambda t: 1.0 + self.basis(t), hours)
        struck = market.price("spot", spot).price("perp", spot.times(basis))
        struck = struck.trade(self.spot_volume_times, self.perp_volume_times, self.end_hours)
        first, later = struck.formula(self.first_floor, CAP), struck.formula(self.floor, CAP)
        return (
            struck.settle(first, Within(0.0, change))
            .settle(later, Within(change, again, every=4))
            .settle(later, Within(again, last, every=2))
        )
