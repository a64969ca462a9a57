"""What no decision may do, whoever made it.

Two kinds of limits. Whatever is sent stays within the price band. All others bind what adds risk: a position
that only gets smaller, and an unwind, pass them, because a limit that keeps one in is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from carryflow.core.costs import BINANCE_BTCUSDT, BP
from carryflow.core.leg import Leg
from carryflow.core.margin import bracket_table, maintenance_margin
from carryflow.execution.intents import Action, Decision, Intent
from carryflow.execution.limits.kill import Level
from carryflow.execution.orders import OrderRequest
from carryflow.execution.settings import LimitSettings

_BRACKETS = bracket_table(*zip(*BINANCE_BTCUSDT, strict=True))
_HOUR_MS = 3_600_000


class Limit(StrEnum):
    """Name what can be in the way."""

    KILL_SWITCH = "kill_switch"
    BLOCKED = "blocked"
    OUT_OF_DATE = "out_of_date"
    EXPIRED = "expired"
    TICKER_NOTIONAL = "ticker_notional"
    TOTAL_NOTIONAL = "total_notional"
    LEVERAGE = "leverage"
    MARGIN_DISTANCE = "margin_distance"
    IMBALANCE = "imbalance"
    ORDER_RATE = "order_rate"
    PRICE_BAND = "price_band"
    DAILY_LOSS = "daily_loss"
    FEATURE_AGE = "feature_age"
    FEED_AGE = "feed_age"
    CLOCK_SKEW = "clock_skew"
    DEPEG = "depeg"


@dataclass(frozen=True, slots=True)
class Breach:
    """Tell which limit is in the way, with the value that broke it and its bound, in the limit's own unit."""

    limit: Limit
    value: float
    bound: float
    words: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """Hold what one coin stands at.

    Attributes:
        spot_qty: coins held (base).
        perp_qty: perpetual held (base, signed).
        mark: mark price (quote).
        coarser_lot: the coarser lot of the two markets (base).
        blocked: why no risk may be added; None: it may.
        spot: what spot prices are held against (quote): the index, or the spot mid; None: the mark.
        promised: perpetual that orders on their way may bring it to, whatever its side (base, ≥ 0).
    """

    spot_qty: Decimal
    perp_qty: Decimal
    mark: Decimal
    coarser_lot: Decimal
    blocked: str | None = None
    spot: Decimal | None = None
    promised: Decimal = Decimal(0)

    def anchor(self, leg: Leg) -> Decimal:
        """Return the price around which the band of a leg's limit prices lies (quote)."""
        return self.mark if leg == "perp" or self.spot is None else self.spot

    @property
    def notional(self) -> float:
        """Return the perpetual's value on the mark, whatever its side (quote)."""
        return float(abs(self.perp_qty) * self.mark)

    @property
    def claim(self) -> float:
        """Return what it may be worth once the orders on their way have arrived (quote)."""
        return float(max(abs(self.perp_qty), self.promised) * self.mark)


@dataclass(frozen=True, slots=True)
class Situation:
    """Hold all that limits look at.

    Attributes:
        now_ms: the engine's clock (UTC ms).
        level: what the kill switch says.
        exposures: every coin that is traded.
        margin: futures wallet with unrealised profit (quote).
        maintenance: margin below which the venue liquidates, as it says (quote).
        equity: what the books are worth now (quote).
        day_equity: what they were worth when the day began, at 00:00 UTC (quote).
        capital: what the fraction of a loss is counted of (quote).
        orders_last_minute: orders sent in the last minute, cancels and closes left out, and those that other
            coins are about to send.
        seen_ms: when the oldest of the books and marks in question was last known (UTC ms).
        skew_ms: the venue's clock less ours.
        quote_price: what the quote coin is worth (dollars); None: no market tells.
        out_of_date: the venue and the books were not compared for too long.
    """

    now_ms: int
    level: Level
    exposures: Mapping[str, Exposure]
    margin: float
    maintenance: float
    equity: float
    day_equity: float
    capital: float
    orders_last_minute: int
    seen_ms: int
    skew_ms: int
    quote_price: Decimal | None
    out_of_date: bool = False


