"""The imagined venue fills, charges and refuses as a real one does, and sends nothing."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from carryflow.core.costs import CostSettings
from carryflow.core.errors import (
    AmbiguousError,
    MarketDataError,
    RejectedError,
    RetryableError,
    UnknownTickerError,
)
from carryflow.core.instrument import ContractType, Instrument
from carryflow.execution.books import Books
from carryflow.execution.intents import Intent
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import (
    Alert,
    Identity,
    Opening,
    OrderRecord,
    PairRecord,
    Purpose,
    Statement,
)
from carryflow.execution.market import Book, Mark
from carryflow.execution.orders import OrderRequest, OrderStatus, Side, TimeInForce, Wallet
from carryflow.execution.paper.venue import PaperVenue
from carryflow.execution.ports import TradingVenue

D = Decimal
HOUR_MS = 3_600_000
COSTS = CostSettings(fee_in_base=True)


class Market:
    """A market that stands still until a test moves it, and a clock."""

    def __init__(self) -> None:
        self.at_ms = 1_000
        self.books = {
            (leg, "BTC"): Book(
                leg,
                "BTC",
                ((D("99.9"), D(1)), (D("99.8"), D(2))),
                ((D("100.1"), D(1)), (D("100.2"), D(2))),
                self.at_ms,
            )
            for leg in ("spot", "perp")
        }
        self.marks = {"BTC": Mark("BTC", D(100), None, D("0.0001"), 8 * HOUR_MS, self.at_ms)}
        self.quiet = False

    def now_ms(self) -> int:
        return self.at_ms

    async def sleep(self, seconds: float) -> None:
        self.at_ms += round(seconds * 1_000)

    async def book(self, leg: Any, ticker: str) -> Book:
        if self.quiet:
            raise RetryableError("nothing is known of it")
        return self.books[leg, ticker]

    async def mark(self, ticker: str) -> Mark:
        if self.quiet:
            raise RetryableError("nothing is known of it")
        return self.marks[ticker]

    async def quote_price(self) -> Decimal | None:
        return None

    def show(self, leg: Any, bid: str, ask: str) -> None:
        """Show one level a side, of five coins."""
        self.books[leg, "BTC"] = Book(leg, "BTC", ((D(bid), D(5)),), ((D(ask), D(5)),), self.at_ms)


def contract(leg: str) -> Instrument:
    kind = ContractType.SPOT if leg == "spot" else ContractType.LINEAR
    sizes = map(D, ("1", "0.1", "0.001", "0.001", "5"))
    return Instrument("paper", "BTC", "BTC", kind, "BTC", "USDT", "USDT", *sizes)


INSTRUMENTS: Any = {(leg, "BTC"): contract(leg) for leg in ("spot", "perp")}


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def venue(market: Market) -> PaperVenue:
    return PaperVenue(market, INSTRUMENTS, COSTS, market, "USDT", (D(1_000), D(500)))


def ask(
    name: str,
    leg: Any,
    qty: str,
    price: str,
    time_in_force: TimeInForce = TimeInForce.IOC,
    reduce_only: bool = False,
) -> OrderRequest:
    """Ask for `qty` (signed) at a limit."""
    side = Side.BUY if D(qty) > 0 else Side.SELL
    return OrderRequest(name, leg, "BTC", side, abs(D(qty)), D(price), time_in_force, reduce_only)


def run(*steps: Coroutine[Any, Any, Any]) -> Any:
    """Run steps one after the other, and return what the last one says."""

    async def all_of_them() -> Any:
        for step in steps:
            said = await step
        return said

    return asyncio.run(all_of_them())


@pytest.mark.pitfall("P15")
def test_an_order_walks_the_book_to_its_limit_and_pays_in_the_coin_bought(venue: PaperVenue) -> None:
    port: TradingVenue = venue
    report = run(port.submit(ask("a", "spot", "2", "100.2"), 9_999))
    assert [(fill.price, fill.qty) for fill in report.fills] == [(D("100.1"), D(1)), (D("100.2"), D(1))]
    assert [(fill.fee, fill.fee_asset) for fill in report.fills] == [(D("0.001"), "BTC")] * 2
    assert (report.status, report.filled) == (OrderStatus.FILLED, D(2))
    balances = run(venue.balances())
    assert balances.spot == {"USDT": D("799.7"), "BTC": D("1.998")}
    sold = run(venue.submit(ask("b", "spot", "-1", "99.9"), 9_999))
    assert (sold.fills[0].fee, sold.fills[0].fee_asset) == (D("0.0999"), "USDT")


def test_no_quantity_is_sold_twice_until_the_market_shows_it_anew(venue: PaperVenue, market: Market) -> None:
    first = run(venue.submit(ask("a", "spot", "1.5", "100.2"), 9_999))
    second = run(venue.submit(ask("b", "spot", "3", "100.2"), 9_999))
    assert (first.filled, second.filled) == (D("1.5"), D("1.5"))
    assert second.status is OrderStatus.CANCELED
    market.books["spot", "BTC"] = replace(
        market.books["spot", "BTC"], asks=((D("100.1"), D("0.9")), (D("100.2"), D(2)))
    )
    third = run(venue.submit(ask("c", "spot", "3", "100.2"), 9_999))
    assert [(fill.price, fill.qty) for fill in third.fills] == [(D("100.1"), D("0.9"))]


def test_fill_or_kill_fills_all_or_nothing(venue: PaperVenue) -> None:
    killed = run(venue.submit(ask("a", "spot", "3.001", "100.2", TimeInForce.FOK), 9_999))
    filled = run(venue.submit(ask("b", "spot", "3", "100.2", TimeInForce.FOK), 9_999))
    assert (killed.status, killed.filled) == (OrderStatus.CANCELED, D(0))
    assert (filled.status, filled.filled) == (OrderStatus.FILLED, D(3))


def test_an_order_that_rests_is_filled_as_maker_when_the_market_has_passed_it(
    venue: PaperVenue, market: Market
) -> None:
    resting = run(venue.submit(ask("a", "spot", "1", "99.9", TimeInForce.POST_ONLY), 9_999))
    assert (resting.status, resting.filled) == (OrderStatus.OPEN, D(0))
    balances = run(venue.balances())
    assert (balances.spot["USDT"], balances.spot_free["USDT"]) == (D(1_000), D("900.1"))
    market.show("spot", "99.8", "99.9")
    assert run(venue.find("spot", "BTC", "a")).status is OrderStatus.OPEN
    market.show("spot", "99.7", "99.8")
    found = run(venue.find("spot", "BTC", "a"))
    assert (found.status, found.fills[0].price, found.fills[0].maker) == (OrderStatus.FILLED, D("99.9"), True)
    assert run(venue.open_orders()) == []


def test_what_an_order_that_may_rest_does_not_fill_at_once_lies(venue: PaperVenue, market: Market) -> None:
    part = run(venue.submit(ask("a", "perp", "-4", "99.8", TimeInForce.GTC), 9_999))
    assert (part.status, part.filled) == (OrderStatus.OPEN, D(3))
    assert run(venue.find("perp", "BTC", "a")) == part  # the bids that are still shown have been taken
    market.show("perp", "99.9", "100")
    whole = run(venue.find("perp", "BTC", "a"))
    assert [(fill.qty, fill.maker, fill.fee) for fill in whole.fills] == [
        (D(1), False, D("0.04995")),
        (D(2), False, D("0.0998")),
        (D(1), True, D("0.01996")),
    ]
    assert len({fill.trade_id for fill in run(venue.fills("perp", "BTC", 0))}) == 3


def test_a_cancelled_order_keeps_what_was_filled_and_stays_ended(venue: PaperVenue) -> None:
    run(venue.submit(ask("a", "perp", "-4", "99.8", TimeInForce.GTC), 9_999))
    cancelled = run(venue.cancel("perp", "BTC", "a"))
    assert (cancelled.status, cancelled.filled) == (OrderStatus.CANCELED, D(3))
    assert run(venue.cancel("perp", "BTC", "a")) == cancelled
    assert run(venue.cancel("perp", "BTC", "nobody")) is None
    assert run(venue.find("spot", "BTC", "a")) is None
    run(venue.submit(ask("b", "spot", "1", "99", TimeInForce.GTC), 9_999), venue.cancel_all("spot", "BTC"))
    assert run(venue.open_orders()) == []


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (ask("a", "spot", "0.0005", "100"), "on the lot"),
        (ask("a", "spot", "0.1005", "100"), "on the lot"),
        (ask("a", "spot", "1", "100.05"), "on the tick"),
        (ask("a", "spot", "0.04", "100"), "a value of at least 5"),
        (ask("a", "spot", "10.1", "100"), "1010"),
        (ask("a", "spot", "-1", "99"), "1.000 BTC|1 BTC, there is 0"),
        (ask("a", "perp", "101", "100"), "a margin of 505.00"),
        (ask("a", "spot", "1", "100.1", TimeInForce.POST_ONLY), "filled at once"),
        (ask("a", "perp", "-1", "99", reduce_only=True), "makes the position of 0 smaller"),
    ],
)
def test_what_a_venue_would_refuse_is_refused(venue: PaperVenue, order: OrderRequest, words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        run(venue.submit(order, 9_999))
    assert run(venue.find(order.leg, "BTC", "a")) is None
    assert run(venue.balances()).spot == {"USDT": D(1_000)}


@pytest.mark.pitfall("P10")
def test_a_close_that_is_played_again_never_turns_the_position_around(venue: PaperVenue) -> None:
    run(venue.submit(ask("a", "perp", "-1", "99.9"), 9_999))
    closed = run(venue.submit(ask("b", "perp", "1.5", "100.2", reduce_only=True), 9_999))
    assert (closed.filled, closed.status) == (D(1), OrderStatus.CANCELED)
    assert run(venue.positions()) == []
    with pytest.raises(RejectedError, match="makes the position of 0"):
        run(venue.submit(ask("c", "perp", "1.5", "100.2", reduce_only=True), 9_999))


@pytest.mark.pitfall("P11")
def test_an_order_is_taken_once_and_not_after_its_time(venue: PaperVenue) -> None:
    run(venue.submit(ask("a", "spot", "1", "100.1"), 1_000))
    with pytest.raises(AmbiguousError, match="was sent before"):
        run(venue.submit(ask("a", "spot", "1", "100.2"), 9_999))
    with pytest.raises(RejectedError, match="was valid until 999"):
        run(venue.submit(ask("b", "spot", "1", "100.2"), 999))


def test_a_market_that_is_not_seen_fills_nothing_and_may_be_asked_again(
    venue: PaperVenue, market: Market
) -> None:
    run(venue.submit(ask("p", "perp", "-1", "99.9"), 9_999))
    market.quiet = True
    with pytest.raises(RetryableError):
        run(venue.submit(ask("a", "spot", "1", "100.2"), 9_999))
    assert len(run(venue.positions())) == 1
    market.quiet = False
    assert run(venue.submit(ask("a", "spot", "1", "100.2"), 9_999)).filled == 1
    with pytest.raises(UnknownTickerError):
        venue.instrument("spot", "DOGE")


@pytest.mark.parametrize("silent", ["book", "mark"])
def test_a_market_with_an_empty_side_fills_nothing_and_may_be_asked_again(
    venue: PaperVenue, market: Market, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    async def empty(*asked: Any) -> Any:
        raise MarketDataError("nobody buys")

    with monkeypatch.context() as patched:
        patched.setattr(market, silent, empty)
        with pytest.raises(RetryableError, match="nobody buys"):
            run(venue.submit(ask("a", "perp", "-1", "99.9"), 9_999))
    assert run(venue.submit(ask("a", "perp", "-1", "99.9"), 9_999)).filled == 1


@pytest.mark.pitfall("P02")
@pytest.mark.parametrize("side", [1, -1])
def test_funding_is_settled_once_at_its_instant_and_a_positive_rate_debits_longs(
    venue: PaperVenue, market: Market, side: int
) -> None:
    run(venue.submit(ask("a", "perp", str(side), "100.1" if side > 0 else "99.9"), 9_999))
    before = run(venue.balances()).futures
    market.at_ms = 8 * HOUR_MS - 1
    assert run(venue.funding_payments(0)) == []
    market.at_ms = 8 * HOUR_MS + 500
    (paid,) = run(venue.funding_payments(0))  # the mark still names the settlement that has just been
    assert (paid.amount, paid.ts_ms) == (-side * D("0.01"), 8 * HOUR_MS)
    market.marks["BTC"] = replace(market.marks["BTC"], next_funding_ms=16 * HOUR_MS)
    market.at_ms = 9 * HOUR_MS
    assert run(venue.funding_payments(0)) == [paid]
    assert run(venue.balances()).futures == before + paid.amount


@pytest.mark.pitfall("P05")
def test_a_position_whose_funding_nobody_would_tell_is_not_opened(venue: PaperVenue, market: Market) -> None:
    run(venue.submit(ask("a", "perp", "-1", "99.9"), 9_999))
    known = market.marks["BTC"]
    for silent in (replace(known, funding_rate=None), replace(known, next_funding_ms=None)):
        market.marks["BTC"] = silent
        with pytest.raises(RejectedError, match="names no coming funding"):
            run(venue.submit(ask("b", "perp", "-1", "99.8"), 9_999))
    market.at_ms = 8 * HOUR_MS  # what was told while it was held is settled nevertheless
    assert [payment.amount for payment in run(venue.funding_payments(0))] == [D("0.01")]
    assert run(venue.submit(ask("c", "perp", "1", "100.1", reduce_only=True), 9 * HOUR_MS)).filled == 1


@pytest.mark.pitfall("P13")
def test_transfers_conserve_money_and_are_refused_beyond_what_is_free(
    venue: PaperVenue, market: Market
) -> None:
    run(venue.submit(ask("a", "spot", "1", "90", TimeInForce.GTC), 9_999))
    with pytest.raises(RejectedError, match=r"910 can"):
        run(venue.transfer(D("910.01"), Wallet.FUTURES))
    moved = run(venue.transfer(D("910"), Wallet.FUTURES))
    balances = run(venue.balances())
    assert (balances.spot["USDT"], balances.futures) == (D(90), D(1_410))
    assert run(venue.transfers(0)) == [moved]
    run(venue.submit(ask("b", "perp", "-1", "99.9"), 9_999))  # 100 at 20 times is 5 of margin
    with pytest.raises(RejectedError, match="can; ask for less"):
        run(venue.transfer(D(1_405), Wallet.SPOT))
    run(venue.transfer(D(1_404), Wallet.SPOT))
    assert run(venue.balances()).spot["USDT"] == D(1_494)


@pytest.mark.pitfall("P13")
@pytest.mark.pitfall("P14")
@pytest.mark.parametrize(("mark", "fee"), [("265.8", "0.95005"), ("267", "-0.24995"), ("300", "-33.24995")])
def test_a_margin_that_is_gone_closes_the_position_and_leaves_no_debt(
    market: Market, mark: str, fee: str
) -> None:
    """A short of one at 99.9 on 166.90: the margin is 0.95 at 265.8, −0.25 at 267, −33.25 at 300."""
    venue = PaperVenue(market, INSTRUMENTS, COSTS, market, "USDT", (D(0), D("166.90")))
    run(venue.submit(ask("a", "perp", "-1", "99.9"), 9_999))
    market.marks["BTC"] = replace(market.marks["BTC"], price=D("264.9"))
    assert len(run(venue.positions())) == 1  # 1.85 left, and 1.06 are asked for
    market.marks["BTC"] = replace(market.marks["BTC"], price=D(mark))
    market.at_ms = 2_000
    assert run(venue.positions()) == []
    closed = run(venue.fills("perp", "BTC", 0))[-1]
    assert (closed.client_id, closed.side, closed.venue_order_id[:9]) == (None, Side.BUY, "autoclose")
    assert closed.fee == D(fee)  # what is left of the margin, or what the venue's fund bears
    assert run(venue.balances()).futures == 0


def journalled(journal: Journal, intent: Intent, request: OrderRequest) -> None:
    record = OrderRecord(request, intent.intent_id, 0, Purpose.LEAD, D(100), 9_999, 1_000)
    journal.record_intent(intent, PairRecord("BTC", "leading", intent.intent_id), [record])


@pytest.mark.pitfall("P12")
def test_a_venue_that_is_resumed_holds_what_the_journal_knows_and_nothing_else(
    tmp_path: Path, identity: Identity, market: Market, intent: Intent
) -> None:
    money = replace(identity, tickers=("BTC",), capital_quote=D(2_000))
    with Journal.open(tmp_path / "paper.db", money) as journal:
        venue = PaperVenue.resume(journal, market, INSTRUMENTS, COSTS, market)
        balances = run(venue.balances())
        assert (balances.spot["USDT"], balances.futures) == (D(1_000), D(1_000))
        journal.record_opening(Opening(balances, {"BTC": (D(1_000), D(1_000))}))
        for request in (
            ask("a", "spot", "2", "100.2"),
            ask("b", "perp", "-4", "99.8", TimeInForce.GTC),
        ):
            journalled(journal, intent, request)
            journal.record_report(run(venue.submit(request, 9_999)), 1_000)
        market.at_ms = 8 * HOUR_MS
        market.show("perp", "99.7", "99.8")
        journal.record_funding(run(venue.funding_payments(0)))
        journal.record_foreign_transfer(run(venue.transfer(D(50), Wallet.FUTURES)))
        known = run(venue.balances()), run(venue.positions()), run(venue.open_orders())

        unknown = ask("c", "spot", "1", "100.2")  # sent, and the engine died before it could write the answer
        journalled(journal, intent, unknown)
        run(venue.submit(unknown, 8 * HOUR_MS))

        resumed = PaperVenue.resume(journal, market, INSTRUMENTS, COSTS, market)
        assert (run(resumed.balances()), run(resumed.positions())) == known[:2]
        assert [found.client_id for found in run(resumed.open_orders())] == ["b"]
        assert run(resumed.find("spot", "BTC", "c")) is None
        assert run(resumed.transfers(0)) == run(venue.transfers(0))
        assert run(resumed.funding_payments(0)) == run(venue.funding_payments(0))
        assert run(resumed.transfer(D(1), Wallet.SPOT)).transfer_id == "paper-2"
        assert Books.fold(journal).spot_cash == known[0].spot["USDT"]


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize(("hours", "told"), [(0.5, 0), (9.0, 1)])
def test_funding_that_came_due_while_nothing_ran_is_not_settled_and_that_is_said(
    tmp_path: Path, identity: Identity, market: Market, intent: Intent, hours: float, told: int
) -> None:
    money = replace(identity, tickers=("BTC",), capital_quote=D(2_000))
    with Journal.open(tmp_path / "paper.db", money) as journal:
        venue = PaperVenue.resume(journal, market, INSTRUMENTS, COSTS, market)
        balances = run(venue.balances())
        journal.record_opening(Opening(balances, {"BTC": (D(1_000), D(1_000))}))
        request = ask("b", "perp", "-1", "99.8")
        journalled(journal, intent, request)
        journal.record_report(run(venue.submit(request, 9_999)), 1_000)
        journal.record_statement(Statement(1_000, balances, (), D(2_000)))
        market.at_ms += round(hours * HOUR_MS)
        alerts: list[Alert] = []
        resumed = PaperVenue.resume(journal, market, INSTRUMENTS, COSTS, market, alerts.append)
        assert run(resumed.funding_payments(0)) == []
        assert len(alerts) == told
        assert all("-1 BTC" in alert.words and "is not settled" in alert.words for alert in alerts)
