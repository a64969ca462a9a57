"""Orders, trades and journals as an engine makes them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from carryflow.execution.intents import Action, Intent, client_order_id
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Identity, Mode, Opening, OrderRecord, PairRecord, Purpose
from carryflow.execution.orders import (
    Balances,
    Fill,
    OrderReport,
    OrderRequest,
    OrderStatus,
    Side,
    TimeInForce,
)

INTENT_ID = "00ff00ff00ff00ff"


@pytest.fixture
def identity() -> Identity:
    return Identity(Mode.PAPER, "simulated", "USDT", ("BTC", "ETH"), Decimal(20_000), 0.5, 1_000)


@pytest.fixture
def opening() -> Opening:
    half = (Decimal(5_000), Decimal(5_000))
    usdt = {"USDT": Decimal(10_000)}
    wallets = Balances(usdt, usdt, Decimal(10_000), Decimal(0), Decimal(10_000), 1_000)
    return Opening(wallets, {"BTC": half, "ETH": half})


@pytest.fixture
def journal(tmp_path: Path, identity: Identity) -> Iterator[Journal]:
    with Journal.open(tmp_path / "journal.db", identity) as journal:
        yield journal


@pytest.fixture
def intent() -> Intent:
    return Intent(
        INTENT_ID,
        "decision00000000",
        "BTC",
        Action.OPEN,
        Decimal("0.1"),
        Decimal("50000.5"),
        Decimal("50010.5"),
        Decimal("50005"),
        2_000,
    )


@pytest.fixture
def order() -> Callable[..., OrderRecord]:
    """Make an order that was written down and not yet sent: `order(attempt=1)`, `order(side=Side.SELL)`."""

    def make(leg: Any = "spot", attempt: int = 0, **changes: Any) -> OrderRecord:
        request = OrderRequest(
            client_order_id(INTENT_ID, leg, attempt),
            leg,
            "BTC",
            Side.BUY if leg == "spot" else Side.SELL,
            Decimal("0.10"),
            Decimal("50100.00"),
            TimeInForce.IOC,
        )
        record = OrderRecord(
            request, INTENT_ID, attempt, Purpose.LEAD, Decimal("50000.5"), 5_000, journalled_ms=2_000
        )
        return replace(record, **changes)

    return make


@pytest.fixture
def fill() -> Callable[..., Fill]:
    """Make a trade of an order: `fill(order, "t1", qty="0.04")`."""

    def make(order: OrderRecord, trade_id: str, **changes: Any) -> Fill:
        request = order.request
        known = {
            "trade_id": trade_id,
            "client_id": request.client_id,
            "venue_order_id": f"v{order.attempt}{request.leg}",
            "leg": request.leg,
            "ticker": request.ticker,
            "side": request.side,
            "qty": request.qty,
            "price": Decimal("50001.10"),
            "fee": Decimal(0),
            "fee_asset": "USDT",
            "maker": False,
            "ts_ms": 2_100,
        }
        exact = {
            name: Decimal(value) if name in ("qty", "price", "fee") else value
            for name, value in changes.items()
        }
        return Fill(**{**known, **exact})

    return make


@pytest.fixture
def report() -> Callable[..., OrderReport]:
    """Make what a venue says of an order, filled by the trades given: `report(order, trade)`."""

    def make(order: OrderRecord, *fills: Fill, status: OrderStatus = OrderStatus.FILLED) -> OrderReport:
        request = order.request
        return OrderReport(
            request.client_id,
            f"v{order.attempt}{request.leg}",
            request.leg,
            request.ticker,
            request.side,
            request.qty,
            sum((fill.qty for fill in fills), Decimal(0)),
            status,
            2_100,
            fills,
        )

    return make


@pytest.fixture
def leading() -> PairRecord:
    return PairRecord("BTC", "leading", INTENT_ID)
