"""Binance's websockets: public streams, the streams of an account, and the websocket APIs.

The host that a client would have dialled stands first in the path, as in /fstream.binance.com/public/ws,
since clients tell spot from futures by it.
"""

import json
from typing import Any

from aiohttp import WSMsgType, web

from carryflow.core.leg import Leg
from carryflow.venues.simulated.misbehaviour import Handler
from carryflow.venues.simulated.signed.desk import DESK
from carryflow.venues.simulated.signed.signed_routes import keyed
from carryflow.venues.simulated.streams.hub import SEND_AT_ONCE_BYTES, Listener, StreamHub
from carryflow.venues.simulated.streams.listen_keys import ListenKeys, unknown_listen_key
from carryflow.venues.simulated.streams.questions import Questions

HUB = web.AppKey("hub", StreamHub)

_HEARTBEAT_SECONDS = 20.0
_APIS: dict[Leg, str] = {"spot": "ws-api", "perp": "ws-fapi"}


def add_stream_routes(app: web.Application, hub: StreamHub) -> None:
    """Add the websockets, and the endpoints that hand out the keys of an account's stream."""
    app[HUB] = hub
    keys, path = hub.listen_keys, "/fapi/v1/listenKey"
    app.router.add_post(path, keyed(lambda _, account: {"listenKey": keys.lend(account.key)}))
    app.router.add_put(path, keyed(lambda _, account: {"listenKey": keys.renew(account.key)}))
    app.router.add_delete(path, keyed(lambda _, account: _give_up(keys, account.key)))
    questions = Questions(app[DESK], hub)
    app.on_cleanup.append(lambda _: questions.close())
    for leg, api in _APIS.items():
        path = f"/{{host:(?:demo-)?{api}[^/]*}}/{api}/{{version}}"
        app.router.add_get(path, _questions(leg, questions))
    app.router.add_get("/{host}/{way:(?:(?:public|market|private)/)?}{kind:ws|stream}", _stream)
    app.router.add_get("/{host}/{way:(?:(?:public|market|private)/)?}{kind:ws|stream}/{name}", _stream)


def _give_up(keys: ListenKeys, account_key: str) -> dict[str, Any]:
    keys.give_up(account_key)
    return {}


async def _stream(request: web.Request) -> web.StreamResponse:
    """Serve public streams, and of an account what its listen key opens."""
    hub, told = request.app[HUB], request.match_info
    leg: Leg = "perp" if told["host"].startswith(("fstream", "futures")) else "spot"
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
            listener.answer(json.dumps(_obey(hub, listener, leg, sent.data)))
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


def _questions(leg: Leg, questions: Questions) -> Handler:
    """Return the handler of a leg's websocket API."""

    async def handler(request: web.Request) -> web.StreamResponse:
        hub = request.app[HUB]
        socket, listener = await _open(request, wrapped=False)
        hub.join(listener)
        try:
            async for sent in socket:
                if sent.type is not WSMsgType.TEXT:
                    break
                questions.take(leg, listener, sent.data)
        finally:
            hub.leave(listener)
        return socket

    return handler


async def _open(request: web.Request, *, wrapped: bool) -> tuple[web.WebSocketResponse, Listener]:
    socket = web.WebSocketResponse(
        heartbeat=_HEARTBEAT_SECONDS, compress=False, writer_limit=SEND_AT_ONCE_BYTES
    )
    await socket.prepare(request)
    return socket, Listener(socket, request, wrapped)
