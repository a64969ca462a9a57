"""Which account speaks with which venue."""

from carryflow.venues.settings import VenueName
from carryflow.venues.trading.accounts.account import Account
from carryflow.venues.trading.accounts.binance import BinanceAccount, SimulatedAccount
from carryflow.venues.trading.accounts.bybit import BybitAccount
from carryflow.venues.trading.accounts.deribit import DeribitAccount
from carryflow.venues.trading.accounts.okx import OkxAccount

ACCOUNTS: dict[VenueName, type[Account]] = {
    "simulated": SimulatedAccount,
    "binance": BinanceAccount,
    "bybit": BybitAccount,
    "okx": OkxAccount,
    "deribit": DeribitAccount,
}
