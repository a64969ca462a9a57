"""What is journalled is on disk, once, exactly, whatever happens to the engine."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from carryflow.core.errors import InvariantBroken, SchemaMismatchError, SettingsError
from carryflow.execution.intents import Decision, Intent
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import (
    Alert,
    BookedFill,
    Identity,
    Opening,
    OrderRecord,
    PairRecord,
    Severity,
    Statement,
    TransferRecord,
    Valuation,
)
from carryflow.execution.orders import (
    Fill,
    FundingPayment,
    OrderReport,
    OrderStatus,
    Position,
    Side,
    TransferReport,
    Wallet,
)

Orders = Callable[..., OrderRecord]
Fills = Callable[..., Fill]
Reports = Callable[..., OrderReport]


def test_everything_comes_back_as_it_was_written_to_the_last_digit(
    journal: Journal,
    identity: Identity,
    opening: Opening,
    intent: Intent,
    leading: PairRecord,
    order: Orders,
    fill: Fills,
    report: Reports,
) -> None:
    decision = Decision("decision00000000", "BTC", -0.123456789, 1_900, 9_900, "person", "for a test")
    trade = fill(order(), "t1", qty="0.1000", price="50001.10", fee="1E-10", fee_asset="BTC")
    payment = FundingPayment("p1", "BTC", Decimal("-0.00000001"), 3_000)
    moved = TransferRecord("k1", "ETH", Decimal("12.50"), Wallet.FUTURES, 3_100)
    statement = Statement(
        4_000, opening.balances, (Position("BTC", Decimal("-0.1"), Decimal(50_000)),), Decimal("1.0")
    )
    valuation = Valuation(4_000, "BTC", Decimal("50000.10"), Decimal("50001"), Decimal("50000.55"))
    alert = Alert(4_001, Severity.WARNING, None, "look")

    journal.record_opening(opening)
    journal.record_decision(decision)
    journal.record_intent(intent, leading, [order()])
    journal.record_report(report(order(), trade), 2_200)
    journal.record_funding([payment])
    journal.record_transfer(moved)
    journal.settle_transfer("k1", TransferReport("x1", Decimal("12.50"), Wallet.FUTURES, 3_200))
    journal.record_statement(statement, [valuation])
    journal.record_alert(alert)
    journal.close()

    with Journal.read(journal.path) as read:
        assert read.identity == identity
        assert read.opening() == opening
        assert read.decisions() == [decision] == [read.decision("decision00000000")]
        assert read.intents() == [intent] == read.intents("decision00000000")
        filled = replace(
            order(),
            venue_order_id="v0spot",
            status=OrderStatus.FILLED,
            filled=trade.qty,
            booked=trade.qty,
            ended_ms=2_200,
        )
        assert read.orders() == [filled] == [read.order(order().request.client_id)]
        assert str(read.fills()[0]) == str(trade)
        assert read.funding() == [payment]
        settled = replace(moved, transfer_id="x1", arrived=Decimal("12.50"), settled_ms=3_200)
        assert read.transfers() == [settled]
        assert read.pairs() == [leading]
        assert read.statements() == [statement] == [read.last_statement()]
        assert read.valuations() == [valuation]
        assert read.alerts() == [alert]
        events = [BookedFill(trade, order().reference), payment, settled, valuation]
        assert list(read.events()) == events
        with pytest.raises(InvariantBroken, match="cannot be written"):
            read.record_alert(alert)


WRITER = """
import sys
from decimal import Decimal
from pathlib import Path
from carryflow.execution.intents import Action, Intent
from carryflow.execution.journal.journal import Journal
from carryflow.execution.orders import OrderRequest, Side, TimeInForce
from carryflow.execution.journal.records import Identity, Mode, OrderRecord, PairRecord, Purpose

path, first = Path(sys.argv[1]), int(sys.argv[2])
one, n = Decimal(1), first
identity = Identity(Mode.PAPER, "simulated", "USDT", ("BTC", "ETH"), Decimal(20_000), 0.5, 0)
journal = Journal.open(path, identity)
while True:
    name = f"{n:016x}"
    request = OrderRequest(name, "spot", "BTC", Side.BUY, one, one, TimeInForce.IOC)
    order = OrderRecord(request, name, 0, Purpose.LEAD, one, 1, n)
    intent = Intent(name, name, "BTC", Action.OPEN, one, one, one, one, n)
    journal.record_intent(intent, PairRecord("BTC", "leading", name), [order])
    print(n, flush=True)
    n += 1
