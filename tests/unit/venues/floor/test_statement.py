"""A statement that was worked out by hand, and that no money comes from nowhere."""

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.tape import Tape
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderType, Side, TimeInForce
from carryflow.venues.simulated.trading.settings import TradingSettings


@pytest.mark.pitfall("P15")
def test_a_statement_equals_the_one_worked_out_by_hand_to_the_last_unit(
    plain_floor: Callable[..., TradingFloor], limit: Callable[..., OrderEntry], minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 120, 90, 100], rates={2: 0.0001})
    account = floor.open_account("k", {"USDT": Decimal(10_000)}, Decimal(5_000))
    # 10 coins at 101 are 1,010; 10 bp of them, 0.01, stay with the venue
    floor.place(account, "spot", limit("BUY", "10", "101"))
    # 9.9 at 100 are 990, and 5 bp of that 0.495
    floor.place(account, "perp", limit("SELL", "9.9", "100"))
    # a short of 9.9 marked at 120 receives 1 bp: 0.1188
    floor.advance(minute(2))
    # 4.9 of the short cost 121 and brought 100: −102.9; 5 bp of 592.9 are 0.29645
    floor.place(account, "perp", limit("BUY", "4.9", "121", reduce_only=True))
    # 9.99 at 120 are 1,198.8; 10 bp of that 1.1988
    floor.place(account, "spot", limit("SELL", "9.99", "120"))
    floor.transfer(account, "USDT", Decimal("100.5"), "futures")
    # the last 5 rest at 100, what they were sold at, until the market passes; 2 bp of 500 are 0.1
    rests = floor.place(account, "perp", limit("BUY", "5", "100", "GTC", reduce_only=True))
    assert rests.status.open
    floor.advance(minute(3))
    told = floor.statement(account)
    assert {asset: Decimal(purse["free"]) for asset, purse in told["spot"].items()} == {
        "USDT": Decimal("10087.1012"),  # 10,000 − 1,010 + 1,198.8 − 1.1988 − 100.5
        "BTC": Decimal(0),
    }
    # 5,000 − 0.495 + 0.1188 − 102.9 − 0.29645 + 100.5 − 0.1
    assert Decimal(told["futures"]) == Decimal("4996.82735")
    assert told["positions"] == {}
    assert Decimal(told["funding"]) == Decimal("0.1188")
    assert Decimal(told["realized"]) == Decimal("-102.9")
    assert Decimal(told["commissions"]["spot"]["BTC"]) == Decimal("0.01")
    assert Decimal(told["commissions"]["spot"]["USDT"]) == Decimal("1.1988")
    assert Decimal(told["commissions"]["perp"]["USDT"]) == Decimal("0.89145")
    assert told["trades"] == {"spot": 2, "perp": 3}
    conserved(floor, account)


def test_fees_in_quote_leave_the_coins_bought_whole(
    plain_floor: Callable[..., TradingFloor], limit: Callable[..., OrderEntry]
) -> None:
    floor = plain_floor([100], settings=TradingSettings(fee_in_base=False))
    account = floor.open_account("k", {"USDT": Decimal("1011.01")}, Decimal(0))
    with pytest.raises(Refusal, match="-2010 Account has insufficient balance"):
        floor.place(account, "spot", limit("BUY", "10.001", "101"))
    floor.place(account, "spot", limit("BUY", "10", "101"))
    assert (account.spot["BTC"].free, account.spot["USDT"].free) == (10, 0)
    conserved(floor, account)


@pytest.mark.pitfall("P15")
def test_a_commission_is_rounded_down_in_whichever_coin_it_is_paid(
    plain_floor: Callable[..., TradingFloor], limit: Callable[..., OrderEntry]
) -> None:
    for fee_in_base, fee in ((True, "0.00077777"), (False, "0.07855547")):  # 0.000777777, 0.078555477
        charges = TradingSettings(fee_in_base=fee_in_base, spot_maker_bp=0, spot_taker_bp=7.77)
        floor = plain_floor([100], settings=charges)
        account = floor.open_account("k", {"USDT": Decimal(1_000)}, Decimal(0))
        (trade,) = floor.place(account, "spot", limit("BUY", "1.001", "101")).trades
        assert trade.commission == Decimal(fee)
        conserved(floor, account)


