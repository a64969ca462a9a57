"""Wallets, positions, payments and permissions as each leg's API tells of them."""

from typing import Any

from carryflow.core.margin import bracket_table
from carryflow.venues.simulated.signed.order_answers import exact, mean
from carryflow.venues.simulated.trading.accounts import Income, VenueAccount, VenueTransfer
from carryflow.venues.simulated.trading.brackets import CAPS, FLOORS, LEVERAGES, RATES
from carryflow.venues.simulated.trading.settings import TradingSettings
from carryflow.venues.simulated.trading.views import MarginView, PositionView

Answer = dict[str, Any]


def spot_account(account: VenueAccount, settings: TradingSettings, now_ms: int, *, omit_zero: bool) -> Answer:
    """Return the spot wallet."""
    balances = [
        {"asset": asset, "free": exact(purse.free), "locked": exact(purse.locked)}
        for asset, purse in sorted(account.spot.items())
        if purse.total or not omit_zero
    ]
    return {
        "makerCommission": round(settings.spot_maker_bp),
        "takerCommission": round(settings.spot_taker_bp),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "canTrade": True,
        "canWithdraw": account.withdraw,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": now_ms,
        "accountType": "SPOT",
        "balances": balances,
        "permissions": ["SPOT"],
        "uid": 1,
    }


def perp_account(
    account: VenueAccount, margin: MarginView, positions: list[PositionView], now_ms: int
) -> Answer:
    """Return the futures wallet with its positions."""
    asset = _margin_asset(account, margin, now_ms)
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": account.withdraw,
        "multiAssetsMargin": False,
        "updateTime": now_ms,
        "totalInitialMargin": asset["initialMargin"],
        "totalMaintMargin": asset["maintMargin"],
        "totalWalletBalance": asset["walletBalance"],
        "totalUnrealizedProfit": asset["unrealizedProfit"],
        "totalMarginBalance": asset["marginBalance"],
        "totalPositionInitialMargin": asset["positionInitialMargin"],
        "totalOpenOrderInitialMargin": asset["openOrderInitialMargin"],
        "totalCrossWalletBalance": asset["crossWalletBalance"],
        "totalCrossUnPnl": asset["crossUnPnl"],
        "availableBalance": asset["availableBalance"],
        "maxWithdrawAmount": asset["maxWithdrawAmount"],
        "assets": [asset],
        "positions": [position(view, account.quote) | {"isolated": False} for view in positions],
    }


def perp_balance(account: VenueAccount, margin: MarginView, now_ms: int) -> list[Answer]:
    """Return the futures wallet's coins: there is one."""
    return [
        {
            "accountAlias": "simulated",
            "asset": account.quote,
            "balance": exact(margin.wallet),
            "crossWalletBalance": exact(margin.wallet),
            "crossUnPnl": exact(margin.unrealized),
            "availableBalance": exact(margin.available),
            "maxWithdrawAmount": exact(margin.transferable),
            "marginAvailable": True,
            "updateTime": now_ms,
        }
    ]


def position(view: PositionView, quote: str) -> Answer:
    """Return one position, in the words of `positionRisk` and of the account."""
    return {
        "symbol": view.symbol,
        "positionSide": "BOTH",
        "positionAmt": exact(view.qty),
        "entryPrice": mean(view.entry_price),
        "breakEvenPrice": mean(view.entry_price),
        "markPrice": exact(view.mark),
        "unRealizedProfit": exact(view.unrealized),
        "unrealizedProfit": exact(view.unrealized),
        "liquidationPrice": mean(view.liquidation_price),
        "isolatedMargin": "0",
        "isolatedWallet": "0",
        "notional": exact(view.notional),
        "marginAsset": quote,
        "initialMargin": exact(view.initial_margin),
        "maintMargin": exact(view.maintenance),
        "positionInitialMargin": exact(view.initial_margin),
        "openOrderInitialMargin": "0",
        "leverage": str(view.leverage),
        "marginType": "cross",
        "isAutoAddMargin": "false",
        "adl": 0,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": view.update_ms,
    }


def income(entry: Income) -> Answer:
    """Return one change of the futures wallet."""
    return {
        "symbol": entry.symbol,
        "incomeType": entry.kind.value,
        "income": exact(entry.amount),
        "asset": entry.asset,
        "info": entry.kind.value,
        "time": entry.time_ms,
        "tranId": entry.id,
        "tradeId": "" if entry.trade_id is None else str(entry.trade_id),
    }


def transfer(entry: VenueTransfer) -> Answer:
    """Return one transfer between the wallets."""
    return {
        "asset": entry.asset,
        "amount": exact(entry.amount),
        "type": "MAIN_UMFUTURE" if entry.to == "futures" else "UMFUTURE_MAIN",
        "status": "CONFIRMED",
        "tranId": entry.id,
        "timestamp": entry.time_ms,
    }


def permissions(account: VenueAccount) -> Answer:
    """Return what a key may do."""
    return {
        "ipRestrict": False,
        "createTime": 0,
        "enableReading": True,
        "enableWithdrawals": account.withdraw,
        "enableInternalTransfer": account.withdraw,
        "enableMargin": False,
        "enableFutures": True,
        "permitsUniversalTransfer": True,
        "enableVanillaOptions": False,
        "enableSpotAndMarginTrading": True,
        "enablePortfolioMarginTrading": False,
    }


def brackets(symbol: str) -> Answer:
    """Return the margin brackets of a perpetual: every coin has those of BTC."""
    deductions = bracket_table(FLOORS, RATES)[:, 1].tolist()
    rows = zip(FLOORS, map(float, CAPS), RATES, deductions, LEVERAGES, strict=True)
    return {
        "symbol": symbol,
        "brackets": [
            {
                "bracket": k,
                "initialLeverage": leverage,
                "notionalCap": cap,
                "notionalFloor": floor,
                "maintMarginRatio": rate,
                "cum": cum,
            }
            for k, (floor, cap, rate, cum, leverage) in enumerate(rows, start=1)
        ],
    }


def coin(asset: str, account: VenueAccount) -> Answer:
    """Return one coin as the list of all coins tells of it; this venue has no network to send it by."""
    purse = account.purse(asset)
    return {
        "coin": asset,
        "name": asset,
        "free": exact(purse.free),
        "locked": exact(purse.locked),
        "trading": True,
        "isLegalMoney": False,
        "depositAllEnable": True,
        "withdrawAllEnable": account.withdraw,
        "networkList": [],
    }


def _margin_asset(account: VenueAccount, margin: MarginView, now_ms: int) -> Answer:
    return {
        "asset": account.quote,
        "walletBalance": exact(margin.wallet),
        "unrealizedProfit": exact(margin.unrealized),
        "marginBalance": exact(margin.balance),
        "maintMargin": exact(margin.maintenance),
        "initialMargin": exact(margin.position_initial + margin.order_initial),
        "positionInitialMargin": exact(margin.position_initial),
        "openOrderInitialMargin": exact(margin.order_initial),
        "crossWalletBalance": exact(margin.wallet),
        "crossUnPnl": exact(margin.unrealized),
        "availableBalance": exact(margin.available),
        "maxWithdrawAmount": exact(margin.transferable),
        "marginAvailable": True,
        "updateTime": now_ms,
    }
