"""Each limit at, just under and just over its bound; and that none keeps a position in."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from carryflow.execution.intents import Action, Decision, Intent
from carryflow.execution.limits.kill import Level
from carryflow.execution.limits.risk import (
    Exposure,
    Limit,
    Situation,
    judge,
    lost_today,
    margin_distance,
)
from carryflow.execution.orders import OrderRequest, Side, TimeInForce
from carryflow.execution.settings import LimitSettings

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
D = Decimal

LIMITS = LimitSettings(
    max_ticker_notional_quote=10_000,
    max_total_notional_quote=15_000,
    max_leverage=2.0,
    min_margin_distance=0.2,
    max_imbalance_lots=1.0,
    max_orders_per_minute=10,
    price_band_bp=100.0,
    max_daily_loss=0.05,
    max_feature_age_hours=3.0,
    max_feed_age_seconds=5.0,
    max_clock_skew_ms=500,
    max_depeg=0.01,
)

CALM = Situation(
    now_ms=NOW_MS,
    level=Level.RUN,
    exposures={
        "BTC": Exposure(D(0), D(0), D(100), D("0.01")),
        "ETH": Exposure(D(0), D(0), D(10), D("0.1")),
    },
    margin=1_000_000.0,
    maintenance=0.0,
    equity=100_000.0,
    day_equity=100_000.0,
    capital=100_000.0,
    orders_last_minute=0,
    seen_ms=NOW_MS,
    skew_ms=0,
    quote_price=D(1),
)

DECISION = Decision("d" * 16, "BTC", 1.0, NOW_MS - 1_000, NOW_MS + HOUR_MS, "person")

OPEN = Intent("i" * 16, "d" * 16, "BTC", Action.OPEN, D(10), D(100), D(100), D(100), NOW_MS)

Change = Callable[[Any], Situation]


def leg(price: str = "100", leg: Any = "spot") -> OrderRequest:
    return OrderRequest("c", leg, "BTC", Side.BUY, D(10), D(price), TimeInForce.IOC)


def broken(situation: Situation, intent: Intent = OPEN, decision: Decision = DECISION) -> list[Limit]:
    return [breach.limit for breach in judge(decision, intent, [leg(), leg(leg="perp")], situation, LIMITS)]


def exposures(**btc: Any) -> dict[str, Exposure]:
    return {**CALM.exposures, "BTC": replace(CALM.exposures["BTC"], **btc)}


def test_a_calm_world_lets_a_position_be_opened() -> None:
    assert broken(CALM) == []


SIZES: list[tuple[Limit, Situation, str, str]] = [
    # limit, situation, the most coins at a mark of 100 that it lets pass, and the least that it does not
    (Limit.TICKER_NOTIONAL, CALM, "100", "100.01"),
    (
        Limit.TOTAL_NOTIONAL,  # 7 000 of it is the other coin's
        replace(CALM, exposures={**CALM.exposures, "ETH": Exposure(D(700), D(-700), D(10), D("0.1"))}),
        "80",
        "80.01",
    ),
    (Limit.LEVERAGE, replace(CALM, margin=4_000.0), "80", "80.01"),
]


@pytest.mark.parametrize(("limit", "situation", "most", "more"), SIZES)
def test_a_position_may_reach_its_bound_and_not_pass_it(
    limit: Limit, situation: Situation, most: str, more: str
) -> None:
    for side in (1, -1):
        under, at, over = (side * D(size) for size in (D(most) - D("0.01"), most, more))
        assert broken(situation, replace(OPEN, target_base=under)) == []
        assert broken(situation, replace(OPEN, target_base=at)) == []
        assert broken(situation, replace(OPEN, target_base=over)) == [limit]


@pytest.mark.pitfall("P13")
def test_a_position_whose_liquidation_would_be_too_near_is_not_opened() -> None:
    """A short of 8 000 on BTC's brackets needs 32: (margin − 32) / (8 000 + 32) is 0.2 at 1 638.4."""
    eager = LIMITS.model_copy(update={"max_leverage": 20.0})
    eighty = replace(OPEN, target_base=D(80))
    for margin, expected in ((1_639.0, []), (1_638.4, []), (1_638.3, [Limit.MARGIN_DISTANCE])):
        found = judge(DECISION, eighty, [], replace(CALM, margin=margin), eager)
        assert [breach.limit for breach in found] == expected
    # a venue that asks for 5 % of the position held asks for as much of the larger one
    dear = replace(
        CALM,
        exposures=exposures(spot_qty=D(40), perp_qty=D(-40)),
        maintenance=200.0,
        margin=2_080.0,  # (2 080 − 400) / 8 400 is 0.2
    )
    assert judge(DECISION, eighty, [], dear, eager) == ()
    found = judge(DECISION, eighty, [], replace(dear, margin=2_079.9), eager)
    assert [breach.limit for breach in found] == [Limit.MARGIN_DISTANCE]