@pytest.mark.parametrize("kind", [OrderType.LIMIT, OrderType.MARKET])
def test_a_wallet_that_just_pays_for_a_purchase_and_its_fee_is_not_overdrawn(
    plain_floor: Callable[..., TradingFloor], kind: OrderType
) -> None:
    floor = plain_floor([100], settings=TradingSettings(fee_in_base=False, spot_taker_bp=7.77))
    price = Decimal(101) if kind is OrderType.LIMIT else None
    for k in range(50):
        qty = 1 + k * Decimal("0.001")
        needed = qty * 101 * Decimal("1.001")  # the maker's 10 bp are dearer
        account = floor.open_account(f"{k}", {"USDT": needed}, Decimal(0))
        entry = OrderEntry("BTCUSDT", Side.BUY, kind, TimeInForce.IOC, qty, price)
        floor.place(account, "spot", entry)
        conserved(floor, account)


def test_a_purchase_locks_the_dearer_fee_because_it_may_turn_out_either(
    plain_floor: Callable[..., TradingFloor], limit: Callable[..., OrderEntry]
) -> None:
    settings = TradingSettings(fee_in_base=False, spot_maker_bp=20, spot_taker_bp=10)
    floor = plain_floor([100], settings=settings)
    account = floor.open_account("k", {"USDT": Decimal(2_000)}, Decimal(0))
    order = floor.place(account, "spot", limit("BUY", "10", "100", "GTC"))
    assert account.spot["USDT"].locked == order.locked == Decimal(1_002)
    floor.cancel(account, "spot", "BTCUSDT", order_id=order.order_id)
    assert account.spot["USDT"].free == 2_000


def test_many_small_closes_round_no_more_than_one(
    plain_floor: Callable[..., TradingFloor], limit: Callable[..., OrderEntry], minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 101, 101])
    account = floor.open_account("k", {}, Decimal(50_000))
    for bar, qty in ((1, "100"), (2, "200")):
        floor.advance(minute(bar))
        floor.place(account, "perp", limit("BUY", qty, str(100 + bar)))
    for _ in range(500):
        floor.place(account, "perp", limit("SELL", "0.1", "101", reduce_only=True))
    (position,) = floor.positions(account)
    assert position.entry_price * 3 == pytest.approx(Decimal(305), abs=Decimal("1e-35"))
    cost = account.positions["BTCUSDT"].cost
    assert abs(cost - Decimal(305) * 250 / 3) <= Decimal("5e-9")
    assert Decimal(floor.statement(account)["realized"]) == cost + 50 * 101 - 30_500
    conserved(floor, account)


def test_a_part_of_a_position_leaves_with_its_part_of_the_cost_and_nothing_is_lost_of_the_rest(
    plain_floor: Callable[..., TradingFloor], limit: Callable[..., OrderEntry], minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 101, 103])
    account = floor.open_account("k", {}, Decimal(5_000))
    for bar, qty in ((1, "0.1"), (2, "0.2")):
        floor.advance(minute(bar))
        floor.place(account, "perp", limit("BUY", qty, str(100 + bar)))
    assert Decimal(floor.statement(account)["positions"]["BTCUSDT"]["cost"]) == Decimal("30.5")
    floor.place(account, "perp", limit("SELL", "0.1", "101", reduce_only=True))
    assert account.positions["BTCUSDT"].cost == Decimal("20.33333333")  # 30.5 less a third, to 8 decimals
    floor.advance(minute(3))
    floor.place(account, "perp", limit("SELL", "0.2", "103", reduce_only=True))
    assert Decimal(floor.statement(account)["realized"]) == Decimal("0.2")  # 10.1 + 20.6 − 30.5
    conserved(floor, account)


def test_a_sale_of_more_than_is_held_turns_a_long_into_a_short_at_its_price(
    plain_floor: Callable[..., TradingFloor], limit: Callable[..., OrderEntry], minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 103, 100])
    account = floor.open_account("k", {}, Decimal(5_000))
    floor.place(account, "perp", limit("BUY", "2", "101"))
    floor.advance(minute(2))
    order = floor.place(account, "perp", limit("SELL", "5", "103"))
    assert order.trades[0].realized_pnl == 4
    (position,) = floor.positions(account)
    assert (position.qty, position.entry_price) == (-3, 103)
    conserved(floor, account)