"""


def told_by_a_writer_that_is_killed(path: Path, first: int, after: int) -> int:
    """Run a writer, kill it some time after it told of `after` records, and return the last one told of."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(after):
            told = writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().splitlines()
    return int(rest[-1] if rest and rest[-1].isdigit() else told)


@pytest.mark.pitfall("P11")
def test_a_writer_that_is_killed_loses_nothing_that_it_was_told_is_written(
    tmp_path: Path, identity: Identity
) -> None:
    path = tmp_path / "journal.db"
    written = 0
    for after in (1, 17, 44):
        last = told_by_a_writer_that_is_killed(path, written, after)
        with Journal.open(path, identity) as journal:  # the lock died with its holder
            names = [intent.intent_id for intent in journal.intents()]
            assert names == [f"{n:016x}" for n in range(len(names))]
            assert len(names) in (last + 1, last + 2)  # one more may be on disk than there was time to tell
            orders = [order.request.client_id for order in journal.orders(unfinished=True)]
            assert orders == names  # an intent and its orders are there together
            assert journal.pairs() == [PairRecord("BTC", "leading", names[-1])]
            written = len(names)


def test_a_second_engine_is_refused_and_a_reader_is_not(
    journal: Journal, identity: Identity, leading: PairRecord
) -> None:
    with pytest.raises(SettingsError, match="another engine writes"):
        Journal.open(journal.path, identity)
    with Journal.read(journal.path) as reader:
        journal.record_pair(leading)
        assert reader.pairs() == [leading]
    journal.close()
    Journal.open(journal.path, identity).close()


def test_a_journal_of_other_money_is_refused_with_both_named(journal: Journal, identity: Identity) -> None:
    journal.close()
    other = replace(identity, venue="binance", capital_quote=Decimal(5), opened_ms=7)
    with pytest.raises(SettingsError, match="venue is simulated there and binance here; capital_quote is"):
        Journal.open(journal.path, other)
    with Journal.open(journal.path, replace(identity, opened_ms=7)) as again:
        assert again.identity == identity


def test_a_file_of_another_version_or_of_another_program_is_refused(
    tmp_path: Path, journal: Journal, identity: Identity
) -> None:
    journal.close()
    with sqlite3.connect(journal.path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaMismatchError, match="version 99"):
        Journal.open(journal.path, identity)
    text = tmp_path / "text.db"
    text.write_text("no database, but long enough to be looked at as one " * 10)
    with pytest.raises(SchemaMismatchError, match="is no journal"):
        Journal.read(text)
    with pytest.raises(SettingsError, match="no journal at"):
        Journal.read(tmp_path / "nowhere.db")


@pytest.mark.pitfall("P12")
def test_what_comes_twice_counts_once(
    journal: Journal,
    opening: Opening,
    intent: Intent,
    leading: PairRecord,
    order: Orders,
    fill: Fills,
    report: Reports,
) -> None:
    trade = fill(order(), "t1")
    payment = FundingPayment("p1", "BTC", Decimal(1), 3_000)
    moved = TransferReport("x1", Decimal(5), Wallet.SPOT, 3_200)
    journal.record_opening(opening)
    journal.record_intent(intent, leading, [order()])
    assert journal.record_report(report(order(), trade), 2_200) == [trade]
    assert journal.record_report(report(order(), trade), 2_300) == []
    assert journal.record_fills([trade, replace(trade, leg="perp")]) == [replace(trade, leg="perp")]
    assert journal.record_funding([payment, payment]) == [payment]
    assert journal.record_funding([payment]) == []
    assert journal.record_foreign_transfer(moved)
    assert not journal.record_foreign_transfer(moved)
    assert len(list(journal.events())) == 4
    assert journal.order(order().request.client_id).ended_ms == 2_200
    with pytest.raises(InvariantBroken, match="has been opened"):
        journal.record_opening(opening)


def test_a_late_report_takes_nothing_back(
    journal: Journal, intent: Intent, leading: PairRecord, order: Orders, fill: Fills, report: Reports
) -> None:
    journal.record_intent(intent, leading, [order()])
    client_id = order().request.client_id
    part = fill(order(), "t1", qty="0.04")
    journal.record_report(report(order(), part, status=OrderStatus.OPEN), 2_200)
    assert [known.request.client_id for known in journal.orders(unfinished=True)] == [client_id]
    journal.record_report(report(order(), part, fill(order(), "t2", qty="0.06")), 2_300)
    journal.record_report(report(order(), part, status=OrderStatus.OPEN), 2_400)
    ended = journal.order(client_id)
    assert ended.finished
    assert (ended.status, ended.filled, ended.ended_ms) == (OrderStatus.FILLED, Decimal("0.10"), 2_300)
    assert journal.orders(unfinished=True) == []


