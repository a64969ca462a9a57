"""The journal's tables. Quantities and money are text, exact; instants are UTC ms."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

from carryflow.execution.intents import Decision, Intent
from carryflow.execution.journal.records import (
    Alert,
    Identity,
    Opening,
    OrderRecord,
    PairRecord,
    Statement,
    TransferRecord,
    Valuation,
)
from carryflow.execution.journal.rows import Codec, Rows
from carryflow.execution.orders import Balances, Fill, FundingPayment, Position

APPLICATION_ID = 0x63666A6C
"""What SQLite files of ours say that they are ("cfjl")."""

VERSION = 2
"""Rises with every change below that an older engine could not read, or that could not read its files."""

TABLES = """
CREATE TABLE identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    mode TEXT NOT NULL,
    venue TEXT NOT NULL,
    quote TEXT NOT NULL,
    tickers TEXT NOT NULL,
    capital_quote TEXT NOT NULL,
    spot_share REAL NOT NULL,
    opened_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE opening (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    balances TEXT NOT NULL,
    allotment TEXT NOT NULL
) STRICT;

CREATE TABLE decisions (
    decision_id TEXT PRIMARY KEY,
    ticker TEXT NOT NULL,
    fraction REAL NOT NULL,
    decided_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    source TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE intents (
    intent_id TEXT PRIMARY KEY,
    decision_id TEXT NOT NULL,
    ticker TEXT NOT NULL,
    action TEXT NOT NULL,
    target_base TEXT NOT NULL,
    spot_reference TEXT NOT NULL,
    perp_reference TEXT NOT NULL,
    mark TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE orders (
    client_id TEXT PRIMARY KEY,
    leg TEXT NOT NULL,
    ticker TEXT NOT NULL,
    side TEXT NOT NULL,
    qty TEXT NOT NULL,
    price TEXT NOT NULL,
    time_in_force TEXT NOT NULL,
    reduce_only INTEGER NOT NULL,
    intent_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    reference TEXT NOT NULL,
    valid_until_ms INTEGER NOT NULL,
    journalled_ms INTEGER NOT NULL,
    venue_order_id TEXT,
    status TEXT,
    lost INTEGER NOT NULL,
    filled TEXT NOT NULL,
    ended_ms INTEGER,
    booked TEXT NOT NULL
) STRICT;
CREATE INDEX orders_at_venue ON orders (venue_order_id) WHERE venue_order_id IS NOT NULL;

CREATE TABLE fills (
    trade_id TEXT NOT NULL,
    client_id TEXT,
    venue_order_id TEXT NOT NULL,
    leg TEXT NOT NULL,
    ticker TEXT NOT NULL,
    side TEXT NOT NULL,
    qty TEXT NOT NULL,
    price TEXT NOT NULL,
    fee TEXT NOT NULL,
    fee_asset TEXT NOT NULL,
    maker INTEGER NOT NULL,
    ts_ms INTEGER NOT NULL,
    PRIMARY KEY (trade_id, leg, ticker)
) STRICT;
CREATE INDEX fills_of_order ON fills (client_id);

CREATE TABLE funding (
    payment_id TEXT PRIMARY KEY,
    ticker TEXT NOT NULL,
    amount TEXT NOT NULL,
    ts_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE transfers (
    key TEXT PRIMARY KEY,
    ticker TEXT,
    amount TEXT NOT NULL,
    "to" TEXT NOT NULL,
    journalled_ms INTEGER NOT NULL,
    transfer_id TEXT UNIQUE,
    lost INTEGER NOT NULL,
    arrived TEXT,
    settled_ms INTEGER
) STRICT;

CREATE TABLE pairs (
    ticker TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    intent_id TEXT,
    blocked TEXT,
    astray INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE statements (
    ts_ms INTEGER NOT NULL,
    balances TEXT NOT NULL,
    positions TEXT NOT NULL,
    equity_quote TEXT NOT NULL,
    agreed_ms INTEGER
) STRICT;
CREATE INDEX statements_in_time ON statements (ts_ms);

CREATE TABLE valuations (
    ts_ms INTEGER NOT NULL,
    ticker TEXT NOT NULL,
    spot TEXT NOT NULL,
    perp TEXT NOT NULL,
    mark TEXT NOT NULL,
    PRIMARY KEY (ts_ms, ticker)
) STRICT;

CREATE TABLE alerts (
    ts_ms INTEGER NOT NULL,
    severity TEXT NOT NULL,
    ticker TEXT,
    words TEXT NOT NULL
) STRICT;
"""


def _balances_text(balances: Balances) -> str:
    return json.dumps(
        {
            "spot": _texts(balances.spot),
            "spot_free": _texts(balances.spot_free),
            "futures": str(balances.futures),
            "maintenance": str(balances.maintenance),
            "margin": str(balances.margin),
            "ts_ms": balances.ts_ms,
        }
    )


def _balances(text: str) -> Balances:
    known = json.loads(text)
    return Balances(
        _decimals(known["spot"]),
        _decimals(known["spot_free"]),
        Decimal(known["futures"]),
        Decimal(known["maintenance"]),
        Decimal(known["margin"]),
        known["ts_ms"],
    )


def _positions_text(positions: Sequence[Position]) -> str:
    return json.dumps(
        [
            [
                position.ticker,
                str(position.qty),
                str(position.entry_price),
                None if position.liquidation_price is None else str(position.liquidation_price),
            ]
            for position in positions
        ]
    )


def _positions(text: str) -> tuple[Position, ...]:
    return tuple(
        Position(ticker, Decimal(qty), Decimal(entry), None if price is None else Decimal(price))
        for ticker, qty, entry, price in json.loads(text)
    )


def _allotment_text(allotment: Mapping[str, tuple[Decimal, Decimal]]) -> str:
    return json.dumps({ticker: [str(amount) for amount in shares] for ticker, shares in allotment.items()})


def _allotment(text: str) -> dict[str, tuple[Decimal, Decimal]]:
    return {ticker: (Decimal(spot), Decimal(perp)) for ticker, (spot, perp) in json.loads(text).items()}


def _texts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {coin: str(amount) for coin, amount in amounts.items()}


def _decimals(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {coin: Decimal(text) for coin, text in texts.items()}


_BALANCES = Codec(_balances_text, _balances)

IDENTITY = Rows("identity", Identity, {"tickers": Codec(json.dumps, lambda text: tuple(json.loads(text)))})
OPENING = Rows("opening", Opening, {"balances": _BALANCES, "allotment": Codec(_allotment_text, _allotment)})
DECISIONS = Rows("decisions", Decision)
INTENTS = Rows("intents", Intent)
ORDERS = Rows("orders", OrderRecord)
FILLS = Rows("fills", Fill)
FUNDING = Rows("funding", FundingPayment)
TRANSFERS = Rows("transfers", TransferRecord)
PAIRS = Rows("pairs", PairRecord)
STATEMENTS = Rows(
    "statements", Statement, {"balances": _BALANCES, "positions": Codec(_positions_text, _positions)}
)
VALUATIONS = Rows("valuations", Valuation)
ALERTS = Rows("alerts", Alert)
