"""The venue's exact account of a client: what came in, what is there, and what went where."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

from carryflow.core.leg import LEGS
from carryflow.venues.simulated.trading.accounts import IncomeKind, VenueAccount
from carryflow.venues.simulated.trading.orders import ZERO, Side

Flows = dict[str, Decimal]
"""Amounts by coin."""


def account_statement(account: VenueAccount, now_ms: int) -> dict[str, Any]:
    """Return everything that the account is made of, amounts as plain decimals.

    In the spot wallet, of each coin: `deposits + traded − commissions ∓ transfers = free + locked`, and in
    the futures wallet `deposits + realized + funding + insurance − commissions ± transfers = wallet`, where
    `transferred` is what went from spot to futures.
    """
    traded, commissions = _spot_flows(account), _commissions(account)
    income = _incomes(account)
    return {
        "key": account.key,
        "now_ms": now_ms,
        "quote": account.quote,
        "deposits": {wallet: _plain(coins) for wallet, coins in account.deposits.items()},
        "spot": {
            asset: {"free": f"{purse.free:f}", "locked": f"{purse.locked:f}"}
            for asset, purse in sorted(account.spot.items())
        },
        "futures": f"{account.futures:f}",
        "positions": {
            symbol: {
                "qty": f"{held.qty:f}",
                "cost": f"{held.cost:f}",
                "entry_price": f"{held.entry_price:f}",
            }
            for symbol, held in sorted(account.positions.items())
        },
        "traded": _plain(traded),
        "commissions": {leg: _plain(commissions[leg]) for leg in LEGS},
        "realized": f"{income[IncomeKind.REALIZED_PNL]:f}",
        "funding": f"{income[IncomeKind.FUNDING_FEE]:f}",
        "insurance": f"{income[IncomeKind.INSURANCE_CLEAR]:f}",
        "transferred": f"{income[IncomeKind.TRANSFER]:f}",
        "trades": {leg: len(account.trades[leg]) for leg in LEGS},
        "orders": len(account.orders),
        "open_orders": len(account.open),
    }


def _spot_flows(account: VenueAccount) -> Flows:
    """Return what the spot trades brought (positive) and cost, before commissions."""
    flows: Flows = defaultdict(Decimal)
    for trade in account.trades["spot"]:
        bought = trade.side is Side.BUY
        flows[trade.symbol.removesuffix(account.quote)] += trade.qty if bought else -trade.qty
        flows[account.quote] += -trade.quote_qty if bought else trade.quote_qty
    return flows


def _commissions(account: VenueAccount) -> dict[str, Flows]:
    flows: dict[str, Flows] = {leg: defaultdict(Decimal) for leg in LEGS}
    for leg in LEGS:
        for trade in account.trades[leg]:
            flows[leg][trade.commission_asset] += trade.commission
    return flows


def _incomes(account: VenueAccount) -> dict[IncomeKind, Decimal]:
    sums = dict.fromkeys(IncomeKind, ZERO)
    for income in account.incomes:
        sums[income.kind] += income.amount
    return sums


def _plain(flows: Flows) -> dict[str, str]:
    return {asset: f"{amount:f}" for asset, amount in sorted(flows.items())}
