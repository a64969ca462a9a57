"""Read what a simulated exchange has of an account, past its protocol and past every client of it."""

from decimal import Decimal

from carryflow.execution.orders import Fill, FundingPayment, Side, TransferReport, Wallet
from carryflow.venues.simulated.server import RunningExchange
from carryflow.venues.simulated.trading.accounts import IncomeKind
from carryflow.venues.simulated.trading.orders import Trade, VenueOrder
from tests.fault.evidence import OURS, Placed, Truth
from tests.fault.market import QUOTE


def truth_of(exchange: RunningExchange, key: str) -> Truth:
    """Return all that a venue has of an account."""
    statement = exchange.floor_statement(key)
    orders = exchange.orders(key)
    names = {order.order_id: order.client_id for order in orders}
    spot = {asset: Decimal(amount) for asset, amount in statement["deposits"]["spot"].items()}
    return Truth(
        deposited=(spot, Decimal(statement["deposits"]["futures"][QUOTE])),
        coins={
            asset: Decimal(purse["free"]) + Decimal(purse["locked"])
            for asset, purse in statement["spot"].items()
        },
        futures=Decimal(statement["futures"]),
        positions={_ticker(symbol): Decimal(held["qty"]) for symbol, held in statement["positions"].items()},
        cost=sum((Decimal(held["cost"]) for held in statement["positions"].values()), Decimal(0)),
        realised=Decimal(statement["realized"]),
        inserted=Decimal(statement["insurance"]),
        orders=tuple(map(_placed, orders)),
        fills=tuple(_fill(trade, names[trade.order_id]) for trade in exchange.trades(key)),
        funding=tuple(
            FundingPayment(str(income.id), _ticker(income.symbol), income.amount, income.time_ms)
            for income in exchange.incomes(key)
            if income.kind is IncomeKind.FUNDING_FEE
        ),
        transfers=tuple(
            TransferReport(str(one.id), one.amount, Wallet(one.to), one.time_ms)
            for one in exchange.transfers(key)
        ),
    )


def _ticker(symbol: str) -> str:
    return symbol.removesuffix(QUOTE)


def _placed(order: VenueOrder) -> Placed:
    return Placed(
        order.leg,
        _ticker(order.symbol),
        str(order.order_id),
        order.client_id,
        Side(order.entry.side.lower()),
        order.entry.qty,
        Decimal(0) if order.entry.price is None else order.entry.price,
        order.executed,
        order.status.open,
    )


def _fill(trade: Trade, client_id: str) -> Fill:
    return Fill(
        str(trade.id),
        client_id if client_id.startswith(OURS) else None,
        str(trade.order_id),
        trade.leg,
        _ticker(trade.symbol),
        Side(trade.side.lower()),
        trade.qty,
        trade.price,
        trade.commission,
        trade.commission_asset,
        trade.maker,
        trade.time_ms,
    )
