"""A market under stress: the tables of both legs, what no table holds, and what a shock does to them.

Every change is a pure function from market to market that leaves the hours before the shock as they were,
to the last bit. Features are then built from the changed tables: a policy sees a stress as it would live.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.costs import CostSettings
from carryflow.core.errors import MarketDataError
from carryflow.core.leg import Leg
from carryflow.env.liquidity import Liquidity, PairLots
from carryflow.env.stress.course import QUOTES, Course, reprice
from carryflow.env.tape import MarketTape, tape_of_rows
from carryflow.features.build import ORDER_SIZES
from carryflow.features.frame import build_frame
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.data import DataSettings
from carryflow.market.premium import CLAMP, INTEREST_PER_INTERVAL, INTERVAL_HOURS, average_premium
from carryflow.market.schema import BOOK_COLUMNS, validate_leg
from carryflow.market.timeframe import HOUR_MS

Floats = NDArray[np.float64]

_ANY_QUANTITY = PairLots()

_DEPTHS = tuple(name for name in BOOK_COLUMNS if name not in QUOTES)


@dataclass(frozen=True, slots=True, eq=False)
class StressMarket:
    """Hold one ticker's market, and the instant at which a shock begins.

    Attributes:
        ticker: the coin.
        spot: spot leg, in the market's schema, one row an hour; absent where trading was halted.
        perp: perpetual leg, n rows, none left out.
        shock_ms: instant of the shock, on the hour (UTC ms): bars that open before it stay as they were.
        opened: mark at the open of each of the perpetual's bars before anything happened to it; the
            perpetual's own price where nobody recorded one (quote) (n,).
        marked: what the mark has been multiplied by since.
        deleveraged: fraction of a short that the venue auto-deleverages within each bar (n,).
        depth_left: fraction of the resting orders that is left at each bar's close, also where no book was
            recorded (n,).
        spread_times: what each bar's spread is multiplied by (n,).
        quote_usd: what one unit of the quote coin is worth at each bar's close (USD) (n,).
        lots: how finely the legs may be ordered.

    """

    ticker: str
    spot: pl.DataFrame
    perp: pl.DataFrame
    shock_ms: int
    opened: Floats
    marked: Course
    deleveraged: Floats
    depth_left: Floats
    spread_times: Floats
    quote_usd: Floats
    lots: PairLots

    @classmethod
    def calm(
        cls,
        ticker: str,
        spot: pl.DataFrame,
        perp: pl.DataFrame,
        shock_ms: int,
        lots: PairLots = _ANY_QUANTITY,
    ) -> Self:
        """Take the legs as they are: nothing has happened yet.

        Raises:
            MarketDataError: the shock is not on the hour, or the legs have no hours before and after it.

        """
        opens = perp["timestamp"].dt.epoch("ms")
        if shock_ms % HOUR_MS != 0:
            raise MarketDataError(f"{ticker}: a shock begins on the hour, was {shock_ms} ms; round it")
        if not ((opens < shock_ms).any() and (opens >= shock_ms).any()):
            raise MarketDataError(
                f"{ticker}: the market has no hours on both sides of the shock at {shock_ms} ms; choose an "
                "instant within the recorded hours"
            )
        n = len(perp)
        return cls(
            ticker,
            spot,
            perp,
            shock_ms,
            opened=perp["mark_open"].fill_null(perp["open"]).to_numpy(),
            marked=Course((0.0,), (1.0,)),
            deleveraged=np.zeros(n),
            depth_left=np.ones(n),
            spread_times=np.ones(n),
            quote_usd=np.ones(n),
            lots=lots,
        )

    def since(self, leg: Leg = "perp") -> Floats:
        """Give the hours from the shock to each bar's open (negative before it) (n,)."""
        table = self.perp if leg == "perp" else self.spot
        opens = table["timestamp"].dt.epoch("ms").to_numpy()
        return np.asarray((opens - self.shock_ms) / HOUR_MS)

    @property
    def premium(self) -> Floats:
        """Give what the perpetual lies above spot at each of its closes (fraction of spot) (n,).

        In a halt, spot is where it was last traded.
        """
        paired = self.perp.select("timestamp", "close").join(
            self.spot.select("timestamp", spot="close"), on="timestamp", how="left", maintain_order="left"
        )
        return np.asarray((paired["close"] / paired["spot"].fill_null(strategy="forward") - 1.0).to_numpy())

    def price(self, leg: Leg, course: Course, mark: Course | None = None) -> "StressMarket":
        """Multiply a leg's prices, its book and index by a course; the mark by the same or by its own."""
        if leg == "spot":
            return replace(self, spot=reprice(self.spot, course.over(self.since("spot"))))
        mark = mark or course
        by = mark.over(self.since())
        perp = reprice(self.perp, course.over(self.since())).with_columns(
            mark_open=pl.col("mark_open") * by.open, mark_close=pl.col("mark_close") * by.close
        )
        return replace(self, perp=perp, marked=self.marked.times(mark))

    @property
    def mark_extremes(self) -> tuple[Floats, Floats]:
        """Give the highest and the lowest mark within each bar that moves (quote) (n,); else 0, infinite."""
        by = self.marked.over(self.since())
        moved = by.high != by.low
        return np.where(moved, self.opened * by.high, 0.0), np.where(moved, self.opened * by.low, np.inf)

    def trade(self, spot_times: float, perp_times: float, hours: float) -> "StressMarket":
        """Multiply the volumes (base) of the hours after the shock."""
        legs = {}
        for leg, table, times in (("spot", self.spot, spot_times), ("perp", self.perp, perp_times)):
            factor = np.where(self.during(hours, leg), times, 1.0)  # type: ignore[arg-type]
            legs[leg] = table.with_columns(volume=pl.col("volume") * factor)
        return replace(self, spot=legs["spot"], perp=legs["perp"])

    def during(self, hours: float, leg: Leg = "perp") -> NDArray[np.bool_]:
        """Mark the bars that open within some hours after the shock (n,)."""
        since = self.since(leg)
        return (since >= 0.0) & (since < hours)

    def halt_spot(self, hours: float) -> "StressMarket":
        """Let spot have no bars for some hours after the shock."""
        return replace(self, spot=self.spot.filter(pl.Series(~self.during(hours, "spot"))))

    def thin(self, depth_left: float, spread_times: float, hours: float) -> "StressMarket":
        """Leave a fraction of both legs' resting orders and widen their spreads, in books and without."""
        legs = {}
        for leg, table in (("spot", self.spot), ("perp", self.perp)):
            gone = pl.Series(self.during(hours, leg))  # type: ignore[arg-type]
            mid, half = (pl.col("ask") + pl.col("bid")) / 2, (pl.col("ask") - pl.col("bid")) / 2
            wide = {"bid": mid - spread_times * half, "ask": mid + spread_times * half}
            depths = {name: pl.col(name) * depth_left for name in _DEPTHS}
            legs[leg] = table.with_columns(
                pl.when(gone).then(changed).otherwise(pl.col(name)).alias(name)
                for name, changed in (wide | depths).items()
            )
        during = self.during(hours)
        return replace(
            self,
            spot=legs["spot"],
            perp=legs["perp"],
            depth_left=np.where(during, depth_left, self.depth_left),
            spread_times=np.where(during, spread_times, self.spread_times),
        )

    def deleverage(self, fraction: float, after_hours: float) -> "StressMarket":
        """Let the venue take a fraction of every short away within the bar that opens so long after."""
        return replace(self, deleveraged=np.where(self.since() == after_hours, fraction, self.deleveraged))

    def peg(self, quote: Course) -> "StressMarket":
        """Let the quote coin be worth (USD) what a course says."""
        return replace(self, quote_usd=quote.at(self.since() + 1.0))

    def worth(self, known_ms: NDArray[np.int64]) -> Floats:
        """Give what one unit of the quote coin is worth at closes of bars (UTC ms) (USD)."""
        closes = self.perp["timestamp"].dt.epoch("ms").to_numpy() + HOUR_MS
        return np.asarray(self.quote_usd[np.searchsorted(closes, known_ms)])

    def settle(self, rate_of: Callable[[int, float], float], within: "Within") -> "StressMarket":
        """Let the perpetual settle at other rates, or at other times, for some hours after the shock.

        The settlement after them pays for the hours since the last of them, at what it paid an hour before.

        Args:
            rate_of: gives the rate of a settlement from its row and the hours that it pays for.
            within: which settlements.

        """
        opens = self.perp["timestamp"].dt.epoch("ms").to_numpy()
        rate = self.perp["funding_rate"].to_numpy(writable=True)
        since = self.since()
        paid = np.flatnonzero(~np.isnan(rate))
        before = int(opens[paid[since[paid] <= within.start]].max(initial=0))
        inside = (since > within.start) & (since <= within.end)
        due = inside & (~np.isnan(rate) if within.every is None else opens % (within.every * HOUR_MS) == 0)
        settled = np.where(inside, np.nan, rate)
        for row in np.flatnonzero(due):
            paid_ms = opens[row] - before if before else INTERVAL_HOURS * HOUR_MS
            settled[row] = rate_of(int(row), paid_ms / HOUR_MS)
            before = int(opens[row])
        after = np.flatnonzero(since[paid] > within.end)
        if len(after) and after[0] > 0 and before:
            row, usual = paid[after[0]], opens[paid[after[0] - 1]]
            settled[row] *= (opens[row] - before) / (opens[row] - usual)
        return replace(self, perp=self.perp.with_columns(funding_rate=pl.Series(settled).fill_nan(None)))

    def formula(self, floor: float, cap: float) -> Callable[[int, float], float]:
        """Give the venue's formula over this market's own premium, for `settle`, within [floor, cap]."""
        premium = self.premium

        def rate_of(row: int, hours: float) -> float:
            average = float(average_premium(premium[max(0, row - round(hours)) : row]))
            interest = INTEREST_PER_INTERVAL * hours / INTERVAL_HOURS
            return float(np.clip(average + np.clip(interest - average, -CLAMP, CLAMP), floor, cap))

        return rate_of

    def tape(self, spec: FeatureSpec, scaler: Scaler, data: DataSettings, costs: CostSettings) -> MarketTape:
        """Give the market as the environment plays it, from the first hour after the warm-up on.

        Args:
            spec: features that the policy sees.
            scaler: what they are scaled with.
            data: what may be missing from the hours.
            costs: depth and spread where no book was recorded.

        Raises:
            CoverageError: hours, marks or settlements are missing.
            MarketDataError: the shock made prices that no market has.

        """
        spot, perp = (
            validate_leg(self.spot, "spot", self.ticker),
            validate_leg(self.perp, "perp", self.ticker),
        )
        features = FeatureSettings(lookback=spec.lookback, names=spec.names)
        rows = build_frame(spot, perp, self.ticker, data, features=features).with_columns(
            pl.lit(None, pl.Float64).alias(name) for name in ORDER_SIZES
        )
        seen = scaler.transform(rows.select(spec.published).to_numpy(order="c"))
        tape = tape_of_rows(rows, self.ticker, seen, spec)
        here = np.searchsorted(perp["timestamp"].dt.epoch("ms").to_numpy() + HOUR_MS, tape.decision_ms)
        before = np.concatenate((tape.mark[:1], tape.mark[:-1]))
        high, low = self.mark_extremes
        return replace(
            tape,
            lots=self.lots,
            liquidity=self._thinned(tape.liquidity, here, costs),
            mark_high=np.maximum.reduce([high[here], tape.mark, before]),
            mark_low=np.minimum.reduce([low[here], tape.mark, before]),
            deleveraged=self.deleveraged[here],
        )

    def _thinned(
        self, known: Liquidity | None, here: NDArray[np.int64], costs: CostSettings
    ) -> Liquidity | None:
        """Make up for the books that nobody recorded while they are thinned."""
        if known is None:
            return None
        left, wide = self.depth_left[here, np.newaxis], self.spread_times[here, np.newaxis]
        thinned = (left != 1.0) | (wide != 1.0)
        spread = np.array([costs.spot_slippage_bp, costs.perp_slippage_bp]) * wide
        depth = np.array([costs.spot_depth_share, costs.perp_depth_share]) * known.turnover_quote * left
        unknown_spread = thinned & np.isnan(known.half_spread_bp)
        unknown_depth = thinned & np.isnan(known.depth_quote)
        return Liquidity(
            half_spread_bp=np.where(unknown_spread, spread, known.half_spread_bp),
            depth_quote=np.where(unknown_depth, depth, known.depth_quote),
            turnover_quote=known.turnover_quote,
        )


class Within(NamedTuple):
    """Name the settlements in (start, end], in hours since the shock.

    `every` puts them on the UTC grid of so many hours; None leaves them where they were.
    """

    start: float
    end: float
    every: int | None = None
