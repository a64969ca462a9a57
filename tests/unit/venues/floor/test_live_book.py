"""How a book lives between two bars."""

from decimal import Decimal
from typing import Any

import pytest

from carryflow.venues.simulated.tape import Tape
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderType, Side, TimeInForce

Levels = dict[str, str]


def sides(book: Any) -> tuple[Levels, Levels]:
    return dict(book.bids), dict(book.asks)


def patched(before: Levels, changes: list[tuple[str, str]]) -> Levels:
    after = before | dict(changes)
    return {price: qty for price, qty in after.items() if qty != "0"}


def test_prices_stand_while_quantities_move_and_every_bar_moves_prices(
    floor: TradingFloor, hours: Tape
) -> None:
    first = floor.book("perp", "BTCUSDT")
    floor.advance(floor.venue.now_ms + 60_000)
    later = floor.book("perp", "BTCUSDT")
    assert [price for price, _ in first.bids] == [price for price, _ in later.bids]
    assert [qty for _, qty in first.bids[:5]] != [qty for _, qty in later.bids[:5]]
    assert first.bids[5:] == later.bids[5:]
    assert later.update_id - first.update_id == 600
    floor.advance(floor.venue.now_ms + hours.bar_ms)
    assert floor.book("perp", "BTCUSDT").bids[0][0] != first.bids[0][0]


@pytest.mark.parametrize("leg", ["spot", "perp"])
def test_the_live_book_has_the_published_prices_and_half_to_one_and_a_half_of_the_quantities(
    floor: TradingFloor, leg: str
) -> None:
    drawn = floor.venue.depth(floor.venue.market(leg, "ETHUSDT"), 1000)
    for _ in range(7):
        live = floor.book(leg, "ETHUSDT")
        for fresh, old in ((live.bids, drawn["bids"]), (live.asks, drawn["asks"])):
            assert [float(price) for price, _ in fresh] == [float(price) for price, _ in old]
            lot = Decimal(repr(floor.venue.market(leg, "ETHUSDT").filters.lot))
            for (_, qty), (_, qty_drawn) in zip(fresh, old, strict=True):
                assert Decimal(qty) % lot == 0
                assert float(qty) >= 0.5 * float(qty_drawn) - 2 * float(lot)
                assert float(qty) <= 1.5 * float(qty_drawn) + 2 * float(lot)
        floor.advance(floor.venue.now_ms + 100)


def test_any_instant_can_be_told_without_its_history(floor: TradingFloor) -> None:
    now = floor.venue.now_ms
    floor.advance(now + 60_000)
    straight = floor.book("spot", "BTCUSDT")
    floor.advance(now)
    for step in range(0, 60_001, 600):
        floor.advance(now + step)
        floor.book("spot", "BTCUSDT")
    assert floor.book("spot", "BTCUSDT") == straight


@pytest.mark.parametrize("step_ms", [100, 300, 5_000, 61_000, 3_600_000])
def test_changes_lead_from_one_book_to_the_next_whatever_was_taken(floor: TradingFloor, step_ms: int) -> None:
    account = floor.open_account("k", {"USDT": Decimal(10_000_000)}, Decimal(0))
    book = floor.book("spot", "BTCUSDT")
    bids, asks = sides(book)
    for turn in range(30):
        if turn % 7 == 3:
            entry = OrderEntry("BTCUSDT", Side.BUY, OrderType.MARKET, TimeInForce.GTC, Decimal(turn) / 10)
            floor.place(account, "spot", entry)
        floor.advance(floor.venue.now_ms + step_ms)
        changes = floor.book_changes("spot", "BTCUSDT", book.update_id)
        assert (changes.first_id, changes.last_id) == (book.update_id + 1, floor.venue.now_ms // 100)
        bids, asks = patched(bids, changes.bids), patched(asks, changes.asks)
        book = floor.book("spot", "BTCUSDT")
        assert (bids, asks) == sides(book)


def test_what_is_taken_of_a_deep_level_is_back_within_a_minute(floor: TradingFloor) -> None:
    account = floor.open_account("k", {"USDT": Decimal(100_000_000)}, Decimal(0))
    drawn = floor.book("spot", "BTCUSDT", 7).asks
    all_of_six = sum(Decimal(qty) for _, qty in drawn[:6])
    entry = OrderEntry("BTCUSDT", Side.BUY, OrderType.MARKET, TimeInForce.GTC, all_of_six)
    floor.place(account, "spot", entry)
    assert floor.book("spot", "BTCUSDT", 1).asks == drawn[6:]
    slot = floor.venue.now_ms // 100
    redrawn = next(at for at in range(slot + 1, slot + 601) if at % 600 == 5)  # of the sixth level
    floor.advance(redrawn * 100 - 1)
    assert drawn[5] not in floor.book("spot", "BTCUSDT", 10).asks
    floor.advance(redrawn * 100)
    assert drawn[5] in floor.book("spot", "BTCUSDT", 10).asks
    assert drawn[5] in floor.book_changes("spot", "BTCUSDT", redrawn - 1).asks


def test_a_quiet_slot_changes_one_level_of_each_side(floor: TradingFloor) -> None:
    floor.advance(floor.venue.now_ms + 10_000)
    slot = floor.venue.now_ms // 100
    changes = floor.book_changes("perp", "ETHUSDT", slot - 1)
    assert (len(changes.bids), len(changes.asks)) == (1, 1)
    assert changes.bids[0] == floor.book("perp", "ETHUSDT").bids[slot % 5]
    assert floor.book_changes("perp", "ETHUSDT", slot).bids == []
    assert len(floor.book("perp", "ETHUSDT", 5).asks) == 5
