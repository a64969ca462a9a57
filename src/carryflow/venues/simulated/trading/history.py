"""Pages of what happened to an account."""

from carryflow.venues.simulated.trading.accounts import Income
from carryflow.venues.simulated.trading.orders import Trade


def trades_page(
    trades: list[Trade],
    symbol: str,
    start_ms: int | None,
    end_ms: int | None,
    from_id: int | None,
    limit: int,
    order_id: int | None = None,
) -> list[Trade]:
    """Return at most `limit` trades of a market, or of one order there, the oldest first.

    Without a beginning they are the last ones.
    """
    found = [
        trade
        for trade in trades
        if trade.symbol == symbol
        and order_id in (None, trade.order_id)
        and (start_ms is None or trade.time_ms >= start_ms)
        and (end_ms is None or trade.time_ms <= end_ms)
        and (from_id is None or trade.id >= from_id)
    ]
    return found[-limit:] if start_ms is None and from_id is None else found[:limit]


def income_page(
    incomes: list[Income],
    kind: str | None,
    symbol: str | None,
    start_ms: int | None,
    end_ms: int | None,
    limit: int,
) -> list[Income]:
    """Return at most `limit` changes of the futures wallet, the oldest first; without a start the last."""
    found = [
        income
        for income in incomes
        if kind in (None, income.kind)
        and symbol in (None, income.symbol)
        and (start_ms is None or income.time_ms >= start_ms)
        and (end_ms is None or income.time_ms <= end_ms)
    ]
    return found[-limit:] if start_ms is None else found[:limit]
