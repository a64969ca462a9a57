"""Binance's websockets: public streams, the streams of an account, and spot's websocket API.

The host that a client would have dialled stands first in the path, as in /fstream.binance.com/public/ws,
since clients tell spot from futures by it.
"""

import json
from typing import Any

from aiohttp import WSMsgType, web

from carryflow.core.leg import Leg
from carryflow.venues.simulated.misbehaviour import under_maintenance
from carryflow.venues.simulated.refusals import Refusal, invalid_path
from carryflow.venues.simulated.signed.desk import DESK, TradingDesk
from carryflow.venues.simulated.signed.signed_routes import keyed
from carryflow.venues.simulated.streams.hub import SEND_AT_ONCE_BYTES, Listener, StreamHub
from carryflow.venues.simulated.streams.listen_keys import ListenKeys, unknown_listen_key

HUB = web.AppKey("hub", StreamHub)

_HEARTBEAT_SECONDS = 20.0


def add_stream_routes(app: web.Application, hub: StreamHub) -> None:
    """Add the websockets, and the endpoints that hand out the keys of an account's stream."""
    app[HUB] = hub
    keys, path = hub.listen_keys, "/fapi/v1/listenKey"
    app.router.add_post(path, keyed(lambda _, account: {"listenKey": keys.lend(account.key)}))
    app.router.add_put(path, keyed(lambda _, account: {"listenKey": keys.renew(account.key)}))
    app.router.add_delete(path, keyed(lambda _, account: _give_up(keys, account.key)))
    app.router.add_get("/{host}/ws-api/{version}", _answer_questions)
    app.router.add_get("/{host}/{way:(?:(?:public|market|private)/)?}{kind:ws|stream}", _stream)
    app.router.add_get("/{host}/{way:(?:(?:public|market|private)/)?}{kind:ws|stream}/{name}", _stream)


def _give_up(keys: ListenKeys, account_key: str) -> dict[str, Any]:
    keys.give_up(account_key)
    return {}


async def _stream(request: web.Request) -> web.StreamResponse:
    """Serve public streams, and of an account what its listen key opens."""
    desk, hub, told = request.app[DESK], request.app[HUB], request.match_info
    leg: Leg = "perp" if told["host"].startswith(("fstream", "futures")) else "spot"
    if desk.maintained:
        return under_maintenance()
    name = told.get("name", "")
    listen_key = request.query.get("listenKey", "") or name
    key = hub.listen_keys.owner(listen_key)
    if key is None and request.query.get("listenKey"):
        raise unknown_listen_key()
    socket, listener = await _open(request, wrapped=told["kind"] == "stream")
    hub.join(listener)
    if key is not None:
        hub.follow(listener, leg, key)
    hub.subscribe(
        listener, leg, [part for part in (*request.query.get("streams", "").split("/"), name) if part]
    )
    try:
        async for sent in socket:
            if sent.type is not WSMsgType.TEXT:
                break
            listener.answer(_obey(hub, listener, leg, sent.data))
            hub.wake()
    finally:
        hub.leave(listener)
    return socket


def _obey(hub: StreamHub, listener: Listener, leg: Leg, text: str) -> dict[str, Any]:
    """Do what a message asks for, and return the answer."""
    try:
        asked = json.loads(text)
        number, names = asked.get("id"), [str(name) for name in asked.get("params", [])]
    except (ValueError, AttributeError, TypeError):
        return {"error": {"code": 3, "msg": "Invalid JSON: expected value"}}
    match asked.get("method"):
        case "SUBSCRIBE":
            hub.subscribe(listener, leg, names)
        case "UNSUBSCRIBE":
            hub.unsubscribe(listener, leg, names)
        case "LIST_SUBSCRIPTIONS":
            return {"result": sorted(listener.streams), "id": number}
        case _:
            return {"error": {"code": 2, "msg": "Invalid request: unknown method"}, "id": number}
    return {"result": None, "id": number}


async def _answer_questions(request: web.Request) -> web.StreamResponse:
    """Serve spot's websocket API as far as it opens the stream of an account."""
    desk, hub = request.app[DESK], request.app[HUB]
    if desk.maintained:
        return under_maintenance()
    if not request.match_info["host"].startswith(("ws-api", "demo-ws-api")):
        raise invalid_path(request.method, request.path)
    socket, listener = await _open(request, wrapped=False)
    hub.join(listener)
    try:
        async for sent in socket:
            if sent.type is not WSMsgType.TEXT:
                break
            listener.answer(_question(desk, hub, listener, sent.data))
            hub.wake()
    finally:
        hub.leave(listener)
    return socket


def _question(desk: TradingDesk, hub: StreamHub, listener: Listener, text: str) -> dict[str, Any]:
    try:
        asked = json.loads(text)
        number, sent = asked.get("id"), dict(asked.get("params") or {})
    except (ValueError, AttributeError, TypeError):
        return _unanswered(None, Refusal(-1100, "Invalid JSON."))
    try:
        result = _result(desk, hub, listener, asked.get("method"), sent)
    except Refusal as refusal:
        return _unanswered(number, refusal)
    return {"id": number, "status": 200, "result": result, "rateLimits": []}


def _result(
    desk: TradingDesk, hub: StreamHub, listener: Listener, method: Any, sent: dict[str, Any]
) -> dict[str, Any]:
    """Do what a message of the websocket API asks for.

    Raises:
        Refusal: it is not signed, or nothing that is known here.
    """
    now_ms = desk.catch_up()
    match method:
        case "ping":
            return {}
        case "time":
            return {"serverTime": now_ms}
        case "userDataStream.subscribe.signature":
            hub.follow(listener, "spot", desk.keyring.check_message(sent, desk.pace), 0)
            return {"subscriptionId": 0}
        case "userDataStream.unsubscribe":
            hub.unfollow(listener)
            return {}
    raise Refusal(-1000, "Unknown method.")


def _unanswered(number: Any, refusal: Refusal) -> dict[str, Any]:
    error = {"code": refusal.code, "msg": refusal.message}
    return {"id": number, "status": refusal.status, "error": error}


async def _open(request: web.Request, *, wrapped: bool) -> tuple[web.WebSocketResponse, Listener]:
    socket = web.WebSocketResponse(
        heartbeat=_HEARTBEAT_SECONDS, compress=False, writer_limit=SEND_AT_ONCE_BYTES
    )
    await socket.prepare(request)
    return socket, Listener(socket, request, wrapped)