MOVES = st.one_of(
    st.tuples(
        st.just("order"),
        st.sampled_from(["spot", "perp"]),
        st.sampled_from(list(Side)),
        st.sampled_from([*TimeInForce, None]),
        st.integers(1, 400),
        st.integers(-30, 30),
        st.booleans(),
        st.sampled_from([0, 0, 0, 700, 7_200_000]),
    ),
    st.tuples(st.just("foreign"), st.sampled_from(["spot", "perp"]), st.sampled_from(list(Side))),
    st.tuples(st.just("halt"), st.sampled_from(["spot", "perp"]), st.booleans()),
    st.tuples(st.just("countdown"), st.sampled_from([0, 30_000])),
    st.tuples(st.just("step"), st.sampled_from([50, 1_000, 300_000, 3_600_000])),
    st.tuples(st.just("transfer"), st.integers(1, 60_000), st.sampled_from(["spot", "futures"])),
    st.tuples(st.just("cancel"), st.sampled_from(["spot", "perp"])),
    st.tuples(st.just("deleverage"), st.sampled_from(["0.1", "0.5", "1"])),
)


@settings(max_examples=60, deadline=None)
@given(moves=st.lists(MOVES, max_size=25), fee_in_base=st.booleans())
def test_whatever_is_done_all_money_is_there_or_was_paid_to_somebody(
    hours: Tape, moves: list[tuple[Any, ...]], fee_in_base: bool
) -> None:
    floor = TradingFloor(SimulatedVenue(hours), TradingSettings(fee_in_base=fee_in_base))
    floor.advance(hours.end_ms - 40 * hours.bar_ms)
    account = floor.open_account("k", {"USDT": Decimal(100_000)}, Decimal(50_000))
    for move in moves:
        try:
            _make(floor, account, move)
        except Refusal:
            continue
        assert account.futures >= 0 or account.positions
    conserved(floor, account)


def _make(floor: TradingFloor, account: VenueAccount, move: tuple[Any, ...]) -> None:
    match move:
        case ("order", leg, side, tif, lots, ticks, reduce_only, late_ms):
            kind = OrderType.MARKET if tif is None else OrderType.LIMIT
            mid = Decimal(floor.book("perp", "BTCUSDT").bids[0][0])
            floor.place(
                account,
                leg,
                OrderEntry(
                    "BTCUSDT",
                    side,
                    kind,
                    tif or TimeInForce.GTC,
                    lots * Decimal("0.01"),
                    None if tif is None else mid + ticks * Decimal("10"),
                    reduce_only and leg == "perp",
                ),
                late_ms=late_ms,
            )
        case ("foreign", leg, side):
            floor.trade_foreign(account, leg, "BTCUSDT", side, Decimal("0.2"))
        case ("halt", leg, halted):
            floor.halt(leg, "BTCUSDT", halted=halted)
        case ("countdown", ms):
            floor.set_countdown(account, "BTCUSDT", ms)
        case ("step", ms):
            floor.advance(floor.venue.now_ms + ms)
        case ("transfer", amount, to):
            floor.transfer(account, "USDT", Decimal(amount), to)
        case ("cancel", leg):
            floor.cancel_all(account, leg, "BTCUSDT")
        case ("deleverage", fraction):
            floor.deleverage(account, "BTCUSDT", Decimal(fraction))


def conserved(floor: TradingFloor, account: VenueAccount) -> None:
    """Check that what came in is what is there and what was paid, and that only open orders lock."""
    for asset, purse in account.spot.items():
        side = Side.BUY if asset == "USDT" else Side.SELL
        assert purse.locked == sum(o.locked for o in account.open.values() if o.entry.side is side)
    told = floor.statement(account)
    with localcontext(prec=60):
        transferred = Decimal(told["transferred"])
        for asset, purse in told["spot"].items():
            there = Decimal(purse["free"]) + Decimal(purse["locked"])
            came = Decimal(told["deposits"]["spot"].get(asset, "0")) + _of(told["traded"], asset)
            came -= _of(told["commissions"]["spot"], asset)
            assert there == came - (transferred if asset == "USDT" else 0)
            assert Decimal(purse["free"]) >= 0
            assert Decimal(purse["locked"]) >= 0
        wallet = Decimal(told["deposits"]["futures"]["USDT"]) + transferred
        wallet += sum((Decimal(told[name]) for name in ("realized", "funding", "insurance")), Decimal(0))
        assert Decimal(told["futures"]) == wallet - _of(told["commissions"]["perp"], "USDT")
        cost = sum((t.price * t.qty * t.side.sign for t in account.trades["perp"]), Decimal(0))
        held = sum((Decimal(p["cost"]) for p in told["positions"].values()), Decimal(0))
        assert held == cost + Decimal(told["realized"])


def _of(amounts: dict[str, Any], asset: str) -> Decimal:
    return Decimal(amounts.get(asset, "0"))