def test_follow_up_orders_and_the_new_state_are_written_with_the_report_or_not_at_all(
    journal: Journal, intent: Intent, leading: PairRecord, order: Orders, fill: Fills, report: Reports
) -> None:
    journal.record_intent(intent, leading, [order()])
    chasing = replace(leading, state="chasing")
    arrived = order("perp", status=OrderStatus.FILLED)
    journal.record_orders([arrived])
    with pytest.raises(InvariantBroken, match="cannot be used again"):
        journal.record_report(report(order(), fill(order(), "t1")), 2_200, [order("perp")], chasing)
    assert journal.fills() == []
    assert journal.order(order().request.client_id).status is None
    assert journal.pairs() == [leading]
    journal.record_report(report(order(), fill(order(), "t1")), 2_200, [order("perp", 1)], chasing)
    assert journal.pairs() == [chasing]
    assert order("perp", 1) in journal.orders(unfinished=True)


@pytest.mark.pitfall("P11")
def test_an_order_is_sent_again_by_its_name_and_never_becomes_another(
    journal: Journal, intent: Intent, leading: PairRecord, order: Orders, report: Reports
) -> None:
    client_id = order().request.client_id
    journal.record_intent(intent, leading, [order()])
    journal.record_lost(client_id, 6_000)
    assert journal.order(client_id).lost
    assert journal.orders(unfinished=True) == []

    journal.record_orders([order(valid_until_ms=9_000, journalled_ms=6_100)])
    again = journal.order(client_id)
    assert (again.lost, again.ended_ms, again.valid_until_ms) == (False, None, 9_000)

    larger = order(request=replace(order().request, qty=Decimal(1)))
    with pytest.raises(InvariantBroken, match="cannot be used again"):
        journal.record_orders([larger])
    decision = Decision("decision00000000", "BTC", 1.0, 1, 2, "person")
    with pytest.raises(InvariantBroken, match="cannot be used again"):
        journal.record_intent(replace(intent, intent_id="another"), leading, [larger], decision)
    assert (journal.decisions(), len(journal.intents())) == ([], 1)  # nothing of it is there
    journal.record_intent(intent, leading, (), decision)
    assert journal.decisions() == [decision]
    journal.record_report(report(order(), status=OrderStatus.CANCELED), 7_000)
    with pytest.raises(InvariantBroken, match="cannot be used again"):
        journal.record_orders([order()])
    with pytest.raises(InvariantBroken, match="cannot be lost"):
        journal.record_lost(client_id, 7_100)


def test_an_order_that_was_taken_for_lost_and_turns_up_is_ours_again(
    journal: Journal, intent: Intent, leading: PairRecord, order: Orders, fill: Fills, report: Reports
) -> None:
    journal.record_intent(intent, leading, [order()])
    journal.record_lost(order().request.client_id, 6_000)
    journal.record_report(report(order(), fill(order(), "t1")), 7_000)
    found = journal.order(order().request.client_id)
    assert (found.lost, found.status, found.ended_ms) == (False, OrderStatus.FILLED, 7_000)


def test_an_order_of_ours_that_was_never_written_down_is_no_order_of_this_engine(
    journal: Journal, order: Orders, report: Reports
) -> None:
    with pytest.raises(InvariantBroken, match="never written down"):
        journal.record_report(report(order()), 2_200)
    with pytest.raises(InvariantBroken, match="never written down"):
        journal.record_lost(order().request.client_id, 2_200)


@pytest.mark.pitfall("P14")
def test_a_trade_gets_its_orders_name_where_the_venue_tells_only_its_own(
    journal: Journal, intent: Intent, leading: PairRecord, order: Orders, fill: Fills, report: Reports
) -> None:
    journal.record_intent(intent, leading, [order()])
    early = fill(order(), "t1", qty="0.04", client_id=None)
    named = fill(order(), "t0", qty="0.01")
    foreign = fill(order(), "t9", client_id=None, venue_order_id="by hand", side=Side.SELL)
    assert journal.record_fills([named, early, foreign]) == [named, early, foreign]

    journal.record_report(report(order(), early, status=OrderStatus.OPEN), 2_200)  # now its name is known
    client_id = order().request.client_id
    assert [trade.client_id for trade in journal.fills()] == [client_id, client_id, None]
    assert journal.order(client_id).booked == Decimal("0.05")

    late = fill(order(), "t2", qty="0.05", client_id=None)
    assert journal.record_fills([late]) == [replace(late, client_id=client_id)]
    known = journal.order(client_id)
    assert known.booked == known.filled == Decimal("0.10")
    references = [event.reference for event in journal.events()]
    assert references == [order().reference, order().reference, foreign.price, order().reference]


