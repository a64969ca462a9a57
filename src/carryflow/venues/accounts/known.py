"""Which account speaks with which venue."""

from carryflow.venues.accounts.account import Account
from carryflow.venues.accounts.binance import BinanceAccount, SimulatedAccount
from carryflow.venues.accounts.bybit import BybitAccount
from carryflow.venues.accounts.deribit import DeribitAccount
from carryflow.venues.accounts.okx import OkxAccount
from carryflow.venues.settings import VenueName

ACCOUNTS: dict[VenueName, type[Account]] = {
    "simulated": SimulatedAccount,
    "binance": BinanceAccount,
    "bybit": BybitAccount,
    "okx": OkxAccount,
    "deribit": DeribitAccount,
}