def judge(
    decision: Decision,
    intent: Intent,
    orders: Sequence[OrderRequest],
    situation: Situation,
    limits: LimitSettings,
) -> tuple[Breach, ...]:
    """Return every limit that an intent would break; nothing: it may be sent.

    Args:
        decision: what is wanted.
        intent: the pair to have.
        orders: what would be sent for it.
        situation: how things stand before.
        limits: the bounds.
    """
    exposure = situation.exposures[intent.ticker]
    breaches = price_breaches(orders, exposure, limits)
    if not adds_risk(intent, exposure):
        return breaches
    return (
        *breaches,
        *_switch_breaches(decision, exposure, situation, limits),
        *_world_breaches(situation, limits),
        *_imbalance(intent.ticker, exposure, limits),
        *_size_breaches(intent, orders, situation, limits),
    )


def adds_risk(intent: Intent, exposure: Exposure) -> bool:
    """Say whether an intent makes a position larger, opens one, or turns one around."""
    if intent.action in (Action.CLOSE, Action.UNWIND):
        return False
    held = -exposure.perp_qty
    return abs(intent.target_base) > abs(held) or intent.target_base * held < 0


def price_breaches(
    orders: Sequence[OrderRequest], exposure: Exposure, limits: LimitSettings
) -> tuple[Breach, ...]:
    """Return the orders whose price is worse than any may be, against the mark, or of spot the index.

    This holds for each order, also for those that reduce and unwind. A better price is never in the way.
    """
    breaches, band = [], Decimal(repr(limits.price_band_bp)) / 10_000
    for order in orders:
        anchor = exposure.anchor(order.leg)
        distance = order.side.sign * (order.price / anchor - 1)
        if distance > band:
            value = float(distance) / BP
            what = f"{order.side} {order.leg} {order.ticker} at {order.price}"
            named = "the mark" if order.leg == "perp" or exposure.spot is None else "the spot price"
            words = f"{what} is {value:.1f} bp worse than {named} {anchor}"
            breaches.append(Breach(Limit.PRICE_BAND, value, limits.price_band_bp, words))
    return tuple(breaches)


def total_notional(situation: Situation) -> float:
    """Return the value of all perpetuals on their marks (quote)."""
    return sum(exposure.notional for exposure in situation.exposures.values())


def lost_today(day_equity: float, equity: float, capital: float) -> float:
    """Return what a day that began with `day_equity` has cost so far (fraction of capital; a gain is 0)."""
    return max(day_equity - equity, 0.0) / capital


def margin_distance(margin: float, maintenance: float, notional: float) -> float:
    """Return how far the marks are from liquidation (fraction of the mark).

    Every position is taken to lose at once, as a hedge's shorts do when the whole market rises: after a move
    of x the margin is `margin − notional · x`, and the venue asks for `maintenance · (1 + x)`.

    Returns:
        1 where nothing is held, or it takes a move of all of the price; at most 0 where it is too late.

    A short of 10 000 on a margin of 5 000, maintenance 40: 5 000 − 4 940.24 is 40 · 1.494:

    >>> round(margin_distance(5_000.0, 40.0, 10_000.0), 6)
    0.494024
    """
    if notional <= 0.0:
        return 1.0
    return min((margin - maintenance) / (notional + maintenance), 1.0)


def _switch_breaches(
    decision: Decision, exposure: Exposure, situation: Situation, limits: LimitSettings
) -> Iterator[Breach]:
    if situation.level > Level.RUN:
        words = f"the kill switch is at {situation.level.name.lower()}"
        yield Breach(Limit.KILL_SWITCH, float(situation.level), float(Level.RUN), words)
    if exposure.blocked is not None:
        yield Breach(Limit.BLOCKED, 1.0, 0.0, f"{decision.ticker} is blocked: {exposure.blocked}")
    if situation.out_of_date:
        words = "the venue does not tell what there is, so that nothing may be added to it"
        yield Breach(Limit.OUT_OF_DATE, 1.0, 0.0, words)
    late = (situation.now_ms - decision.expires_ms) / 1000
    if late >= 0:
        yield Breach(Limit.EXPIRED, late, 0.0, f"the decision expired {late:g} s ago")
    hours = (situation.now_ms - decision.decided_ms) / _HOUR_MS
    yield from _above(Limit.FEATURE_AGE, hours, limits.max_feature_age_hours, "h since it was decided")


