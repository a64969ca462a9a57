"""The gap between backtest and venue, one fact at a time: each part is what its cause cost, and they sum."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from carryflow.core.costs import CostSettings
from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.core.leg import Leg
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.evaluation.parity import Chain, Course, Executed, parity
from carryflow.evaluation.parity_courses import read_account
from carryflow.execution.intents import Action, Decision, Intent, client_order_id
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import (
    Identity,
    Mode,
    Opening,
    OrderRecord,
    PairRecord,
    Purpose,
    Statement,
    Valuation,
)
from carryflow.execution.orders import (
    Balances,
    Fill,
    FundingPayment,
    OrderRequest,
    Position,
    Side,
    TimeInForce,
)

TapeMaker = Callable[..., MarketTape]

HOUR_MS = 3_600_000
START_MS = 1_700_006_400_000
DECIDED_MS = START_MS + 2_000
FILLED_MS = START_MS + 5_000
END_MS = START_MS + 24 * HOUR_MS + 60_000
RATES = (0.001, 0.002, 0.003)
FREE = EnvSettings(
    costs=CostSettings(spot_taker_bp=0, perp_taker_bp=0, spot_slippage_bp=0, perp_slippage_bp=0)
)
FUNDING = tuple((START_MS + 8 * (k + 1) * HOUR_MS + 3, 50 * 100 * rate) for k, rate in enumerate(RATES))
SPOT = Executed(FILLED_MS, DECIDED_MS, "spot", 50.0, 100.0, 100.0, 0.0, 0.0)
PERP = Executed(FILLED_MS, DECIDED_MS, "perp", -50.0, 100.0, 100.0, 0.0, 0.0)
COURSE = Course(
    ticker="BTC",
    capital_quote=10_000.0,
    targets=((DECIDED_MS, 1.0),),
    fills=(SPOT, PERP),
    funding=FUNDING,
    end_ms=END_MS,
    prices=(100.0, 100.0, 100.0),
)


@pytest.fixture(scope="module")
def tape(make_tape: TapeMaker) -> MarketTape:
    return make_tape(RATES)


def chain(course: Course, tape: MarketTape, env: EnvSettings = FREE, stated: float = 30.0) -> Chain:
    return parity([course], [tape], env, stated).total


def spot(**changes: object) -> Course:
    return replace(COURSE, fills=(replace(SPOT, **changes), PERP))


def close_to(expected: Chain) -> Chain:
    return Chain(
        *(pytest.approx(getattr(expected, name), abs=1e-9) for name in Chain.__dataclass_fields__)  # type: ignore[arg-type]
    )


def test_what_was_done_as_the_model_does_it_leaves_no_gap(tape: MarketTape) -> None:
    found = chain(COURSE, tape)
    assert found == close_to(Chain(30.0, 0, 0, 0, 0, 0, 10_000.0))
    assert found.explained
    assert found.actual == 30.0


@pytest.mark.parametrize(
    ("course", "part", "cost"),
    [
        (spot(price=100.1), "fills", -5.0),
        (spot(fee_quote=3.0), "fees", -3.0),
        (spot(fee_base=0.05), "fees", -5.0),
        (replace(COURSE, funding=FUNDING[:2]), "funding", -15.0),
        (spot(price=101.0, reference=101.0), "latency", -50.0),
        (spot(decided_ms=None, price=101.0), "fills", -50.0),
    ],
)
def test_each_cause_is_a_part_of_its_own(course: Course, part: str, cost: float, tape: MarketTape) -> None:
    found = chain(course, tape, stated=30.0 + cost)
    parts = dict.fromkeys(("fills", "fees", "funding", "latency"), 0.0) | {part: cost}
    notional = course.notional_quote
    assert found == close_to(Chain(30.0, **parts, unexplained=0.0, notional=notional))


def test_the_models_fees_are_the_backtests_and_the_paid_ones_the_gap(tape: MarketTape) -> None:
    dear = FREE.model_copy(update={"costs": FREE.costs.model_copy(update={"spot_taker_bp": 10.0})})
    found = chain(COURSE, tape, dear)
    # the backtest sets the fee aside before it sizes the pair: 49.95 coins pay 4.995 and earn 29.97
    assert found.backtest == pytest.approx(6 * 4.995005 - 4.995005, abs=1e-3)
    assert found.fees == pytest.approx(5.0)
    assert found.actual == pytest.approx(30.0)


def test_a_fill_after_the_settlement_that_its_decision_came_before_is_latency(tape: MarketTape) -> None:
    late = START_MS + 8 * HOUR_MS + 60_000
    early = START_MS + 7 * HOUR_MS + 2_000
    fills = tuple(replace(fill, ts_ms=late, decided_ms=early) for fill in (SPOT, PERP))
    course = replace(COURSE, targets=((early, 1.0),), fills=fills, funding=FUNDING[1:])
    found = chain(course, tape, stated=25.0)
    assert found.backtest == pytest.approx(30.0)
    assert found.funding == pytest.approx(-5.0)
    assert found.unexplained == pytest.approx(0.0)


def test_a_position_opened_at_a_settlement_is_not_paid_by_it(tape: MarketTape) -> None:
    at = START_MS + 8 * HOUR_MS
    fills = tuple(replace(fill, ts_ms=at + 5_000, decided_ms=at + 100) for fill in (SPOT, PERP))
    course = replace(COURSE, targets=((at + 100, 1.0),), fills=fills, funding=FUNDING[1:])
    found = chain(course, tape, stated=25.0)
    assert found == close_to(Chain(25.0, 0, 0, 0, 0, 0, 10_000.0))


def test_what_the_statement_has_beyond_the_ledger_is_unexplained_and_shown_as_such(tape: MarketTape) -> None:
    found = chain(COURSE, tape, stated=28.0)
    assert found.unexplained == pytest.approx(-2.0)
    assert not found.explained
    assert chain(COURSE, tape, stated=30.0 + 0.009).explained
    assert not chain(COURSE, tape, stated=30.0 + 0.011).explained


def test_an_end_between_two_bars_is_valued_at_the_prices_of_the_statement(tape: MarketTape) -> None:
    course = replace(COURSE, end_ms=END_MS - HOUR_MS // 2, funding=FUNDING[:2], prices=(103.0, 102.0, 102.0))
    found = chain(course, tape, stated=15.0 + 50.0)
    assert found == close_to(Chain(65.0, 0, 0, 0, 0, 0, 10_000.0))


def test_fills_without_any_decision_are_no_backtests(tape: MarketTape) -> None:
    fills = tuple(replace(fill, decided_ms=None) for fill in (SPOT, PERP))
    course = replace(COURSE, targets=(), fills=fills)
    found = chain(course, tape)
    assert found.backtest == 0.0
    assert found.actual == pytest.approx(30.0)


def test_bars_that_were_not_fetched_are_named(tape: MarketTape) -> None:
    with pytest.raises(CoverageError, match=r"2023-11-15T20:00Z.* fetch"):
        chain(COURSE, tape.slice(START_MS, START_MS + 20 * HOUR_MS))


def fill(leg: Leg, side: Side, client_id: str | None, **changes: object) -> Fill:
    told = Fill(
        "1", client_id, "9", leg, "BTC", side, Decimal(50), Decimal(100), Decimal(0), "USDT", False, FILLED_MS
    )  # fmt: skip
    return replace(told, **changes)  # type: ignore[arg-type]


def ordered(leg: Leg, side: Side) -> OrderRequest:
    name = client_order_id("a" * 16, leg, 0)
    return OrderRequest(name, leg, "BTC", side, Decimal(50), Decimal(100), TimeInForce.IOC)


def wallets(spot: dict[str, str], futures: str, ts_ms: int) -> Balances:
    coins = {name: Decimal(amount) for name, amount in spot.items()}
    return Balances(coins, coins, Decimal(futures), Decimal(0), Decimal(futures), ts_ms)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The course above as an engine writes it down, but for the statement."""
    identity = Identity(Mode.PAPER, "simulated", "USDT", ("BTC",), Decimal(10_000), 0.5, START_MS)
    journal = Journal.open(tmp_path / "journal.db", identity)
    allotment = {"BTC": (Decimal(5_000), Decimal(5_000))}
    journal.record_opening(Opening(wallets({"USDT": "7000", "BTC": "0.1"}, "5000", START_MS), allotment))
    journal.record_decision(Decision("d" * 16, "BTC", 1.0, DECIDED_MS, END_MS, "test"))
    hundred = Decimal(100)
    intent = Intent(
        "a" * 16, "d" * 16, "BTC", Action.OPEN, Decimal(50), hundred, hundred, hundred, DECIDED_MS
    )
    orders = [
        OrderRecord(ordered(leg, side), intent.intent_id, 0, Purpose.LEAD, hundred, FILLED_MS, DECIDED_MS)
        for leg, side in (("spot", Side.BUY), ("perp", Side.SELL))
    ]
    journal.record_intent(intent, PairRecord("BTC", "idle"), orders)
    names = [order.request.client_id for order in orders]
    journal.record_fills([fill("spot", Side.BUY, names[0]), fill("perp", Side.SELL, names[1])])
    journal.record_funding(
        [
            FundingPayment(str(at_ms), "BTC", Decimal(str(round(amount, 6))), at_ms)
            for at_ms, amount in FUNDING
        ]
    )
    return journal


