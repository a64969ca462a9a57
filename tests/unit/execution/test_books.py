"""What a journal comes to equals what the venue says there is."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from carryflow.core.account import Column, residual
from carryflow.core.errors import InvariantBroken
from carryflow.execution.books import Books
from carryflow.execution.intents import Intent
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import (
    BookedFill,
    Event,
    Identity,
    Opening,
    OrderRecord,
    PairRecord,
    Statement,
    TransferRecord,
    Valuation,
)
from carryflow.execution.orders import Fill, FundingPayment, OrderReport, Side, TransferReport, Wallet
from carryflow.execution.pair_book import PairBook

Orders = Callable[..., OrderRecord]
Fills = Callable[..., Fill]
Reports = Callable[..., OrderReport]

D = Decimal


def trade(leg: str, qty: str, price: str, fee: str, asset: str, ts_ms: int) -> BookedFill:
    """Make a trade of `qty` (signed) whose slippage is counted from 50 000 (spot) and 50 020 (perp)."""
    side = Side.BUY if D(qty) > 0 else Side.SELL
    reference = D(50_000 if leg == "spot" else 50_020)
    fill = Fill(
        f"{leg}{ts_ms}", None, "v", leg, "BTC", side, abs(D(qty)), D(price), D(fee), asset, False, ts_ms
    )
    return BookedFill(fill, reference)


def moved(amount: str, to: Wallet, ticker: str | None = "BTC") -> TransferRecord:
    report = TransferReport("x", D(amount), to, 60)
    return TransferRecord("k", ticker, D(amount), to, 55).settled(report)


# Two purchases whose fees are taken in BTC, two sales of the perpetual on the coins that are left of them,
# funding, a transfer, and all of it closed again. Amounts are what a venue's statement would say, by hand.
STATEMENT: list[tuple[Event, dict[str, str]]] = [
    # 0.1 × 50 000 = 5 000; 0.1 % of 0.1 is kept
    (
        trade("spot", "0.10000", "50000.00", "0.00010000", "BTC", 10),
        {"spot_qty": "0.09990000", "spot_cash": "5000.00", "wallet": "10000"},
    ),
    # 0.08 × 50 010.5 = 4 000.84; 0.1 % of 0.08 is kept
    (
        trade("spot", "0.08000", "50010.50", "0.00008000", "BTC", 20),
        {"spot_qty": "0.17982000", "spot_cash": "999.16", "wallet": "10000"},
    ),
    # 0.17982 on a lot of 0.0001 is 0.1798, in two trades; 5 bp of 5 002
    (
        trade("perp", "-0.1000", "50020.00", "2.50100000", "USDT", 30),
        {"perp_qty": "-0.1000", "wallet": "9997.499"},
    ),
    # 5 bp of 3 991.197
    (
        trade("perp", "-0.0798", "50015.00", "1.99559850", "USDT", 40),
        {"perp_qty": "-0.1798", "wallet": "9995.5034015", "delta": "0.00002"},
    ),
    (FundingPayment("p", "BTC", D("0.90259600"), 50), {"wallet": "9996.4059975"}),
    (moved("500", Wallet.FUTURES), {"spot_cash": "499.16", "wallet": "10496.4059975"}),
    # 0.1798 × 50 500.25 = 9 079.94495, less 10 bp of it
    (
        trade("spot", "-0.17980", "50500.25", "9.07994495", "USDT", 70),
        {"spot_qty": "0.00002000", "spot_cash": "9570.02500505"},
    ),
    # sold for 5 002 + 3 991.197, bought back for 9 081.698: −88.501; 5 bp of the latter
    (
        trade("perp", "0.1798", "50510.00", "4.54084900", "USDT", 80),
        {"perp_qty": "0.0000", "wallet": "10403.36414850", "delta": "0.00002"},
    ),
]


@pytest.mark.pitfall("P15")
def test_the_books_equal_a_statement_worked_by_hand_to_the_last_unit() -> None:
    books = Books("USDT", {"BTC": (D(10_000), D(10_000))})
    pair = books.pairs["BTC"]
    for event, line in STATEMENT:
        books.apply(event)
        exact = {
            "spot_qty": pair.spot_qty,
            "spot_cash": pair.spot_cash,
            "perp_qty": pair.perp_qty,
            "delta": pair.delta_base,
            "wallet": D(books.futures_wallet).quantize(D("1e-8")),
        }
        for name, value in line.items():
            assert exact[name] == D(value), f"{name} after {event}"
    books.apply(Valuation(90, "BTC", D(50_500), D(50_510), D(50_505)))
    assert books.equity == pytest.approx(9570.02500505 + 10403.36414850 + 0.00002 * 50_500, abs=1e-8)
    parts = books.parts
    # 0.00018 BTC at 50 000, and what was paid in USDT
    assert parts["fees"] == pytest.approx(-(9.0 + 2.501 + 1.9955985 + 9.07994495 + 4.540849), abs=1e-8)
    assert parts["funding"] == pytest.approx(0.902596, abs=1e-8)
    # 0.08 × 10.5 dearer, 0.1798 × 500.25 better; perp 0.0798 × 5 worse and 0.1798 × 490 dearer
    assert parts["slippage"] == pytest.approx(-0.84 + 89.94495 - 0.399 - 88.102, abs=1e-8)
    assert sum(parts.values()) == pytest.approx(books.equity - books.opening_equity, abs=1e-8)
    assert books.opening_equity == 20_000


@pytest.mark.pitfall("P15")
def test_a_position_that_is_closed_is_exactly_flat_after_many_trades() -> None:
    pair = PairBook("BTC", "USDT", D(10_000), D(10_000))
    draw = np.random.default_rng(5)
    for n in range(2_000):
        lots = D(int(draw.integers(1, 50))) * D("0.001")
        price = str(50_000 + int(draw.integers(-500, 500)))
        opened = trade("perp", str(-lots), price, "0.1", "USDT", n)
        pair.apply_fill(opened.fill, opened.reference)
        closed = trade("perp", str(lots), price, "0.1", "USDT", n)
        pair.apply_fill(closed.fill, closed.reference)
    assert pair.account[Column.PERP_QTY] == 0.0
    assert D(float(pair.account[Column.PERP_WALLET])).quantize(D("1e-8")) == D(10_000) - D("0.2") * 2_000
    assert abs(residual(pair.account)) < 1e-9 * 20_000


@pytest.mark.pitfall("P12")
def test_a_journal_folded_anew_comes_to_the_books_that_were_kept(
    journal: Journal,
    opening: Opening,
    intent: Intent,
    leading: PairRecord,
    order: Orders,
    fill: Fills,
    report: Reports,
) -> None:
    kept = Books("USDT", opening.allotment)
    bought = fill(order(), "t1", fee="0.0001", fee_asset="BTC", ts_ms=2_100)
    sold = fill(order("perp"), "t2", fee="2.5", ts_ms=2_200)
    journal.record_opening(opening)
    journal.record_intent(intent, leading, [order()])
    journal.record_report(report(order(), bought), 2_200, [order("perp")])
    journal.record_report(report(order("perp"), sold), 2_300)
    funding = FundingPayment("p1", "BTC", D("1.5"), 2_400)
    journal.record_funding([funding])
    valuation = Valuation(2_500, "BTC", D(51_000), D(51_010), D(51_005))
    journal.record_statement(Statement(2_500, opening.balances, (), D(20_000)), [valuation])
    for event in (
        BookedFill(bought, order().reference),
        BookedFill(sold, order().reference),
        funding,
        valuation,
    ):
        kept.apply(event)
    for folded in (Books.fold(journal), Books.fold(journal)):
        assert np.array_equal(folded.pairs["BTC"].account, kept.pairs["BTC"].account)
        assert folded.pairs["BTC"].delta_base == D("-0.0001")
        assert folded.equity == kept.equity
        assert folded.spot_cash == D(10_000) - D("0.10") * D("50001.10")


@pytest.mark.pitfall("P12")
@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_order_and_however_often_things_are_told_the_books_are_the_same(
    tmp_path: Path, identity: Identity, opening: Opening, seed: int
) -> None:
    in_order = Books("USDT", opening.allotment)
    in_order.apply_all(replace_references(event) for event, _ in STATEMENT)
    draw = np.random.default_rng(seed)
    with Journal.open(tmp_path / "journal.db", identity) as journal:
        journal.record_opening(opening)
        for n in [*draw.permutation(len(STATEMENT)), *draw.integers(0, len(STATEMENT), 20)]:
            match STATEMENT[n][0]:
                case BookedFill(fill, _):
                    journal.record_fills([fill])
                case FundingPayment() as payment:
                    journal.record_funding([payment])
                case TransferRecord(key=key) as record:
                    journal.record_transfer(record)
                    journal.settle_transfer(key, TransferReport("x", record.amount, record.to, 60))
        folded = Books.fold(journal)
    assert np.array_equal(folded.pairs["BTC"].account, in_order.pairs["BTC"].account)
    assert folded.pairs["BTC"].spot_qty == in_order.pairs["BTC"].spot_qty


def replace_references(event: Event) -> Event:
    """Count slippage from the price itself, as of a trade without an order in the journal."""
    return BookedFill(event.fill, event.fill.price) if isinstance(event, BookedFill) else event


@pytest.mark.pitfall("P12")
def test_equity_does_not_depend_on_the_order_of_arrival_and_a_late_trade_is_told() -> None:
    events = [event for event, _ in STATEMENT]
    in_order, late = (Books("USDT", {"BTC": (D(10_000), D(10_000))}) for _ in range(2))
    in_order.apply_all(events)
    late.apply_all([events[3], events[2], *events[:2], *events[7:], *events[4:7]])
    for books in (in_order, late):
        books.apply(Valuation(90, "BTC", D(50_500), D(50_510), D(50_505)))
    assert late.equity == pytest.approx(in_order.equity, abs=1e-8)
    assert late.parts == pytest.approx(in_order.parts, abs=1e-8)
    assert late.late
    assert not in_order.late


@pytest.mark.pitfall("P14")
def test_a_trade_that_nobody_ordered_here_changes_the_books_like_ours(
    journal: Journal, opening: Opening, order: Orders, fill: Fills
) -> None:
    journal.record_opening(opening)
    by_hand = fill(order("perp"), "t1", client_id=None, side=Side.BUY, qty="0.5", price="50000", fee="12.5")
    journal.record_fills([by_hand])
    books = Books.fold(journal)
    assert books.pairs["BTC"].delta_base == D("0.5")
    assert books.parts["slippage"] == 0.0
    assert books.futures_wallet == 10_000 - 12.5
    with pytest.raises(InvariantBroken, match="DOGE is not traded here"):
        books.apply(BookedFill(replace(by_hand, ticker="DOGE"), D(1)))


@pytest.mark.pitfall("P13")
def test_money_that_others_move_or_earn_stays_in_the_wallets_and_out_of_the_pairs() -> None:
    books = Books("USDT", {"BTC": (D(10_000), D(10_000))})
    books.apply(moved("700", Wallet.SPOT, ticker=None))
    books.apply(FundingPayment("p", "DOGE", D(3), 70))
    assert (books.spot_cash, books.futures_wallet, books.equity) == (D(10_700), 9_303.0, 20_000.0)
    books.apply(
        TransferRecord("k", "BTC", D(5), Wallet.SPOT, 80)
    )  # asked for, and not known to have happened
    assert books.spot_cash == D(10_700)


def test_a_transfer_conserves_every_last_unit_of_equity() -> None:
    books = Books("USDT", {"BTC": (D("0.30"), D("0.10"))})
    books.apply(moved("0.20000001", Wallet.FUTURES))
    assert books.spot_cash == D("0.09999999")
    assert books.futures_wallet == pytest.approx(0.30000001, abs=1e-12)
    assert books.equity == pytest.approx(0.4, abs=1e-12)


def test_funding_that_is_told_when_its_position_is_gone_is_booked() -> None:
    books = Books("USDT", {"BTC": (D(10_000), D(10_000))})
    books.apply(FundingPayment("p", "BTC", D("-1.25"), 70))
    assert books.parts["funding"] == -1.25
    assert books.futures_wallet == 9_998.75
    assert books.pairs["BTC"].perp_qty == 0


@pytest.mark.parametrize(("leg", "asset"), [("spot", "BNB"), ("perp", "BTC")])
def test_a_fee_in_a_third_coin_is_paid_from_neither_of_our_wallets(leg: str, asset: str) -> None:
    books = Books("USDT", {"BTC": (D(10_000), D(10_000))})
    books.apply(trade(leg, "0.1", "50000", "0.01", asset, 10))
    assert books.pairs["BTC"].delta_base == D("0.1")
    assert books.parts["fees"] == 0.0
    assert books.spot_cash == D(10_000) - (D(5_000) if leg == "spot" else 0)
    assert books.futures_wallet == 10_000.0


def test_of_many_prices_the_last_of_each_coin_are_folded_and_come_to_the_same(
    journal: Journal, opening: Opening, order: Orders, fill: Fills
) -> None:
    journal.record_opening(opening)
    whole = Books("USDT", opening.allotment)
    for n, price in enumerate((49_000, 52_000, 51_000)):
        at_ms = 2_000 + 100 * n
        values = [
            Valuation(at_ms, ticker, D(price), D(price + 10), D(price + 5)) for ticker in ("BTC", "ETH")
        ]
        journal.record_statement(Statement(at_ms, opening.balances, (), D(20_000)), values)
        journal.record_fills(
            [fill(order(), f"s{n}", ts_ms=at_ms + 50), fill(order("perp"), f"p{n}", ts_ms=at_ms)]
        )
    whole.apply_all(journal.events())
    folded = Books.fold(journal)
    assert len(journal.valuations()) == 6
    assert len(journal.last_valuations()) == 2
    assert folded.equity == pytest.approx(whole.equity, abs=1e-8)
    assert folded.parts == pytest.approx(whole.parts, abs=1e-8)
    assert np.allclose(folded.pairs["BTC"].account, whole.pairs["BTC"].account, rtol=0.0, atol=1e-8)


def test_a_ledger_that_differs_from_the_trades_is_found_at_the_next_trade() -> None:
    books = Books("USDT", {"BTC": (D(10_000), D(10_000))})
    books.apply(trade("spot", "0.1", "50000", "0", "USDT", 10))
    books.pairs["BTC"].account[Column.SPOT_CASH] += 1.0
    with pytest.raises(InvariantBroken, match="the ledger says spot_cash"):
        books.apply(trade("spot", "0.1", "50000", "0", "USDT", 20))


def test_profit_that_no_part_explains_is_found_at_the_next_trade() -> None:
    books = Books("USDT", {"BTC": (D(10_000), D(10_000))})
    books.pairs["BTC"].account[Column.FUNDING] += 1.0
    with pytest.raises(InvariantBroken, match="explained by nothing"):
        books.apply(trade("spot", "0.1", "50000", "0", "USDT", 20))


def test_a_journal_without_an_opening_has_no_books(journal: Journal) -> None:
    with pytest.raises(InvariantBroken, match="has no opening"):
        Books.fold(journal)
