"""Binance's signed endpoints for wallets, positions, payments and transfers."""

from typing import Any, Literal

from aiohttp import web

from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.signed import account_answers as answers
from carryflow.venues.simulated.signed.desk import DESK, TradingDesk
from carryflow.venues.simulated.signed.signed_routes import signed
from carryflow.venues.simulated.signed.signing import Params
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.brackets import notional_cap

_WEEK_MS = 7 * 86_400_000
_MOST_ROWS = 1000
_WALLETS: dict[str, Literal["spot", "futures"]] = {"MAIN_UMFUTURE": "futures", "UMFUTURE_MAIN": "spot"}


def add_account_routes(app: web.Application) -> None:
    """Add the endpoints of both legs, and those of the wallets under /sapi/v1."""
    add = app.router
    add.add_get("/api/v3/account", signed(_spot_account))
    for version in ("v2", "v3"):
        add.add_get(f"/fapi/{version}/account", signed(_perp_account))
        add.add_get(f"/fapi/{version}/balance", signed(_perp_balance))
        add.add_get(f"/fapi/{version}/positionRisk", signed(_positions))
    add.add_get("/fapi/v1/income", signed(_income))
    add.add_get("/fapi/v1/leverageBracket", signed(_brackets))
    add.add_post("/fapi/v1/leverage", signed(_set_leverage))
    add.add_post("/fapi/v1/marginType", signed(_set_margin_type))
    add.add_get("/fapi/v1/positionSide/dual", signed(lambda *_: {"dualSidePosition": False}))
    add.add_post("/fapi/v1/positionSide/dual", signed(_set_position_side))
    add.add_post("/fapi/v1/countdownCancelAll", signed(_set_countdown))
    add.add_post("/sapi/v1/asset/transfer", signed(_transfer))
    add.add_get("/sapi/v1/asset/transfer", signed(_transfers))
    add.add_get(
        "/sapi/v1/account/apiRestrictions", signed(lambda _, account, __: answers.permissions(account))
    )
    add.add_get("/sapi/v1/capital/config/getall", signed(_coins))
    for pairs in ("margin/allPairs", "margin/isolated/allPairs"):
        add.add_get(f"/sapi/v1/{pairs}", signed(lambda *_: []))
    add.add_get("/dapi/v1/exchangeInfo", _no_inverse_market)
    add.add_get("/sapi/v1/system/status", _system_status)


def _spot_account(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    omit_zero = params.flag("omitZeroBalances")
    return answers.spot_account(account, desk.settings, desk.venue.now_ms, omit_zero=omit_zero)


def _perp_account(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    floor = desk.floor
    return answers.perp_account(account, floor.margin(account), floor.positions(account), desk.venue.now_ms)


def _perp_balance(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    return answers.perp_balance(account, desk.floor.margin(account), desk.venue.now_ms)


def _positions(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    symbol = params.optional("symbol")
    if symbol is not None:
        desk.venue.market("perp", symbol)
    return [answers.position(view, account.quote) for view in desk.floor.positions(account, symbol)]


def _income(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    """Answer with payments of the last week, or from the start on."""
    start, end = params.optional_whole("startTime"), params.optional_whole("endTime")
    if start is None and end is None:
        start = desk.venue.now_ms - _WEEK_MS
    limit = min(params.whole("limit", 100), _MOST_ROWS)
    found = desk.floor.income(
        account, params.optional("incomeType"), params.optional("symbol"), start, end, limit
    )
    return [answers.income(entry) for entry in found]


def _brackets(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    symbol = params.optional("symbol")
    markets = desk.venue.markets("perp") if symbol is None else [desk.venue.market("perp", symbol)]
    return [answers.brackets(market.symbol) for market in markets]


def _set_leverage(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    symbol, leverage = params.text("symbol"), params.whole("leverage")
    desk.floor.set_leverage(account, symbol, leverage)
    return {"symbol": symbol, "leverage": leverage, "maxNotionalValue": f"{notional_cap(leverage)}"}


def _set_margin_type(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    """Refuse: margin is crossed here, and stays so."""
    desk.venue.market("perp", params.text("symbol"))
    if params.text("marginType") == "CROSSED":
        raise Refusal(-4046, "No need to change margin type.")
    raise Refusal(-4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")


def _set_position_side(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    """Refuse: there is one position per market here, and it stays so."""
    if params.flag("dualSidePosition"):
        raise Refusal(-1128, "Combination of optional parameters invalid.")
    raise Refusal(-4059, "No need to change position side.")


def _set_countdown(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    symbol, countdown_ms = params.text("symbol"), params.whole("countdownTime")
    desk.floor.set_countdown(account, symbol, countdown_ms)
    return {"symbol": symbol, "countdownTime": str(countdown_ms)}


def _transfer(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    moved = desk.floor.transfer(
        account, params.text("asset"), params.decimal("amount"), _WALLETS[_way(params)]
    )
    return {"tranId": moved.id}


def _transfers(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    """Answer with a page of the transfers of one way, the newest first."""
    to = _WALLETS[_way(params)]
    start, end = params.optional_whole("startTime"), params.optional_whole("endTime")
    if start is None:
        start = (desk.venue.now_ms if end is None else end) - _WEEK_MS
    found = [t for t in desk.floor.transfers(account, start, end) if t.to == to]
    size = min(params.whole("size", 10), 100)
    first = (max(params.whole("current", 1), 1) - 1) * size
    newest = sorted(found, key=lambda t: (t.time_ms, t.id), reverse=True)
    return {"total": len(found), "rows": [answers.transfer(t) for t in newest[first : first + size]]}


def _way(params: Params) -> str:
    way = params.text("type")
    if way not in _WALLETS:
        raise Refusal(-1102, f"Mandatory parameter 'type' must be one of {', '.join(_WALLETS)}.")
    return way


def _coins(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    listed = {market.ticker for market in desk.venue.markets("spot")} | {desk.venue.quote}
    return [answers.coin(asset, account) for asset in sorted(listed | account.spot.keys())]


async def _system_status(request: web.Request) -> web.StreamResponse:
    closed = request.app[DESK].maintained
    return web.json_response({"status": int(closed), "msg": "system_maintenance" if closed else "normal"})


async def _no_inverse_market(request: web.Request) -> web.StreamResponse:
    """Answer clients that list every kind of market: perpetuals settled in coins are not played here."""
    return web.json_response({"timezone": "UTC", "rateLimits": [], "exchangeFilters": [], "symbols": []})