def test_a_wallet_without_margin_opens_nothing() -> None:
    assert broken(replace(CALM, margin=0.0)) == [Limit.LEVERAGE, Limit.MARGIN_DISTANCE]
    assert broken(replace(CALM, margin=-5.0)) == [Limit.LEVERAGE, Limit.MARGIN_DISTANCE]


STANDING: list[tuple[Limit, Change, Any, Any, Any]] = [
    # limit, situation by a value, and the value just under, at, and just over the bound
    (Limit.FEED_AGE, lambda age: replace(CALM, seen_ms=NOW_MS - age), 4_999, 5_000, 5_001),
    (Limit.CLOCK_SKEW, lambda skew: replace(CALM, skew_ms=skew), 499, 500, 501),
    (Limit.CLOCK_SKEW, lambda skew: replace(CALM, skew_ms=skew), -499, -500, -501),
    (Limit.DEPEG, lambda price: replace(CALM, quote_price=D(price)), "0.9901", "0.99", "0.9899"),
    (Limit.DEPEG, lambda price: replace(CALM, quote_price=D(price)), "1.0099", "1.01", "1.0101"),
    (
        Limit.IMBALANCE,
        lambda coins: replace(CALM, exposures=exposures(spot_qty=D(coins), perp_qty=D(-5))),
        "5.009",
        "5.01",
        "5.011",
    ),
    (
        Limit.IMBALANCE,
        lambda coins: replace(CALM, exposures=exposures(spot_qty=D(coins), perp_qty=D(-5))),
        "4.991",
        "4.99",
        "4.989",
    ),
]


@pytest.mark.parametrize(("limit", "situation", "under", "at", "over"), STANDING)
def test_a_world_past_its_bound_lets_nothing_be_opened(
    limit: Limit, situation: Change, under: Any, at: Any, over: Any
) -> None:
    for value, expected in ((under, []), (at, []), (over, [limit])):
        assert broken(situation(value)) == expected


def test_the_loss_of_a_day_binds_when_it_is_reached() -> None:
    for equity, expected in ((95_000.01, []), (95_000.0, [Limit.DAILY_LOSS]), (94_999.9, [Limit.DAILY_LOSS])):
        assert broken(replace(CALM, equity=equity)) == expected
    assert lost_today(100_000.0, 110_000.0, 100_000.0) == 0.0


def test_without_a_position_nothing_can_be_liquidated() -> None:
    assert margin_distance(50.0, 0.0, 0.0) == 1.0
    assert margin_distance(50.0, 100.0, 10_000.0) < 0


@pytest.mark.pitfall("P20")
def test_a_clock_that_is_off_and_a_quote_coin_that_is_not_a_dollar_block_entry() -> None:
    assert broken(replace(CALM, skew_ms=-120_000)) == [Limit.CLOCK_SKEW]
    depegged = judge(DECISION, OPEN, [], replace(CALM, quote_price=D("0.97")), LIMITS)
    assert [breach.limit for breach in depegged] == [Limit.DEPEG]
    assert depegged[0].words == "0.03 between the quote coin and a dollar, the bound is 0.01"
    assert broken(replace(CALM, quote_price=None)) == []  # no market of the venue tells


def test_so_many_orders_may_be_sent_in_a_minute_and_no_more() -> None:
    for sent, expected in ((7, []), (8, []), (9, [Limit.ORDER_RATE])):
        assert broken(replace(CALM, orders_last_minute=sent)) == expected  # the intent sends two more


def test_a_decision_opens_nothing_from_the_instant_it_expires_or_on_features_that_are_too_old() -> None:
    for left_ms, expected in ((1, []), (0, [Limit.EXPIRED]), (-1, [Limit.EXPIRED])):
        assert broken(CALM, decision=replace(DECISION, expires_ms=NOW_MS + left_ms)) == expected
    for age_ms, expected in ((-1, []), (0, []), (1, [Limit.FEATURE_AGE])):
        old = replace(DECISION, decided_ms=NOW_MS - 3 * HOUR_MS - age_ms)
        assert broken(CALM, decision=old) == expected


@pytest.mark.parametrize("level", [Level.PAUSE, Level.REDUCE, Level.FLATTEN])
def test_every_level_of_the_kill_switch_keeps_risk_out(level: Level) -> None:
    assert broken(replace(CALM, level=level)) == [Limit.KILL_SWITCH]


