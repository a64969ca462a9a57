"""Margin, liquidation, auto-deleveraging and funding."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from carryflow.core.costs import BINANCE_BTCUSDT
from carryflow.core.margin import bracket_table, maintenance_margin
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderStatus
from carryflow.venues.simulated.trading.settings import TradingSettings

Plain = Callable[..., TradingFloor]
Limit = Callable[..., OrderEntry]
Minute = Callable[[int], int]


def test_margin_is_told_as_the_venue_reckons_it(plain_floor: Plain, limit: Limit, minute: Minute) -> None:
    floor = plain_floor([100, 104, 104])
    account = floor.open_account("k", {}, Decimal(1_000))
    floor.place(account, "perp", limit("SELL", "10", "100"))
    floor.advance(minute(2))
    floor.place(account, "perp", limit("BUY", "30", "100", "GTC"))
    margin = floor.margin(account)
    assert margin.wallet == Decimal("999.5")
    assert margin.unrealized == -40
    assert margin.position_initial == 52  # 1,040 over 20
    assert margin.order_initial == 46  # 3,000 bought over 1,040 sold would leave 1,960, over 20
    assert margin.maintenance == Decimal("4.16")
    assert margin.available == Decimal("861.5")
    (position,) = floor.positions(account)
    assert (position.qty, position.entry_price, position.mark) == (-10, 100, 104)
    assert position.notional == -1_040
    # 999.5 + 1,000 − 10 m = 0.004 · 10 m
    assert float(position.liquidation_price) == pytest.approx(1999.5 / 10.04, abs=1e-6)
    assert floor.positions(account, "BTCUSDT") == [position]


def test_a_flat_position_is_told_if_asked_for(floor: TradingFloor) -> None:
    account = floor.open_account("k", {}, Decimal(1_000))
    assert floor.positions(account) == []
    (flat,) = floor.positions(account, "ETHUSDT")
    assert (flat.qty, flat.entry_price, flat.liquidation_price, flat.leverage) == (0, 0, 0, 20)


@pytest.mark.pitfall("P13")
def test_a_short_is_liquidated_at_the_mark_once_its_margin_is_gone(
    plain_floor: Plain, limit: Limit, minute: Minute
) -> None:
    floor = plain_floor([100, 108, 109, 100])
    account = floor.open_account("k", {}, Decimal(1_000))
    floor.place(account, "perp", limit("SELL", "110", "100"))  # fee 5.5
    rests = floor.place(account, "perp", limit("BUY", "1", "90", "GTC"))
    floor.advance(minute(2))
    assert account.positions  # 994.5 − 880 = 114.5 of margin, 47.52 asked for
    floor.advance(minute(3))
    assert not account.positions  # 4.5 of margin, 47.96 asked for
    assert rests.status is OrderStatus.CANCELED
    closed = floor.orders(account, "perp", "BTCUSDT", open_only=False)[-1]
    assert closed.client_id == f"autoclose-{closed.order_id}"
    (trade,) = closed.trades
    assert (trade.price, trade.qty, trade.realized_pnl, trade.time_ms) == (109, 110, -990, minute(3))
    assert trade.commission == Decimal("4.5")  # what was left, of the 149.875 that it asks for
    assert account.futures == 0


def test_margin_that_equals_what_is_asked_for_is_liquidated(
    plain_floor: Plain, limit: Limit, minute: Minute
) -> None:
    for cents, survives in ((0, False), (1, True)):
        floor = plain_floor([100, 108, 100])
        account = floor.open_account("k", {}, Decimal("933.02") + Decimal(cents) / 100)
        floor.place(account, "perp", limit("SELL", "110", "100"))  # 5.5 of fees
        floor.advance(minute(2))  # loses 880, and 0.4 % of 11,880 are 47.52
        assert bool(account.positions) == survives


def test_who_has_too_little_margin_may_still_sell_what_is_held(
    plain_floor: Plain, limit: Limit, minute: Minute
) -> None:
    floor = plain_floor([100, 98, 100])
    account = floor.open_account("k", {}, Decimal(1_000))
    floor.place(account, "perp", limit("BUY", "195", "101"))
    floor.advance(minute(2))
    assert floor.margin(account).available == 0
    assert floor.place(account, "perp", limit("SELL", "10", "98")).status is OrderStatus.FILLED


def test_unrealised_profit_carries_positions_and_cannot_be_taken_out(
    plain_floor: Plain, limit: Limit, minute: Minute
) -> None:
    floor = plain_floor([100, 200, 100])
    account = floor.open_account("k", {}, Decimal(1_000))
    floor.place(account, "perp", limit("BUY", "20", "101"))
    floor.advance(minute(2))
    margin = floor.margin(account)
    assert margin.available == Decimal("998.99") + 1_980 - 200
    assert margin.transferable == Decimal("998.99")


def test_every_digit_of_a_mark_counts(plain_floor: Plain, limit: Limit, minute: Minute) -> None:
    floor = plain_floor([100, 100, 100], marks=[100, 98.12345678901234, 100])
    account = floor.open_account("k", {}, Decimal("1000000.00000001"))
    floor.place(account, "perp", limit("SELL", "123.4", "100"))
    floor.advance(minute(2))
    floor.deleverage(account, "BTCUSDT", Decimal(1))
    gained = Decimal(12340) - Decimal("123.4") * Decimal("98.12345678901234")
    assert account.futures == Decimal("1000000.00000001") - Decimal("6.17") + gained


def test_a_liquidation_leaves_what_the_fee_does_not_take(
    plain_floor: Plain, limit: Limit, minute: Minute
) -> None:
    floor = plain_floor([100, 108, 100], settings=TradingSettings(liquidation_fee_rate=0.001))
    account = floor.open_account("k", {}, Decimal("909.73"))
    floor.place(account, "perp", limit("SELL", "110", "100"))
    floor.advance(minute(2))
    assert account.futures == Decimal("909.73") - Decimal("5.5") - 880 - Decimal("11.88")


def test_what_a_liquidation_cannot_pay_is_made_up_by_the_insurance_fund(
    plain_floor: Plain, limit: Limit, minute: Minute
) -> None:
    floor = plain_floor([100, 130, 100])
    account = floor.open_account("k", {}, Decimal(1_000))
    floor.place(account, "perp", limit("SELL", "110", "100"))
    floor.advance(minute(2))
    assert account.futures == 0
    (made_up,) = floor.income(account, "INSURANCE_CLEAR")
    assert made_up.amount == 3_300 - Decimal("994.5")


@pytest.mark.parametrize("short", [1, 100, 5_000, 40_000])
def test_it_is_liquidated_exactly_where_core_says(
    plain_floor: Plain, limit: Limit, minute: Minute, short: int
) -> None:
    wallet = Decimal(short) * 8
    brackets = bracket_table(*zip(*BINANCE_BTCUSDT, strict=True))
    for mark in (107, 108):
        floor = plain_floor([100, mark, 100])
        account = floor.open_account("k", {}, wallet)
        floor.place(account, "perp", limit("SELL", str(short), "100"))
        sold = abs(account.position_qty("BTCUSDT"))
        left = account.futures - sold * (mark - 100)
        floor.advance(minute(2))
        survives = float(left) > maintenance_margin(float(sold * mark), brackets)
        assert bool(account.positions) == survives


@pytest.mark.pitfall("P14")
def test_auto_deleveraging_closes_a_fraction_at_the_mark_free_of_charge(
    plain_floor: Plain, limit: Limit, minute: Minute
) -> None:
    floor = plain_floor([100, 96, 100])
    account = floor.open_account("k", {}, Decimal(1_000))
    assert floor.deleverage(account, "BTCUSDT", Decimal(1)) is None
    floor.place(account, "perp", limit("SELL", "10", "100"))
    floor.advance(minute(2))
    order = floor.deleverage(account, "BTCUSDT", Decimal("0.333"))
    assert order is not None
    assert (order.client_id, order.executed, order.average_price) == ("adl_autoclose", Decimal("3.3"), 96)
    assert account.position_qty("BTCUSDT") == Decimal("-6.7")
    assert account.futures == Decimal("999.5") + Decimal("13.2")
    floor.deleverage(account, "BTCUSDT", Decimal(1))
    assert not account.positions


@pytest.mark.pitfall("P01")
@pytest.mark.parametrize("late_ms", [-1, 0])
def test_funding_is_paid_on_what_was_held_strictly_before_its_instant(
    plain_floor: Plain, limit: Limit, minute: Minute, late_ms: int
) -> None:
    floor = plain_floor([100, 100, 102, 102], rates={2: 0.0003, 3: -0.0001})
    account = floor.open_account("k", {}, Decimal(1_000))
    floor.advance(minute(2) + late_ms)
    floor.place(account, "perp", limit("BUY", "10", "101"))
    floor.advance(minute(2) + 1)
    paid = [(i.amount, i.time_ms) for i in floor.income(account, "FUNDING_FEE")]
    assert paid == ([(Decimal("-0.3"), minute(2))] if late_ms < 0 else [])
    floor.advance(minute(4))
    last = floor.income(account, "FUNDING_FEE")[-1]
    assert (last.amount, last.time_ms) == (Decimal("0.102"), minute(3))  # a negative rate pays longs


def test_a_settlement_comes_before_what_a_new_bar_fills_and_liquidates(
    plain_floor: Plain, limit: Limit, minute: Minute
) -> None:
    floor = plain_floor([100, 109, 100], rates={2: 0.001})
    account = floor.open_account("k", {}, Decimal(1_000))
    floor.place(account, "perp", limit("SELL", "109", "100"))
    rests = floor.place(account, "perp", limit("SELL", "1", "102", "GTC"))
    floor.advance(minute(3))
    assert rests.status is OrderStatus.FILLED
    (funding,) = floor.income(account, "FUNDING_FEE")
    assert funding.amount == Decimal("11.881")  # 109 coins at 109, not 110
    assert not account.positions
    kinds = [income.kind for income in account.incomes if income.time_ms == minute(2)]
    assert kinds[0] == "FUNDING_FEE"
    assert "REALIZED_PNL" in kinds[1:]