@pytest.mark.pitfall("P13")
def test_a_transfer_is_settled_once_lost_or_foreign(journal: Journal) -> None:
    asked = TransferRecord("k1", "BTC", Decimal(100), Wallet.FUTURES, 3_000)
    journal.record_transfer(asked)
    assert journal.transfers(unsettled=True) == [asked]
    assert list(journal.events()) == []  # nothing is booked that is not known to have happened

    arrived = TransferReport("x1", Decimal(100), Wallet.FUTURES, 3_500)
    journal.record_foreign_transfer(arrived)  # it was seen before it was known to be ours
    journal.settle_transfer("k1", arrived)
    journal.settle_transfer("k1", arrived)
    assert journal.transfers() == [asked.settled(arrived)]
    journal.settle_transfer("k1", None)  # what has happened cannot be lost
    assert not journal.transfers()[0].lost

    journal.record_transfer(replace(asked, key="k2"))
    with pytest.raises(InvariantBroken, match="x1 is k1 and cannot be k2"):
        journal.settle_transfer("k2", arrived)
    journal.settle_transfer("k2", None)
    assert journal.transfers(unsettled=True) == []
    assert [event.key for event in journal.events()] == ["k1"]


def test_events_come_in_the_order_of_the_venue_not_of_their_arrival(
    journal: Journal, opening: Opening, order: Orders, fill: Fills
) -> None:
    journal.record_funding(
        [FundingPayment("p2", "BTC", Decimal(2), 900), FundingPayment("p1", "BTC", Decimal(1), 800)]
    )
    journal.record_fills(
        [fill(order(), "t2", ts_ms=850, client_id=None), fill(order(), "t1", ts_ms=800, client_id=None)]
    )
    prices = Valuation(800, "BTC", Decimal(1), Decimal(1), Decimal(1))
    journal.record_statement(Statement(800, opening.balances, (), Decimal(1)), [prices])
    happened = [getattr(event, "ts_ms", None) or event.fill.ts_ms for event in journal.events()]
    assert happened == [800, 800, 800, 850, 900]
    assert [type(event).__name__ for event in journal.events()][:3] == [
        "BookedFill",
        "FundingPayment",
        "Valuation",
    ]
    assert len(list(journal.events(since_ms=850))) == 2


def test_the_first_statement_since_an_instant_is_found_without_reading_the_others(
    journal: Journal, opening: Opening
) -> None:
    said = [Statement(at_ms, opening.balances, (), Decimal(at_ms), at_ms) for at_ms in (800, 900, 950)]
    for statement in said:
        journal.record_statement(statement)
    assert [journal.first_statement(since_ms) for since_ms in (0, 801, 951)] == [said[0], said[1], None]


def test_what_was_stated_more_than_a_day_ago_is_kept_once_an_hour(journal: Journal, opening: Opening) -> None:
    hour_ms, minute_ms = 3_600_000, 60_000
    told = range(1_000, 1_000 + 26 * hour_ms, 10 * minute_ms)
    for at_ms in told:
        prices = [Valuation(at_ms, ticker, Decimal(1), Decimal(1), Decimal(1)) for ticker in ("BTC", "ETH")]
        journal.record_statement(Statement(at_ms, opening.balances, (), Decimal(1)), prices)
    old = [at_ms for at_ms in told if at_ms < hour_ms]
    kept = [old[0], *told[len(old) :]]
    assert [statement.ts_ms for statement in journal.statements()] == kept
    assert [value.ts_ms for value in journal.valuations() if value.ticker == "BTC"] == kept
    assert [value.ts_ms for value in journal.valuations() if value.ticker == "ETH"] == kept


def test_a_disk_that_refuses_is_an_error_that_stops_the_engine(journal: Journal, leading: PairRecord) -> None:
    journal.record_pair(leading)
    journal._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(InvariantBroken, match="nothing may be sent"):
        journal.record_alert(Alert(0, Severity.INFO, None, "x" * 1_000_000))
    assert journal.pairs() == [leading]
