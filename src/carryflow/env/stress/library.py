"""The stress library: what a hedge must be asked before it is trusted, each question as data.

A scenario is its parameters, with their units and where they come from; `strike` is the pure function that
does it to a market. Hours count from the shock.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from pydantic import Field

from carryflow.core.errors import MarketDataError
from carryflow.env.stress.course import Course
from carryflow.env.stress.flash_crash import FlashCrash
from carryflow.env.stress.market import StressMarket, Within
from carryflow.env.stress.scenario import LONGEST_HOURS, Hours, Scenario, Share
from carryflow.market.premium import CAP, CLAMP, INTERVAL_HOURS


class Unstressed(Scenario):
    """Nothing happens: the hours as they are, to hold the others against."""

    name = "unstressed"
    source = "the market that the others strike"

    def strike(self, market: StressMarket) -> StressMarket:
        """Leave the market alone."""
        return market


class FundingSpike(Scenario):
    """Let settlements pay an extreme rate for days, while the perpetual trades that far from spot."""

    shown_hours = 192.0

    rate: float = Field(ge=-0.03, le=0.03, description="rate of a settlement (fraction of notional per 8 h)")
    hours: float = Field(72, ge=1, le=LONGEST_HOURS, description="how long it lasts (hours)")

    def strike(self, market: StressMarket) -> StressMarket:
        """Set the rates, and the premium that the venue's formula would need for them."""
        premium = self.rate + float(np.copysign(CLAMP, self.rate))
        away = Course((0.0, 0.5, self.hours, self.hours + 1.0), (1.0, 1.0 + premium, 1.0 + premium, 1.0))
        return market.price("perp", away).settle(
            lambda _, hours: self.rate * hours / INTERVAL_HOURS, Within(0.0, self.hours)
        )


class FundingSpikeUp(FundingSpike):
    """Funding soars: longs pay shorts an extreme rate for days."""

    name = "funding_spike_up"
    source = "ADA, Binance, nine settlements to 2021-02-20 16:00 UTC: 2.35 % of notional"
    rate: float = Field(
        0.0026, ge=0, le=0.03, description="rate of a settlement (fraction of notional per 8 h)"
    )


class FundingSpikeDown(FundingSpike):
    """Funding plunges: shorts pay longs an extreme rate for days."""

    name = "funding_spike_down"
    source = "XRP, Binance, nine settlements to 2020-12-12 08:00 UTC: −1.59 % of notional"
    rate: float = Field(
        -0.0018, ge=-0.03, le=0, description="rate of a settlement (fraction of notional per 8 h)"
    )


class Squeeze(Scenario):
    """The price leaps up within minutes and gives part of it back: shorts are liquidated on the mark."""

    name = "squeeze"
    source = (
        "DOGE, Binance, 2022-10-29 15 h UTC: perpetual +30 % within the hour, spot +27 %, both +15 % at its "
        "close, 2 bp apart; minutes and fade_hours are set by hand"
    )
    size: float = Field(0.30, ge=0, le=5, description="top of the mark (fraction of the price before)")
    minutes: float = Field(10, gt=0, le=1440, description="from the shock to the top (minutes)")
    last_size: float | None = Field(
        None, ge=0, le=5, description="top of the last price, which liquidates nobody; null: the mark's"
    )
    kept: Share = Field(0.5, description="part of the leap that is left an hour after the top (fraction)")
    fade_hours: Hours = Field(24, description="from there until it is gone (hours)")
    spot_follows: Share = Field(0.9, description="part of the leap that spot makes at the top (fraction)")

    def strike(self, market: StressMarket) -> StressMarket:
        """Raise both legs, and the funding that follows from their distance."""
        last = self._leap(self.size if self.last_size is None else self.last_size)
        struck = market.price("spot", self._leap(self.spot_follows * self.size))
        struck = struck.price("perp", last, mark=self._leap(self.size))
        end = last.hours[-1] + INTERVAL_HOURS
        return struck.settle(struck.formula(-CAP, CAP), Within(0.0, end))

    def _leap(self, top: float) -> Course:
        """Rise to `top`, and then do what all prices do."""
        at = self.minutes / 60.0
        left = 1.0 + self.kept * self.size
        return Course((0.0, at, at + 1.0, at + 1.0 + self.fade_hours), (1.0, 1.0 + top, left, 1.0))


class VenueHalt(Scenario):
    """Spot cannot be traded for hours while the perpetual moves on; spot reopens where it went."""

    name = "venue_halt"
    source = (
        "Binance spot, 2023-03-24: no bars at 11, 12 and 13 h UTC, the perpetual traded on; the move is set "
        "by hand"
    )
    hours: int = Field(3, ge=1, le=24, description="how long spot is halted (hours)")
    perp_move: float = Field(0.08, gt=-0.9, le=5, description="move of the perpetual meanwhile (fraction)")
    stays: Share = Field(1.0, description="part of the move at which spot reopens and both stay (fraction)")

    def strike(self, market: StressMarket) -> StressMarket:
        """Take the spot bars away and move both legs."""
        end = float(self.hours)
        course = Course((0.0, end, end + 1.0), (1.0, 1.0 + self.perp_move, 1.0 + self.stays * self.perp_move))
        return market.price("spot", course).price("perp", course).halt_spot(end)


