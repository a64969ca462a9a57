"""An audit that finds nothing proves nothing unless it would have found it."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal as D

import pytest

from carryflow.core.instrument import ContractType, Instrument
from carryflow.core.leg import Leg
from carryflow.execution.intents import client_order_id
from carryflow.execution.journal.records import OrderRecord, Purpose
from carryflow.execution.orders import (
    Fill,
    FundingPayment,
    OrderRequest,
    OrderStatus,
    Side,
    TimeInForce,
    TransferReport,
    Wallet,
)
from tests.fault.audit import Breach, judge
from tests.fault.evidence import Placed, Told, Truth

INTENT = "00ff00ff00ff00ff"
NAMES: dict[Leg, str] = {
    "spot": client_order_id(INTENT, "spot", 0),
    "perp": client_order_id(INTENT, "perp", 0),
}


def instrument(leg: Leg, lot: str) -> Instrument:
    kind = ContractType.SPOT if leg == "spot" else ContractType.LINEAR
    sizes = map(D, ("1", "0.01", lot, lot, "5"))
    return Instrument("simulated", f"ETH {leg}", "ETH", kind, "ETH", "USDT", "USDT", *sizes)


INSTRUMENTS = {("spot", "ETH"): instrument("spot", "0.0001"), ("perp", "ETH"): instrument("perp", "0.01")}


def record(leg: Leg, side: Side, qty: str, price: str) -> OrderRecord:
    request = OrderRequest(NAMES[leg], leg, "ETH", side, D(qty), D(price), TimeInForce.IOC)
    return OrderRecord(
        request, INTENT, 0, Purpose.LEAD, D(3000), 1, 1, "7", OrderStatus.FILLED, False, D(qty), 1, D(qty)
    )


FILLS = (
    Fill(
        "1",
        NAMES["spot"],
        "7",
        "spot",
        "ETH",
        Side.BUY,
        D("1.001"),
        D("3000"),
        D("0.001001"),
        "ETH",
        False,
        1,
    ),
    Fill("2", NAMES["perp"], "8", "perp", "ETH", Side.SELL, D("1"), D("3001"), D("1.5005"), "USDT", False, 1),
)
FUNDING = (FundingPayment("11", "ETH", D("0.3"), 2),)
TRANSFERS = (TransferReport("21", D(100), Wallet.FUTURES, 2),)
COINS = {"ETH": D("0.999999"), "USDT": D("50000") - D("3003") - 100}
WALLET = D("50000") - D("1.5005") + D("0.3") + 100

TRUTH = Truth(
    deposited=({"USDT": D(50_000)}, D(50_000)),
    coins=COINS,
    futures=WALLET,
    positions={"ETH": D(-1)},
    cost=D(-3001),
    realised=D(0),
    inserted=D(0),
    orders=(
        Placed("spot", "ETH", "7", NAMES["spot"], Side.BUY, D("1.001"), D("3003"), D("1.001"), False),
        Placed("perp", "ETH", "8", NAMES["perp"], Side.SELL, D("1"), D("2998"), D("1"), False),
    ),
    fills=FILLS,
    funding=FUNDING,
    transfers=TRANSFERS,
)
TOLD = Told(
    orders=(record("spot", Side.BUY, "1.001", "3003"), record("perp", Side.SELL, "1", "2998")),
    fills=FILLS,
    funding=FUNDING,
    transfers=TRANSFERS,
    unsettled=(),
    decisions={INTENT: "dd"},
    states={"ETH": "idle"},
    called=frozenset(),
    coins={"ETH": D("0.999999")},
    positions={"ETH": D(-1)},
    spot_cash=COINS["USDT"],
    wallet=WALLET,
    cost=D(-3001),
    paid_in=WALLET + 3001,
)


def test_a_sound_account_shows_no_breach() -> None:
    audit = judge(TRUTH, TOLD, INSTRUMENTS, "USDT")
    assert audit.findings == ()
    assert (audit.orders, audit.fills, audit.duplicates, audit.halted) == (2, 2, 0, ())
    assert audit.worst_delta_lots == pytest.approx(0.0001)


def one_leg(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, positions={"ETH": D("-0.98")}), told


def halted_in_silence(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, positions={"ETH": D("-0.5")}), replace(told, states={"ETH": "halted"})


def sent_twice(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, orders=(*truth.orders, replace(truth.orders[1], order_id="9"))), told


def never_written(truth: Truth, told: Told) -> tuple[Truth, Told]:
    other = replace(truth.orders[1], client_id=client_order_id(INTENT, "perp", 1), executed=D(0))
    return replace(truth, orders=(*truth.orders, other)), told


def larger_than_written(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, orders=(truth.orders[0], replace(truth.orders[1], qty=D(2)))), told


def given_up_though_there(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, orders=(told.orders[0], replace(told.orders[1], lost=True)))


def misnamed(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, orders=(told.orders[0], replace(told.orders[1], attempt=3)))


def back_and_forth(truth: Truth, told: Told) -> tuple[Truth, Told]:
    first, perp = truth.orders
    sides = (Side.BUY, Side.SELL) * 3
    return replace(truth, orders=(*(replace(first, side=side) for side in sides), perp)), told


def resting(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, orders=(truth.orders[0], replace(truth.orders[1], open=True))), told


def forgotten(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, fills=told.fills[:1])


def invented(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, fills=truth.fills[:1]), told


def at_another_price(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, fills=(told.fills[0], replace(told.fills[1], price=D("3000.99"))))


def counted_twice(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, fills=(*told.fills, told.fills[0]))


def a_unit_of_cash_off(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, spot_cash=told.spot_cash + D("1e-8"))


def two_units_of_the_wallet_off(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, wallet=told.wallet - D("2e-8"))


def a_unit_of_the_sum_off(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, paid_in=told.paid_in - D("1e-8"))


def realised_too_early(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, wallet=told.wallet + 1, cost=told.cost + 1)


def fee_in_coins_forgotten(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, coins={"ETH": D("1.001")})


def position_forgotten(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, positions={})


def funding_forgotten(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, funding=())


def transfer_forgotten(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, transfers=())


def money_from_nowhere(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, coins=COINS | {"USDT": COINS["USDT"] + D("1e-8")}), told


def coins_from_nowhere(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, coins=COINS | {"SOL": D(1)}), told


def half_a_transfer(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, futures=truth.futures - 100), told


def position_from_nowhere(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return replace(truth, positions={"ETH": D("-1.01")}), told


def no_decision(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, decisions={})


def order_unknown(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, orders=(told.orders[0], replace(told.orders[1], status=None)))


def less_than_its_trades(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, orders=(told.orders[0], replace(told.orders[1], filled=D("0.5"))))


def transfer_unknown(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, unsettled=("t-1",))


def pair_unknown(truth: Truth, told: Told) -> tuple[Truth, Told]:
    return truth, replace(told, states={"ETH": "unknown"})


@pytest.mark.parametrize(
    ("slip", "breach"),
    [
        (one_leg, Breach.ONE_LEG),
        (halted_in_silence, Breach.ONE_LEG),
        (sent_twice, Breach.DUPLICATE),
        (never_written, Breach.DUPLICATE),
        (larger_than_written, Breach.DUPLICATE),
        (given_up_though_there, Breach.DUPLICATE),
        (misnamed, Breach.DUPLICATE),
        (back_and_forth, Breach.CHURN),
        (resting, Breach.ORPHAN),
        (forgotten, Breach.LOST_FILL),
        (invented, Breach.LOST_FILL),
        (at_another_price, Breach.LOST_FILL),
        (counted_twice, Breach.LOST_FILL),
        (a_unit_of_cash_off, Breach.LEDGER),
        (two_units_of_the_wallet_off, Breach.LEDGER),
        (a_unit_of_the_sum_off, Breach.LEDGER),
        (realised_too_early, Breach.LEDGER),
        (fee_in_coins_forgotten, Breach.LEDGER),
        (position_forgotten, Breach.LEDGER),
        (funding_forgotten, Breach.LEDGER),
        (transfer_forgotten, Breach.LEDGER),
        (money_from_nowhere, Breach.FUNDS),
        (coins_from_nowhere, Breach.FUNDS),
        (half_a_transfer, Breach.FUNDS),
        (position_from_nowhere, Breach.FUNDS),
        (no_decision, Breach.UNJOINED),
        (order_unknown, Breach.UNSETTLED),
        (less_than_its_trades, Breach.UNSETTLED),
        (transfer_unknown, Breach.UNSETTLED),
        (pair_unknown, Breach.UNSETTLED),
    ],
)
def test_every_breach_is_found(slip: Callable[[Truth, Told], tuple[Truth, Told]], breach: Breach) -> None:
    audit = judge(*slip(TRUTH, TOLD), INSTRUMENTS, "USDT")
    assert audit.count(breach) > 0


def test_a_pair_that_waits_for_a_person_may_have_one_leg_if_one_was_called() -> None:
    truth, told = halted_in_silence(TRUTH, replace(TOLD, positions={"ETH": D("-0.5")}))
    told = replace(told, called=frozenset({"ETH"}))
    assert judge(truth, told, INSTRUMENTS, "USDT").count(Breach.ONE_LEG) == 0


def test_what_was_delivered_twice_is_not_our_duplicate() -> None:
    truth, told = sent_twice(TRUTH, TOLD)
    audit = judge(truth, told, INSTRUMENTS, "USDT", repeated=frozenset({NAMES["perp"]}))
    assert audit.count(Breach.DUPLICATE) == 0
    assert audit.duplicates == 1