def _world_breaches(situation: Situation, limits: LimitSettings) -> Iterator[Breach]:
    loss = lost_today(situation.day_equity, situation.equity, situation.capital)
    if loss >= limits.max_daily_loss:
        yield _breach(Limit.DAILY_LOSS, loss, limits.max_daily_loss, "of capital lost today")
    age = (situation.now_ms - situation.seen_ms) / 1000
    yield from _above(Limit.FEED_AGE, age, limits.max_feed_age_seconds, "s since the market was seen")
    skew = abs(situation.skew_ms)
    yield from _above(
        Limit.CLOCK_SKEW, skew, limits.max_clock_skew_ms, "ms between this clock and the venue's"
    )
    if situation.quote_price is not None:
        depeg = float(abs(situation.quote_price - 1))
        yield from _above(Limit.DEPEG, depeg, limits.max_depeg, "between the quote coin and a dollar")


def _size_breaches(
    intent: Intent, orders: Sequence[OrderRequest], situation: Situation, limits: LimitSettings
) -> Iterator[Breach]:
    """Bring the limits that the position would break once it is there, with all that is on its way."""
    notionals = {ticker: exposure.claim for ticker, exposure in situation.exposures.items()}
    notionals[intent.ticker] = float(abs(intent.target_base) * situation.exposures[intent.ticker].mark)
    ticker, total = notionals[intent.ticker], sum(notionals.values())
    maintenance = max(
        sum(maintenance_margin(notional, _BRACKETS) for notional in notionals.values()),
        _scaled(situation.maintenance, total_notional(situation), total),
    )
    leverage = total / situation.margin if situation.margin > 0.0 else float("inf")
    distance = margin_distance(situation.margin, maintenance, total)
    sent = situation.orders_last_minute + len(orders)
    yield from _above(
        Limit.TICKER_NOTIONAL, ticker, limits.max_ticker_notional_quote, f"quote of {intent.ticker}"
    )
    yield from _above(Limit.TOTAL_NOTIONAL, total, limits.max_total_notional_quote, "quote of all perpetuals")
    yield from _above(Limit.LEVERAGE, leverage, limits.max_leverage, "times the futures wallet")
    yield from _below(
        Limit.MARGIN_DISTANCE, distance, limits.min_margin_distance, "of the mark to liquidation then"
    )
    yield from _above(Limit.ORDER_RATE, sent, limits.max_orders_per_minute, "orders in a minute")


def _imbalance(ticker: str, exposure: Exposure, limits: LimitSettings) -> Iterator[Breach]:
    lots = float(abs(exposure.spot_qty + exposure.perp_qty) / exposure.coarser_lot)
    yield from _above(
        Limit.IMBALANCE, lots, limits.max_imbalance_lots, f"lots of {ticker} that are not hedged"
    )


def _scaled(maintenance: float, notional: float, wanted: float) -> float:
    """Return what the venue would ask for a larger position at the rate that it asks for this one."""
    return maintenance * wanted / notional if notional > 0.0 else 0.0


def _above(limit: Limit, value: float, bound: float, what: str) -> Iterator[Breach]:
    if value > bound:
        yield _breach(limit, value, bound, what)


def _below(limit: Limit, value: float, bound: float, what: str) -> Iterator[Breach]:
    if value < bound:
        yield _breach(limit, value, bound, what)


def _breach(limit: Limit, value: float, bound: float, what: str) -> Breach:
    return Breach(limit, float(value), float(bound), f"{value:g} {what}, the bound is {bound:g}")