class DepthGone(Scenario):
    """The price leaps while books empty and spreads widen for hours: whoever must trade pays."""

    name = "depth_gone"
    shows = "depth"
    source = "set by hand, worse than 2025-10-10, when books lost more than 90 % of their depth"
    hours: Hours = Field(6, description="how long the books are empty (hours)")
    caution = (
        "what it costs is in exit and costs. What a liquidated hedge gains beside is the rise of the coins "
        "that it was left with."
    )
    depth_left: float = Field(0.02, gt=0, le=1, description="resting orders that are left (fraction)")
    spread_times: float = Field(20, ge=1, le=1000, description="what the spread is multiplied by")
    move: float = Field(0.30, gt=-0.9, le=5, description="move of both legs in the first hour (fraction)")

    def strike(self, market: StressMarket) -> StressMarket:
        """Move both legs and thin their books."""
        course = Course((0.0, 1.0), (1.0, 1.0 + self.move))
        moved = market.price("spot", course).price("perp", course) if self.move else market
        return moved.thin(self.depth_left, self.spread_times, self.hours)


class IntervalChange(Scenario):
    """The venue settles every hour instead of every eight; what is paid in eight hours stays the same."""

    name = "interval_change"
    shown_hours = 192.0
    source = "venues' announcements; SOL, Binance, 2022-11-09: 8 h, 4 h, 2 h"
    interval_hours: Literal[1, 2, 4] = Field(1, description="hours between settlements: 1, 2 or 4")
    hours: Hours = Field(168, description="until it is eight hours again (hours)")
    carry_times: float = Field(1.0, ge=-30, le=30, description="what the carry is multiplied by, too")

    def strike(self, market: StressMarket) -> StressMarket:
        """Spread the rate in force at the shock over the shorter intervals."""
        settled = market.perp["funding_rate"].to_numpy()
        since = market.since()
        known = np.flatnonzero(~np.isnan(settled) & (since <= 0.0))
        if len(known) < 2:
            raise MarketDataError(
                f"{market.ticker}: the rate in force at the shock is not known: {len(known)} settlements "
                "before it, need 2; choose a later instant"
            )
        in_force = float(settled[known[-1]]) / float(since[known[-1]] - since[known[-2]])
        per_hour = self.carry_times * in_force
        return market.settle(
            lambda _, hours: per_hour * hours, Within(0.0, self.hours, every=self.interval_hours)
        )


class QuoteDepeg(Scenario):
    """The quote coin loses its peg: prices in it rise, and an account that is counted in it does not see."""

    name = "quote_depeg"
    shows = "quote"
    shown_hours = 120.0
    source = "set by hand; USDC, 2023-03-11: 0.877 at its lowest, 1 again after three days"
    level: float = Field(0.97, gt=0.1, le=1, description="what a unit of the quote coin is worth (USD)")
    fall_hours: Hours = Field(2, description="from the shock to there (hours)")
    hours: Hours = Field(72, description="how long it stays there (hours)")
    recovers_to: float = Field(0.97, gt=0.1, le=1, description="what it is worth a day after that (USD)")
    passed_on: Share = Field(1.0, description="part of the loss that prices in it make good (fraction)")

    def strike(self, market: StressMarket) -> StressMarket:
        """Raise the prices of both legs by what the quote coin loses."""
        end = self.fall_hours + self.hours
        quote = Course(
            (0.0, self.fall_hours, end, end + 24.0), (1.0, self.level, self.level, self.recovers_to)
        )
        hours = np.union1d(quote.hours, np.arange(quote.hours[-1])).tolist()
        prices = Course.of(lambda t: 1.0 + self.passed_on * (1.0 / quote.at(t) - 1.0), hours)
        return market.price("spot", prices).price("perp", prices).peg(quote)


class AutoDeleveraging(Scenario):
    """In a fall the venue takes part of the winning short away: the coins stand there without their hedge."""

    name = "auto_deleveraging"
    source = "set by hand, after 2025-10-10: ETH fell by a fifth, and venues took shorts that hedged"
    fraction: Share = Field(0.5, description="part of the short that the venue takes (fraction)")
    fall: float = Field(0.20, ge=0, lt=0.9, description="fall of both legs in the hour before (fraction)")
    further: float = Field(
        0.05, ge=0, lt=0.9, description="their fall in the hour in which it does (fraction)"
    )

    def strike(self, market: StressMarket) -> StressMarket:
        """Let both legs fall, and take the short's part away in the hour after that."""
        low = 1.0 - self.fall
        course = Course((0.0, 1.0, 2.0), (1.0, low, low * (1.0 - self.further)))
        return market.price("spot", course).price("perp", course).deleverage(self.fraction, after_hours=1.0)


SCENARIOS: Mapping[str, type[Scenario]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Unstressed,
            FundingSpikeUp,
            FundingSpikeDown,
            FlashCrash,
            Squeeze,
            VenueHalt,
            DepthGone,
            IntervalChange,
            QuoteDepeg,
            AutoDeleveraging,
        )
    }
)
"""Every scenario by name, in the order in which they are played."""