def test_what_orders_on_their_way_may_come_to_counts_like_a_position() -> None:
    """8 000 are left of 15 000: of the other coin 3 000 are held, and 7 000 are on their way to be."""
    waiting = Exposure(D(300), D(-300), D(10), D("0.1"), promised=D(700))
    situation = replace(CALM, exposures={**CALM.exposures, "ETH": waiting})
    assert broken(situation, replace(OPEN, target_base=D(80))) == []
    assert broken(situation, replace(OPEN, target_base=D("80.01"))) == [Limit.TOTAL_NOTIONAL]
    less = replace(CALM, exposures={**CALM.exposures, "ETH": replace(waiting, perp_qty=D(-750))})
    assert broken(less, replace(OPEN, target_base=D("75.01"))) == [Limit.TOTAL_NOTIONAL]


def test_a_venue_that_tells_nothing_is_given_no_more_risk() -> None:
    assert broken(replace(CALM, out_of_date=True)) == [Limit.OUT_OF_DATE]


@pytest.mark.pitfall("P14")
def test_a_blocked_coin_takes_no_risk_and_says_why() -> None:
    situation = replace(CALM, exposures=exposures(blocked="liquidated"))
    (breach,) = judge(DECISION, OPEN, [], situation, LIMITS)
    assert breach.limit is Limit.BLOCKED
    assert breach.words == "BTC is blocked: liquidated"
    assert judge(DECISION, replace(OPEN, ticker="ETH"), [], situation, LIMITS) == ()


def test_no_order_is_priced_worse_than_the_band_not_even_one_that_closes() -> None:
    for price, expected in (
        ("100.99", []),
        ("101", []),
        ("101.01", [Limit.PRICE_BAND]),
        ("99.01", []),
        ("98.99", []),
        ("1", []),
    ):
        for action in Action:
            intent = replace(OPEN, action=action)
            found = judge(DECISION, intent, [leg(), leg(price, "perp")], CALM, LIMITS)
            assert [breach.limit for breach in found] == expected
    assert judge(DECISION, OPEN, [leg("102")], CALM, LIMITS)[0].words == (
        "buy spot BTC at 102 is 200.0 bp worse than the mark 100"
    )
    for price, expected in (("99", []), ("98.99", [Limit.PRICE_BAND]), ("101.01", []), ("500", [])):
        sale = replace(leg(price, "perp"), side=Side.SELL)
        assert [breach.limit for breach in judge(DECISION, OPEN, [sale], CALM, LIMITS)] == expected


@pytest.mark.pitfall("P06")
def test_the_band_of_spot_orders_lies_around_the_spot_price_and_not_around_the_mark() -> None:
    apart = replace(CALM, exposures={"BTC": replace(CALM.exposures["BTC"], spot=D(124))})
    close = replace(OPEN, action=Action.CLOSE)
    assert judge(DECISION, close, [leg("123"), leg("100", "perp")], apart, LIMITS) == ()
    sale = replace(leg("100"), side=Side.SELL)
    found = judge(DECISION, close, [sale, leg("123", "perp")], apart, LIMITS)
    assert [breach.limit for breach in found] == [Limit.PRICE_BAND, Limit.PRICE_BAND]
    assert "worse than the spot price 124" in found[0].words


WORST = replace(
    CALM,
    level=Level.FLATTEN,
    exposures={
        "BTC": Exposure(D(500), D(-400), D(100), D("0.01"), "liquidated"),
        "ETH": Exposure(D(9_000), D(-9_000), D(10), D("0.1")),
    },
    margin=10.0,
    maintenance=500.0,
    equity=1.0,
    orders_last_minute=1_000,
    seen_ms=0,
    skew_ms=9_999,
    quote_price=D("0.5"),
    out_of_date=True,
)


def test_no_limit_keeps_a_position_in() -> None:
    stale = replace(DECISION, decided_ms=0, expires_ms=1)
    for intent in (
        replace(OPEN, action=Action.CLOSE, target_base=D(0)),
        replace(OPEN, action=Action.RESIZE, target_base=D(399)),
        replace(OPEN, action=Action.RESIZE, target_base=D(400)),
        replace(OPEN, action=Action.UNWIND, target_base=D(450)),
    ):
        assert broken(WORST, intent, stale) == []


def test_what_turns_a_position_around_or_makes_it_larger_is_bound_by_every_limit() -> None:
    every = set(Limit) - {Limit.PRICE_BAND}
    stale = replace(DECISION, decided_ms=0, expires_ms=1)
    for target in (D(401), D(-401)):
        assert set(broken(WORST, replace(OPEN, action=Action.RESIZE, target_base=target), stale)) == every
    small = broken(WORST, replace(OPEN, action=Action.RESIZE, target_base=D("-0.01")), stale)
    assert set(small) == every - {Limit.TICKER_NOTIONAL}