def state(journal: Journal, coins: str = "50.1", cash: str = "2000", futures: str = "5030") -> None:
    hundred = Decimal(100)
    statement = Statement(
        END_MS,
        wallets({"USDT": cash, "BTC": coins}, futures, END_MS),
        [Position("BTC", Decimal(-50), hundred)],
        Decimal(0),
    )
    journal.record_statement(statement, [Valuation(END_MS, "BTC", hundred, hundred, hundred)])


def test_a_journal_is_read_into_the_course_that_it_tells_of(journal: Journal, tape: MarketTape) -> None:
    state(journal)
    account = read_account(journal)
    assert account.courses == (COURSE,)
    assert account.mismatches == ()
    assert account.stated_profit == 30.0
    assert parity(account.courses, [tape], FREE, account.stated_profit).total.explained


def test_a_fill_after_the_last_statement_waits_for_the_next(journal: Journal) -> None:
    state(journal)
    journal.record_fills([fill("spot", Side.SELL, None, trade_id="2", ts_ms=END_MS + 1)])
    assert read_account(journal).courses == (COURSE,)


def test_a_fee_in_coins_is_missing_from_the_coins_and_not_from_the_cash(journal: Journal) -> None:
    fee = Decimal("0.05")
    journal.record_fills(
        [
            fill("spot", Side.BUY, None, trade_id="2", fee=fee, fee_asset="BTC"),
            fill("spot", Side.SELL, None, trade_id="3"),
        ]
    )
    state(journal, coins="50.05")
    account = read_account(journal)
    assert account.courses[0].fills[2].fee_base == 0.05
    assert account.mismatches == ()
    assert account.stated_profit == 25.0


def test_coins_that_no_fill_explains_are_named(journal: Journal) -> None:
    state(journal, coins="50.2")
    (mismatch,) = read_account(journal).mismatches
    assert (mismatch.ticker, mismatch.leg, mismatch.stated, mismatch.booked) == (
        "BTC", "spot", Decimal("50.1"), Decimal(50),
    )  # fmt: skip


def test_a_fee_in_a_third_coin_has_no_price(journal: Journal) -> None:
    journal.record_fills([fill("spot", Side.BUY, None, trade_id="2", fee=Decimal(1), fee_asset="BNB")])
    state(journal)
    with pytest.raises(MarketDataError, match="BNB"):
        read_account(journal)


def test_a_journal_without_a_statement_says_that_it_has_none(journal: Journal) -> None:
    with pytest.raises(MarketDataError, match="no statement"):
        read_account(journal)
